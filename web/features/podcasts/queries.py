"""Podcasts as pages and answers show them. Columns and no objects; a fixed number of statements each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, BindParameter, Row, and_, bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ...db.tables import columns_of, now
from .lift import SUPPORT, Recommendation, recommend
from .models import Episode, Pick, PickList, Podcast
from .times import WINDOW, Heard

#: A podcast whose latest episode is older is outdated.
OUTDATED = timedelta(days=300)

#: Lists on a page of picks, podcasts on a page of them.
PAGE = 15

#: Rows of episodes that are worked on in one go; each takes some 5 µs.
PART = 500

_A_WEEK = 7 * 86400

SHOWN = (
    Podcast.id,
    Podcast.name,
    Podcast.slug,
    Podcast.url,
    Podcast.link,
    Podcast.subtitle,
    Podcast.image_url,
    Podcast.picture,
    Podcast.is_listed,
    Podcast.error,
    Podcast.times_picked,
    Podcast.episodes,
    Podcast.known,
    Podcast.seconds,
    Podcast.latest_at,
    Podcast.fetched_at,
    Podcast.created_at,
    Podcast.modified_at,
)


# Statements of every answer are made once: what SQLAlchemy does to make one takes longer than the database has it.
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_KINDS: BindParameter[Any] = bindparam("kinds", expanding=True)
_BY_IDS = select(*SHOWN).where(Podcast.id.in_(_IDS))
_COUNTS = Episode.kind.in_(_KINDS) & Episode.at.between(bindparam("start"), bindparam("end"))
_SUMS = (
    select(
        Podcast.id,
        func.coalesce(func.sum(Episode.seconds), 0),
        func.count(Episode.seconds),
        func.count(Episode.podcast_id),
        Podcast.first_at,
        Podcast.gap,
        func.min(Episode.at),
        func.max(Episode.at),
    )
    .outerjoin(Episode, (Episode.podcast_id == Podcast.id) & _COUNTS)
    .where(Podcast.id.in_(_IDS))
    .group_by(Podcast.id, Podcast.first_at, Podcast.gap)
)
# Of columns and not of a model's attributes: rows of those are all made in one go.
_COLUMNS = columns_of(Episode)
_KNOWN = and_(
    _COLUMNS.podcast_id.in_(_IDS),
    _COLUMNS.seconds > 0,
    _COLUMNS.kind.in_(_KINDS),
    _COLUMNS.at.between(bindparam("start"), bindparam("end")),
)


class _Second(FunctionElement[int]):
    """A moment as whole seconds since 1970, which both databases reckon with in UTC."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Second, "sqlite")
def _second_of_sqlite(element: _Second, compiler: SQLCompiler, **more: Any) -> str:
    return f"CAST(strftime('%s', {compiler.process(element.clauses, **more)}) AS INTEGER)"


@compiles(_Second)
def _second_of_postgresql(element: _Second, compiler: SQLCompiler, **more: Any) -> str:
    return f"CAST(floor(EXTRACT(EPOCH FROM {compiler.process(element.clauses, **more)})) AS BIGINT)"


# At most 43 and 168 rows, however many episodes there are.
_SECOND = _Second(_COLUMNS.at)
_WEEK = ((bindparam("now", type_=BigInteger) - _SECOND) // _A_WEEK).label("week")
_BY_WEEK = select(_WEEK, func.sum(_COLUMNS.seconds)).where(_KNOWN).group_by("week")
_HOUR = ((_SECOND // 3600) % 168).label("hour")
_BY_HOUR = select(_HOUR, func.count()).where(_KNOWN).group_by("hour")

# The latest so many of each podcast.
_NUMBERED = (
    select(
        _COLUMNS.podcast_id,
        _COLUMNS.at,
        _COLUMNS.seconds,
        func.row_number()
        .over(partition_by=_COLUMNS.podcast_id, order_by=(_COLUMNS.at.desc(), _COLUMNS.id.desc()))
        .label("number"),
    )
    .where(_KNOWN)
    .subquery()
)
_LATEST = (
    select(_NUMBERED.c.podcast_id, _NUMBERED.c.at, _NUMBERED.c.seconds, _NUMBERED.c.number)
    .where(_NUMBERED.c.number <= bindparam("most"))
    .order_by(_NUMBERED.c.podcast_id, _NUMBERED.c.number.desc())
)


async def by_ids(session: AsyncSession, ids: Sequence[int]) -> list[Row[Any]]:
    """Podcasts in the order in which they are asked for; those that are not there are left out."""
    rows: Sequence[Any] = (await session.execute(_BY_IDS, {"ids": list(ids)})).all()
    found = {row.id: row for row in rows}
    return [found[id] for id in dict.fromkeys(ids) if id in found]


@dataclass(frozen=True, slots=True)
class Options:
    """What counts. trailers are left out and bonus episodes counted unless somebody wants it otherwise."""

    trailers: bool = False
    bonus: bool = True

    @property
    def kinds(self) -> list[str]:
        """Kinds of episodes that count."""
        return ["full", *(["trailer"] if self.trailers else []), *(["bonus"] if self.bonus else [])]


def _window(ids: Sequence[int], options: Options, at: datetime) -> dict[str, Any]:
    return {"ids": list(ids), "kinds": options.kinds, "start": at - WINDOW, "end": at}


async def heard(session: AsyncSession, ids: Sequence[int], options: Options, at: datetime) -> dict[int, Heard]:
    """What the podcasts' episodes of the window come to, by id: the numbers of `times`."""
    return {
        row[0]: Heard(int(row[1] or 0), *row[2:]) for row in await session.execute(_SUMS, _window(ids, options, at))
    }


async def by_week(session: AsyncSession, ids: Sequence[int], options: Options, at: datetime) -> dict[int, int]:
    """Known seconds of the window's episodes, by weeks ago: 0 for those of the last seven days."""
    rows = await session.execute(_BY_WEEK, _window(ids, options, at) | {"now": int(at.timestamp())})
    return {int(week): int(seconds or 0) for week, seconds in rows}


async def by_hour(session: AsyncSession, ids: Sequence[int], options: Options, at: datetime) -> dict[int, int]:
    """How many episodes with a known length came in each of a week's 168 hours, since 1970 began: on a Thursday."""
    return {int(hour): count for hour, count in await session.execute(_BY_HOUR, _window(ids, options, at))}


class Lengths:
    """Dates and seconds of the window's episodes with a known length, by podcast; of each the latest `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        #: Podcasts of which earlier ones are left out.
        self.more: set[int] = set()

    async def read(
        self, session: AsyncSession, ids: Sequence[int], options: Options, at: datetime
    ) -> AsyncIterator[tuple[int, list[tuple[datetime, int]]]]:
        """A podcast's id and some of it, the earliest first, in parts that keep nobody waiting."""
        # One more than is wanted says that there are more.
        rows = await session.execute(_LATEST, _window(ids, options, at) | {"most": self.most + 1})
        for part in rows.partitions(PART):
            await asyncio.sleep(0)
            for podcast_id, found in groupby(part, itemgetter(0)):
                points = []
                for _, when, seconds, number in found:
                    if number > self.most:
                        self.more.add(podcast_id)
                    else:
                        points.append((when, seconds))
                yield podcast_id, points


async def general(session: AsyncSession) -> dict[str, int]:
    """How many podcasts, lists, episodes and hours there are."""
    podcasts, episodes, seconds = (
        await session.execute(
            select(
                func.count(), func.coalesce(func.sum(Podcast.episodes), 0), func.coalesce(func.sum(Podcast.seconds), 0)
            ).select_from(Podcast)
        )
    ).one()
    picks = await session.scalar(select(func.count()).select_from(PickList)) or 0
    return {
        "podcasts": podcasts,
        "picks": picks,
        "episodes": int(episodes),
        "total_hours": int(seconds) // 3600,
    }


async def recommended(
    session: AsyncSession, ids: Sequence[int], most: int = 5
) -> list[tuple[Recommendation, Row[Any], str]]:
    """What to look at with these picks: with the podcast, and the reason in words."""
    mine, others = Pick.__table__.alias("mine"), Pick.__table__.alias("others")
    together = func.count()
    pairs = (
        select(mine.c.podcast_id, others.c.podcast_id, together)
        .join(others, others.c.list_id == mine.c.list_id)
        .where(mine.c.podcast_id.in_(ids), others.c.podcast_id.not_in(ids))
        .group_by(mine.c.podcast_id, others.c.podcast_id)
        .having(together >= SUPPORT)
        .order_by(together.desc())
        .limit(1000)
    )
    found = [(int(a), int(b), int(n)) for a, b, n in await session.execute(pairs)] if ids else []
    wanted = {b for _, b, _ in found} | set(ids)
    may_be_shown = and_(
        Podcast.is_listed, Podcast.error == "", Podcast.latest_at >= now() - OUTDATED, Podcast.times_picked >= SUPPORT
    )
    popular = select(Podcast.id, Podcast.times_picked, Podcast.name).where(may_be_shown)
    top = await session.execute(
        popular.where(Podcast.id.not_in(ids)).order_by(Podcast.times_picked.desc(), Podcast.id).limit(most)
    )
    picked = {row.id: row.times_picked for row in top}
    of_pairs = await session.execute(
        select(Podcast.id, Podcast.times_picked, Podcast.name, case((may_be_shown, 1), else_=0).label("shown")).where(
            Podcast.id.in_(wanted)
        )
    )
    names, shown = {}, set()
    for row in of_pairs:
        names[row.id] = row.name
        if row.shown or row.id in ids:
            picked[row.id] = row.times_picked
            shown.add(row.id)
    lists = await session.scalar(select(func.count()).select_from(PickList).where(PickList.size > 1)) or 0
    chosen = recommend(ids, [pair for pair in found if pair[1] in shown], picked, lists, most)
    rows = {row.id: row for row in await by_ids(session, [each.podcast for each in chosen])}
    return [(each, rows[each.podcast], each.reason(names)) for each in chosen]
