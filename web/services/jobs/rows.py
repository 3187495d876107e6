"""Jobs as rows, on PostgreSQL and SQLite. The functions take a plain `Connection` and never commit.

jobs
    id          its key; never used twice, so that what is made from it (a Message-ID) never is either
    kind        which function does it
    data        JSON text, what it is given
    key         of jobs with one key one is waiting at most, and one running
    created     seconds since 1970, as all times here
    due         when it may be taken; of one that is running: when its lease is over
    attempts    how often it was taken
    owner       the worker that has it; null: it waits, or is finished
    finished    when it ended; null: it has not
    outcome     "done", "given up", or "merged": it would have been tried again, but a newer one with its key waits
    error       what went wrong the last time
job_schedules
    name        of a periodic job
    next        when it is to be added next

So a lease that is over needs nobody who notices: the job is due again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    CursorResult,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from hub.orm.leases import MAX_OWNER, Leased

#: Characters.
MAX_KIND = 64
MAX_KEY = 200

#: Of data as JSON text. A mail with its HTML is the longest there is; pictures and the like have rows of their own.
MAX_DATA = 512 * 1024

#: What is kept of an error: its first line, and the end of its traceback.
MAX_ERROR = 4000

#: Rows that one statement takes or ends.
BATCH = 500

DONE, GIVEN_UP, MERGED = "done", "given up", "merged"

metadata = MetaData()

table = Table(
    "jobs",
    metadata,
    # SQLite gives an autoincrement only to INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("kind", String(MAX_KIND), nullable=False),
    Column("data", Text, nullable=False),
    Column("key", String(MAX_KEY)),
    Column("created", Double, nullable=False),
    Column("due", Double, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("owner", String(MAX_OWNER)),
    Column("finished", Double),
    Column("outcome", String(8)),
    Column("error", Text),
    sqlite_autoincrement=True,
)

schedules = Table(
    "job_schedules",
    metadata,
    Column("name", String(MAX_KEY), primary_key=True),
    Column("next", Double, nullable=False),
)

_unfinished = table.c.finished.is_(None)
_waiting_key = _unfinished & table.c.owner.is_(None) & table.c.key.is_not(None)
_running = table.c.owner.is_not(None)


def _partial(name: str, *columns: Column[Any], where: ColumnElement[bool], unique: bool = False) -> None:
    # Finished rows are most of the table, and nobody looks for them by these.
    Index(name, *columns, unique=unique, postgresql_where=where, sqlite_where=where)


_partial("jobs_due", table.c.kind, table.c.due, where=_unfinished)
_partial("jobs_waiting_key", table.c.key, where=_waiting_key, unique=True)
_partial("jobs_running_key", table.c.key, where=_running)
_partial("jobs_finished", table.c.outcome, table.c.finished, where=table.c.finished.is_not(None))

leases = Leased(table, table.c.id, table.c.owner, table.c.due)


@dataclass(frozen=True, slots=True)
class New:
    """A job to add. data: any JSON value. key: None where each is wanted. due: seconds since 1970."""

    kind: str
    data: Any
    key: str | None = None
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that this worker has, under a lease. `data` is JSON text; `attempts` counts this one."""

    id: int
    kind: str
    data: str
    key: str | None
    created: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that failed. due: when it is tried again; None: it is given up. uncounted: this attempt was none."""

    id: int
    key: str | None
    error: str | None
    due: float | None
    uncounted: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A job as it is listed."""

    id: int
    kind: str
    key: str | None
    data: str
    created: float
    due: float
    attempts: int
    owner: str | None
    finished: float | None
    outcome: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """Jobs of one kind. due: may be taken now, a lease that is over among them. oldest: the earliest of their times."""

    waiting: int = 0
    due: int = 0
    running: int = 0
    given_up: int = 0
    oldest: float | None = None


def add(connection: Connection, jobs: Sequence[New], now: float) -> list[int]:
    """Add jobs to the transaction; return their ids, in their order.

    One whose key waits already joins that job, which then has the newer data, the earlier time, and no failures. The
    row is locked until the transaction ends: no worker does it before it can see what the transaction changed.
    Raises ValueError for what can't be a job.
    """
    values = [_values(job, now) for job in jobs]
    ids: list[int] = [0] * len(jobs)
    plain = [(place, each) for place, each in enumerate(values) if each["key"] is None]
    if plain:
        # Ids grow from row to row; asked for in their order, SQLite would be given one row at a time.
        found = sorted(connection.scalars(insert(table).returning(table.c.id), [each for _, each in plain]))
        for (place, _), id in zip(plain, found, strict=True):
            ids[place] = id
    keyed: dict[str, dict[str, Any]] = {}
    for each in values:
        if (key := each["key"]) is not None:
            earlier = keyed.get(key, each)
            keyed[key] = each | {"due": min(each["due"], earlier["due"])}
    if keyed:
        # In one order everywhere: two transactions that wait for each other's rows would never end.
        by_key = dict(connection.execute(_joining(connection), [keyed[key] for key in sorted(keyed)]).all())
        for place, each in enumerate(values):
            if each["key"] is not None:
                ids[place] = by_key[each["key"]]
    return ids


def _joining(connection: Connection) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    new = dialect.insert(table)
    earlier = case((new.excluded.due < table.c.due, new.excluded.due), else_=table.c.due)
    return new.on_conflict_do_update(
        index_elements=[table.c.key],
        index_where=_waiting_key,
        set_={"kind": new.excluded.kind, "data": new.excluded.data, "due": earlier, "attempts": 0, "error": None},
    ).returning(table.c.key, table.c.id)


def _values(job: New, now: float) -> dict[str, Any]:
    # ASCII: what no database takes in a text (NUL, half an emoji) is escaped.
    data = json.dumps(job.data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    if len(data) > MAX_DATA:
        raise ValueError(f"the data of a job is longer than {MAX_DATA} characters")
    if not 0 < len(job.kind) <= MAX_KIND or not job.kind.isprintable():
        raise ValueError(f"no kind of job: {job.kind[:80]!r}")
    if job.key is not None and (not 0 < len(job.key) <= MAX_KEY or not job.key.isprintable()):
        raise ValueError(f"no key: {job.key[:80]!r}")
    return {"kind": job.kind, "data": data, "key": job.key, "created": now, "due": job.due or now, "attempts": 0}


def peek(connection: Connection, kinds: Collection[str]) -> dict[str, float]:
    """When each kind has a job to do next; kinds without one are left out. Locks nothing, looks at one row a kind."""
    if not kinds:
        return {}
    return {kind: due for kind, due in connection.execute(_earliest(tuple(kinds))) if due is not None}


# Workers look and take all the time, and SQLAlchemy takes longer to put these together than SQLite to answer them.


@lru_cache(maxsize=1000)
def _earliest(kinds: tuple[str, ...]) -> CompoundSelect[Any, Any]:
    return union_all(
        *(
            select(literal(kind).label("kind"), func.min(table.c.due).label("due")).where(
                table.c.kind == kind, _unfinished
            )
            for kind in kinds
        )
    )


def _claiming() -> ReturningUpdate[Any]:
    now = bindparam("now", type_=Double)
    other = table.alias()
    ahead = (
        select(other.c.id)
        .where(
            other.c.key == table.c.key,
            other.c.id != table.c.id,
            other.c.owner.is_not(None),
            # One whose lease is over goes first, being older: both would be taken at once.
            or_(other.c.due > now, other.c.id < table.c.id),
        )
        .exists()
    )
    due = (
        select(table.c.id)
        .where(
            table.c.kind == bindparam("wanted"),
            _unfinished,
            table.c.due <= now,
            or_(table.c.key.is_(None), ~ahead),
        )
        .order_by(table.c.due)
        .limit(bindparam("count", type_=Integer))
        .with_for_update(skip_locked=True)
    )
    return (
        update(table)
        .where(table.c.id.in_(due.cte("taken").select()))
        .values(owner=bindparam("worker"), due=bindparam("until"), attempts=table.c.attempts + 1)
        .returning(*(table.c[name] for name in Taken.__dataclass_fields__))
    )


_CLAIM = _claiming()


def claim(connection: Connection, wanted: Mapping[str, int], owner: str, now: float, until: float) -> list[Taken]:
    """Take up to so many due jobs of each kind, oldest due first; none whose key is running, or behind another."""
    taken: list[Taken] = []
    for kind, count in wanted.items():
        values = {"wanted": kind, "now": now, "count": count, "worker": owner, "until": until}
        taken += (Taken(*row) for row in connection.execute(_CLAIM, values))
    # RETURNING has no order. Those that have cost a worker its life perhaps come last, so that others are done by then.
    return sorted(taken, key=lambda each: (each.attempts, each.id))


def mine(connection: Connection, owner: str, ids: Collection[int]) -> set[int]:
    """Which of these jobs are still the owner's; locks nothing."""
    return set(connection.scalars(select(table.c.id).where(leases.mine(owner, ids))))


def finish(connection: Connection, owner: str, ids: Collection[int], now: float) -> int:
    """Write down that jobs are done; return how many of them were still the owner's.

    Their data goes: nobody needs it any more, and mails have people's secrets in them.
    """
    done = {"finished": now, "outcome": DONE, "owner": None, "error": None, "data": "null"}
    return _count(connection.execute(update(table).where(leases.mine(owner, ids)).values(done)))


def fail(connection: Connection, owner: str, failure: Failure, now: float) -> None:
    """Write down a failure: the job waits for its next attempt, or is given up; nothing if it isn't the owner's."""
    row = update(table).where(leases.mine(owner, [failure.id]))
    if failure.due is None:
        connection.execute(row.values(finished=now, outcome=GIVEN_UP, owner=None, error=failure.error))
        return
    values: dict[Any, Any] = {"owner": None, "due": failure.due}
    if failure.error is not None:
        values["error"] = failure.error
    if failure.uncounted:
        values["attempts"] = table.c.attempts - 1
    if failure.key is None:
        connection.execute(row.values(values))
        return
    try:
        with connection.begin_nested():
            connection.execute(row.values(values))
    except IntegrityError:
        # A newer one with its key waits already, and does the same work with newer data.
        connection.execute(row.values(finished=now, outcome=MERGED, owner=None, error=failure.error))


def give_back(connection: Connection, owner: str, jobs: Collection[Taken], now: float) -> None:
    """Let others have jobs that were not begun, or not ended, in time. That attempt is not counted."""
    plain = [each.id for each in jobs if each.key is None]
    if plain:
        back = {"owner": None, "due": now, "attempts": table.c.attempts - 1}
        connection.execute(update(table).where(leases.mine(owner, plain)).values(back))
    for each in jobs:
        if each.key is not None:
            fail(connection, owner, Failure(each.id, each.key, None, now, uncounted=True), now)


def schedule(connection: Connection, names: Mapping[str, tuple[New, float]], now: float) -> dict[str, float]:
    """Add the periodic jobs that are due, each once in the fleet; return when each is due next.

    names: the job and the time of the one after, by name. However many times were missed, it is added once.
    """
    known: dict[str, float] = dict(connection.execute(select(schedules).where(schedules.c.name.in_(names))).all())
    found: dict[str, float] = {}
    for name, (new, after) in names.items():
        stood = known.get(name)
        if stood is None:
            # `new.due` is when the first is wanted.
            _insert_schedule(connection, name, new.due)
            found[name] = new.due
        elif stood > now:
            # Declared to come more often than it did: the old time would be too late.
            found[name] = min(stood, after)
            if after < stood:
                _move(connection, name, stood, after)
        else:
            if _move(connection, name, stood, after):
                add(connection, [New(new.kind, new.data, new.key, now)], now)
            found[name] = after
    return found


def _insert_schedule(connection: Connection, name: str, due: float) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(schedules).values(name=name, next=due).on_conflict_do_nothing())


def _move(connection: Connection, name: str, stood: float, after: float) -> bool:
    """Set the next time; False if another worker did."""
    where = and_(schedules.c.name == name, schedules.c.next == stood)
    return _count(connection.execute(update(schedules).where(where).values(next=after))) == 1


def prune(connection: Connection, outcome: str, before: float, keep: int, limit: int = 10 * BATCH) -> int:
    """Delete what finished before a time, and the oldest beyond `keep`; at most `limit` rows, and return how many."""
    mine = table.c.outcome == outcome, table.c.finished.is_not(None)
    newest = select(table.c.finished).where(*mine).order_by(table.c.finished.desc()).offset(keep).limit(1)
    beyond = connection.execute(newest).scalar()
    edge = before if beyond is None else max(before, beyond)
    old = select(table.c.id).where(*mine, table.c.finished <= edge).order_by(table.c.finished).limit(limit)
    return _count(connection.execute(delete(table).where(table.c.id.in_(old))))


def give_up_unknown(connection: Connection, kinds: Collection[str], before: float, now: float) -> int:
    """Give up jobs that were due before a time and are of none of these kinds: no worker of the fleet does them."""
    strange = _unfinished, table.c.kind.not_in(kinds), table.c.due < before
    given_up = {"finished": now, "outcome": GIVEN_UP, "owner": None, "error": "no worker knows this kind of job"}
    return _count(connection.execute(update(table).where(*strange).values(given_up)))


def counts(connection: Connection, now: float) -> dict[str, Count]:
    """How many jobs there are, by kind; of the finished, those that were given up and are kept."""
    is_due = table.c.due <= now
    statement = (
        select(
            table.c.kind,
            func.count().filter(table.c.owner.is_(None)),
            func.count().filter(is_due),
            func.count().filter(table.c.owner.is_not(None)),
            func.min(table.c.due).filter(is_due),
        )
        .where(_unfinished)
        .group_by(table.c.kind)
    )
    found = {
        kind: Count(waiting, due, running, 0, oldest)
        for kind, waiting, due, running, oldest in connection.execute(statement)
    }
    given_up = select(table.c.kind, func.count()).where(table.c.outcome == GIVEN_UP, table.c.finished.is_not(None))
    for kind, count in connection.execute(given_up.group_by(table.c.kind)):
        have = found.get(kind, Count())
        found[kind] = Count(have.waiting, have.due, have.running, count, have.oldest)
    return found


def listed(connection: Connection, *, outcome: str | None = None, limit: int = 100) -> list[Shown]:
    """Jobs that have not ended, the next first; or with an outcome, the latest first."""
    statement = select(*(table.c[name] for name in Shown.__dataclass_fields__)).limit(limit)
    if outcome is None:
        statement = statement.where(_unfinished).order_by(table.c.due, table.c.id)
    else:
        ended = table.c.outcome == outcome, table.c.finished.is_not(None)
        statement = statement.where(*ended).order_by(table.c.finished.desc(), table.c.id.desc())
    return [Shown(*row) for row in connection.execute(statement)]


def get(connection: Connection, id: int) -> Shown | None:
    """One job, if it is still kept."""
    statement = select(*(table.c[name] for name in Shown.__dataclass_fields__)).where(table.c.id == id)
    row = connection.execute(statement).first()
    return None if row is None else Shown(*row)


def again(connection: Connection, now: float, ids: Collection[int] | None = None) -> int:
    """Try again now what was given up (all, or these), and what waits (these); return how many.

    One whose key waits already stays as it is: that job does the work.
    """
    given_up = and_(table.c.outcome == GIVEN_UP, table.c.finished.is_not(None))
    fresh: dict[str, Any] = {"due": now, "attempts": 0, "finished": None, "outcome": None}
    wanted = given_up
    if ids is not None:
        wanted = and_(table.c.id.in_(ids), or_(given_up, and_(_unfinished, table.c.owner.is_(None))))
    count = _count(connection.execute(update(table).where(wanted, table.c.key.is_(None)).values(fresh)))
    keyed = select(table.c.id).where(wanted, table.c.key.is_not(None)).order_by(table.c.id.desc())
    for id in connection.scalars(keyed).all():
        try:
            with connection.begin_nested():
                count += _count(connection.execute(update(table).where(table.c.id == id, wanted).values(fresh)))
        except IntegrityError:
            continue
    return count


def drop(connection: Connection, ids: Collection[int]) -> int:
    """Delete jobs that are not running; return how many."""
    return _count(connection.execute(delete(table).where(table.c.id.in_(ids), table.c.owner.is_(None))))


def _count(result: CursorResult[Any]) -> int:
    return result.rowcount
