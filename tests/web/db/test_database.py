"""Saving: hints are committed with the rows and told after that; and the tables' migrations."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from services import ROOT
from sqlalchemy import Connection, event, func, insert, select, update
from visiting import HINTS

from hub.errors import BrokerUnavailable
from hub.orm import outbox
from hub.publisher import Item, Publisher, RecordingPublisher
from web.db.database import Database
from web.db.engine import DatabaseUnavailable
from web.db.migrate import migrate
from web.db.tables import Base
from web.features.comments.hints import COUNTS
from web.features.comments.models import Comment
from web.features.events.models import Event, Status
from web.services.jobs import rows as jobs


class Watching(RecordingPublisher):
    """A hub that looks, as a fast browser would, what a hint finds in the database."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.database: Database | None = None

    async def publish_many(self, items: Sequence[Item]) -> list[None]:
        assert self.database is not None
        self.found += await texts(self.database)
        self.record(items)
        return [None for _ in items]


class Stuck(Publisher):
    """A hub that takes what it is given and never answers."""

    async def publish_many(self, items: Sequence[Item]) -> list[None]:
        await asyncio.Event().wait()
        return []

    async def position(self, channel: str) -> str | None:
        return None


def comment(concert: Event, text: str = "Hello") -> Comment:
    return Comment(thread_id=concert.thread_id, name="Ada", text=text)


async def texts(database: Database) -> list[str]:
    async with database.reading() as session:
        return list(await session.scalars(select(Comment.text).order_by(Comment.id)))


async def waiting(database: Database) -> int:
    """Rows in the outbox."""
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(outbox.table)) or 0


def told(publisher: RecordingPublisher) -> list[str]:
    """The channels that were told, in order."""
    return [channel for channel, _ in publisher.published]


def of_comment(event: Event) -> list[str]:
    """The channels that a new comment of an event tells."""
    return [f"comments-{event.thread_id}", COUNTS]


async def test_a_hint_finds_the_row_it_is_about(database: Database, site_url: str, concert: Event) -> None:
    watching = Watching()
    watching.database = Database(site_url, watching, hints=HINTS)
    await watching.database.start()
    async with watching.database.saving() as session:
        session.add(comment(concert))
        await session.flush()
        assert watching.published == []
    await watching.database.close()
    assert told(watching) == of_comment(concert)
    assert set(watching.found) == {"Hello"}


async def test_a_saved_comment_tells_its_event_channel_with_its_id(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        row = comment(concert)
        session.add(row)
    assert told(publisher) == of_comment(concert)
    assert publisher.published[0][1]["comment"]["id"] == row.id
    # None may be left out for a newer one.
    assert all(item.id and not item.hint for item in publisher.items)
    assert await waiting(database) == 0


async def test_a_changed_event_tells_the_calendar_and_its_page_once_each(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        row = await session.get_one(Event, concert.id)
        row.status = Status.LIVE
        row.title = "Brass"
    assert publisher.published == [("events", True), (f"event-{concert.id}", True)]


async def test_a_removed_event_tells_too(database: Database, publisher: RecordingPublisher, concert: Event) -> None:
    async with database.saving() as session:
        await session.delete(await session.get_one(Event, concert.id))
    assert publisher.published == [("events", True), (f"event-{concert.id}", True)]


async def test_writing_what_was_there_already_tells_nobody(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        row = await session.get_one(Event, concert.id)
        row.title = concert.title
        row.starts_at = concert.starts_at
    assert publisher.published == []


async def test_a_rollback_tells_nobody_and_keeps_nothing(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async def fail() -> None:
        async with database.saving() as session:
            session.add(comment(concert))
            await session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert publisher.published == []
    assert await texts(database) == []
    assert await waiting(database) == 0


async def test_hints_of_before_a_rollback_are_forgotten(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        session.add(comment(concert, "first"))
        await session.flush()
        await session.rollback()
        other = Event(title="b", slug="b", starts_at=concert.starts_at, category_id=concert.category_id)
        session.add(other)
    assert publisher.published == [("events", True), (f"event-{other.id}", True)]


async def test_a_savepoint_that_is_rolled_back_leaves_the_other_hints(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        session.add(comment(concert, "stays"))
        await session.flush()
        savepoint = await session.begin_nested()
        await savepoint.rollback()
    assert told(publisher) == of_comment(concert)


async def test_a_save_stands_when_the_hub_is_away_and_is_told_when_it_is_back(
    database: Database, publisher: RecordingPublisher, concert: Event, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.error = BrokerUnavailable("no hub")
    async with database.saving() as session:
        session.add(comment(concert))
    assert await texts(database) == ["Hello"]
    assert (publisher.published, await waiting(database)) == ([], 2)
    publisher.error = None
    async with asyncio.timeout(60):
        while not publisher.published:
            # At once False while the hub is left alone.
            await database.notifier.flush()
            await asyncio.sleep(0.02)
    await database.notifier.flush()
    assert told(publisher) == of_comment(concert)
    assert await waiting(database) == 0
    assert [record.message for record in caplog.records] == ["hub can't be told, changes wait in the outbox: no hub"]


async def test_a_save_stands_when_the_hub_does_not_answer(database: Database, site_url: str, concert: Event) -> None:
    stuck = Database(site_url, Stuck(), hints=HINTS)
    await stuck.start()
    async with asyncio.timeout(60), stuck.saving() as session:
        session.add(comment(concert))
    await stuck.close(timeout=0.01)
    assert await texts(database) == ["Hello"]
    assert await waiting(database) == 2


async def test_a_request_cancelled_while_it_saves_has_saved_and_told(
    database: Database, publisher: RecordingPublisher, site_url: str, concert: Event
) -> None:
    """A browser that leaves cancels its request; the save must not be torn by it."""
    site = Database(site_url, publisher, hints=HINTS)
    await site.start()

    async def request() -> None:
        async with site.saving() as session:
            session.add(comment(concert))
            event.listen(session.sync_session, "before_commit", lambda _: task.cancel())

    task = asyncio.create_task(request())
    with pytest.raises(asyncio.CancelledError):
        await task
    await site.close()
    assert told(publisher) == of_comment(concert)
    assert await texts(database) == ["Hello"]


#: A site that is killed at the moment it has committed and is about to publish.
_KILLED = """
import asyncio, os, signal, sys
from hub.publisher import RecordingPublisher
from web.app import hints_of
from web.db.database import Database
from web.features.comments.models import Comment

class Deadly(RecordingPublisher):
    async def publish_many(self, items):
        os.kill(os.getpid(), signal.SIGKILL)

async def save(url, event_id):
    database = Database(url, Deadly(), hints=hints_of())
    await database.start()
    async with database.saving() as session:
        session.add(Comment(thread_id=event_id, name="Ada", text="Last words"))
    await database.close()

asyncio.run(save(sys.argv[1], int(sys.argv[2])))
"""


async def test_what_a_killed_process_committed_is_told_once_by_another(
    database: Database, publisher: RecordingPublisher, site_url: str, concert: Event
) -> None:
    await database.notifier.close()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, site_url, str(concert.thread_id), cwd=ROOT
    )
    assert await process.wait() == -signal.SIGKILL
    assert (await texts(database), publisher.published) == (["Last words"], [])
    async with database.engine.begin() as connection:
        # As if the time had passed in which a row is its writer's.
        assert (await connection.execute(update(outbox.table).values(due=0))).rowcount == 2
    await database.start()
    others = Database(site_url, publisher, hints=HINTS)
    await others.start()
    assert await asyncio.gather(database.notifier.flush(), others.notifier.flush()) == [True, True]
    await others.close()
    assert sorted(told(publisher)) == sorted(of_comment(concert))
    assert await waiting(database) == 0


async def test_what_the_hub_refuses_is_kept(database: Database, publisher: RecordingPublisher, concert: Event) -> None:
    """A row that can't be published is parked, and others pass it."""
    async with database.engine.begin() as connection:
        bad = {"channel": "/meta/nothing", "data": "true", "created": 0, "due": 0}
        await connection.execute(insert(outbox.table), bad)
    async with database.saving() as session:
        session.add(comment(concert))
    assert told(publisher) == of_comment(concert)
    async with asyncio.timeout(60):
        while (await database.notifier.counts()).waiting:
            await asyncio.sleep(0.02)
    assert (await database.notifier.counts()).parked == 1


async def test_many_writers_at_once_all_get_through(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    """SQLite refuses a reader that becomes a writer while another writes; ours take the lock first and wait."""

    async def save(number: int) -> None:
        async with database.saving() as session:
            await session.get_one(Event, concert.id)
            session.add(comment(concert, str(number)))

    await asyncio.gather(*(save(number) for number in range(20)))
    assert sorted(await texts(database), key=int) == [str(number) for number in range(20)]
    assert sorted(set(told(publisher))) == sorted(of_comment(concert))
    assert len(publisher.published) == 40


async def test_times_come_back_with_their_zone(database: Database, concert: Event) -> None:
    async with database.reading() as session:
        event = await session.get_one(Event, concert.id)
    assert event.starts_at == concert.starts_at
    assert event.starts_at.utcoffset() is not None


# SQLite doesn't say what an index of an expression is of.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
async def test_migrations_make_what_the_models_say(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection)
        return list(compare_metadata(context, [Base.metadata, outbox.metadata, jobs.metadata]))  # type: ignore[arg-type]  # takes several

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_two_processes_may_migrate_at_once(database_url: str, publisher: RecordingPublisher) -> None:
    await asyncio.gather(migrate(database_url), migrate(database_url))
    database = Database(database_url, publisher, hints=HINTS)
    await database.check()
    assert await texts(database) == []
    await database.close()


@pytest.mark.parametrize("words", ["", "?sslmode=verify-full&sslrootcert=/nowhere.crt"])
@pytest.mark.parametrize("work", [migrate, lambda url: Database(url, RecordingPublisher()).check()])
async def test_a_database_that_is_away_is_named_in_one_line(work: object, words: str) -> None:
    """Without the certificate that sslmode=verify-full needs, the site ended in a hundred lines of traceback."""
    url = "postgresql://fanfare:secret@127.0.0.1:1/fanfare" + words
    with pytest.raises(DatabaseUnavailable, match=r"^DATABASE_URL: 127\.0\.0\.1:1: ") as caught:
        await work(url)  # type: ignore[operator]  # one of the two above
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_what_is_looked_up_is_of_one_moment_and_writes_nothing(database: Database, concert: Event) -> None:
    def read(connection: Connection) -> list[str]:
        found = [connection.scalar(select(Event.title)) or ""]
        connection.execute(update(Event).values(title="Other"))
        return found

    first = await database.look(lambda connection: connection.scalar(select(Event.title)))
    if database.engine.dialect.name == "sqlite":
        # PostgreSQL's readings have no transaction around them (`reading_engine`).
        assert await database.look(read) == [first]
    assert await database.look(lambda connection: connection.scalar(select(Event.title))) == first


async def test_who_leaves_while_looking_keeps_no_connection(database: Database, concert: Event) -> None:
    """There are fifteen connections: a page that nobody waits for any more would hold one for ever."""
    started = asyncio.Event()

    def read(connection: Connection) -> int:
        started.set()
        return len(connection.execute(select(Event.title, func.count()).group_by(Event.title)).all())

    for _ in range(40):
        started.clear()
        looking = asyncio.create_task(database.look(read))
        await started.wait()
        looking.cancel()
        await asyncio.wait([looking])
    assert await database.look(read) == 1
