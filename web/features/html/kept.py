"""What the validator said of documents, kept from run to run: a folder with a file for each, named by its hash.

A folder is of one validator and of these very modules, by their bytes: what either of another release said is not
found. Only what it said is kept, before anything is let pass; what could not be checked never is. A file that can't be
read, or a folder that can't be written, costs only that the validator is asked again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from . import documents, finding, verdicts
from .verdicts import LEVELS, Message

#: Files in all; the ones that were not used for longest go. A page that is fine takes 40 bytes.
MOST = 20_000

#: Seconds after which a use is noted: a run needn't write for each page that it knows.
_NOTED = 86_400.0


class Kept:
    """The files of one validator. validator: what it is known by (`finding.identity`)."""

    def __init__(self, folder: Path, validator: bytes) -> None:
        sources = (Path(module.__file__ or "").read_bytes() for module in (documents, finding, verdicts))
        of = hashlib.sha256(b"\0".join((validator, *sources))).hexdigest()[:16]
        self._all = folder
        self._folder = folder / of
        self._has_new = False

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever kept of this validator here."""
        return not self._folder.exists()

    def begin(self) -> None:
        """Make the folder, for its owner alone."""
        with suppress(OSError):
            self._all.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)

    def get(self, key: bytes) -> tuple[list[Message], str] | None:
        """The messages and the validator's version; None for what isn't known."""
        path = self._folder / key.hex()
        try:
            with path.open("rb") as file:
                found = _read(file.read())
                if found is not None and time.time() - os.fstat(file.fileno()).st_mtime > _NOTED:
                    os.utime(path)
        except OSError:
            return None
        return found

    def put(self, key: bytes, messages: Sequence[Message], version: str) -> None:
        """Keep the validator's messages under a key."""
        self.begin()
        said = [[each.level, each.text, each.line, each.column, each.extract] for each in messages]
        # Several processes write here: a name of its own, then the one that is looked for.
        new = self._folder / f".{key.hex()}.{os.getpid()}"
        try:
            new.write_text(json.dumps({"version": version, "messages": said}), encoding="utf-8")
            new.replace(self._folder / key.hex())
            self._has_new = True
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)

    def close(self) -> None:
        """Take away what is too much, if anything was added."""
        if not self._has_new:
            return
        files = []
        for path in self._all.glob("*/*"):
            # Another process may be taking it away.
            with suppress(OSError):
                files.append((path.stat().st_mtime, path))
        for _, path in sorted(files)[: max(0, len(files) - MOST)]:
            with suppress(OSError):
                path.unlink()
        for folder in self._all.iterdir():
            # One with something in it stays.
            if folder != self._folder:
                with suppress(OSError):
                    folder.rmdir()


def _read(text: bytes) -> tuple[list[Message], str] | None:
    try:
        found = json.loads(text)
        messages = [Message(*each) for each in found["messages"]]
        version = found["version"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(version, str) or any(each.level not in LEVELS for each in messages):
        return None
    return messages, version
