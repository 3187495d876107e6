"""The engine that needs no server: tantivy for the index, and a vocabulary of ours for what readers mistype.

Each worker has an index of its own in a folder of its own, which it locks: nothing is shared, so nobody waits for
another's lock, and a worker that dies takes nothing along. What a worker has committed to its folder it has after a
restart, with the position up to which it had heard; the rest it reads from the log. A folder that can't be read, or was
written by another version, is built anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from .blend import Query
from .engine import WINDOW, Changes, Engine, Found, Generation
from .entries import VERSION
from .folders import Folders, Notes, Unusable
from .shelf import Shelf, ShelfFound, as_tantivy
from .spelling import Known

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Documents from which on a query is run beside the loop: it takes longer than the way there.
_MANY = 20_000

#: Documents that are read at a time where all are.
_SOME = 500

#: Indexes are of one version of the library.
_TANTIVY = version("tantivy")


class Embedded(Engine):
    """An index of this process. folder: where workers have theirs; None for one in memory.

    comment_kinds: kinds whose words are not taken for right. say: told once of an index that can't be used.
    """

    def __init__(
        self, folder: Path | None, comment_kinds: Collection[str] = (), say: Callable[[str], None] | None = None
    ) -> None:
        self._root = folder
        self._comment_kinds = frozenset(comment_kinds)
        self._say = say or (lambda words: logger.warning("search index is built anew", extra={"reason": words}))
        self._writing = ThreadPoolExecutor(1, "search-writer")
        self._reading = ThreadPoolExecutor(2, "search-reader")
        self._shelf: Shelf | None = None
        # Of the newest index, and of the one that answers.
        self._number = self._kept_number = 0
        self._folders: Folders | None = None
        self._noted: Notes | None = None

    async def open(self) -> str | None:
        return await self._write(self._open)

    async def close(self) -> None:
        await self._write(self._close)
        self._writing.shutdown()
        self._reading.shutdown()

    @property
    def documents(self) -> int:
        return int(self._open_shelf.searcher.num_docs)

    async def count(self) -> int:
        return self.documents

    async def apply(self, changes: Changes) -> None:
        await self._write(self._apply, changes)

    async def begin(self) -> Generation:
        return await self._write(self._begin)

    async def take(self, generation: Generation, cursor: str) -> None:
        assert isinstance(generation, Shelf)
        await self._write(self._take, generation, cursor)

    async def look(self, words: Collection[str]) -> Mapping[str, Known]:
        known = self._open_shelf.vocabulary.known
        return {word: found for word in words if (found := known(word))}

    async def near(self, words: Collection[str]) -> Mapping[str, Sequence[tuple[str, Known]]]:
        near = self._open_shelf.vocabulary.near
        return {word: near(word) for word in words}

    async def begun(self, beginning: str, most: int) -> Sequence[tuple[str, Known]]:
        return self._open_shelf.vocabulary.begun(beginning, most)

    async def run(self, query: Query, most: int = WINDOW, *, facets: bool = False) -> Found:
        shelf = self._open_shelf
        searcher = shelf.searcher
        made = as_tantivy(query)
        if searcher.num_docs < _MANY:
            return ShelfFound(shelf, searcher, made, most, facets=facets)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, lambda: ShelfFound(shelf, searcher, made, most, facets=facets))

    async def everything(self) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        shelf = self._open_shelf
        searcher = shelf.searcher
        run = asyncio.get_running_loop().run_in_executor
        addresses = await run(self._reading, shelf.addresses, searcher)
        for at in range(0, len(addresses), _SOME):
            yield await run(self._reading, shelf.some, addresses[at : at + _SOME], searcher)

    async def by_key(self, keys: Collection[str]) -> Sequence[Mapping[str, Any]]:
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._open_shelf.by_key, keys)

    # In the writing thread

    @property
    def _open_shelf(self) -> Shelf:
        assert self._shelf is not None
        return self._shelf

    async def _write(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, function, *arguments)

    def _open(self) -> str | None:
        if self._root is None:
            self._shelf = self._made()
            return None
        folders = self._folders = Folders(self._root, [str(VERSION), _TANTIVY])
        reason = None
        try:
            notes = folders.find()
        except Unusable as error:
            notes, reason = None, str(error)
        if notes is not None:
            self._number = self._kept_number = notes.number
            try:
                self._shelf = self._made()
                # It may be a step ahead of its notes: then the log tells that step again.
                if self._shelf.searcher.num_docs or not notes.count:
                    return notes.cursor
                reason = f"{folders.slot}: has no documents of {notes.count}"
                self._shelf.close()
            except (ValueError, OSError, KeyError) as error:
                words = str(error).splitlines()
                reason = f"{folders.slot}: {words[0][:200] if words else type(error).__name__}"
        if reason:
            self._say(reason)
        folders.forget()
        self._number += 1
        self._kept_number = self._number
        self._shelf = self._made()
        return None

    def _close(self) -> None:
        if self._shelf is not None:
            self._shelf.close()
        if self._folders is not None:
            self._folders.close(self._noted)

    def _made(self) -> Shelf:
        folder = None if self._folders is None else self._folders.index(self._number)
        shelf = Shelf(folder, self._writing, self._comment_kinds)
        shelf.open()
        return shelf

    def _note(self, cursor: str) -> None:
        if self._folders is not None:
            self._noted = Notes(self._kept_number, self._open_shelf.searcher.num_docs, cursor)
            self._folders.note(self._noted)

    def _apply(self, changes: Changes) -> None:
        self._open_shelf.write(changes)
        if changes.cursor is not None:
            self._note(changes.cursor)

    def _begin(self) -> Shelf:
        self._number += 1
        return self._made()

    def _take(self, shelf: Shelf, cursor: str) -> None:
        old, self._shelf = self._open_shelf, shelf
        self._kept_number = self._number
        self._note(cursor)
        old.close()
        if self._folders is not None and self._noted is not None:
            self._folders.copy(self._noted)
            self._folders.forget(but=self._number)
