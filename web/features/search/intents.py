"""What readers look for, kept without who: of a run of keystrokes the last, and how often a result was opened.

A page of results makes up a random name for what is being looked for, and says it with each key. Of one name only the
last query is kept. Nothing is kept of who says that they don't want it (DNT, Sec-GPC). What is noted waits in memory
for a few seconds; a process that is killed loses it, which costs a statistic and no more.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_urlsafe

from sqlalchemy import delete, select, update

from ...db.database import Database
from ...db.engine import UNUSABLE
from ...db.tables import now
from .models import Search
from .tokens import fold

logger = logging.getLogger(__name__)

#: Seconds without another key until what is looked for is written down, and what may wait.
QUIET = 5.0
MOST = 2_000

#: Seconds that a click waits for what was looked for to be written down by another worker.
PATIENCE = 4 * QUIET

_NAME = re.compile(r"[A-Za-z0-9_-]{8,22}")


@dataclass(slots=True)
class Intent:
    """What is being looked for. due: on the loop's clock."""

    text: str
    at: datetime
    total: int
    milliseconds: float
    due: float
    clicks: int = 0


@dataclass(slots=True)
class _Clicks:
    """Clicks of what another worker may have noted. due: on the loop's clock, until when they wait."""

    count: int
    due: float


def wants_none(headers: Mapping[str, str]) -> bool:
    """Whether a reader says that nothing is to be kept."""
    return headers.get("DNT") == "1" or headers.get("Sec-GPC") == "1"


def said(text: str) -> str:
    """A query as it is counted: without case, accents and needless spaces."""
    return " ".join(fold(text).split())


class Intents:
    """Notes what is looked for, and writes it down once it is not changed any more."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, Intent] = {}
        self._clicked: dict[str, _Clicks] = {}
        #: How many were not noted, since too many waited.
        self.dropped = 0

    def note(self, name: str | None, text: str, total: int, milliseconds: float) -> str:
        """Somebody looked for something. name: of what is being looked for; None for a page that has none.

        Returns its name, a new one if it had none; nothing if it is not noted, since too many wait.
        """
        name = name if name is not None and _NAME.fullmatch(name) else token_urlsafe(12)
        if name not in self._waiting and len(self._waiting) >= MOST:
            self.dropped += 1
            return ""
        clicks = before.clicks if (before := self._waiting.pop(name, None)) is not None else 0
        due = asyncio.get_running_loop().time() + QUIET
        self._waiting[name] = Intent(said(text)[:270], now(), total, round(milliseconds, 3), due, clicks)
        return name

    async def click(self, name: str) -> None:
        """A result of what was looked for was opened."""
        if (intent := self._waiting.get(name)) is not None:
            intent.clicks += 1
        elif _NAME.fullmatch(name) and not await self._count(name, 1):
            # Most are opened within seconds, when another worker has not written down yet what was looked for.
            if name not in self._clicked and len(self._clicked) >= MOST:
                self.dropped += 1
                return
            due = asyncio.get_running_loop().time() + PATIENCE
            self._clicked.setdefault(name, _Clicks(0, due)).count += 1

    async def _count(self, name: str, clicks: int) -> bool:
        """Count clicks of what is written down; False if it is not."""
        async with self._database.saving() as session:
            result = await session.execute(
                update(Search).where(Search.intent == name).values(clicks=Search.clicks + clicks)
            )
        return bool(getattr(result, "rowcount", 0))

    async def write(self, *, everything: bool = False) -> None:
        """Write down what has not changed for a while."""
        at = asyncio.get_running_loop().time()
        for name, clicked in list(self._clicked.items()):
            count = clicked.count
            if await self._count(name, count):
                # Others may have come meanwhile.
                clicked.count -= count
            if not clicked.count or clicked.due <= at:
                self._clicked.pop(name, None)
        some = {name: each for name, each in self._waiting.items() if everything or each.due <= at}
        if not some:
            return
        for name in some:
            del self._waiting[name]
        async with self._database.saving() as session:
            # Another worker may have written an earlier key of it.
            found = await session.scalars(select(Search).where(Search.intent.in_(some)))
            there = {row.intent: row for row in found}
            for name, each in some.items():
                row = there.get(name)
                if row is None:
                    row = Search(intent=name, clicks=each.clicks, at=each.at)
                    session.add(row)
                else:
                    # Another worker may count one at the same time.
                    row.clicks = Search.clicks + each.clicks
                    if row.at >= each.at:
                        continue
                row.text, row.at, row.total, row.milliseconds = each.text, each.at, each.total, each.milliseconds

    async def run(self) -> None:
        """Write from time to time, until cancelled; then what waits."""
        try:
            while True:
                await asyncio.sleep(QUIET / 2)
                await self._try()
        finally:
            await self._try(everything=True)

    async def _try(self, *, everything: bool = False) -> None:
        try:
            await self.write(everything=everything)
        except UNUSABLE as error:
            logger.warning("searches are not written down", extra={"error": str(error)})


async def forget(database: Database, seconds: float) -> int:
    """Delete what is older than so many seconds; how much it was."""
    async with database.saving() as session:
        result = await session.execute(delete(Search).where(Search.at < now() - timedelta(seconds=seconds)))
    return int(getattr(result, "rowcount", 0))
