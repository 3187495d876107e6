"""What a process has counted and not written yet, in a file that outlives it.

A process that is killed loses its memory, and the pages of a mapped file stay the kernel's: the next process to start
writes what is in it. There are two halves. One takes the views of the batch that grows; the other has the batch that
is being written, and is free again once that is committed. Each says the number of its batch, which the transaction
that writes it notes too (`ViewWriter`): a half whose batch was committed is not written again.

Only a machine that stops loses what was in it, a second's views.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from .kinds import Kind
from .records import View

#: Bytes of a half: some 15,000 views. What has no room is counted, and lost if the process is killed.
HALF = 1024 * 1024

_HEAD = struct.Struct("<8sQI")
_MAGIC = b"views 1\n"
_USED = struct.Struct("<I")
_USED_AT = 16
#: when, status, micros, kind, and the lengths of caller and endpoint.
_VIEW = struct.Struct("<dHiBBH")
_KINDS = tuple(Kind)
_NUMBERS = {kind.value: number for number, kind in enumerate(_KINDS)}

SUFFIX = ".views"


class Half(NamedTuple):
    """What was found of a batch."""

    position: int
    views: list[View]


class Journal:
    """The file of a process. name: unique, of who writes. Raises OSError where it can't be made."""

    def __init__(self, folder: Path, half: int = HALF) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.name = uuid4().hex
        self._path = folder / f"{self.name}{SUFFIX}"
        self._half = half
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Held as long as the process lives: whoever gets it knows that it does not.
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.posix_fallocate(self._file, 0, 2 * half)
        self._map = mmap.mmap(self._file, 2 * half)
        self._begin = self._end = 0
        #: Views that had no room.
        self.unwritten = 0
        self.turn(1)

    def turn(self, position: int) -> None:
        """What comes from now on is of the batch with this number; the batch before the last one is committed."""
        self._begin = 0 if self._begin else self._half
        self._map[self._begin : self._begin + _HEAD.size] = _HEAD.pack(_MAGIC, position, 0)
        self._end = self._begin + _HEAD.size

    def add(self, view: View) -> None:
        """Add a view of our own."""
        caller, endpoint = view.caller.encode(), view.endpoint.encode()
        number = _NUMBERS[view.kind]
        record = _VIEW.pack(view.at, view.status, view.micros, number, len(caller), len(endpoint)) + caller + endpoint
        end = self._end + len(record)
        if end > self._begin + self._half:
            self.unwritten += 1
            return
        self._map[self._end : end] = record
        self._end = end
        # The last: a process that is killed in between has not added it.
        _USED.pack_into(self._map, self._begin + _USED_AT, end - self._begin - _HEAD.size)

    def free(self) -> None:
        """The other half's batch is committed."""
        other = 0 if self._begin else self._half
        _USED.pack_into(self._map, other + _USED_AT, 0)

    def close(self, *, done: bool) -> None:
        """Let go of the file, and of what is in it if that is all written."""
        self._map.close()
        if done:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


class Left:
    """What a process that is gone has left in its file. `close` it."""

    def __init__(self, path: Path, file: int, halves: list[Half]) -> None:
        self.halves = halves
        self._path = path
        self._file = file

    def close(self, *, done: bool) -> None:
        """Let go of the file. done: whether all that was in it is written; it is deleted then."""
        if done:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


def take(path: Path) -> Left | None:
    """What was left behind in a file; None for that of a process that lives, or one that another has just taken."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = os.fstat(file).st_size
        data = os.pread(file, size, 0)
    except OSError:
        os.close(file)
        return None
    halves = [half for at in (0, size // 2) if (half := _read(data[at : at + size // 2])) is not None]
    return Left(path, file, sorted(halves, key=lambda half: half.position))


def files(folder: Path) -> list[Path]:
    """The files of all processes, of those that live too."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def _read(data: bytes) -> Half | None:
    if len(data) < _HEAD.size:
        return None
    magic, position, used = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        return None
    views = []
    at, end = _HEAD.size, min(len(data), _HEAD.size + used)
    while at + _VIEW.size <= end:
        when, status, micros, kind, callers, endpoints = _VIEW.unpack_from(data, at)
        at += _VIEW.size
        caller, endpoint = data[at : at + callers], data[at + callers : at + callers + endpoints]
        at += callers + endpoints
        if at > end or kind >= len(_KINDS):
            break
        views.append(View(when, "", _text(endpoint), status, micros, _KINDS[kind].value, _text(caller)))
    return Half(position, views) if views else None


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
