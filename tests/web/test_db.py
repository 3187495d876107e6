"""Saving: commit first, then the hints; and the tables' migrations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select

from hub.errors import BrokerUnavailable
from hub.publisher import Item, Publisher, RecordingPublisher
from web.db import Database, DatabaseUnavailable, PublishingTeller, migrate
from web.hints import Hint
from web.models import Base, Comment, Event, Status


class Watching:
    """A teller that looks, as a fast browser would, what a hint finds in the database."""

    def __init__(self) -> None:
        self.database: Database | None = None
        self.seen: list[tuple[Hint, list[str]]] = []

    async def tell(self, hints: Sequence[Hint]) -> None:
        assert self.database is not None
        async with self.database.reading() as session:
            texts = list(await session.scalars(select(Comment.text)))
        self.seen += [(hint, texts) for hint in hints]


class Stuck(Publisher):
    """A hub that takes what it is given and never answers."""

    async def publish_many(self, items: Sequence[Item]) -> list[None]:
        await asyncio.Event().wait()
        return []

    async def position(self, channel: str) -> str | None:
        return None


def comment(event: Event, text: str = "Hello") -> Comment:
    return Comment(event_id=event.id, name="Ada", text=text)


async def texts(database: Database) -> list[str]:
    async with database.reading() as session:
        return list(await session.scalars(select(Comment.text).order_by(Comment.id)))


async def test_a_hint_finds_the_row_it_is_about(database: Database, site_url: str, concert: Event) -> None:
    watching = Watching()
    watching.database = Database(site_url, watching)
    async with watching.database.saving() as session:
        session.add(comment(concert))
        await session.flush()
        assert watching.seen == []
    await watching.database.close()
    assert [(hint.channel, found) for hint, found in watching.seen] == [(f"comments-{concert.id}", ["Hello"])]


async def test_a_saved_comment_tells_its_event_channel_with_its_id(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        row = comment(concert)
        session.add(row)
    assert publisher.published == [(f"comments-{concert.id}", row.id)]
    assert all(item.hint for item in publisher.items)


async def test_a_changed_event_tells_the_calendar_and_its_page_once_each(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        event = await session.get_one(Event, concert.id)
        event.status = Status.LIVE
        await session.flush()
        event.title = "Brass"
    assert publisher.published == [("events", True), (f"event-{concert.id}", True)]


async def test_a_removed_event_tells_too(database: Database, publisher: RecordingPublisher, concert: Event) -> None:
    async with database.saving() as session:
        await session.delete(await session.get_one(Event, concert.id))
    assert publisher.published == [("events", True), (f"event-{concert.id}", True)]


async def test_writing_what_was_there_already_tells_nobody(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        event = await session.get_one(Event, concert.id)
        event.title = concert.title
        event.starts_at = concert.starts_at
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
    assert [channel for channel, _ in publisher.published] == [f"comments-{concert.id}"]


async def test_a_save_stands_when_the_hub_is_away(
    database: Database, publisher: RecordingPublisher, concert: Event, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.error = BrokerUnavailable("no hub")
    async with database.saving() as session:
        session.add(comment(concert))
    assert await texts(database) == ["Hello"]
    assert [record.message for record in caplog.records] == ["hint not given"]


async def test_a_save_stands_when_the_hub_does_not_answer(
    database: Database, site_url: str, concert: Event, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = Database(site_url, PublishingTeller(Stuck(), timeout=0.01))
    async with stuck.saving() as session:
        session.add(comment(concert))
    await stuck.close()
    assert await texts(database) == ["Hello"]
    assert [record.message for record in caplog.records] == ["hint not given"]


async def test_a_request_cancelled_while_it_saves_has_saved_and_told(site_url: str, concert: Event) -> None:
    """A browser that leaves cancels its request; between commit and hint that would lose the hint."""
    telling, go_on, told = asyncio.Event(), asyncio.Event(), []

    class Slow:
        async def tell(self, hints: Sequence[Hint]) -> None:
            telling.set()
            await go_on.wait()
            told.extend(hints)

    database = Database(site_url, Slow())

    async def request() -> None:
        async with database.saving() as session:
            session.add(comment(concert))

    task = asyncio.create_task(request())
    await telling.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await texts(database) == ["Hello"]
    assert told == []
    go_on.set()
    await database.close()
    assert [hint.channel for hint in told] == [f"comments-{concert.id}"]


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
    assert len(publisher.published) == 20


async def test_times_come_back_with_their_zone(database: Database, concert: Event) -> None:
    async with database.reading() as session:
        event = await session.get_one(Event, concert.id)
    assert event.starts_at == concert.starts_at
    assert event.starts_at.utcoffset() is not None


async def test_migrations_make_what_the_models_say(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_two_processes_may_migrate_at_once(database_url: str, publisher: RecordingPublisher) -> None:
    await asyncio.gather(migrate(database_url), migrate(database_url))
    database = Database(database_url, PublishingTeller(publisher))
    await database.check()
    assert await texts(database) == []
    await database.close()


@pytest.mark.parametrize("work", [migrate, lambda url: Database(url, PublishingTeller(RecordingPublisher())).check()])
async def test_a_database_that_is_away_is_named_in_one_line(work: object) -> None:
    url = "postgresql://fanfare:secret@127.0.0.1:1/fanfare"
    with pytest.raises(DatabaseUnavailable, match=r"^DATABASE_URL: 127\.0\.0\.1:1: ") as caught:
        await work(url)  # type: ignore[operator]  # one of the two above
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
