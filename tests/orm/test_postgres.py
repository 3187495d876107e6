"""PostgreSQL's triggers: any client's change is written into the outbox, and wakes the sweeper."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest
from shop import Base, Comment, Event, driver
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker
from stopwatch import Stopwatch

from hub.errors import BrokerUnavailable, HubError
from hub.orm import outbox, postgres
from hub.orm.postgres import Watch, WatchError, install, installed, remove
from hub.orm.sqlalchemy import AsyncNotifier, Notifier
from hub.publisher import RecordingPublisher, SyncPublisher

SyncNotify = tuple[Notifier, RecordingPublisher]

WATCHES = (
    Watch("comment", "comments-{event_id}", data="{id}"),
    Watch("event", "events"),
    Watch("event", "event-{id}", fields=("status",)),
)


@pytest.fixture
def dsn(new_postgres_database: Callable[[], str]) -> str:
    return new_postgres_database()


@pytest.fixture
async def psql(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Some other program's connection, with the shop's tables watched."""
    engine = create_async_engine(driver(dsn))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    await install(dsn, *WATCHES)
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def engine(dsn: str, psql: asyncpg.Connection) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(driver(dsn))
    yield engine
    await engine.dispose()


async def told(psql: asyncpg.Connection) -> list[tuple[str, Any]]:
    """What has been written into the outbox since the last call."""
    rows = await psql.fetch("DELETE FROM fanfare_outbox RETURNING id, channel, data")
    return [(row["channel"], json.loads(row["data"])) for row in sorted(rows, key=lambda row: row["id"])]


def add_event(id: int) -> str:
    return f"INSERT INTO event (id, name, status, secret) VALUES ({id}, 'x', 'upcoming', 'hush')"


async def test_a_change_by_any_client_is_told(psql: asyncpg.Connection) -> None:
    await psql.execute(add_event(1))
    assert await told(psql) == [
        ("/events", True),
        ("/event-1", {"id": 1, "change": "created", "fields": {"status": "upcoming"}}),
    ]
    await psql.execute("UPDATE event SET status = 'live', secret = 'new'")
    assert await told(psql) == [
        ("/events", True),
        ("/event-1", {"id": 1, "change": "changed", "fields": {"status": "live"}}),
    ]
    await psql.execute("UPDATE event SET name = 'y'")
    assert await told(psql) == [("/events", True)]
    await psql.execute("UPDATE event SET name = 'y'")
    assert await told(psql) == []
    await psql.execute("DELETE FROM event")
    assert await told(psql) == [("/events", True), ("/event-1", {"id": 1, "change": "deleted", "fields": {}})]


async def test_a_row_that_moves_tells_both_channels(psql: asyncpg.Connection) -> None:
    await psql.execute(f"{add_event(1)}; {add_event(2)}; INSERT INTO comment VALUES (7, 'x', 1)")
    await told(psql)
    await psql.execute("UPDATE comment SET event_id = 2")
    assert await told(psql) == [("/comments-1", 7), ("/comments-2", 7)]
    await psql.execute("UPDATE comment SET event_id = NULL")
    assert await told(psql) == [("/comments-2", 7)]


async def test_a_rollback_is_not_told(psql: asyncpg.Connection) -> None:
    transaction = psql.transaction()
    await transaction.start()
    await psql.execute(add_event(1))
    await transaction.rollback()
    assert await told(psql) == []


async def test_a_statement_that_changes_many_rows_tells_a_channel_once(psql: asyncpg.Connection) -> None:
    await psql.execute("INSERT INTO event SELECT n, 'x', 'upcoming', '' FROM generate_series(1, 100) n")
    found = [channel for channel, _ in await told(psql)]
    assert found.count("/events") == 1
    assert len(found) == 101


async def test_a_bad_channel_is_a_warning_and_never_fails_the_change(psql: asyncpg.Connection, dsn: str) -> None:
    await install(dsn, Watch("event", "{name}"))
    heard: list[Any] = []
    psql.add_log_listener(lambda _, message: heard.append(message.message))
    await psql.execute(
        "INSERT INTO event VALUES (1, E'a\\nb', '', ''), (2, repeat('x', 300), '', ''), (3, 'ok', '', '')"
    )
    assert ("/ok", True) in await told(psql)
    assert await psql.fetchval("SELECT count(*) FROM event") == 3
    async with asyncio.timeout(60):
        while len(heard) < 2:
            await psql.execute("SELECT 1")
    assert all("can't be told" in text for text in heard)


async def test_fields_beyond_the_size_are_left_to_be_fetched(psql: asyncpg.Connection) -> None:
    await psql.execute("INSERT INTO event VALUES (1, 'x', repeat('x', 10000), '')")
    assert ("/event-1", {"id": 1, "change": "created", "fields": None}) in await told(psql)


async def test_who_may_change_the_table_need_not_be_allowed_to_read_the_outbox(psql: asyncpg.Connection) -> None:
    await psql.execute("CREATE ROLE fanfare_writer; GRANT INSERT ON event TO fanfare_writer; SET ROLE fanfare_writer")
    try:
        await psql.execute(add_event(1))
    finally:
        await psql.execute("RESET ROLE")
        await psql.execute("DROP OWNED BY fanfare_writer; DROP ROLE fanfare_writer")
    assert len(await told(psql)) == 2


async def test_installing_twice_is_installing_once_and_removing_leaves_nothing(
    psql: asyncpg.Connection, dsn: str
) -> None:
    await install(dsn, *WATCHES)
    assert [table for table, _ in await installed(dsn)] == ["comment", "event", "event"]
    assert await remove(dsn, "event") == 2
    assert [table for table, _ in await installed(dsn)] == ["comment"]
    assert await remove(dsn) == 1
    assert await psql.fetchval("SELECT count(*) FROM pg_proc WHERE proname = 'fanfare_tell'") == 0
    await psql.execute(add_event(1))
    assert await told(psql) == []


@pytest.mark.parametrize(
    "watch",
    [Watch("nope", "x"), Watch("event", "x-{nope}"), Watch("event", "x", fields=("nope",)), Watch("pg_x'", "x")],
)
async def test_what_is_not_there_can_not_be_watched(psql: asyncpg.Connection, dsn: str, watch: Watch) -> None:
    with pytest.raises(WatchError, match=r"no (table|column)"):
        await install(dsn, watch)


@pytest.mark.parametrize("options", [{"channel": ""}, {"channel": "x", "on": ("related",)}, {"channel": "x-{a.b}"}])
def test_a_bad_watch_is_refused_before_anything_is_asked(options: dict[str, Any]) -> None:
    with pytest.raises((HubError, ValueError)):
        Watch("event", **options)


async def test_a_database_that_is_away_is_one_line(unused_tcp_port: int) -> None:
    with pytest.raises(BrokerUnavailable, match="database can't be reached"):
        await installed(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/none")


async def test_names_and_values_are_quoted(psql: asyncpg.Connection, dsn: str) -> None:
    await psql.execute("""CREATE TABLE "Odd ""one" (id int PRIMARY KEY, "a" text)""")
    await install(dsn, Watch('Odd "one', "it's-\\-{a}", data="it's \\"))
    await psql.execute("""INSERT INTO "Odd ""one" VALUES (1, 'x')""")
    assert await told(psql) == [("/it's-\\-x", "it's \\")]


async def test_what_the_orm_has_told_the_trigger_does_not_repeat(psql: asyncpg.Connection, engine: AsyncEngine) -> None:
    maker = async_sessionmaker(engine)
    notify = AsyncNotifier(RecordingPublisher())
    notify.declare(Comment, "comments-{event_id}", data=lambda comment: comment.id)
    # Never started, so that the outbox keeps what was written.
    notify.bind(maker)
    async with maker.begin() as session:
        session.add(Event(id=1))
        session.add(Comment(id=7, event_id=1))
    assert sorted(await told(psql), key=str) == sorted(
        [
            ("/events", True),
            ("/event-1", {"id": 1, "change": "created", "fields": {"status": "upcoming"}}),
            ("/comments-1", 7),
        ],
        key=str,
    )


LISTENS = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"


async def until_listening(psql: asyncpg.Connection, other_than: int | None = None) -> int:
    """The process id of the connection that listens, once there is one."""
    async with asyncio.timeout(60):
        while (found := await psql.fetchval(f"SELECT pid {LISTENS}")) in {None, other_than}:
            await asyncio.sleep(0.01)
    return int(found)


async def until_told(publisher: RecordingPublisher) -> None:
    """The event and its list are two."""
    async with asyncio.timeout(60):
        while len(publisher.items) < 2:
            await asyncio.sleep(0.005)


async def test_notify_wakes_the_sweeper(psql: asyncpg.Connection, engine: AsyncEngine) -> None:
    """The next poll is an hour away: only NOTIFY can be what wakes it."""
    publisher = RecordingPublisher()
    notify = AsyncNotifier(publisher, poll=3600.0)
    notify.bind(async_sessionmaker(engine))
    async with notify:
        assert await notify.flush()
        with Stopwatch() as watch:
            await psql.execute(add_event(1))
            await until_told(publisher)
        assert watch.seconds < 1
    assert [channel for channel, _ in publisher.published] == ["events", "event-1"]


async def test_a_listener_that_is_cut_off_listens_again(psql: asyncpg.Connection, engine: AsyncEngine) -> None:
    publisher = RecordingPublisher()
    notify = AsyncNotifier(publisher, poll=3600.0)
    notify.bind(async_sessionmaker(engine))
    async with notify:
        cut = await until_listening(psql)
        await psql.execute(f"SELECT pg_terminate_backend({cut})")
        await until_listening(psql, cut)
        assert await notify.flush()
        await psql.execute(add_event(1))
        await until_told(publisher)


async def test_a_listener_that_is_cut_off_as_it_begins_listens_again(
    psql: asyncpg.Connection, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never did: the pool gave it the broken connection for ever, and nothing was told until a restart."""
    begin = asyncpg.Connection.add_listener
    cuts = 0

    async def cut_off(connection: asyncpg.Connection, *args: Any) -> None:
        nonlocal cuts
        if not cuts:
            cuts += 1
            await psql.execute(f"SELECT pg_terminate_backend({connection.get_server_pid()})")
        await begin(connection, *args)

    monkeypatch.setattr(asyncpg.Connection, "add_listener", cut_off)
    publisher = RecordingPublisher()
    notify = AsyncNotifier(publisher, poll=3600.0)
    notify.bind(async_sessionmaker(engine))
    async with notify:
        await psql.execute(add_event(1))
        await until_told(publisher)
    assert cuts == 1


@pytest.fixture
def sync_notify(psql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, dsn: str) -> Iterator[SyncNotify]:
    """A thread that tells, whose next poll is an hour away, and what it has told."""
    monkeypatch.setattr("hub.orm.teller.LISTEN_AFTER", 0.0)
    monkeypatch.setattr("hub.orm.teller.LISTEN_AGAIN", 0.05)
    publisher = RecordingPublisher()
    engine = create_engine(driver(dsn, sync=True))
    sender = cast(SyncPublisher, SimpleNamespace(publish_many=publisher.record))
    notify = Notifier(sender, poll=3600.0)
    notify.bind(sessionmaker(engine))
    notify.start()
    yield notify, publisher
    notify.close()
    engine.dispose()


async def test_notify_wakes_a_thread(psql: asyncpg.Connection, sync_notify: SyncNotify) -> None:
    notify, publisher = sync_notify
    await until_listening(psql)
    assert await asyncio.to_thread(notify.flush)
    with Stopwatch() as watch:
        await psql.execute(add_event(1))
        await until_told(publisher)
    assert watch.seconds < 1
    await asyncio.to_thread(notify.close)
    async with asyncio.timeout(60):
        while await psql.fetchval(f"SELECT pid {LISTENS}") is not None:
            await asyncio.sleep(0.01)


async def test_a_thread_that_is_cut_off_listens_again(psql: asyncpg.Connection, sync_notify: SyncNotify) -> None:
    notify, publisher = sync_notify
    cut = await until_listening(psql)
    await psql.execute(f"SELECT pg_terminate_backend({cut})")
    await until_listening(psql, cut)
    assert await asyncio.to_thread(notify.flush)
    await psql.execute(add_event(1))
    await until_told(publisher)


async def test_a_forked_child_leaves_its_parents_ear_alone(psql: asyncpg.Connection, sync_notify: SyncNotify) -> None:
    notify, publisher = sync_notify
    ear = await until_listening(psql)
    with warnings.catch_warnings():
        # Python 3.12 warns of forks in a process with threads, which is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        gc.collect()
        os._exit(0 if notify._teller is not None and notify._teller._listening is None else 1)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await asyncio.to_thread(notify.flush)
    await psql.execute(add_event(1))
    await until_told(publisher)
    assert await until_listening(psql) == ear


async def test_the_outbox_is_that_of_the_sqlalchemy_tables(psql: asyncpg.Connection) -> None:
    columns = """SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        FROM information_schema.columns WHERE table_name LIKE 'fanfare_%' ORDER BY 1, ordinal_position"""
    indexes = "SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'fanfare_%' ORDER BY 1"
    ours = [await psql.fetch(columns), await psql.fetch(indexes)]
    await psql.execute("DROP TABLE fanfare_outbox, fanfare_lease")
    for statement in outbox.schema("postgresql"):
        await psql.execute(statement)
    assert [await psql.fetch(columns), await psql.fetch(indexes)] == ours


def test_the_sql_for_a_migration_is_what_install_runs() -> None:
    tables, function = postgres.schema_sql()
    assert "fanfare_outbox" in tables
    assert f"NOTIFY {outbox.NOTIFY_CHANNEL}".lower().split()[1] in function
