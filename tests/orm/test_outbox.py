"""The outbox's tables: what is written, taken, parked; the lease."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, func, insert, inspect, select

from hub.orm import outbox
from hub.orm.declarations import Notice
from hub.orm.rows import GRACE, Failure, Outcome


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


def write(connection: Connection, *channels: str, subject: str | None = None, now: float = 1000.0) -> list[int]:
    return outbox.write(connection, [Notice(channel, "true", True, subject) for channel in channels], now)


def ids(rows: list[outbox.Row]) -> list[int]:
    return [row.id for row in rows]


def refuse(connection: Connection, row: outbox.Row, due: float | None) -> None:
    outbox.settle(connection, Outcome(failed=[Failure(row, "403:/a:no", due)]))


def test_ids_are_never_used_again(connection: Connection) -> None:
    """An id is a version: SQLite would give a deleted row's to the next one."""
    first = write(connection, "/a", "/b")
    outbox.settle(connection, Outcome(told=first))
    assert min(write(connection, "/c")) > max(first)


def test_nothing_to_write_writes_nothing(connection: Connection) -> None:
    assert outbox.write(connection, [], 1000.0) == []


def test_take_finds_what_was_left_of_the_same_subject(connection: Connection) -> None:
    [left] = write(connection, "/a", subject="event:1")
    [other] = write(connection, "/a", subject="event:2")
    [mine] = write(connection, "/a", subject="event:1")
    assert ids(outbox.take(connection, [mine], ["event:1"])) == [left, mine]
    assert ids(outbox.take(connection, [other], [])) == [other]


def test_a_row_is_its_writer_s_for_a_while(connection: Connection) -> None:
    written = write(connection, "/a")
    assert outbox.due(connection, 1000.0) == []
    assert ids(outbox.due(connection, 1000.0 + GRACE)) == written


def test_told_rows_are_gone(connection: Connection) -> None:
    written = write(connection, "/a", "/b")
    outbox.settle(connection, Outcome(told=written))
    assert connection.scalar(select(func.count()).select_from(outbox.table)) == 0


def test_a_refused_row_waits_and_nothing_of_its_subject_overtakes_it(connection: Connection) -> None:
    [first] = write(connection, "/a", subject="event:1")
    [row] = outbox.due(connection, 1002.0)
    refuse(connection, row, due=1010.0)
    write(connection, "/a", subject="event:1")
    [elsewhere] = write(connection, "/b", subject="event:1")
    assert ids(outbox.due(connection, 1005.0)) == [elsewhere]
    assert ids(outbox.due(connection, 1010.0))[0] == first
    assert outbox.due(connection, 1010.0)[0].tries == 1


def test_a_parked_row_is_kept_counted_and_listed_and_in_nobody_s_way(connection: Connection) -> None:
    [first, second] = write(connection, "/a", "/a", subject="event:1")
    refuse(connection, outbox.due(connection, 1002.0)[0], due=None)
    assert ids(outbox.due(connection, 9999.0)) == [second]
    assert ids(outbox.take(connection, [first], ["event:1"])) == [second]
    assert outbox.counts(connection) == outbox.Counts(waiting=1, parked=1, oldest=1000.0)
    [parked] = outbox.parked(connection)
    assert (parked.row.id, parked.error) == (first, "403:/a:no")


def test_parked_rows_can_be_tried_again_or_dropped(connection: Connection) -> None:
    first, second = write(connection, "/a", "/b")
    for row in outbox.due(connection, 1002.0):
        refuse(connection, row, due=None)
    assert outbox.retry(connection, 2000.0, [first]) == 1
    assert ids(outbox.due(connection, 2000.0)) == [first]
    assert outbox.drop(connection, [first, second]) == 1
    assert outbox.parked(connection) == []


def test_one_sweeper_at_a_time_holds_the_lease(connection: Connection) -> None:
    assert outbox.hold_lease(connection, "alice", 1000.0, 10)
    assert outbox.hold_lease(connection, "alice", 1005.0, 10)
    assert not outbox.hold_lease(connection, "bob", 1014.0, 10)
    assert outbox.hold_lease(connection, "bob", 1016.0, 10)
    assert not outbox.hold_lease(connection, "alice", 1017.0, 10)
    outbox.drop_lease(connection, "alice")
    assert not outbox.hold_lease(connection, "alice", 1018.0, 10)
    outbox.drop_lease(connection, "bob")
    assert outbox.hold_lease(connection, "alice", 1018.0, 10)


def test_the_schema_for_migrations_makes_the_same_tables(connection: Connection) -> None:
    outbox.metadata.drop_all(connection)
    for statement in outbox.schema(connection.dialect.name):
        connection.exec_driver_sql(statement)
    connection.execute(
        insert(outbox.table).values(channel="/a", data="true", created=1.0, due=1.0),
    )
    assert outbox.due(connection, 2.0)[0].hint
    assert {index["name"] for index in inspect(connection).get_indexes("fanfare_outbox")} == {
        "fanfare_outbox_due",
        "fanfare_outbox_subject",
    }
