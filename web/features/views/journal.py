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
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from .kinds import Kind
from .records import View

#: Bytes of a half: some 20,000 views of as many callers, 38,000 of few. What has no room is counted, and lost if the
#: process is killed.
HALF = 1024 * 1024

_HEAD = struct.Struct("<8sQ")
_MAGIC = b"views 2\n"
#: A view: kind, when, status, micros, the numbers of its endpoint's and its caller's word, and its batch. Fields are
#: written in this order: a process that is killed in between has not added it.
_VIEW = struct.Struct("<BdHiIII")
#: Before the first view that has it, a word: that it is one, its length, itself, and the batch. Its number is that of
#: the words before it.
_WORD = struct.Struct("<BH")
_IS_WORD = 255
_BATCH = struct.Struct("<I")
_BATCHES = 2**32
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
        self._pack = partial(_VIEW.pack_into, self._map)
        # Of the half that is written: where it begins, how far it is used, the last place where a view has room, what
        # each entry says, and the words in it by their numbers.
        self._begin = self._end = self._last = self._batch = 0
        self._words: dict[str, int] = {}
        #: Views that had no room.
        self.unwritten = 0
        self.turn(1)

    def turn(self, position: int) -> None:
        """What comes from now on is of the batch with this number; the batch before the last one is committed."""
        self._begin = 0 if self._begin else self._half
        self._last = self._begin + self._half - _VIEW.size
        self._batch = position % _BATCHES
        self._words = {}
        # What an older batch has left behind in this half is none of this one's.
        _HEAD.pack_into(self._map, self._begin, _MAGIC, position)
        self._end = self._begin + _HEAD.size

    def add(self, view: View) -> None:
        """Add a view of our own."""
        at, _, name, status, micros, kind, caller, _, _ = view
        words = self._words
        if (name not in words and not self._learn(name)) or (caller not in words and not self._learn(caller)):
            self.unwritten += 1
            return
        end = self._end
        if end > self._last:
            self.unwritten += 1
            return
        self._pack(end, _NUMBERS[kind], at, status, micros, words[name], words[caller], self._batch)
        self._end = end + _VIEW.size

    def _learn(self, text: str) -> bool:
        """Write a word; False if it has no room."""
        word = text.encode()
        end = self._end + _WORD.size + len(word)
        if end > self._last:
            return False
        self._map[self._end : end] = _WORD.pack(_IS_WORD, len(word)) + word
        _BATCH.pack_into(self._map, end, self._batch)
        self._end = end + _BATCH.size
        self._words[text] = len(self._words)
        return True

    def free(self) -> None:
        """The other half's batch is committed."""
        _HEAD.pack_into(self._map, 0 if self._begin else self._half, b"", 0)

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
    magic, position = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        return None
    views: list[View] = []
    words: list[str] = []
    at = _HEAD.size
    while at < len(data):
        begin = at + _WORD.size
        if data[at] == _IS_WORD and begin <= len(data):
            at = begin + _WORD.unpack_from(data, at)[1]
            if at + _BATCH.size > len(data) or _BATCH.unpack_from(data, at)[0] != position % _BATCHES:
                break
            words.append(_text(data[begin:at]))
            at += _BATCH.size
            continue
        if at + _VIEW.size > len(data):
            break
        kind, when, status, micros, endpoint, caller, batch = _VIEW.unpack_from(data, at)
        at += _VIEW.size
        if batch != position % _BATCHES or kind >= len(_KINDS) or max(endpoint, caller) >= len(words):
            break
        views.append(View(when, "", words[endpoint], status, micros, _KINDS[kind].value, words[caller]))
    return Half(position, views) if views else None


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
