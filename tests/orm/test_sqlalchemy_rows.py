"""What a session doesn't know of its rows, and a notifier has to: each kept a page that showed a row too long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from shop import driver
from sqlalchemy import (
    Computed,
    Engine,
    ForeignKey,
    create_engine,
    delete,
    event,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    defer,
    load_only,
    mapped_column,
    relationship,
    sessionmaker,
)

from hub.orm import flushing, mapped, outbox
from hub.orm.declarations import tells
from hub.orm.sqlalchemy import Notifier
from hub.orm.statements import _Insert
from hub.publisher import RecordingPublisher


class Base(DeclarativeBase):
    pass


class Event(Base):
    __tablename__ = "rows_event"
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(default="")


class Comment(Base):
    __tablename__ = "rows_comment"
    __hints__ = tells("comments-{event_id}")

    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int | None] = mapped_column("evt", ForeignKey("rows_event.id"), default=17)
    slug: Mapped[str | None] = mapped_column(unique=True)
    likes: Mapped[int] = mapped_column(default=0)
    text: Mapped[str] = mapped_column(default="")
    event: Mapped[Event | None] = relationship()

    @hybrid_property
    def page(self) -> Any:
        return self.event_id

    @property
    def address(self) -> str:
        return f"address-{self.event_id}"


class Sum(Base):
    __tablename__ = "rows_sum"
    __hints__ = tells("sum-{total}", fields=["total"])

    id: Mapped[int] = mapped_column(primary_key=True)
    one: Mapped[int]
    total: Mapped[int] = mapped_column(Computed("one + 1", persisted=True))


class Seat(Base):
    """Where it is takes several columns."""

    __tablename__ = "rows_seat"
    __hints__ = tells("seat-{hall}.{row}.{place}")

    id: Mapped[int] = mapped_column(primary_key=True)
    hall: Mapped[int]
    row: Mapped[int]
    place: Mapped[int]
    text: Mapped[str] = mapped_column(default="")

    @property
    def ticket(self) -> str:
        return f"{self.hall}.{self.row}.{self.place}"


class Stamp(Base):
    """Every save of it sets a column of its channel."""

    __tablename__ = "rows_stamp"
    __hints__ = tells("stamp-{place}.{touched}")

    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int]
    text: Mapped[str]
    touched: Mapped[int] = mapped_column(default=0, onupdate=lambda: 1)


class Letter(Base):
    """Its text is large, and loaded by those who ask for it."""

    __tablename__ = "rows_letter"
    __hints__ = tells("letter-{id}")

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column("body", default="", deferred=True)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(driver(database_url, sync=True))
    Base.metadata.create_all(engine)
    outbox.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Event), [{"id": id, "slug": f"e{id}"} for id in (17, 18, 19)])
        connection.execute(insert(Comment.__table__), [{"evt": 17, "slug": "a"}])
    yield engine
    engine.dispose()


@pytest.fixture
def notify(engine: Engine) -> Notifier:
    notifier = Notifier(RecordingPublisher())  # type: ignore[arg-type]  # nothing is published
    notifier.committed = lambda written: None  # type: ignore[method-assign]  # the outbox is looked at
    return notifier


@pytest.fixture
def maker(engine: Engine, notify: Notifier) -> sessionmaker[Session]:
    maker = sessionmaker(engine)
    notify.bind(maker)
    return maker


def told(engine: Engine) -> list[tuple[str, str]]:
    """What has been written since the last call."""
    with engine.begin() as connection:
        rows = connection.execute(select(outbox.table.c.channel, outbox.table.c.data).order_by(outbox.table.c.id)).all()
        connection.execute(delete(outbox.table))
    return [(row.channel, row.data) for row in rows]


def channels(engine: Engine) -> list[str]:
    return sorted({channel for channel, _ in told(engine)})


class Statements:
    """The statements that an engine sends while inside, without those of the outbox."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sent: list[str] = []

    def _note(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "fanfare_outbox" not in statement:
            self.sent.append(statement)

    @property
    def read(self) -> int:
        return sum(one.startswith("SELECT") for one in self.sent)

    def __enter__(self) -> Statements:
        event.listen(self.engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self.engine, "before_cursor_execute", self._note)


def assigned(values: Callable[[], dict[str, Any]]) -> Callable[[Session], None]:
    def change(session: Session) -> None:
        comment = session.get_one(Comment, 1)
        for name, value in values().items():
            setattr(comment, name, value)

    return change


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (lambda: {"likes": Comment.likes + 1}, ["/comments-17"]),
        (lambda: {"text": func.upper("abc")}, ["/comments-17"]),
        (lambda: {"event_id": select(literal(18)).scalar_subquery()}, ["/comments-17", "/comments-18"]),
        (lambda: {"event_id": Comment.event_id + 1}, ["/comments-17", "/comments-18"]),
        (lambda: {"event_id": literal(19)}, ["/comments-17", "/comments-19"]),
        (lambda: {"event_id": func.nullif(1, 1)}, ["/comments-17"]),
    ],
    ids=["arithmetic", "function", "subquery", "channel's arithmetic", "literal", "null"],
)
def test_a_column_set_by_sql_is_told(
    maker: sessionmaker[Session], engine: Engine, values: Any, expected: list[str]
) -> None:
    """A counter of likes was raised in the database, race-free as the books say, and no page saw it move."""
    with maker() as session:
        assigned(values)(session)
        session.commit()
    assert channels(engine) == expected


def committed(session: Session) -> None:
    comment = session.get_one(Comment, 1)
    session.commit()
    comment.event_id = 18


def by_relationship(session: Session) -> None:
    comment = session.get_one(Comment, 1)
    session.commit()
    comment.event = session.get(Event, 18)


def deferred(session: Session) -> None:
    session.scalars(select(Comment).options(defer(Comment.event_id))).one().event_id = 18


def expired_by_name(session: Session) -> None:
    comment = session.get_one(Comment, 1)
    session.expire(comment, ["event_id"])
    comment.event_id = 18


@pytest.mark.parametrize("move", [committed, by_relationship, deferred, expired_by_name])
def test_a_row_that_moves_tells_the_page_it_left_though_nobody_loaded_where_it_was(
    maker: sessionmaker[Session], engine: Engine, move: Callable[[Session], None]
) -> None:
    """After a commit, which expires objects, the page that a comment left went on showing it."""
    with maker() as session:
        move(session)
        session.commit()
    assert channels(engine) == ["/comments-17", "/comments-18"]


def upserted(session: Session, text: str) -> None:
    insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[session.get_bind().dialect.name]
    statement = insert(Letter).values(id=1, text=text)
    session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"body": statement.excluded.body}))


@pytest.mark.parametrize(
    "write",
    [
        lambda session: session.execute(update(Letter).where(Letter.id == 1).values(text="b")),
        lambda session: session.execute(update(Letter).values({Letter.text: func.upper("b")})),
        lambda session: session.execute(update(Letter), [{"id": 1, "text": "b"}]),
        lambda session: session.query(Letter).update({"text": "b"}),
        lambda session: upserted(session, "b"),
    ],
)
def test_a_statement_that_sets_a_deferred_column_is_told(
    maker: sessionmaker[Session], engine: Engine, write: Callable[[Session], None]
) -> None:
    """It is not read, as it may be large, so its row looked the same before and after: pages kept the old text."""
    with maker.begin() as session:
        session.add(Letter(id=1, text="a"))
    told(engine)
    with maker.begin() as session:
        write(session)
    assert channels(engine) == ["/letter-1"]


def place_deferred(session: Session) -> Seat:
    return session.scalars(select(Seat).options(defer(Seat.place))).one()


def place_expired(session: Session) -> Seat:
    seat = session.get_one(Seat, 1)
    session.expire(seat, ["place"])
    return seat


def only_the_row_loaded(session: Session) -> Seat:
    return session.scalars(select(Seat).options(load_only(Seat.row))).one()


def moved_to_row_3(session: Session, seat: Seat) -> None:
    seat.row = 3


def moved_by_sql(session: Session, seat: Seat) -> None:
    seat.row = literal(1) + 2  # type: ignore[assignment]  # SQL is what this is about


def written(session: Session, seat: Seat) -> None:
    seat.text = "taken"


def deleted(session: Session, seat: Seat) -> None:
    session.delete(seat)


@pytest.mark.parametrize("by", ["columns", "a property", "a function", "columns, with a payload of the row"])
@pytest.mark.parametrize("found", [place_deferred, place_expired, only_the_row_loaded])
@pytest.mark.parametrize(
    ("change", "after"), [(moved_to_row_3, "2.3.2"), (moved_by_sql, "2.3.2"), (written, "2.2.2"), (deleted, "2.2.2")]
)
def test_a_channel_is_made_of_what_its_row_held_at_one_time(
    notify: Notifier, engine: Engine, by: str, found: Any, change: Any, after: str
) -> None:
    """One column of the channel was loaded before another session's commit, one after: nobody was ever there."""
    if by == "a property":
        notify.declare(Seat, "seat-{ticket}")
    elif by == "a function":
        notify.declare(Seat, lambda seat: f"seat-{seat.ticket}")
    elif by != "columns":
        notify.declare(Seat, "seat-{hall}.{row}.{place}", lambda seat: seat.text)
    maker = sessionmaker(engine, expire_on_commit=False)
    notify.bind(maker)
    with engine.begin() as connection:
        connection.execute(insert(Seat.__table__), [{"id": 1, "hall": 1, "row": 1, "place": 1, "text": ""}])
    with maker() as session:
        seat = found(session)
        session.commit()
        with engine.begin() as connection:
            connection.execute(update(Seat.__table__).values(hall=2, row=2, place=2))
        told(engine)
        change(session, seat)
        session.commit()
        assert channels(engine) == sorted({"/seat-2.2.2", f"/seat-{after}"})
        if change is not deleted:
            # What the session holds is its own affair; the next save tells of the row all the same.
            seat.place = 4
            session.commit()
            assert channels(engine) == [f"/seat-{after}", f"/seat-{after[:4]}4"]


@pytest.mark.parametrize("by", ["columns", "a property", "a function"])
def test_a_row_that_moves_by_some_of_its_columns_is_told_where_the_others_have_it(
    notify: Notifier, engine: Engine, by: str
) -> None:
    """Another session moved a row whose object was kept, this one its last column: told was where it never was."""
    if by == "a property":
        notify.declare(Seat, "seat-{ticket}")
    elif by == "a function":
        notify.declare(Seat, lambda seat: f"seat-{seat.ticket}")
    maker = sessionmaker(engine, expire_on_commit=False)
    notify.bind(maker)
    with maker() as session:
        seats = [Seat(id=id, hall=1, row=1, place=id) for id in (1, 2)]
        session.add_all(seats)
        session.commit()
        with engine.begin() as connection:
            connection.execute(update(Seat.__table__).values(hall=2, row=2))
        told(engine)
        seats[0].place, seats[1].place = 3, 4
        session.commit()
        assert channels(engine) == ["/seat-2.2.1", "/seat-2.2.2", "/seat-2.2.3", "/seat-2.2.4"]
        # What the session holds is its own affair; the next save tells of the row all the same.
        seats[0].text = "taken"
        session.commit()
        assert channels(engine) == ["/seat-2.2.3"]


def test_a_row_that_moves_by_some_of_its_columns_tells_the_place_that_it_left(
    maker: sessionmaker[Session], engine: Engine
) -> None:
    """Another session moved it by the same column, too."""
    maker.configure(expire_on_commit=False)
    with maker() as session:
        seat = Seat(id=1, hall=1, row=1, place=1)
        session.add(seat)
        session.commit()
        with engine.begin() as connection:
            connection.execute(update(Seat.__table__).values(hall=2, row=2, place=2))
        told(engine)
        seat.place = 3
        session.commit()
    assert channels(engine) == ["/seat-2.2.2", "/seat-2.2.3"]


def test_a_column_that_a_save_sets_by_itself_is_told_beside_what_the_row_has(
    maker: sessionmaker[Session], engine: Engine
) -> None:
    maker.configure(expire_on_commit=False)
    with maker() as session:
        stamp = Stamp(id=1, place=1, text="")
        session.add(stamp)
        session.commit()
        with engine.begin() as connection:
            connection.execute(update(Stamp.__table__).values(place=2, touched=7))
        told(engine)
        stamp.text = "x"
        session.commit()
    assert channels(engine) == ["/stamp-2.1", "/stamp-2.7"]


@pytest.mark.parametrize(
    ("values", "reads"),
    [({"place": 3}, 1), ({"hall": 3, "row": 3, "place": 3}, 0), ({"text": "x"}, 0)],
    ids=["some of the columns", "all of them", "none of them"],
)
def test_only_a_row_that_moves_by_some_of_its_columns_is_read(
    maker: sessionmaker[Session], engine: Engine, values: dict[str, Any], reads: int
) -> None:
    with maker() as session:
        seats = [Seat(id=id, hall=1, row=1, place=id) for id in (1, 2)]
        session.add_all(seats)
        session.flush()
        for seat in seats:
            for name, value in values.items():
                setattr(seat, name, value)
        with Statements(engine) as statements:
            session.commit()
        assert statements.read == reads


def test_a_place_that_can_not_be_read_is_told_by_what_is_known(
    maker: sessionmaker[Session], engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        return select(text("no_such_column")).select_from(Seat)

    with maker() as session:
        seat = Seat(id=1, hall=1, row=1, place=1)
        session.add(seat)
        session.flush()
        monkeypatch.setattr(flushing, "rows_where", failing)
        monkeypatch.setattr(mapped, "rows_where", failing)
        seat.place = 3
        session.commit()
    assert channels(engine) == ["/seat-1.1.1", "/seat-1.1.3"]
    assert {record.getMessage() for record in caplog.records} == {"rows of a change can't be read"}


def test_what_is_read_before_a_flush_is_not_read_again_after_it(maker: sessionmaker[Session], engine: Engine) -> None:
    with maker.begin() as session:
        session.add(Seat(id=1, hall=1, row=1, place=1))
    with maker() as session:
        seat = place_deferred(session)
        seat.row = 2
        with Statements(engine) as statements:
            session.commit()
        assert statements.read == 1
    assert channels(engine) == ["/seat-1.1.1", "/seat-1.2.1"]


def test_a_flush_reads_once_for_all_rows_of_a_class_and_not_at_all_for_what_is_loaded(
    maker: sessionmaker[Session], engine: Engine
) -> None:
    def reads(chosen: sessionmaker[Session], value: Callable[[], Any], *, expired: bool) -> int:
        with chosen() as session:
            comments = session.scalars(select(Comment)).all()
            for comment in comments if expired else ():
                session.expire(comment, ["event_id"])
            for comment in comments:
                comment.event_id = value()
            with Statements(engine) as statements:
                session.commit()
            return statements.read

    plain = sessionmaker(engine)
    with plain.begin() as session:
        session.add_all([Comment(id=id, event_id=17) for id in range(2, 12)])
    for value, expired, more in (
        (lambda: 18, False, 0),
        (lambda: 19, True, 1),
        (lambda: literal(17) + 0, False, 1),
        (lambda: literal(18) + 0, True, 2),
    ):
        assert reads(maker, value, expired=expired) - reads(plain, value, expired=expired) == more
    assert channels(engine) == ["/comments-17", "/comments-18", "/comments-19"]


def test_a_property_a_hybrid_and_a_function_of_the_row_see_where_it_was(
    notify: Notifier, maker: sessionmaker[Session], engine: Engine
) -> None:
    """The page that a comment left was worked out of the comment as it is now, when a property named it."""
    notify.declare(Comment, "page-{page}")
    notify.declare(Comment, "{address}")
    notify.declare(Comment, lambda comment: comment.event and f"event-{comment.event.slug}")
    with maker() as session:
        comment = session.get_one(Comment, 1)
        session.commit()
        comment.event_id = 18
        session.commit()
    assert channels(engine) == sorted(
        f"/{name}{id}" for name in ("page-", "address-", "comments-", "event-e") for id in (17, 18)
    )


def test_what_was_assigned_and_not_saved_is_not_told_of_a_deleted_row(
    maker: sessionmaker[Session], engine: Engine
) -> None:
    with maker() as session:
        comment = session.get_one(Comment, 1)
        comment.event_id = 19
        session.delete(comment)
        session.commit()
    assert channels(engine) == ["/comments-17"]


def test_a_column_that_the_database_computes_is_told_as_it_is(maker: sessionmaker[Session], engine: Engine) -> None:
    with maker() as session:
        session.add(Sum(id=1, one=1))
        session.commit()
        session.get_one(Sum, 1).one = 2
        session.commit()
        assert sorted(told(engine))[:2] == [
            ("/sum-2", '{"id":1,"change":"changed","fields":{"total":3}}'),
            ("/sum-2", '{"id":1,"change":"created","fields":{"total":2}}'),
        ]
        session.execute(update(Sum).values(one=4))
        session.commit()
        assert sorted(told(engine)) == [
            ("/sum-3", '{"id":1,"change":"changed","fields":{"total":5}}'),
            ("/sum-5", '{"id":1,"change":"changed","fields":{"total":5}}'),
        ]


TWO = [{"event_id": 18, "text": "a"}, {"event_id": 18, "text": "b"}]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (lambda: (insert(Comment), TWO), "/comments-18"),
        (lambda: (insert(Comment).values(TWO),), "/comments-18"),
        (lambda: (insert(Comment).values(event_id=18),), "/comments-18"),
        (lambda: (insert(Comment).values({Comment.event_id: 18}),), "/comments-18"),
        (lambda: (insert(Comment).values(event_id=literal(17) + 1),), "/comments-18"),
        (lambda: (insert(Comment).from_select(["evt", "text"], select(literal(18), literal("x"))),), "/comments-18"),
        (lambda: (insert(Comment).values(text="x"),), "/comments-17"),
        (lambda: (insert(Comment), [{"text": "x"}, {"text": "y"}]), "/comments-17"),
        (lambda: (insert(Comment).returning(Comment), TWO), "/comments-18"),
        (lambda: (insert(Comment).returning(Comment.id, Comment.text), TWO), "/comments-18"),
    ],
    ids=["rows", "values", "row", "attribute", "sql", "query", "default", "defaults", "objects", "returning"],
)
def test_every_form_of_an_insert_is_told(
    maker: sessionmaker[Session], engine: Engine, arguments: Any, expected: str
) -> None:
    """Comments brought in by an import were in the table, and on no page: only rows given apart were told."""
    with maker() as session:
        session.execute(*arguments())
        session.commit()
    assert channels(engine) == [expected]


def test_an_insert_s_result_is_the_caller_s_as_ever(maker: sessionmaker[Session], engine: Engine) -> None:
    with maker() as session:
        one: Any = session.execute(insert(Comment).values(event_id=18))
        assert len(one.inserted_primary_key) == 1
        many: Any = session.execute(insert(Comment).values(TWO))
        assert (many.rowcount, many.returns_rows) == (2, False)
        many.close()
        found = session.scalars(insert(Comment).returning(Comment), TWO).all()
        assert [comment.text for comment in found] == ["a", "b"]
        assert all(comment in session for comment in found)
        rows = session.execute(insert(Comment).values(TWO).returning(Comment.text, Comment.event_id.label("at")))
        assert list(rows.keys()) == ["text", "at"]
        assert [tuple(row) for row in rows] == [("a", 18), ("b", 18)]


def upsert(engine: Engine) -> Any:
    return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[engine.dialect.name](Comment)


@pytest.mark.parametrize("returning", [True, False], ids=["returning", "reading"])
def test_an_upsert_is_told_by_what_stands_in_the_table(
    maker: sessionmaker[Session], engine: Engine, returning: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync job wrote comments of which half were there: pages were told of rows that were never written."""
    # Where what was written can't be returned (a view, a right to write and not to read), it is read by its keys.
    monkeypatch.setattr(_Insert, "_can_return", returning)
    new, there = {"slug": "new", "event_id": 18}, {"slug": "a", "event_id": 19}
    with maker() as session:
        statement = upsert(engine).on_conflict_do_nothing(index_elements=["slug"])
        session.execute(statement.values([new, there]))
        session.commit()
        assert channels(engine) == ["/comments-18"]
        session.execute(upsert(engine).values(there).on_conflict_do_nothing())
        session.commit()
        assert channels(engine) == []
        statement = upsert(engine)
        changes = {"evt": statement.excluded.evt}
        statement = statement.on_conflict_do_update(index_elements=["slug"], set_=changes)
        session.execute(statement.values(there))
        session.commit()
        assert channels(engine) == ["/comments-17", "/comments-19"]
        session.execute(statement, [{"slug": "a", "event_id": 17}, {"slug": "newer", "event_id": 18}])
        session.commit()
        assert channels(engine) == ["/comments-17", "/comments-18", "/comments-19"]
        elsewhere = upsert(engine).values(there)
        session.execute(elsewhere.on_conflict_do_update(index_elements=["slug"], set_={"evt": 18}))
        session.commit()
        assert channels(engine) == ["/comments-17", "/comments-18"]
        never = upsert(engine).values(there)
        session.execute(never.on_conflict_do_update(index_elements=["slug"], set_={"evt": 17}, where=Comment.likes > 9))
        session.commit()
        assert channels(engine) == []


def test_an_upsert_from_a_query_tells_the_place_that_a_row_left(maker: sessionmaker[Session], engine: Engine) -> None:
    with maker() as session:
        statement = upsert(engine).from_select(
            ["slug", "evt", "likes", "text"],
            select(literal("a"), literal(18), literal(0), literal("")).where(text("true")),
        )
        changes = {"evt": statement.excluded.evt}
        session.execute(statement.on_conflict_do_update(index_elements=["slug"], set_=changes))
        session.commit()
    assert channels(engine) == ["/comments-17", "/comments-18"]


def test_an_insert_or_replace_tells_of_the_row_that_made_way(maker: sessionmaker[Session], engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return
    with maker() as session:
        session.execute(insert(Comment).prefix_with("OR REPLACE").values(id=9, slug="a", event_id=18))
        session.commit()
    assert channels(engine) == ["/comments-17", "/comments-18"]


def test_a_statement_sees_what_the_session_had_not_flushed_yet(maker: sessionmaker[Session], engine: Engine) -> None:
    """A row was read before the flush that the statement itself begins, and told to be where it no longer was."""
    with maker() as session:
        session.get_one(Comment, 1).event_id = 18
        session.execute(update(Comment).where(Comment.event_id == 18).values(event_id=19))
        session.commit()
    assert channels(engine) == ["/comments-17", "/comments-18", "/comments-19"]


def test_a_deletion_that_a_filter_of_the_site_s_narrows_tells_what_is_gone(
    maker: sessionmaker[Session], engine: Engine
) -> None:
    with maker() as session:
        session.add(Comment(id=2, event_id=18))
        session.commit()
        told(engine)

        @event.listens_for(session, "do_orm_execute")
        def narrow(state: Any) -> None:
            if state.is_delete:
                state.statement = state.statement.where(Comment.id == 2)

        session.execute(delete(Comment))
        session.commit()
        assert session.get(Comment, 1) is not None
    assert channels(engine) == ["/comments-18"]


def test_a_key_that_a_statement_changes_tells_the_channel_that_is_known(
    maker: sessionmaker[Session], engine: Engine, caplog: Any
) -> None:
    with maker() as session:
        session.execute(update(Comment).values(id=Comment.id + 100))
        session.commit()
    assert channels(engine) == ["/comments-17"]
    assert "changed a key" in caplog.text


# No save fails because of us


def test_a_question_that_fails_leaves_the_save_alone(
    maker: sessionmaker[Session], engine: Engine, notify: Notifier, caplog: Any
) -> None:
    """On PostgreSQL a statement that fails takes its transaction along, and the save with it."""
    notify.declare(Comment, "all")
    with maker() as session:
        comment = session.get_one(Comment, 1)
        session.expire(comment, ["event_id"])
        comment.event_id = 18

        @event.listens_for(engine, "before_cursor_execute", retval=True)
        def break_it(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> Any:
            if statement.startswith("SELECT") and "rows_comment" in statement:
                statement = statement.replace("rows_comment", "nowhere")
            return statement, parameters

        session.flush()
        session.execute(update(Comment).where(Comment.id == 1).values(event_id=19))
        event.remove(engine, "before_cursor_execute", break_it)
        session.commit()
        assert comment.event_id == 19
    # The place that was left is not known; what is known is told.
    assert channels(engine) == ["/all", "/comments-18"]
    assert "rows of a change can't be read" in caplog.text


def test_a_function_that_asks_the_database_in_vain_leaves_the_save_alone(
    maker: sessionmaker[Session], engine: Engine, notify: Notifier, caplog: Any
) -> None:
    def asks(comment: Comment) -> str:
        session = Session.object_session(comment)
        assert session is not None
        session.execute(text("SELECT * FROM nowhere"))
        return "never"

    notify.declare(Comment, asks)
    notify.declare(Comment, "asked", asks)
    with maker() as session:
        session.get_one(Comment, 1).likes = 5
        session.commit()
        assert session.get_one(Comment, 1).likes == 5
    assert sorted(told(engine)) == [("/asked", "true"), ("/comments-17", "true")]
    assert "can't be told" in caplog.text


def test_a_condition_that_raises_sends_the_plain_hint(
    maker: sessionmaker[Session], engine: Engine, notify: Notifier, caplog: Any
) -> None:
    notify.declare(Comment, "when", {"secret": 1}, when=lambda row, change: row.nope)
    with maker() as session:
        session.get_one(Comment, 1).likes = 5
        session.commit()
    assert ("/when", "true") in told(engine)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.postgres
def test_an_insert_into_a_table_that_may_not_be_read_is_not_refused(postgres_url: str, caplog: Any) -> None:
    """RETURNING needs the right to read: a role that may only write was refused its INSERT."""
    engine = create_engine(driver(postgres_url, sync=True))
    Base.metadata.create_all(engine)
    outbox.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE writer_only"))
        connection.execute(text("GRANT INSERT ON rows_comment TO writer_only"))
        connection.execute(text("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO writer_only"))
        connection.execute(text("GRANT ALL ON fanfare_outbox TO writer_only"))
        connection.execute(insert(Event), [{"id": 18}])
    maker = sessionmaker(engine)
    notifier = Notifier(RecordingPublisher())  # type: ignore[arg-type]  # nothing is published
    notifier.committed = lambda written: None  # type: ignore[method-assign]  # the outbox is looked at
    notifier.bind(maker)
    with maker() as session:
        session.execute(text("SET LOCAL ROLE writer_only"))
        session.execute(insert(Comment), [{"event_id": 18}, {"event_id": 18}])
        session.commit()
    assert channels(engine) == ["/comments-18"]
    with engine.begin() as connection:
        connection.execute(text("DROP OWNED BY writer_only"))
        connection.execute(text("DROP ROLE writer_only"))
    engine.dispose()


# What is not told, as docs/orm.md says


def test_what_goes_by_the_session_is_not_told(maker: sessionmaker[Session], engine: Engine) -> None:
    with maker() as session:
        session.connection().execute(update(Comment.__table__).values(likes=1))
        session.execute(update(Comment.__table__).values(likes=2))
        session.execute(text("UPDATE rows_comment SET likes = 3"))
        session.bulk_update_mappings(Comment, [{"id": 1, "likes": 4}])
        session.bulk_insert_mappings(Comment, [{"event_id": 18}])
        session.bulk_save_objects([Comment(event_id=18)])
        session.execute(update(Comment).values(likes=5), execution_options={"fanfare": False})
        session.commit()
    assert channels(engine) == []


def test_a_row_that_another_session_moved_is_told_where_this_one_thinks_it_is(
    maker: sessionmaker[Session], engine: Engine
) -> None:
    """What is loaded is believed, for a question at every save would cost each of them; a lock or a version helps."""
    with maker() as session:
        comment = session.get_one(Comment, 1)
        session.expire_on_commit = False
        session.commit()
        with engine.begin() as connection:
            connection.execute(update(Comment.__table__).values(evt=18))
        comment.event_id = 19
        session.commit()
        assert channels(engine) == ["/comments-17", "/comments-19"]
        session.refresh(comment, with_for_update=True)
        comment.event_id = 17
        session.commit()
    assert channels(engine) == ["/comments-17", "/comments-19"]
