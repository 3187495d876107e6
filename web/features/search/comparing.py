"""Whether an index has what the database has: what is missing in it, what is a ghost, what is out of date."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...db.database import Database
from ...pages.documents import Documents
from .engine import Engine
from .entries import Entry, entered, key_of

#: Documents read at a time, and keys that are looked at again at a time.
READ = 200

#: Seconds within which what was saved meanwhile has to be in the index, and between two looks.
PATIENCE = 10.0
_PAUSE = 0.5

#: A document by its kind and its id.
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What an index and the database do not agree about. documents: those of the database, which everybody may read.

    missing: not in the index; ghosts: there, and gone from the database or to be read by nobody; outdated: in both,
    and not the same.
    """

    documents: int
    missing: tuple[Key, ...] = ()
    ghosts: tuple[Key, ...] = ()
    outdated: tuple[Key, ...] = ()

    @property
    def agrees(self) -> bool:
        return not (self.missing or self.ghosts or self.outdated)


async def compare(
    engine: Engine,
    documents: Sequence[Documents],
    database: Database,
    settle: Callable[[], Awaitable[object]],
    say: Callable[[int], Awaitable[object]],
) -> Comparison:
    """Read all of both. settle: wait until the index has what was told; say: how many documents have been read.

    What is saved meanwhile differs for a moment: it is looked at again, for some seconds. Raises EngineError.
    """
    await settle()
    there: dict[Key, int] = {}
    async for some in engine.everything():
        there |= {(each["kind"], each["id"]): _digest(each) for each in some}
        await say(0)
    count = 0
    doubtful: set[Key] = set()
    for each in documents:
        last = 0
        while True:
            async with database.reading() as session:
                ids = await each.after(session, last, READ)
                read = await each.read(session, ids) if ids else ()
            if not ids:
                break
            last = ids[-1]
            for entry in await entered(each.kind, read):
                key = _key(entry)
                if there.pop(key, None) != _digest(entry.stored):
                    doubtful.add(key)
            count += len(read)
            await say(count)
    doubtful |= there.keys()
    found = Comparison(count)
    until = asyncio.get_running_loop().time() + PATIENCE
    while doubtful:
        await settle()
        found = await _again(engine, documents, database, doubtful, count)
        doubtful = {*found.missing, *found.ghosts, *found.outdated}
        if asyncio.get_running_loop().time() > until:
            break
        await say(count)
        await asyncio.sleep(_PAUSE if doubtful else 0)
    return found


async def _again(
    engine: Engine, documents: Sequence[Documents], database: Database, keys: Collection[Key], count: int
) -> Comparison:
    missing: list[Key] = []
    ghosts: list[Key] = []
    outdated: list[Key] = []
    by_kind = {each.kind: each for each in documents}
    some = sorted(keys)
    for kind in dict.fromkeys(kind for kind, _ in some):
        ids = [id for each, id in some if each == kind]
        for at in range(0, len(ids), READ):
            chosen = ids[at : at + READ]
            wanted: dict[Key, int] = {}
            if kind in by_kind:
                async with database.reading() as session:
                    read = await by_kind[kind].read(session, chosen)
                wanted = {_key(entry): _digest(entry.stored) for entry in await entered(kind, read)}
            stored = await engine.by_key([key_of(kind, id) for id in chosen])
            there = {(each["kind"], each["id"]): _digest(each) for each in stored}
            missing += sorted(wanted.keys() - there.keys())
            ghosts += sorted(there.keys() - wanted.keys())
            outdated += sorted(key for key in wanted.keys() & there.keys() if wanted[key] != there[key])
    return Comparison(count, tuple(missing), tuple(ghosts), tuple(outdated))


def _key(entry: Entry) -> Key:
    return entry.kind, entry.stored["id"]


def _digest(stored: Mapping[str, Any]) -> int:
    # Of this process: all that is stored, in 8 bytes for each document.
    return hash(tuple((name, tuple(it) if isinstance(it := stored[name], list) else it) for name in sorted(stored)))
