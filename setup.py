"""What setup.cfg can't say: files of top-level folders go into the package, below `hub/_files` (hub/files.py)."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

#: Each is copied whole.
FILES = ("static", "templates", "docs/openapi.json", "examples/podcasts")


class Build(build_py):
    """Copies FILES beside the modules. An editable installation reads them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in FILES:
            to = Path(self.build_lib) / "hub" / "_files" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            if Path(name).is_dir():
                shutil.copytree(name, to, dirs_exist_ok=True)
            else:
                shutil.copyfile(name, to)


setup(cmdclass={"build_py": Build})
