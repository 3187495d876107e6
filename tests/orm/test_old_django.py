"""What `test_django` says of the Django that is installed holds for 4.2 too, the oldest that is supported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_django_4_2_does_what_the_newest_does(old_django: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(old_django)}
    # A database is enough: what PostgreSQL does otherwise does not depend on Django's version.
    command = f"{sys.executable} -m pytest -q -n0 -p no:cacheprovider tests/orm/test_django.py -k".split()
    done = subprocess.run([*command, "not postgresql"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    found = re.search(r"\n(\d+) passed", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1]) > 30

    command = [sys.executable, "-c", "import django; print(django.__version__)"]
    assert subprocess.check_output(command, env=env, text=True).startswith("4.2.")
