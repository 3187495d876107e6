"""What the tables say: a report of endpoints, one endpoint by itself, and the last hour by minutes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from .buckets import percentile
from .callers import DAY
from .endpoints import Described, unused
from .kinds import Kind
from .models import ViewCaller, ViewCount, ViewCrowd, ViewEndpoint, ViewMinute, ViewTime
from .totals import HOUR, MINUTE

#: Days without a call after which an endpoint is listed as unused, and callers with names that are listed of one.
UNUSED_DAYS = 90
NAMED = 20

CLASSES = ("2xx", "3xx", "4xx", "5xx")


def class_of(status: int) -> str:
    """The class of a status. 101 is a success: somebody got the socket that he wanted."""
    return "2xx" if status < 200 else f"{status // 100}xx"


@dataclass(slots=True)
class Row:
    """An endpoint in a period. callers: on the day that had the most. p50, p95: milliseconds, None if nobody knows."""

    id: int
    source: str
    name: str
    first: datetime
    last: datetime
    calls: int = 0
    callers: int = 0
    p50: float | None = None
    p95: float | None = None
    statuses: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> float:
        """The part of calls that were answered with 4xx or 5xx."""
        return (self.statuses["4xx"] + self.statuses["5xx"]) / self.calls if self.calls else 0.0

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "source": self.source,
            "endpoint": self.name,
            "calls": self.calls,
            "callers": self.callers,
            "p50_ms": None if self.p50 is None else round(self.p50, 3),
            "p95_ms": None if self.p95 is None else round(self.p95, 3),
            "statuses": {name: self.statuses[name] for name in CLASSES},
            "kinds": {kind.value: self.kinds[kind] for kind in Kind},
            "last_seen": self.last.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What was called in a period. spans: its hours or days; lines: by kind, the calls in each of them.

    since: when anything was counted first; None if nothing was.
    """

    days: int
    seconds: int
    spans: Sequence[datetime]
    lines: Mapping[Kind, Sequence[int]]
    rows: Sequence[Row]
    since: datetime | None

    @property
    def calls(self) -> int:
        """Calls of all rows together."""
        return sum(row.calls for row in self.rows)

    @property
    def kinds(self) -> Counter[str]:
        """All of them, by kind."""
        found: Counter[str] = Counter()
        for row in self.rows:
            found.update(row.kinds)
        return found


def period(days: int, at: datetime) -> tuple[int, list[datetime]]:
    """The seconds and the beginnings of a period's parts: the last 24 hours, or days with today."""
    seconds = HOUR if days == 1 else DAY
    last = datetime.fromtimestamp(at.timestamp() // seconds * seconds, at.tzinfo)
    count = 24 if days == 1 else days
    return seconds, [last - timedelta(seconds=seconds * number) for number in reversed(range(count))]


async def report(session: AsyncSession, days: int, at: datetime | None = None, endpoint: int | None = None) -> Report:
    """What was called in so many days, today among them; in 1, the last 24 hours. endpoint: of this one alone."""
    seconds, spans = period(days, at or now())
    mine: list[ColumnElement[bool]] = [ViewEndpoint.id == endpoint] if endpoint is not None else []
    found = await session.execute(
        select(ViewEndpoint.id, ViewEndpoint.source, ViewEndpoint.name, ViewEndpoint.first_at, ViewEndpoint.last_at)
        .where(*mine)
        .order_by(ViewEndpoint.source, ViewEndpoint.name)
    )
    rows = {id: Row(id, source, name, first, last) for id, source, name, first, last in found}
    places = {span: number for number, span in enumerate(spans)}
    lines = {kind: [0] * len(spans) for kind in Kind}
    sums = select(
        ViewCount.start, ViewCount.endpoint_id, ViewCount.kind, ViewCount.status, func.sum(ViewCount.calls)
    ).where(ViewCount.seconds == seconds, ViewCount.start >= spans[0])
    if endpoint is not None:
        sums = sums.where(ViewCount.endpoint_id == endpoint)
    by = (ViewCount.start, ViewCount.endpoint_id, ViewCount.kind, ViewCount.status)
    for start, id, kind, status, calls in await session.execute(sums.group_by(*by)):
        row = rows.get(id)
        if row is None or start not in places:
            continue
        row.calls += int(calls)
        row.statuses[class_of(status)] += int(calls)
        row.kinds[kind] += int(calls)
        lines[Kind(kind)][places[start]] += int(calls)
    await _add_times(session, rows, seconds, spans[0], endpoint)
    await _add_callers(session, rows, spans[0], endpoint)
    since = min((row.first for row in rows.values()), default=None)
    called = [row for row in rows.values() if row.calls]
    called.sort(key=lambda row: -row.calls)
    return Report(days, seconds, spans, lines, called, since)


async def _add_times(
    session: AsyncSession, rows: Mapping[int, Row], seconds: int, first: datetime, endpoint: int | None
) -> None:
    asked = select(ViewTime.endpoint_id, ViewTime.bucket, func.sum(ViewTime.calls)).where(
        ViewTime.seconds == seconds, ViewTime.start >= first
    )
    if endpoint is not None:
        asked = asked.where(ViewTime.endpoint_id == endpoint)
    times: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for id, bucket, calls in await session.execute(asked.group_by(ViewTime.endpoint_id, ViewTime.bucket)):
        times[id][bucket] += int(calls)
    for id, found in times.items():
        if id in rows:
            rows[id].p50, rows[id].p95 = percentile(found, 0.5), percentile(found, 0.95)


async def _add_callers(session: AsyncSession, rows: Mapping[int, Row], first: datetime, endpoint: int | None) -> None:
    """How many there were on the day that had the most: who is not named is another one on another day."""
    day = first.replace(hour=0, minute=0, second=0, microsecond=0)
    named = select(ViewCaller.endpoint_id, ViewCaller.start, func.count()).where(ViewCaller.start >= day)
    crowds = select(ViewCrowd.endpoint_id, ViewCrowd.start, func.sum(ViewCrowd.callers)).where(ViewCrowd.start >= day)
    if endpoint is not None:
        named = named.where(ViewCaller.endpoint_id == endpoint)
        crowds = crowds.where(ViewCrowd.endpoint_id == endpoint)
    days: Counter[tuple[int, datetime]] = Counter()
    for id, start, count in await session.execute(named.group_by(ViewCaller.endpoint_id, ViewCaller.start)):
        days[id, start] += count
    for id, start, count in await session.execute(crowds.group_by(ViewCrowd.endpoint_id, ViewCrowd.start)):
        days[id, start] += int(count)
    for (id, _), count in days.items():
        if id in rows:
            rows[id].callers = max(rows[id].callers, count)


async def unused_endpoints(
    session: AsyncSession, known: Sequence[Described], days: int = UNUSED_DAYS, at: datetime | None = None
) -> list[tuple[Described, datetime | None]]:
    """Which of the endpoints that a file describes nobody has called for so many days, and when they last were."""
    found = await session.execute(select(ViewEndpoint.name, ViewEndpoint.last_at))
    called: dict[str, float] = {}
    for name, last in found:
        called[name] = max(called.get(name, 0.0), last.timestamp())
    since = (at or now()) - timedelta(days=days)
    return [
        (each, None if last is None else datetime.fromtimestamp(last, since.tzinfo))
        for each, last in unused(known, called, since.timestamp())
    ]


async def since_when(session: AsyncSession) -> datetime | None:
    """When anything was counted first."""
    found: datetime | None = await session.scalar(
        select(ViewEndpoint.first_at).order_by(ViewEndpoint.first_at).limit(1)
    )
    return found


async def statuses(
    session: AsyncSession, endpoint: int, days: int, at: datetime | None = None
) -> list[tuple[int, int]]:
    """How often one endpoint answered with each status."""
    seconds, spans = period(days, at or now())
    asked = (
        select(ViewCount.status, func.sum(ViewCount.calls))
        .where(ViewCount.seconds == seconds, ViewCount.start >= spans[0], ViewCount.endpoint_id == endpoint)
        .group_by(ViewCount.status)
        .order_by(ViewCount.status)
    )
    return [(status, int(calls)) for status, calls in await session.execute(asked)]


async def named_callers(
    session: AsyncSession, endpoint: int, days: int, at: datetime | None = None
) -> list[tuple[str, int, datetime]]:
    """Who called one endpoint most, of those who have a name: with the calls, and the last day of them."""
    _, spans = period(days, at or now())
    asked = (
        select(ViewCaller.caller, func.sum(ViewCaller.calls).label("calls"), func.max(ViewCaller.start))
        .where(
            ViewCaller.endpoint_id == endpoint,
            ViewCaller.start >= spans[0].replace(hour=0),
            ViewCaller.caller.not_like("~%"),
        )
        .group_by(ViewCaller.caller)
        .order_by(func.sum(ViewCaller.calls).desc(), ViewCaller.caller)
        .limit(NAMED)
    )
    return [(caller, int(calls), last) for caller, calls, last in await session.execute(asked)]


async def minutes(
    session: AsyncSession, count: int, at: datetime | None = None
) -> tuple[list[datetime], dict[Kind, list[int]]]:
    """The calls of the last minutes, by kind; this one, which is not over, is the last."""
    last = (at or now()).replace(second=0, microsecond=0)
    spans = [last - timedelta(seconds=MINUTE * number) for number in reversed(range(count))]
    places = {span: number for number, span in enumerate(spans)}
    lines = {kind: [0] * count for kind in Kind}
    asked = select(ViewMinute.start, ViewMinute.kind, ViewMinute.calls).where(ViewMinute.start >= spans[0])
    for start, kind, calls in await session.execute(asked):
        if start in places:
            lines[Kind(kind)][places[start]] += calls
    return spans, lines
