"""A test that was answered with a bad page fails, though it looks at nothing of it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from services import ROOT

DEFECTS = "tests/web/guards/defects.py"


@pytest.mark.usefixtures("validator")
def test_whoever_is_answered_with_a_bad_page_fails() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", DEFECTS]
    run = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    # The test with the bad page passes, and then its end does not.
    assert set(re.findall(rf"^(PASSED|FAILED|ERROR) {DEFECTS}::(\w+)", run.stdout, re.MULTILINE)) == {
        ("PASSED", "test_sound_page"),
        ("PASSED", "test_doubled_id"),
        ("ERROR", "test_doubled_id"),
        ("PASSED", "test_sound_page_again"),
    }, run.stdout + run.stderr
    told = re.findall(r"^E +(?:AssertionError: )?(GET .*)", run.stdout, re.MULTILINE)
    assert any("Duplicate ID “name”" in line for line in told)
    assert any(line.startswith("GET /login: templates/accounts/login.html:") for line in told)
