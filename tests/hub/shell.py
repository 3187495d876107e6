"""Commands run as processes, for tests of what they print and how they end."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import free_port

from hub.cli import Command, run

ROOT = Path(__file__).resolve().parents[2]


class Shell:
    """Runs `python -m hub`, or another module of ours, in a folder of its own, with its own environment."""

    def __init__(self, folder: Path, module: str = "hub", announced: str = "hub on http://") -> None:
        self.folder = folder
        self._module = module
        self._prog = {"hub": "python -m hub", "web": "fanfare"}[module]
        self._announced = announced
        self.said = ""
        self.environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environ |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PORT": str(free_port())}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environ['PORT']}"

    def run(self, *arguments: str, input: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", self._module, *arguments],
            cwd=self.folder,
            env=self.environ | environ,
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def call(
        self,
        commands: Sequence[Command],
        *arguments: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        input: str = "",
        **environ: str,
    ) -> tuple[int, str, str]:
        """As `run`, in this process, which is ten times quicker: exit code, output, complaints."""
        with monkeypatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "stdin", io.StringIO(input))
            patch.setattr(os, "environ", self.environ | environ)
            code = run(self._prog, "", commands, arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", self._module, *arguments],
            cwd=self.folder,
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def serving(self, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
        """A hub that listens, `said` being what it printed till then; ended politely, if the test hasn't."""
        process = self.start(*arguments, **environ)
        try:
            assert process.stdout is not None
            said = ""
            while self._announced not in said:
                line = process.stdout.readline()
                said += line
                if not line:
                    process.kill()
                    pytest.fail(f"did not start: {said}{process.communicate()[1]}")
            self.said = said
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
