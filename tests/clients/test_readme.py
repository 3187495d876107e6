"""README.md: its recipes for publishers, copied as they stand into a shell beside a hub that was just started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from services import ROOT
from shell import Shell

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_recipe_that_publishes_does(tmp_path: Path, curl: str) -> None:
    """curl's had a realm in its URL that no shell knew, and a host that isn't there: a 404 of the site's."""
    publishers = [code for language, code in FENCES if language in {"sh", "python"} and "publish" in code]
    assert len(publishers) == 2
    shell = Shell(tmp_path)
    with shell.serving(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        said = ""
        for code in publishers:
            command = ["sh", "-c"] if "curl" in code else [sys.executable, "-c"]
            done = subprocess.run(
                [*command, code.replace("http://localhost:8000", shell.url)],
                cwd=tmp_path,
                env=shell.environ | {"PATH": os.environ["PATH"]},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            said += done.stdout
        # Three publications: by the command, by curl, by Python.
        assert re.search(r"published at \w+\.1 .*\nPublished", said), said
        assert "offset=3" in said or re.search(r"\w+\.3\b", said), said
