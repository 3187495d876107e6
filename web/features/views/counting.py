"""Counts views in this process, and adds them to the database's sums every second.

What waits is bounded three times: views that are not added up yet, by their number; sums, by how many kinds of them
there are; and who called, by a number of rows. A database that is away costs nothing but that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

from ...db.database import Database
from ...db.engine import UNUSABLE
from . import journal, store
from .callers import day_of, new_salt
from .journal import Journal
from .records import View
from .store import Ids
from .totals import Totals

logger = logging.getLogger(__name__)

#: Views added up before the loop gets its turn: up to 8 µs each.
_TURN = 100

#: Seconds before midnight from which on the next day's salt is asked for.
_EARLY = 600.0

#: Endpoints whose ids are remembered.
_IDS = 10_000

Told = Callable[[], Awaitable[None]]


class Counting:
    """What was counted here. folder: where it outlives this process; None for nowhere. told: called after a writing."""

    def __init__(self, database: Database, folder: Path | None, *, most: int, told: Told | None = None) -> None:
        self._database = database
        self._folder = folder
        self._most = most
        self._told = told
        self._journal: Journal | None = None
        self._name = uuid4().hex
        self._waiting: list[View] = []
        self._sums = Totals()
        # The batch that is being written, and its number.
        self._batch: Totals | None = None
        self._position = 0
        self._ids: Ids = {}
        self._salts: dict[int, bytes] = {}
        self._shared: set[int] = set()
        self._writing = asyncio.Lock()
        #: Views that were counted here, dropped since too many waited, written, recovered from others' files; callers
        #: that were too many; writings that failed.
        self.counts: Counter[str] = Counter()
        #: Whether the last writing failed.
        self.is_away = False
        #: Called with each writing, and when salts are known or over: what was made of addresses is forgotten.
        self.forget: Callable[[], None] = lambda: None

    def add(self, view: View) -> bool:
        """Count a view; False if too many wait."""
        if len(self._waiting) >= self._most:
            self.counts["dropped"] += 1
            return False
        self._waiting.append(view)
        if self._journal is not None:
            self._journal.add(view)
        return True

    @property
    def waiting(self) -> int:
        """Views that are not written yet."""
        return len(self._waiting) + self._sums.total + (0 if self._batch is None else self._batch.total)

    @property
    def unsafe(self) -> int:
        """Views that a kill would have lost: their file was full."""
        return 0 if self._journal is None else self._journal.unwritten

    def salt(self, at: float) -> bytes:
        """The salt of a day: every worker's, or one of our own as long as that is not known."""
        day = day_of(at)
        found = self._salts.get(day)
        if found is None:
            found = self._salts[day] = new_salt()
        return found

    async def start(self) -> None:
        """Ask for the salt, and write what was left behind by processes that are gone."""
        if self._folder is not None:
            try:
                self._journal = await asyncio.to_thread(Journal, self._folder)
            except OSError as error:
                logger.warning("views have no file", extra={"folder": str(self._folder), "error": str(error)})
        try:
            await self._share_salts()
            await self._recover()
        except UNUSABLE as error:
            self._failed(error)

    async def run(self, seconds: float) -> None:
        """Write every so many seconds, until cancelled."""
        pause = seconds
        while True:
            await asyncio.sleep(pause)
            # A database that is away is asked less often: what waits is added up, not piled up.
            pause = seconds if await self.flush() else min(30.0, pause * 2)

    async def close(self) -> None:
        """Write what waits, and let go of the file; it stays if that failed."""
        done = await self.flush()
        if self._journal is not None:
            closing, self._journal = self._journal, None
            await asyncio.to_thread(partial(closing.close, done=done and not self._waiting))

    async def flush(self) -> bool:
        """Write what waits; False if it can't be."""
        self.forget()
        async with self._writing:
            try:
                await self._share_salts()
                # The batch that could not be written, and then what came since.
                for _ in range(2):
                    await self._add_up()
                    if self._batch is None:
                        self._cut()
                    if self._batch is None:
                        break
                    await self._write(self._batch, self._position)
                    self.counts["written"] += self._batch.total
                    self.counts["uncalled"] += self._batch.uncalled
                    self._batch = None
                    if self._journal is not None:
                        self._journal.free()
            except UNUSABLE as error:
                self._failed(error)
                await self._add_up()
                return False
        self.is_away = False
        return True

    async def _add_up(self) -> None:
        waiting = self._waiting
        # In pieces, from the front: what is in the list is in the journal's half too.
        while waiting:
            some = waiting[:_TURN]
            del waiting[:_TURN]
            self._sums.add(some)
            if waiting:
                await asyncio.sleep(0)

    def _cut(self) -> None:
        """Make what was added up a batch. No view comes in between: nothing waits here."""
        self._sums.add(self._waiting)
        self._waiting.clear()
        if not self._sums:
            return
        self._position += 1
        self._batch, self._sums = self._sums, Totals()
        if self._journal is not None:
            self._journal.turn(self._position + 1)

    async def _write(self, totals: Totals, position: int, writer: str | None = None) -> None:
        name = writer or (self._name if self._journal is None else self._journal.name)
        if len(self._ids) > _IDS:
            self._ids.clear()
        async with self._database.saving() as session:
            if (await store.position_of(session, name))[0] >= position:
                # It was committed, and we were not told.
                return
            await store.reach(session, name, position)
            await store.write(session, totals, self._ids)
        if self._told is not None:
            await self._told()

    async def _recover(self) -> None:
        """Write what processes left behind that are gone."""
        if self._folder is None:
            return
        for path in await asyncio.to_thread(journal.files, self._folder):
            left = await asyncio.to_thread(journal.take, path)
            if left is None:
                continue
            done = False
            try:
                for half in left.halves:
                    totals = Totals()
                    totals.add(half.views)
                    await self._write(totals, half.position, path.stem)
                    self.counts["recovered"] += totals.total
                done = True
            finally:
                await asyncio.to_thread(partial(left.close, done=done))

    async def _share_salts(self) -> None:
        at = time.time()
        days = {day_of(at), day_of(at + _EARLY)}
        if days <= self._shared:
            return
        async with self._database.saving() as session:
            found = await store.salts_of(session, sorted(days))
        # Of the days before nothing is known any more.
        self._salts = found
        self.forget()
        self._shared = set(found)

    def _failed(self, error: BaseException) -> None:
        self._ids.clear()
        self.counts["failed"] += 1
        if not self.is_away:
            logger.warning("views are not written", extra={"error": str(error)[:200]})
        self.is_away = True
