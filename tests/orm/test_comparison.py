"""What is told equals what a comparison of the tables before and after says, for every commit.

Any program of session calls and statements is run on tables of many kinds (varied.py). Every place is used once, so
that a channel names one state of one row. For every commit:

- the channels of the row before and of the row after, for each row that differs, are told;
- nothing is told but channels of a state that a row had in this transaction and that was not rolled back.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from random_models import random_kind
from searching import seeds
from shop import driver
from sqlalchemy import Engine, MetaData, bindparam, create_engine, delete, event, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, defer, load_only, sessionmaker
from sqlalchemy.orm.exc import StaleDataError
from varied import KINDS, Base, Kind, Place

from hub.orm import outbox
from hub.orm.sqlalchemy import AsyncNotifier, Collector, Notifier
from hub.publisher import RecordingPublisher

#: What a session and its statements can do: the operation, and a number that chooses among rows and ways.
OPERATIONS = (
    "add",
    "move",
    "move by SQL",
    "move by query",
    "write by SQL",
    "write",
    "set second",
    "bulk set second",
    "save nothing",
    "clear",
    "delete",
    "move and delete",
    "replace",
    "expire",
    "expire place",
    "expire all",
    "forget",
    "defer",
    "only",
    "flush",
    "commit",
    "rollback",
    "savepoint",
    "release",
    "back",
    "bulk move",
    "bulk move by SQL",
    "bulk move by key",
    "bulk write",
    "bulk delete",
    "query update",
    "query delete",
    "insert",
    "insert returning",
    "insert rows",
    "insert values",
    "insert default",
    "insert from query",
    "upsert",
    "upsert returning",
    "upsert rows",
    "upsert somewhere",
    "upsert nothing",
    "upsert if",
    "other moves",
)

#: The first of the places.
FIRST = 1000

Step = tuple[str, int]
#: Programs run of each kind of session and database: the same in every run (searching.py says how to run others).
PROGRAMS = 100


class Program:
    """Runs steps in a session, and looks at the tables after each."""

    def __init__(self, session: Session, outside: Engine, kind: Kind, places: Iterator[int]) -> None:
        self.session = session
        self.outside = outside
        self.kind = kind
        self.model = kind.model
        self.bulk = kind.bulk or kind.model
        self.places = places
        self.ids = itertools.count(1)
        self.slugs = itertools.count(1)
        #: Channels that may be told; one set for each savepoint that is open, and the transaction's.
        self.may: list[set[str]] = [set()]
        self.savepoints: list[Any] = []
        #: Rows that another session moved under a loaded object: where that says they are, and where they were put.
        self.stale: dict[Any, tuple[set[str], set[str]]] = {}
        #: Those of which it set `second` as well: what the object says of that, and what it is.
        self.stale_second: dict[Any, tuple[Any, Any]] = {}
        with outside.connect() as connection:
            self.start = kind.rows(connection)
        self.may[0] |= self._channels(self.start)
        # A statement flushes first, as many calls do.
        event.listen(session, "after_flush", lambda *_: self.look())
        # A site holds its objects; a session lets go of those that nobody does.
        self.held: list[Any] = []
        for name in ("pending_to_persistent", "loaded_as_persistent"):
            event.listen(session, name, lambda _, row: self.held.append(row))

    def run(self, steps: list[Step]) -> None:
        for name, number in steps:
            self.session.autoflush = number % 4 != 0
            try:
                getattr(self, name.replace(" ", "_"))(number)
            except StaleDataError:
                # A version that a statement counted up under an object: the site begins again.
                self.savepoints.clear()
                self.session.rollback()
                self.compare(set())
                continue
            if self.session.is_active and name not in ("commit", "rollback"):
                self.look()
        try:
            while self.savepoints:
                self.release(0)
            self.commit(0)
        except StaleDataError:
            self.session.rollback()
            self.compare(set())

    def look(self) -> None:
        """Note the states that rows have now."""
        rows = self.kind.rows(self.session.connection())
        self.may[-1] |= self._channels(rows) | self._believed(rows)

    def _believed(self, rows: dict[Any, dict[str, Any]]) -> set[str]:
        """Where the session takes the rows to be that another one moved."""
        found = set().union(*(here for here, _ in self.stale.values()))
        halves = {key: rows[key] | {"second": second} for key, (second, _) in self.stale_second.items() if key in rows}
        return found | self._channels(halves)

    def _channels(self, rows: dict[Any, dict[str, Any]]) -> set[str]:
        return {channel for row in rows.values() if (channel := self.kind.channel(row)) is not None}

    # Places and rows

    def place(self) -> Any:
        return self.kind.value(next(self.places))

    def keys(self) -> list[tuple[Any, ...]]:
        return sorted(self.kind.rows(self.session.connection()))

    def loaded(self, number: int) -> Any:
        """One of the rows there are, as an object; None if there is none."""
        keys = self.keys()
        if not keys:
            return None
        key = keys[number % len(keys)]
        found = self.session.get(self.model, key if len(key) > 1 else key[0])
        return None if found is None or found in self.session.deleted else found

    def values(self) -> dict[str, Any]:
        found: dict[str, Any] = {"slug": next(self.slugs), "place": self.place()}
        if len(self.kind.key) > 1:
            found |= {"id": next(self.ids), "side": 1}
        return found

    # Objects

    def add(self, number: int) -> None:
        values = self.values()
        if self.kind.has_default and number % 3 == 0:
            del values["place"]
        self.session.add(self.model(**values))

    def move(self, number: int) -> None:
        if (row := self.loaded(number)) is None:
            return
        if hasattr(self.model, "to") and number % 2:
            row.to = self.session.get(Place, next(self.places))
        else:
            row.place = self.place()

    def move_by_SQL(self, number: int) -> None:  # noqa: N802
        if (row := self.loaded(number)) is not None:
            place = self.place()
            row.place = func.coalesce(literal(None), place) if number % 2 else literal(place)

    def move_by_query(self, number: int) -> None:
        if (row := self.loaded(number)) is not None:
            row.place = select(literal(self.place())).scalar_subquery()

    def write_by_SQL(self, number: int) -> None:  # noqa: N802
        if (row := self.loaded(number)) is not None:
            row.text = func.upper("abc")

    def set_second(self, number: int) -> None:
        if hasattr(self.model, "second") and (row := self.loaded(number)) is not None:
            second = self.second()
            row.second = (None, second, literal(second))[number % 3]

    def second(self) -> Any:
        """A value for `second`, whose type is chance."""
        made = self.model.__mapper__.column_attrs["second"].columns[0].type.python_type
        return made(next(self.places))

    def bulk_set_second(self, number: int) -> None:
        if hasattr(self.model, "second"):
            values = {"second": None if number % 3 == 0 else self.second()}
            self.session.execute(update(self.bulk).where(self.chosen(number)).values(**values))

    def write(self, number: int) -> None:
        if (row := self.loaded(number)) is not None:
            row.text = f"text {next(self.places)}"

    def save_nothing(self, number: int) -> None:
        if (row := self.loaded(number)) is not None:
            row.text = row.text

    def clear(self, number: int) -> None:
        if (row := self.loaded(number)) is not None:
            row.place = None

    def delete(self, number: int) -> None:
        if (row := self.loaded(number)) is not None:
            self.session.delete(row)

    def move_and_delete(self, number: int) -> None:
        if (row := self.loaded(number)) is not None:
            row.place = self.place()
            self.session.delete(row)

    def replace(self, number: int) -> None:
        if (row := self.loaded(number)) is not None and row.place is not None:
            key = {name: getattr(row, name) for name in self.kind.key}
            self.session.delete(row)
            self.session.add(self.model(**{**self.values(), **key}))
            self.session.flush()

    def expire(self, number: int) -> None:
        if (row := self.loaded(number)) is not None and row not in self.session.dirty:
            self.session.expire(row)

    def expire_place(self, number: int) -> None:
        if (row := self.loaded(number)) is not None and row not in self.session.dirty:
            self.session.expire(row, ["place"])

    def expire_all(self, number: int) -> None:
        self.session.flush()
        self.session.expire_all()

    def expire_some(self, number: int) -> None:
        """After a statement that no session applies to its objects: half of the sites forget this."""
        if number % 4 < 2:
            self.session.expire_all()

    def forget(self, number: int) -> None:
        self.session.flush()
        self.session.expunge_all()
        self.held.clear()

    def defer(self, number: int) -> None:
        self.forget(0)
        self.session.scalars(select(self.model).options(defer(self.model.place))).all()
        for row in list(self.session)[: number % 3]:
            row.place = self.place()
        self.session.flush()

    def only(self, number: int) -> None:
        self.forget(0)
        found = self.session.scalars(select(self.model).options(load_only(self.model.slug))).all()
        for row in found[: number % 3]:
            row.text = f"only {number}"
        self.session.flush()

    # Transactions

    def flush(self, number: int) -> None:
        self.session.flush()

    def commit(self, number: int) -> None:
        if self.savepoints:
            return
        self.session.flush()
        self.look()
        self.session.commit()
        self.compare(self.may[0])

    def rollback(self, number: int) -> None:
        if self.savepoints:
            return
        self.session.rollback()
        self.forget_stale()
        self.compare(set())

    def compare(self, may: set[str]) -> None:
        with self.outside.begin() as connection:
            rows = self.kind.rows(connection)
            told = set(connection.scalars(select(outbox.table.c.channel)))
            connection.execute(delete(outbox.table))
        must = set()
        for key in self.start.keys() | rows.keys():
            if self.start.get(key) != rows.get(key):
                both = [row for row in (self.start.get(key), rows.get(key)) if row is not None]
                must |= {channel for row in both if (channel := self.kind.channel(row)) is not None}
        assert told >= must - self.excused(rows), "what changed was not told"
        assert told <= may, "told is what no row was"
        self.start, self.may = rows, [self._channels(rows) | self._believed(rows)]

    def excused(self, rows: dict[Any, dict[str, Any]]) -> set[str]:
        """Channels that rows left while this session held an older state of them: only a lock helps there.

        One that it moved by half, not knowing the other half, is a channel that it doesn't know either.
        """
        found = set().union(*(there for _, there in self.stale.values()))
        for key, (_, second) in self.stale_second.items():
            states = {at: all_of[key] for at, all_of in enumerate((self.start, rows)) if key in all_of}
            found |= self._channels({at: row for at, row in states.items() if row["second"] == second})
        # Where it put a row itself it knows; a row of which it wrote something else it takes to be where it was.
        for key in list(self.stale):
            before, after = ({key: all_of[key]} if key in all_of else {} for all_of in (self.start, rows))
            if self._channels(before) != self._channels(after):
                del self.stale[key]
        if self.session.expire_on_commit:
            self.forget_stale()
        return found

    def forget_stale(self) -> None:
        self.stale.clear()
        self.stale_second.clear()

    def savepoint(self, number: int) -> None:
        self.session.flush()
        self.look()
        self.savepoints.append(self.session.begin_nested())
        self.may.append(set(self.may[-1]))

    def release(self, number: int) -> None:
        if self.savepoints:
            self.session.flush()
            self.look()
            self.savepoints.pop().commit()
            may = self.may.pop()
            self.may[-1] = may

    def back(self, number: int) -> None:
        if self.savepoints:
            self.savepoints.pop().rollback()
            self.may.pop()

    # Statements

    def chosen(self, number: int) -> Any:
        keys = self.keys()[number % 3 :][: 1 + number % 2]
        return self.bulk.id.in_([key[0] for key in keys])

    def bulk_move(self, number: int) -> None:
        options = {"synchronize_session": ("auto", "fetch", "evaluate", False)[number % 4]}
        keys = self.keys()
        for key in keys[number % 3 :][: 1 + number % 2]:
            statement = update(self.bulk).where(self.bulk.id == key[0]).values(place=self.place())
            self.session.execute(statement, execution_options=options)

    def bulk_move_by_SQL(self, number: int) -> None:  # noqa: N802
        keys = self.keys()
        if keys:
            statement = update(self.bulk).where(self.bulk.id == bindparam("this")).values(place=literal(self.place()))
            self.session.execute(statement, {"this": keys[number % len(keys)][0]})

    def bulk_move_by_key(self, number: int) -> None:
        if self.model.__mapper__.version_id_col is not None:
            # It wants the version of each.
            return
        self.session.flush()
        keys = self.keys()[number % 2 :][:3]
        rows = [{**dict(zip(self.kind.key, key, strict=True)), "place": self.place()} for key in keys]
        if rows:
            self.session.execute(update(self.model), rows)

    def bulk_write(self, number: int) -> None:
        self.session.execute(update(self.bulk).where(self.chosen(number)).values(text=f"bulk {number}"))

    def bulk_delete(self, number: int) -> None:
        if self.kind.alone:
            self.session.execute(delete(self.bulk).where(self.chosen(number)))

    def query_update(self, number: int) -> None:
        keys = self.keys()
        if keys:
            key = keys[number % len(keys)]
            self.session.query(self.bulk).filter(self.bulk.id == key[0]).update({"place": self.place()})

    def query_delete(self, number: int) -> None:
        if self.kind.alone:
            self.session.query(self.bulk).filter(self.chosen(number)).delete()

    def insert(self, number: int) -> None:
        if self.kind.alone:
            self.session.execute(insert(self.model).values(**self.typed(self.values())))

    def insert_returning(self, number: int) -> None:
        if not self.kind.alone:
            return
        wanted = (self.model, self.model.place)[number % 2]
        values = self.values()
        found = self.session.scalars(insert(self.model).returning(wanted), [self.typed(values)]).all()
        assert [getattr(one, "place", one) for one in found] == [values["place"]]

    def insert_rows(self, number: int) -> None:
        rows = [self.typed(self.values()) for _ in range(1 + number % 3)]
        self.session.execute(insert(self.model), rows)

    def insert_values(self, number: int) -> None:
        if self.kind.alone:
            rows = [self.typed(self.values()) for _ in range(1 + number % 3)]
            # For some tables (a key of two columns on PostgreSQL) SQLAlchemy itself says -1.
            with Session(self.session.connection(), join_transaction_mode="create_savepoint") as unheard:
                plain: Any = unheard.execute(insert(self.model).values(rows))
            result: Any = self.session.execute(insert(self.model).values(rows))
            assert result.rowcount in (plain.rowcount, len(rows))

    def insert_default(self, number: int) -> None:
        if self.kind.alone and self.kind.has_default:
            rows = [self.typed(self.values()) for _ in range(1 + number % 2)]
            for row in rows:
                del row["place"]
            if number % 3:
                self.session.execute(insert(self.model), rows)
            else:
                self.session.execute(insert(self.model).values(rows))

    def insert_from_query(self, number: int) -> None:
        if self.kind.alone:
            values = self.typed(self.values())
            query = select(*(literal(value) for value in values.values()))
            self.session.execute(insert(self.model).from_select([self.column(key) for key in values], query))

    def typed(self, values: dict[str, Any]) -> dict[str, Any]:
        return values | self.kind.fixed

    def conflicting(self, count: int, number: int) -> list[dict[str, Any]]:
        """Rows to insert, some with the slug of one that is there."""
        rows = [self.typed(self.values()) for _ in range(count)]
        there = [row["slug"] for row in self.kind.rows(self.session.connection()).values() if row["slug"]]
        if there:
            rows[0]["slug"] = there[number % len(there)]
        return rows

    @property
    def upserting(self) -> Any:
        return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[self.outside.dialect.name](self.model)

    @property
    def target(self) -> list[str]:
        return [self.column("slug"), *self.kind.key[1:]]

    def upsert(self, number: int) -> None:
        if self.kind.alone:
            self.session.flush()
            [row] = self.conflicting(1, number)
            statement = self.upserting.values(**row)
            changes = {self.column("place"): statement.excluded[self.column("place")]}
            statement = statement.on_conflict_do_update(index_elements=self.target, set_=changes)
            self.session.execute(statement, execution_options={"populate_existing": True})
            self.expire_some(number)

    def upsert_returning(self, number: int) -> None:
        if self.kind.alone:
            self.session.flush()
            [row] = self.conflicting(1, number)
            statement = self.upserting.values(**row)
            changes = {self.column("place"): statement.excluded[self.column("place")]}
            statement = statement.on_conflict_do_update(index_elements=self.target, set_=changes)
            found = self.session.execute(statement.returning(self.model.slug, self.model.place)).all()
            assert [tuple(one) for one in found] == [(row["slug"], row["place"])]
            self.expire_some(number)

    def upsert_rows(self, number: int) -> None:
        if self.kind.alone:
            self.session.flush()
            rows = self.conflicting(3, number)
            statement = self.upserting
            changes = {self.column("place"): statement.excluded[self.column("place")]}
            statement = statement.on_conflict_do_update(index_elements=self.target, set_=changes)
            self.session.execute(statement, rows)
            self.expire_some(number)

    def upsert_somewhere(self, number: int) -> None:
        """To a place that the statement's values don't say."""
        if self.kind.alone:
            self.session.flush()
            rows = self.conflicting(2, number)
            place = self.place()
            statement = self.upserting.values(rows).on_conflict_do_update(
                index_elements=self.target, set_={self.column("place"): literal(place)}
            )
            self.session.execute(statement)
            self.expire_some(number)

    def upsert_nothing(self, number: int) -> None:
        if self.kind.alone:
            self.session.flush()
            rows = self.conflicting(2, number)
            statement = self.upserting.on_conflict_do_nothing(index_elements=self.target if number % 2 else None)
            if number % 3:
                self.session.execute(statement.values(rows))
            else:
                self.session.execute(statement, rows)
            self.expire_some(number)

    def upsert_if(self, number: int) -> None:
        """Only where the row's number is even: else nothing is written."""
        if self.kind.alone:
            self.session.flush()
            rows = self.conflicting(2, number)
            statement = self.upserting.values(rows)
            statement = statement.on_conflict_do_update(
                index_elements=self.target,
                set_={self.column("place"): statement.excluded[self.column("place")]},
                where=self.model.slug % 2 == 0,
            )
            self.session.execute(statement)
            self.expire_some(number)

    def column(self, key: str) -> str:
        return str(self.model.__mapper__.column_attrs[key].columns[0].name)

    # Another session

    def other_moves(self, number: int) -> None:
        """Another session moves a row and commits, between two transactions of this one's writes."""
        self.session.flush()
        if self.savepoints:
            return
        self.commit(0)
        keys = sorted(self.start)
        if not keys:
            return
        key = keys[number % len(keys)]
        was = self.start[key]
        held = self.session.identity_map.get(self.session.identity_key(self.model, key))
        table = self.bulk.__table__
        place = self.place()
        with self.outside.begin() as connection:
            where = [column == value for column, value in zip(table.primary_key, key, strict=True)]
            moved = {self.column("place"): place}
            if hasattr(self.model, "second") and number % 2 and self.column("second") in table.columns:
                moved[self.column("second")] = self.second()
            connection.execute(update(table).where(*where).values(moved))
            self.start = self.kind.rows(connection)
        self.may = [self.may[0] | self._channels(self.start)]
        if held is not None and "place" in held.__dict__:
            # Of one that was moved before, the object says what it said then.
            here, there = self.stale.get(key, (self._channels({key: was}), set()))
            self.stale[key] = (here, there | self._channels(self.start))
            if len(moved) > 1:
                believed, _ = self.stale_second.get(key, (was["second"], None))
                self.stale_second[key] = (believed, self.start[key]["second"])


def recipe(engine: Engine) -> None:
    """SQLAlchemy's recipe for SQLite: its driver begins no transaction for a SAVEPOINT."""
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def connect(connection: Any, _: object) -> None:
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")


@pytest.fixture
def outside(database_url: str) -> Iterator[Engine]:
    """Looks at the tables from outside of the sessions."""
    engine = create_engine(driver(database_url, sync=True))
    Base.metadata.create_all(engine)
    outbox.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Place), [{"id": id} for id in range(FIRST, FIRST + 500)])
    yield engine
    engine.dispose()


def emptied(engine: Engine, metadata: MetaData = Base.metadata) -> None:
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            if table is not Place.__table__:
                connection.execute(delete(table))
        connection.execute(delete(outbox.table))


def quiet(notifier: Collector) -> Collector:
    """Only writes the outbox: what is told of it is another test's."""
    notifier.committed = lambda written: None  # type: ignore[method-assign]
    return notifier


def program(dice: random.Random) -> tuple[str, list[Step]]:
    steps = [(dice.choice(OPERATIONS), dice.randrange(12)) for _ in range(dice.randrange(1, 16))]
    return dice.choice(sorted(KINDS)), steps


def run(session: Session, outside: Engine, kind: Kind, steps: list[Step]) -> None:
    Program(session, outside, kind, itertools.count(FIRST)).run(steps)


def failure(maker: sessionmaker[Session], outside: Engine, kind: Kind, steps: list[Step]) -> AssertionError | None:
    emptied(outside, kind.model.__table__.metadata)
    try:
        with maker() as session:
            run(session, outside, kind, steps)
    except AssertionError as error:
        return error
    return None


def check(maker: sessionmaker[Session], outside: Engine, kind: Kind, steps: list[Step], words: str) -> None:
    """Raise AssertionError if the program tells something else, with the steps as few as it still does."""
    error = failure(maker, outside, kind, steps)
    if error is None:
        return
    for at in reversed(range(len(steps))):
        shorter = steps[:at] + steps[at + 1 :]
        if (other := failure(maker, outside, kind, shorter)) is not None:
            steps, error = shorter, other
    raise AssertionError(f"{words} {steps}") from error


@pytest.fixture
def makers(database_url: str) -> Iterator[dict[bool, sessionmaker[Session]]]:
    """Of sessions that keep what they loaded over a commit, or not."""
    engine = create_engine(driver(database_url, sync=True))
    recipe(engine)
    made = {keeps: sessionmaker(engine, expire_on_commit=not keeps) for keeps in (False, True)}
    for maker in made.values():
        notifier = Notifier(RecordingPublisher())  # type: ignore[arg-type]  # nothing is published
        quiet(notifier)
        notifier.bind(maker)
    yield made
    engine.dispose()


@pytest.mark.long
@pytest.mark.search
@pytest.mark.parametrize("keeps", [False, True], ids=["expiring", "keeping"])
def test_what_is_told_is_what_the_tables_say_sync(
    makers: dict[bool, sessionmaker[Session]], outside: Engine, keeps: bool
) -> None:
    for seed in seeds(PROGRAMS):
        name, steps = program(random.Random(seed))
        check(makers[keeps], outside, KINDS[name], steps, f"seed {seed}: {name}")


@pytest.mark.long
@pytest.mark.search
async def test_what_is_told_is_what_the_tables_say_async(database_url: str, outside: Engine) -> None:
    engine = create_async_engine(driver(database_url))
    recipe(engine.sync_engine)
    maker = async_sessionmaker(engine)
    AsyncNotifier(RecordingPublisher()).bind(maker)
    for seed in seeds(PROGRAMS):
        kind, steps = program(random.Random(seed))
        emptied(outside)
        try:
            async with maker() as session:
                await session.run_sync(run, outside, KINDS[kind], steps)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {kind} {steps}") from error
    await engine.dispose()


#: Models made, and programs run on each.
MODELS, EACH = 25, 4
#: A statement that set a deferred column, and nothing else, told nothing: the column was not read.
#: A function that asked for what the database had computed saw it beside columns from before another session's move.
#: A row that another session had moved, and this one by its second column, was told where it never was.
ONCE = (326697051352, 348463149004, 713564307093, 792144034878, 471569576447)


#: SQLAlchemy says this of its own when a savepoint is undone in which a row was deleted and its key used again.
_replaced = pytest.mark.filterwarnings("ignore:Identity map already had an identity:sqlalchemy.exc.SAWarning")


@_replaced
@pytest.mark.long
@pytest.mark.search
@pytest.mark.parametrize("keeps", [False, True], ids=["expiring", "keeping"])
def test_what_any_model_tells_is_what_the_tables_say(
    makers: dict[bool, sessionmaker[Session]], outside: Engine, keeps: bool
) -> None:
    for seed in seeds(MODELS, ONCE):
        kind, words = random_kind(seed)
        metadata = kind.model.__table__.metadata
        own = [table for table in metadata.sorted_tables if table is not Place.__table__]
        metadata.create_all(outside, own)
        dice = random.Random(seed)
        try:
            for _ in range(EACH):
                check(makers[keeps], outside, kind, program(dice)[1], f"seed {seed}: {words}")
        finally:
            metadata.drop_all(outside, own)
            kind.model.__mapper__.registry.dispose()


@_replaced
@pytest.mark.long
@pytest.mark.search
async def test_what_any_model_tells_is_what_the_tables_say_async(database_url: str, outside: Engine) -> None:
    engine = create_async_engine(driver(database_url))
    recipe(engine.sync_engine)
    maker = async_sessionmaker(engine)
    AsyncNotifier(RecordingPublisher()).bind(maker)
    for seed in seeds(MODELS, ONCE):
        kind, words = random_kind(seed)
        metadata = kind.model.__table__.metadata
        own = [table for table in metadata.sorted_tables if table is not Place.__table__]
        metadata.create_all(outside, own)
        dice = random.Random(seed)
        try:
            for _ in range(EACH):
                steps = program(dice)[1]
                emptied(outside, metadata)
                try:
                    async with maker() as session:
                        await session.run_sync(run, outside, kind, steps)
                except AssertionError as error:
                    raise AssertionError(f"seed {seed}: {words} {steps}") from error
        finally:
            metadata.drop_all(outside, own)
            kind.model.__mapper__.registry.dispose()
    await engine.dispose()


#: Programs that told something else once. What happened, the class (None: any), and the steps.
STORIES: dict[str, tuple[str | None, list[Step]]] = {
    # A statement moved a row that an object in the session, not flushed yet, was to move as well. The old place and
    # version came from the object, a computed column from the table: a channel that no row ever had.
    "one state": ("counted", [("upsert nothing", 3), ("move", 10), ("bulk move by SQL", 4)]),
    # A statement with synchronize_session=False moved a row whose object the site kept over the commit. The next
    # save told the place that the row had left long ago, and nobody where it was.
    "moved under an object": (None, [("add", 1), ("commit", 0), ("bulk move", 3), ("commit", 0), ("move", 0)]),
    "written after a move": (None, [("add", 1), ("commit", 0), ("bulk move", 3), ("commit", 0), ("write", 0)]),
    "deleted after a move": (None, [("add", 1), ("commit", 0), ("bulk move", 3), ("commit", 0), ("delete", 0)]),
    "replaced after a move": (None, [("add", 1), ("commit", 0), ("bulk move", 3), ("commit", 0), ("replace", 0)]),
    "upserted under an object": (None, [("add", 1), ("commit", 0), ("upsert", 2), ("commit", 0), ("write", 0)]),
    # Two rows in one flush: SQLAlchemy gave both objects the version that its function made for the first.
    "a version each": ("counted", [("upsert nothing", 3), ("defer", 8)]),
    "a version each, kept": ("counted", [("upsert nothing", 3), ("defer", 8), ("commit", 0), ("move", 1)]),
}


@pytest.mark.parametrize("keeps", [False, True], ids=["expiring", "keeping"])
@pytest.mark.parametrize("story", STORIES)
def test_a_program_that_told_something_else_once(
    makers: dict[bool, sessionmaker[Session]], outside: Engine, keeps: bool, story: str
) -> None:
    kind, steps = STORIES[story]
    for one in KINDS if kind is None else [kind]:
        check(makers[keeps], outside, KINDS[one], steps, one)


#: As STORIES, of made models, by the seed of the model.
MADE: dict[int, list[Step]] = {
    # An UPDATE by hand, which raised no version, had moved the row: half of its channel was the object's.
    4242000143: [("add", 3), ("release", 7), ("other moves", 11), ("set second", 1)],
    # This comparison took a session to know where a row is whose text alone it had written.
    4242000090: [("add", 11), ("other moves", 6), ("write", 0), ("commit", 11), ("replace", 8)],
}


@_replaced
@pytest.mark.parametrize("keeps", [False, True], ids=["expiring", "keeping"])
@pytest.mark.parametrize("seed", MADE)
def test_a_program_of_a_made_model_that_told_something_else_once(
    makers: dict[bool, sessionmaker[Session]], outside: Engine, keeps: bool, seed: int
) -> None:
    kind, words = random_kind(seed)
    own = [table for table in kind.model.__table__.metadata.sorted_tables if table is not Place.__table__]
    kind.model.__table__.metadata.create_all(outside, own)
    try:
        check(makers[keeps], outside, kind, MADE[seed], words)
    finally:
        kind.model.__table__.metadata.drop_all(outside, own)
        kind.model.__mapper__.registry.dispose()


MOVES = 40


@pytest.mark.postgres
def test_two_sessions_that_move_the_same_rows_tell_every_place_that_was_left(postgres_url: str) -> None:
    """Each forgets what it knew before it moves a row, as after any commit: where the row is by then it must ask."""
    engine = create_engine(driver(postgres_url, sync=True))
    Base.metadata.create_all(engine)
    outbox.metadata.create_all(engine)
    emptied(engine)
    maker = sessionmaker(engine)
    notifier = Notifier(RecordingPublisher())  # type: ignore[arg-type]  # nothing is published
    quiet(notifier)
    notifier.bind(maker)
    plain = KINDS["plain"].model
    with maker.begin() as session:
        session.add_all([plain(id=1, slug=1, place=0), plain(id=2, slug=2, place=1)])
    places = itertools.count(2)
    joined: list[int] = [0, 1]
    errors: list[BaseException] = []

    def move(number: int) -> None:
        dice = random.Random(number)
        try:
            for _ in range(MOVES):
                with maker() as session:
                    row = session.get(plain, dice.randrange(1, 3))
                    session.expire(row)
                    place = next(places)
                    if dice.random() < 0.5:
                        row.place = place
                    else:
                        session.execute(update(plain).where(plain.id == row.id).values(place=place))
                    session.commit()
                    joined.append(place)
        except BaseException as error:  # noqa: BLE001  # shown by the test
            errors.append(error)

    threads = [threading.Thread(target=move, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with engine.connect() as connection:
        counts = Counter(connection.scalars(select(outbox.table.c.channel)))
        there = {row["place"] for row in KINDS["plain"].rows(connection).values()}
    # Once when a row came, once when it left.
    assert {place: counts[f"/plain-{place}"] for place in joined if place not in there} == dict.fromkeys(
        set(joined) - there, 2
    )
    engine.dispose()
