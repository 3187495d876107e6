"""What is built from the checkout works where the checkout is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

from shell import ROOT, Shell

PARTS = ("hub", "web", "static", "templates", "docs", "examples", "setup.cfg", "setup.py", "pyproject.toml")


def test_site_and_hub_of_a_wheel_answer(tmp_path: Path) -> None:
    """A wheel had neither templates nor scripts: it had to be a clone."""
    source, wheels, installed, elsewhere = (tmp_path / name for name in ("source", "wheels", "installed", "elsewhere"))
    source.mkdir()
    elsewhere.mkdir()
    for name in (*PARTS, "MANIFEST.in", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "var"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(source)], check=True, timeout=300
    )
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(installed), str(wheel)], check=True, timeout=300)
    shutil.rmtree(source)
    shell = Shell(elsewhere, "web", "Fanfare on http://localhost:")
    shell.environ["PYTHONPATH"] = str(installed)
    with shell.serving("serve"):
        assert "demo content: 6 podcasts" in shell.said
        scripts = ("/static/fanout.js", "/bayeux/static/fanout.js", "/bayeux.js")
        for path in ("/", "/podcasts", *scripts, "/openapi.json", "/ready"):
            with urlopen(shell.url + path, timeout=60) as answer:
                assert answer.status == 200
                assert answer.read()
