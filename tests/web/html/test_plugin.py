"""The plugin finds the faults of three sites, with template and line; and says when it can't look."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from services import ROOT

SITES = ("aiohttp", "flask", "django")


def run(site: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", *arguments]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        command,
        cwd=ROOT / "examples" / "html" / site,
        env={**outside, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.long
@pytest.mark.usefixtures("validator")
@pytest.mark.parametrize("site", SITES)
def test_twenty_kinds_of_faults_are_found_with_template_and_line(site: str) -> None:
    done = run(site, "--valid-html")
    assert "21 passed, 20 errors" in done.stdout, done.stdout[-2000:]
    names = {path.name for path in (ROOT / "examples" / "html" / site / "templates").glob("*.html")} - {"fine.html"}
    found = re.findall(r"templates/([a-z-]+\.html):(\d+) \(GET /", done.stdout)
    assert {name for name, _ in found} == names
    # One that is not closed is seen at the body's end.
    assert {(name, line) for name, line in found if line != "5"} <= {("unclosed.html", "6"), ("unclosed.html", "7")}


def test_nothing_is_looked_at_unless_it_is_asked_for() -> None:
    assert "21 passed" in run("flask").stdout


def test_without_java_tests_are_skipped_or_fail_and_none_is_called_valid(tmp_path: Path) -> None:
    def without(*arguments: str) -> str:
        return run("flask", "-rs", *arguments, "-k", "fine or doubled", PATH=str(tmp_path)).stdout

    found = without("--valid-html=require")
    if "HTML could not be checked: Java is not installed" not in found:
        pytest.skip("there is a Java in a wheel")
    assert "2 errors" in found
    said = without("--valid-html")
    assert "2 passed" in said
    assert "HTML could not be checked" in said
    assert "Java is not installed" in said
