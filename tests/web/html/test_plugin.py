"""The plugin finds the faults of three sites, with template and line, knows them in the next run, and says when it
can't look."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from services import ROOT

SITES = ("aiohttp", "flask", "django")


def run(site: str | Path, *arguments: str, cache: Path | None = None, **environ: str) -> str:
    """What pytest says in a site's folder. cache: of pytest; none without."""
    keeping = ("-p", "no:cacheprovider") if cache is None else ("-o", f"cache_dir={cache}")
    command = [sys.executable, "-m", "pytest", "-q", *keeping, "-W", "ignore", *arguments]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        command,
        cwd=ROOT / "examples" / "html" / site,
        # As on a machine of CI: no validator is left for a next run.
        env={**outside, "PYTHONPATH": str(ROOT), "CI": "1", **environ},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.stdout


@pytest.mark.long
@pytest.mark.usefixtures("validator")
@pytest.mark.parametrize("site", SITES)
def test_twenty_kinds_of_faults_are_found_with_template_and_line(site: str, tmp_path: Path) -> None:
    """The first run begins Java beside its tests; the second has none, and knows all of it."""
    names = {path.name for path in (ROOT / "examples" / "html" / site / "templates").glob("*.html")} - {"fine.html"}
    for environ in ({}, {"PATH": str(tmp_path)}):
        said = run(site, "--valid-html=require", cache=tmp_path / "cache", **environ)
        assert "21 passed, 20 errors" in said, said[-2000:]
        failed = re.findall(r"^ERROR test_pages.py::test_page\[([a-z-]+)\]", said, re.MULTILINE)
        assert {f"{name}.html" for name in failed} == names
        found = re.findall(r"templates/([a-z-]+\.html):(\d+) \(GET /", said)
        assert {name for name, _ in found} == names
        # One that is not closed is seen at the body's end.
        assert {(name, line) for name, line in found if line != "5"} <= {("unclosed.html", "6"), ("unclosed.html", "7")}


@pytest.mark.long
@pytest.mark.usefixtures("validator")
def test_hundred_pages_are_valid_and_known_in_the_next_run_without_java(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert "100 passed" in run("hundred", "--valid-html=require", cache=cache)
    assert len(list(cache.glob("d/fanfare-html/*/*"))) == 100
    assert "100 passed" in run("hundred", "--valid-html=require", cache=cache, PATH=str(tmp_path))


#: As Java is called: says a fault of each page with `<p>bad`, and doesn't begin before the file `go` is there.
JAVA = """#!/bin/sh
[ "$1" = -version ] && exit 0
echo begun >> starts
for port; do :; done
exec {python} fake.py "$port"
"""

FAKE = """
import http.server, json, pathlib, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        lines = self.rfile.read(int(self.headers["Content-Length"])).decode().split("\\n")
        bad = [n for n, line in enumerate(lines, 1) if "<p>bad" in line]
        found = [{"type": "error", "message": "Bad.", "lastLine": n, "firstColumn": 1, "lastColumn": 3} for n in bad]
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps({"version": "1", "messages": found}).encode())
    def log_message(self, *args): pass
while not pathlib.Path("go").exists(): time.sleep(0.02)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

PROJECT = {
    "pytest.ini": "[pytest]\naddopts = -p web.features.html.plugin\nasyncio_default_fixture_loop_scope = function\n",
    "node_modules/vnu-jar/build/dist/vnu.jar": "a jar",
    "fake.py": FAKE,
    "templates/page.html": """<!doctype html>
<title>{{ name }}</title>
<a href="{{ url_for('page', name='x') }}">x</a>
{% if name == "bad" %}<p>bad</p>{% endif %}
""",
    "test_site.py": """
import pathlib
import pytest
from flask import Flask, render_template

app = Flask(__name__)

@app.get("/<name>")
def page(name):
    return render_template("page.html", name=name)

@pytest.mark.parametrize("name", ["bad", "fine"])
def test_page(name):
    assert app.test_client().get("/" + name).status_code == 200

def test_last():
    pathlib.Path("go").touch()

def test_by_hand(valid_html):
    valid_html("<!doctype html><p>by hand")
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A site in Flask, whose Java begins when its tests are all but done."""
    for name, text in PROJECT.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(JAVA.format(python=sys.executable))
    java.chmod(0o755)
    return tmp_path / "site"


FAULT = "templates/page.html:4 (GET /bad:4:1): error: Bad."


def test_page_that_was_answered_before_the_validator_was_there_fails_its_own_test(project: Path) -> None:
    """With the line of a template that wants its request, which is over."""
    with_java = f"{project.parent / 'bin'}:{os.environ['PATH']}"
    cache = project / "cache"
    said = run(project, "--valid-html", cache=cache, PATH=with_java)
    assert "4 passed, 1 error" in said, said
    assert "ERROR test_site.py::test_page[bad]" in said
    assert FAULT in said
    # Nothing is asked any more: the fault is known before the next test begins.
    said = run(project, "--valid-html=require", "-x", cache=cache, PATH=str(project))
    assert "1 passed, 1 error" in said, said
    assert FAULT in said
    # A page that no run has seen needs Java again.
    (project / "templates" / "page.html").write_text("<!doctype html><title>{{ name }}</title><p>new")
    said = run(project, "--valid-html", cache=cache, PATH=str(project))
    assert "4 passed" in said, said
    assert "2 pages: Java is not installed" in said


def test_validator_of_a_run_is_there_for_the_next(project: Path) -> None:
    """New pages of the second run need no Java to begin."""
    (project / "go").touch()
    environ = {"PATH": f"{project.parent / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(project.parent), "CI": ""}
    try:
        for number in range(3):
            page = f'<!doctype html><title>{number}</title>{{% if name == "bad" %}}<p>bad</p>{{% endif %}}'
            (project / "templates" / "page.html").write_text(page)
            assert "4 passed, 1 error" in run(project, "--valid-html", cache=project / "cache", **environ)
    finally:
        found = subprocess.run(
            ["pgrep", "-f", f"keeper.py {project.parent}/"], capture_output=True, text=True, check=True
        )
        [keeper] = found.stdout.split()
        os.kill(int(keeper), signal.SIGKILL)
    assert (project / "starts").read_text() == "begun\n"


def test_client_that_is_imported_in_a_test_is_heard(project: Path) -> None:
    """The plugin imports no framework itself: that costs more than a hundred known pages."""
    (project / "go").touch()
    (project / "test_site.py").write_text(
        """
import sys

def test_page():
    assert not {"aiohttp", "flask", "django"} & set(sys.modules)
    from flask import Flask
    app = Flask(__name__)
    app.get("/")(lambda: "<!doctype html><p>bad")
    assert app.test_client().get("/").status_code == 200
"""
    )
    said = run(project, "--valid-html", "-p", "no:aiohttp", PATH=f"{project.parent / 'bin'}:{os.environ['PATH']}")
    assert "1 passed, 1 error" in said, said


def test_who_stops_at_the_first_fault_and_workers_of_xdist_wait_for_the_validator(project: Path) -> None:
    (project / "go").touch()
    with_java = f"{project.parent / 'bin'}:{os.environ['PATH']}"
    assert "1 passed, 1 error" in run(project, "--valid-html", "-x", PATH=with_java)
    said = run(project, "--valid-html", "-n", "1", PATH=with_java)
    assert "4 passed, 1 error" in said, said
    assert FAULT in said


def test_what_workers_of_xdist_could_not_look_at_is_said(project: Path) -> None:
    said = run(project, "--valid-html", "-n", "1", PATH=str(project))
    assert "3 passed, 1 skipped" in said, said
    assert "2 pages: Java is not installed" in said


def test_nothing_is_looked_at_unless_it_is_asked_for() -> None:
    assert "21 passed" in run("flask")


def test_without_java_tests_are_skipped_or_fail_and_none_is_called_valid(tmp_path: Path) -> None:
    def without(*arguments: str) -> str:
        return run("flask", "-rs", *arguments, "-k", "fine or doubled", PATH=str(tmp_path))

    found = without("--valid-html=require")
    if "HTML could not be checked: Java is not installed" not in found:
        pytest.skip("there is a Java in a wheel")
    assert "2 errors" in found
    said = without("--valid-html")
    assert "2 passed" in said
    assert "HTML could not be checked" in said
    assert "Java is not installed" in said
