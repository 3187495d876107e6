"""Start a fuzzer from inputs that already reach deep: a mutation rarely makes a valid frame or upgrade."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris


def run(fuzz: Callable[[bytes], None], seeds: Iterable[bytes]) -> None:
    """Fuzz as the command line says, by libFuzzer's options; folders named there come before the seeds."""
    # libFuzzer leaves by _exit, so nothing here could remove a folder afterwards: one name, used again.
    folder = Path(tempfile.gettempdir()) / f"fanfare-{Path(sys.argv[0]).stem}-seeds"
    folder.mkdir(mode=0o700, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"seed{number}").write_bytes(seed)
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    # What is found new goes to the first folder; the seeds are to stay as they are.
    found = [] if folders else [tempfile.mkdtemp(prefix="fanfare-fuzz-")]
    atheris.Setup([*sys.argv, *found, str(folder)], fuzz)
    atheris.Fuzz()
