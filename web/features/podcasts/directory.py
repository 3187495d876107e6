"""A directory of podcasts that are not here, as iTunes' Search API is one: behind an interface, with a limiter.

Answers are kept, those that found nothing too: the same question asks nobody for a day.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from ...db.database import Database
from ...db.tables import now
from ...services.outbound import Limits, Outbound, OutboundError
from .addresses import BadUrl, canonical, is_private
from .models import Lookup
from .names import folded, plain

logger = logging.getLogger(__name__)

#: Seconds that the directory may take.
SECONDS = 6.0

#: Bytes of its answer.
_BYTES = 2 * 1024 * 1024

#: How long an answer is kept.
_KEPT = timedelta(days=1)

_MOST = 20


class DirectoryError(Exception):
    """The directory has not answered. The text is for people."""


@dataclass(frozen=True, slots=True)
class Found:
    """A podcast of the directory. url: of its feed, canonical."""

    url: str
    name: str
    image: str = ""


class Directory(Protocol):
    """Where podcasts are looked for that are not here."""

    async def search(self, question: str) -> list[Found]:
        """Podcasts for a question, the best first; raises DirectoryError if it can't be asked."""


class Nowhere:
    """No directory."""

    async def search(self, question: str) -> list[Found]:
        return []


def read_answer(body: bytes) -> list[Found]:
    """The podcasts of an answer as iTunes gives it; raises ValueError. One without a feed's URL is left out."""
    data: Any = orjson.loads(body)
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, list):
        raise ValueError("no results")
    found: dict[str, Found] = {}
    for each in results[:200]:
        if not isinstance(each, dict) or not isinstance(each.get("feedUrl"), str):
            continue
        try:
            url = canonical(each["feedUrl"])
        except BadUrl:
            continue
        name = each.get("collectionName") or each.get("trackName")
        image = each.get("artworkUrl600")
        if isinstance(name, str) and name.strip() and not is_private(url):
            found.setdefault(url, Found(url, plain(name, 300), image if isinstance(image, str) else ""))
    return list(found.values())[:_MOST]


class Itunes:
    """iTunes' Search API (or what speaks like it). rate: questions a minute."""

    def __init__(self, url: str, outbound: Callable[[], Outbound], database: Database, rate: int) -> None:
        self._url = url
        self._outbound = outbound
        self._database = database
        self._rate = rate
        self._asked: deque[float] = deque()
        self._turn = asyncio.Lock()

    async def search(self, question: str) -> list[Found]:
        wanted = folded(question)[:100]
        if not wanted:
            return []
        async with self._database.reading() as session:
            kept = await session.get(Lookup, wanted)
        if kept is not None and now() - kept.asked_at < _KEPT:
            return [Found(**each) for each in orjson.loads(kept.found)]
        async with self._turn:
            self._take()
            found = await self._ask(question)
        await self._keep(wanted, found)
        return found

    def _take(self) -> None:
        at = time.monotonic()
        while self._asked and at - self._asked[0] > 60:
            self._asked.popleft()
        if len(self._asked) >= self._rate:
            raise DirectoryError("The directory has been asked too often; try again in a minute.")
        self._asked.append(at)

    async def _ask(self, question: str) -> list[Found]:
        query = urlencode({"term": question[:200], "entity": "podcast", "attribute": "titleTerm"})
        try:
            answer = await self._outbound().fetch(f"{self._url}?{query}", limits=Limits(body=_BYTES, total=SECONDS))
        except OutboundError as error:
            logger.info("the directory of podcasts has not answered", extra={"error": str(error)})
            raise DirectoryError("The directory does not answer now; try again later.") from None
        if not answer.ok:
            raise DirectoryError("The directory does not answer now; try again later.")
        try:
            return read_answer(answer.body)
        except ValueError:
            raise DirectoryError("The directory's answer can't be read.") from None

    async def _keep(self, wanted: str, found: list[Found]) -> None:
        row = Lookup(question=wanted, asked_at=now(), found=orjson.dumps([asdict(each) for each in found]).decode())
        try:
            async with self._database.saving() as session:
                await session.execute(delete(Lookup).where(Lookup.question == wanted))
                session.add(row)
        except IntegrityError:
            # Somebody else has asked the same at the same time.
            pass
