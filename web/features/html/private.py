"""A folder of this user's alone, for what validators leave between runs."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from .verdicts import Unchecked


def private() -> Path:
    """The folder, below that of temporary files. Whoever else could write there would say which pages are valid.
    Raises Unchecked if it is not ours alone."""
    path = Path(tempfile.gettempdir()) / f"fanfare-vnu-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise Unchecked(f"{path} can't be made: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Unchecked(f"{path} is not a folder of this user's alone")
    return path
