"""Where an embedded index is on disk: a folder of this process alone, notes beside the index, and a quick copy of it.

A commit waits until the disk has it, ten to a hundred milliseconds, many times a minute; and what is in an index can be
read again from the rows. So the index that is worked with is in memory that outlives the process (/dev/shm) where there
is room, and is copied to its folder every few seconds: what a restart of the process finds is all of it, and what one
of the machine finds is a few seconds old, which the log makes up for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

#: Memory that outlives a process, and how much of it must be free.
QUICK = Path("/dev/shm")
ROOM = 1024**3

#: Seconds between copies.
COPY = 5.0

_NOTES = "state.json"
#: What says which of an index's files belong together. The others never change.
_META = "meta.json"


@dataclass(frozen=True, slots=True)
class Notes:
    """What is noted beside an index. number: its folder's name; count: documents; cursor: up to where was heard."""

    number: int
    count: int
    cursor: str


class Unusable(Exception):
    """Notes that are there and of no use; says why."""


class Folders:
    """The folders of one process. root: where workers have theirs; version: of what is written there."""

    def __init__(self, root: Path, version: list[str]) -> None:
        self.slot, self._lock = _locked(root)
        self._version = version
        self.home = _home(self.slot)
        self._copied = time.monotonic()

    @property
    def is_quick(self) -> bool:
        """Whether the index is worked with elsewhere than it is kept."""
        return self.home != self.slot

    def index(self, number: int) -> Path:
        """Where the index of a number is worked with."""
        return self.home / str(number)

    def find(self) -> Notes | None:
        """The notes of the newest index that is there; None if there is none. Raises Unusable."""
        notes = self._read(self.home) if self.is_quick else None
        if notes is None:
            notes = self._read(self.slot)
            if notes is not None and self.is_quick:
                shutil.rmtree(self.home / str(notes.number), ignore_errors=True)
                with suppress(FileNotFoundError):
                    shutil.copytree(self.slot / str(notes.number), self.home / str(notes.number))
        return notes

    def note(self, notes: Notes) -> None:
        """Note what is committed. After a crash in between the log tells the same changes again."""
        _write(self.home / _NOTES, self._encoded(notes))
        if self.is_quick and time.monotonic() - self._copied >= COPY:
            self.copy(notes)

    def copy(self, notes: Notes) -> None:
        """Copy the index to where it is kept."""
        if not self.is_quick:
            return
        source, target = self.index(notes.number), self.slot / str(notes.number)
        target.mkdir(exist_ok=True)
        for _ in range(5):
            meta = (source / _META).read_bytes()
            names = {file.name for file in source.iterdir() if not file.name.endswith(".lock")} - {_META}
            for name in names:
                # Merging takes files away while they are copied; then it has written other meta. It also makes them
                # meanwhile, so what was copied before may be the beginning of one.
                with suppress(FileNotFoundError):
                    if name.startswith(".") or _size(target / name) != (source / name).stat().st_size:
                        shutil.copyfile(source / name, target / name)
            if (source / _META).read_bytes() == meta:
                _write(target / _META, meta)
                _write(self.slot / _NOTES, self._encoded(notes))
                for file in target.iterdir():
                    if file.name not in names and file.name != _META:
                        file.unlink(missing_ok=True)
                break
        self._copied = time.monotonic()

    def forget(self, but: int | None = None) -> None:
        """Remove all indexes, or all but one."""
        for place in {self.home, self.slot}:
            for each in place.iterdir():
                if each.is_dir() and each.name != str(but):
                    # Who still searches in it has its files open.
                    shutil.rmtree(each, ignore_errors=True)
            if but is None:
                (place / _NOTES).unlink(missing_ok=True)

    def close(self, notes: Notes | None) -> None:
        """Copy what is there, and let another process have the folder. What a process leaves that is killed, the next
        one finds."""
        if notes is not None and self.is_quick:
            self.copy(notes)
            shutil.rmtree(self.home, ignore_errors=True)
        os.close(self._lock)

    def _read(self, place: Path) -> Notes | None:
        try:
            state = orjson.loads((place / _NOTES).read_bytes())
            if state["version"] != self._version:
                raise Unusable(f"{self.slot}: was written by another version")
            return Notes(int(state["number"]), int(state["count"]), str(state["cursor"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError):
            raise Unusable(f"{self.slot}: its notes can't be read") from None

    def _encoded(self, notes: Notes) -> bytes:
        return orjson.dumps(
            {"version": self._version, "number": notes.number, "count": notes.count, "cursor": notes.cursor}
        )


def _size(file: Path) -> int:
    """Of a file in bytes; -1 if there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return -1


def _write(file: Path, data: bytes) -> None:
    made = file.with_name(file.name + ".new")
    made.write_bytes(data)
    made.replace(file)


def _locked(root: Path) -> tuple[Path, int]:
    """The first folder that no other process has, and its lock."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = 0
    while True:
        descriptor = os.open(root / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            number += 1
            continue
        folder = root / str(number)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder, descriptor


def _home(slot: Path) -> Path:
    """Where an index that is kept in this folder is worked with."""
    try:
        if shutil.disk_usage(QUICK).free < ROOM:
            return slot
        # Of this user and this folder, so that a restart finds it again.
        name = hashlib.blake2b(f"{os.getuid()}:{slot.resolve()}".encode(), digest_size=8).hexdigest()
        home = QUICK / f"fanfare-search-{name}"
        home.mkdir(mode=0o700, exist_ok=True)
        if home.stat().st_uid != os.getuid() or home.is_symlink():
            return slot
    except OSError:
        return slot
    return home
