"""What SQLAlchemy sessions notice, when it is told, and when it is not."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest import mock

import pytest
from shop import Comment, Event, Tag
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from hub.app import Hub
from hub.errors import BadMessage, BrokerUnavailable, ForbiddenChannel, InvalidChannel
from hub.metrics import HubMetrics
from hub.orm import outbox
from hub.orm.metrics import of_outbox
from hub.orm.sqlalchemy import AsyncNotifier, Notifier
from hub.orm.statements import MAX_BULK
from hub.orm.teller import Teller
from hub.publisher import RecordingPublisher
from hub.settings import Settings

Maker = async_sessionmaker[AsyncSession]


async def new_event(maker: Maker, **values: Any) -> int:
    async with maker() as session:
        event = Event(**values)
        session.add(event)
        await session.commit()
        return event.id


async def new_comment(maker: Maker, event: int | None) -> int:
    async with maker() as session:
        comment = Comment(event_id=event)
        session.add(comment)
        await session.commit()
        return comment.id


async def told(notify: AsyncNotifier, publisher: RecordingPublisher) -> list[tuple[str, Any]]:
    """What has been told since the last call, with versions left out."""
    assert await notify.flush()
    found = []
    for channel, data in publisher.published:
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if name != "version"}
        found.append((channel, data))
    publisher.clear()
    return found


async def test_a_new_row_is_told_after_the_commit(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    event = await new_event(maker, name="Monday")
    assert await told(notify, publisher) == [
        ("events", True),
        (f"event-{event}", {"id": event, "change": "created", "fields": {"status": "upcoming"}}),
    ]
    comment = await new_comment(maker, event)
    assert await told(notify, publisher) == [(f"comments-{event}", comment)]


async def test_nothing_is_told_before_the_commit(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    async with maker() as session:
        session.add(Event())
        await session.flush()
        notify._teller.sweep()  # type: ignore[union-attr]  # started by the fixture
        assert await told(notify, publisher) == []
        await session.commit()
    assert len(await told(notify, publisher)) == 2


async def test_told_rows_leave_the_outbox(notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher) -> None:
    await new_event(maker)
    assert await told(notify, publisher)
    assert await notify.counts() == outbox.Counts(waiting=0, parked=0, oldest=None)


async def test_a_rollback_is_not_told(notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher) -> None:
    async with maker() as session:
        session.add(Event())
        await session.flush()
        await session.rollback()
        session.add(Event(id=7))
        await session.commit()
    assert [channel for channel, _ in await told(notify, publisher)] == ["events", "event-7"]


async def test_a_savepoint_s_rollback_takes_its_hints_with_it(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    event = await new_event(maker)
    await told(notify, publisher)
    async with maker() as session:
        kept = Comment(event_id=event)
        session.add(kept)
        async with session.begin_nested() as savepoint:
            session.add(Comment(event_id=event))
            await session.flush()
            await savepoint.rollback()
        async with session.begin_nested():
            session.add(Comment(id=99, event_id=event))
        # A savepoint that is released is not a commit.
        assert await told(notify, publisher) == []
        await session.commit()
        assert await told(notify, publisher) == [(f"comments-{event}", kept.id), (f"comments-{event}", 99)]


async def test_a_flush_that_fails_tells_nothing(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    event = await new_event(maker)
    await told(notify, publisher)
    async with maker() as session:
        session.add(Event(id=event))
        with pytest.raises(IntegrityError):
            await session.commit()
        await session.rollback()
        session.add(Comment(id=5, event_id=event))
        await session.commit()
    assert await told(notify, publisher) == [(f"comments-{event}", 5)]


async def test_an_update_tells_the_fields_that_changed(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    event = await new_event(maker)
    await told(notify, publisher)
    async with maker() as session:
        (await session.get_one(Event, event)).status = "live"
        await session.commit()
    assert await told(notify, publisher) == [
        ("events", True),
        (f"event-{event}", {"id": event, "change": "changed", "fields": {"status": "live"}}),
    ]
    async with maker() as session:
        (await session.get_one(Event, event)).secret = "new"
        await session.commit()
    assert await told(notify, publisher) == [("events", True)]


async def test_a_save_that_changes_nothing_tells_nothing(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    event = await new_event(maker)
    await told(notify, publisher)
    async with maker() as session:
        found = await session.get_one(Event, event)
        found.status = found.status + ""
        await session.commit()
    assert await told(notify, publisher) == []


async def test_a_row_that_moves_tells_both_channels(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    one, two = await new_event(maker), await new_event(maker)
    comment = await new_comment(maker, one)
    await told(notify, publisher)
    async with maker() as session:
        (await session.get_one(Comment, comment)).event_id = two
        await session.commit()
    assert await told(notify, publisher) == [(f"comments-{two}", comment), (f"comments-{one}", comment)]


async def test_deletes_are_told_cascades_and_orphans_too(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    event = await new_event(maker)
    first, second = await new_comment(maker, event), await new_comment(maker, event)
    await told(notify, publisher)
    async with maker() as session:
        found = await session.get_one(Event, event)
        comments = await found.awaitable_attrs.comments
        comments.remove(next(comment for comment in comments if comment.id == first))
        await session.commit()
    assert await told(notify, publisher) == [(f"comments-{event}", first)]
    async with maker() as session:
        await session.delete(await session.get_one(Event, event))
        await session.commit()
    assert sorted(await told(notify, publisher), key=str) == sorted(
        [
            (f"comments-{event}", second),
            ("events", True),
            (f"event-{event}", {"id": event, "change": "deleted", "fields": {}}),
        ],
        key=str,
    )


async def test_a_many_to_many_change_is_told_from_either_side(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    event = await new_event(maker)
    await told(notify, publisher)
    related = {"id": event, "change": "related", "fields": {}}
    async with maker() as session:
        found = await session.get_one(Event, event)
        (await found.awaitable_attrs.tags).append(Tag(id=1, name="news"))
        await session.commit()
    assert (f"event-{event}", related) in await told(notify, publisher)
    async with maker() as session:
        tag = await session.get_one(Tag, 1)
        (await tag.awaitable_attrs.events).clear()
        await session.commit()
    assert (f"event-{event}", related) in await told(notify, publisher)


async def test_bulk_statements_are_told(notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher) -> None:
    one, two = await new_event(maker), await new_event(maker)
    await told(notify, publisher)
    async with maker() as session:
        result = await session.execute(update(Event).where(Event.id.in_([one, two])).values(status="live"))
        assert result.rowcount == 2
        await session.commit()
    live = {"change": "changed", "fields": {"status": "live"}}
    found = await told(notify, publisher)
    assert [entry for entry in found if entry[0] != "events"] == [
        (f"event-{one}", {"id": one, **live}),
        (f"event-{two}", {"id": two, **live}),
    ]
    async with maker() as session:
        await session.execute(update(Event).values(status="live"))
        await session.commit()
    assert await told(notify, publisher) == []
    async with maker() as session:
        await session.execute(update(Event), [{"id": one, "status": "ended"}])
        await session.execute(insert(Comment), [{"id": 5, "event_id": one}, {"id": 6, "event_id": two}])
        await session.execute(delete(Comment).where(Comment.id == 5))
        await session.commit()
    assert await told(notify, publisher) == [
        ("events", True),
        (f"event-{one}", {"id": one, "change": "changed", "fields": {"status": "ended"}}),
        (f"comments-{one}", 5),
        (f"comments-{two}", 6),
        (f"comments-{one}", 5),
    ]


async def test_a_bulk_insert_whose_ids_are_not_known_tells_that_something_changed(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    event = await new_event(maker)
    await told(notify, publisher)
    async with maker() as session:
        await session.execute(insert(Comment).values(event_id=event))
        await session.commit()
    assert await told(notify, publisher) == [(f"comments-{event}", True)]


async def test_a_statement_that_changes_very_many_rows_tells_the_channels_that_need_no_row(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher, caplog: Any
) -> None:
    async with maker() as session:
        await session.execute(
            insert(Event), [{"id": id} for id in range(1, MAX_BULK + 2)], execution_options={"fanfare": False}
        )
        await session.execute(update(Event).values(status="live"))
        await session.commit()
        assert await session.scalar(select(func.count()).where(Event.status == "live")) == MAX_BULK + 1
    assert await told(notify, publisher) == [("events", True)]
    assert "too many rows" in caplog.text


async def test_what_no_flush_sees_can_be_touched_or_told(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    event = await new_event(maker)
    await told(notify, publisher)
    async with maker() as session:
        await session.execute(text("UPDATE event SET status = 'live'"))
        await notify.touch(session, await session.get_one(Event, event), fields=["status"])
        await notify.tell(session, "front-page", {"n": 1})
        await session.commit()
    assert await told(notify, publisher) == [
        ("events", True),
        (f"event-{event}", {"id": event, "change": "changed", "fields": {"status": "live"}}),
        ("front-page", {"n": 1}),
    ]
    async with maker() as session:
        with pytest.raises(InvalidChannel):
            await notify.tell(session, "")
        with pytest.raises(BadMessage):
            await notify.tell(session, "x", {1})


async def test_a_bad_payload_or_channel_never_fails_the_save(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher, caplog: Any
) -> None:
    notify.declare(Comment, "{text}")
    notify.declare(Comment, "odd", data=lambda comment: {comment})
    async with maker() as session:
        session.add(Comment(id=3, text="a\nb"))
        await session.commit()
    assert await told(notify, publisher) == [("odd", True)]
    assert {(record.model, record.id) for record in caplog.records} == {("comment", 3)}


async def test_a_save_stands_while_the_hub_is_away_and_is_told_when_it_is_back(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    publisher.error = BrokerUnavailable("away")
    event = await new_event(maker)
    assert not await notify.flush()
    assert (await notify.counts()).waiting == 2
    publisher.error = None
    async with asyncio.timeout(60):
        while not publisher.items:
            await notify.flush()
            await asyncio.sleep(0.01)
    assert [channel for channel, _ in await told(notify, publisher)] == ["events", f"event-{event}"]


async def test_what_the_hub_refuses_for_good_is_parked(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher
) -> None:
    publisher.error = BadMessage()
    await new_event(maker)
    assert await notify.flush()
    assert await notify.counts() == outbox.Counts(waiting=0, parked=2, oldest=None)


async def test_what_the_hub_refuses_now_is_tried_again(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher, async_engine: AsyncEngine
) -> None:
    publisher.error = ForbiddenChannel("/events")
    await new_event(maker)
    assert await notify.flush()
    async with async_engine.connect() as connection:
        rows = (await connection.execute(select(outbox.table.c.tries, outbox.table.c.last_error))).all()
    assert [row.tries for row in rows] == [1, 1]
    assert rows[0].last_error.startswith("403")


async def test_a_new_process_tells_what_an_old_one_left(maker: Maker, publisher: RecordingPublisher) -> None:
    """Without `start` a notifier only writes: as if the process died between the commit and the publish."""
    AsyncNotifier(publisher, clock=lambda: 1000.0).bind(maker)
    event = await new_event(maker)
    assert publisher.published == []
    heir = AsyncNotifier(publisher)
    heir.bind(maker)
    async with heir:
        assert [channel for channel, _ in await told(heir, publisher)] == ["events", f"event-{event}"]


async def test_other_sessions_of_the_program_are_left_alone(
    notify: AsyncNotifier, publisher: RecordingPublisher, async_engine: AsyncEngine
) -> None:
    await new_event(async_sessionmaker(async_engine, expire_on_commit=False))
    assert await told(notify, publisher) == []


class _Looked(outbox.AsyncEngineStore):
    """Takes its time to look for what is due."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.begun, self.ended = asyncio.Event(), 0
        self.looks = 0

    async def due(self, now: float) -> list[outbox.Row]:
        self.looks += 1
        self.begun.set()
        async with self._engine.connect() as connection:
            await asyncio.sleep(0.02)
            await connection.execute(text("select 1"))
        self.ended += 1
        return []


async def test_a_poll_that_is_under_way_ends_before_the_teller_is_closed(
    async_engine: AsyncEngine, publisher: RecordingPublisher
) -> None:
    """A cancelled statement takes its connection with it: SQLite's was closed later, when the loop was gone."""
    store = _Looked(async_engine)
    teller = Teller(store, publisher, poll=0.01)
    await teller.start()
    assert await teller.flush()
    store.begun.clear()
    await store.begun.wait()
    await teller.close()
    assert store.ended == store.looks
    await teller.start()
    assert await teller.flush()
    await teller.close()
    assert store.ended == store.looks


async def test_a_database_in_memory_is_refused() -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(ValueError, match="in memory"):
        AsyncNotifier(RecordingPublisher()).bind(async_sessionmaker(engine))
    with pytest.raises(ValueError, match="no engine"):
        AsyncNotifier(RecordingPublisher()).bind(async_sessionmaker())
    await engine.dispose()


@pytest.mark.parametrize(
    "options", [{"fields": ["nope"]}, {"watch": ["nope"]}, {"relations": ["comments"]}, {"channel": "x-{nope}"}]
)
def test_a_declaration_that_names_what_the_class_has_not_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Event has no (nope|comments)"):
        AsyncNotifier(RecordingPublisher()).declare(Event, **{"channel": "x", **options})


def test_only_a_mapped_class_can_be_declared() -> None:
    with pytest.raises(TypeError):
        AsyncNotifier(RecordingPublisher()).declare(int, "x")


def test_sync_sessions_are_told_from_a_thread(
    sync_notify: Notifier, sync_maker: sessionmaker[Session], publisher: RecordingPublisher
) -> None:
    with sync_maker.begin() as session:
        session.add(Event(id=1))
        session.add(Comment(id=2, event_id=1))
    with sync_maker() as session:
        session.add(Event(id=3))
        session.flush()
        session.rollback()
    assert sync_notify.flush()
    assert sorted(channel for channel, _ in publisher.published) == ["comments-1", "event-1", "events"]


def test_sync_saves_stand_while_the_hub_is_away_and_are_told_when_it_is_back(
    sync_notify: Notifier, sync_maker: sessionmaker[Session], publisher: RecordingPublisher
) -> None:
    publisher.error = BrokerUnavailable("away")
    with sync_maker.begin() as session:
        session.add(Event(id=1))
    assert not sync_notify.flush()
    publisher.error = None
    deadline = time.monotonic() + 60
    while not sync_notify.flush():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert sorted(channel for channel, _ in publisher.published) == ["event-1", "events"]


# Metrics


async def test_the_outbox_is_in_the_metrics(notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher) -> None:
    await new_event(maker)
    assert await notify.flush()
    publisher.error = BadMessage()
    await new_event(maker)
    assert await notify.flush()
    publisher.error = BrokerUnavailable("away")
    await new_event(maker)
    assert not await notify.flush()
    hub = Hub(Settings())
    now = time.time() + 60
    extra = await of_outbox(notify, lambda: now)
    lines = HubMetrics({hub.settings.realm: hub.node}, hub.door, extra=extra).text().decode().splitlines()
    values = {name: float(value) for name, _, value in (line.partition(" ") for line in lines if line[0] != "#")}
    assert values["hub_outbox_told_total"] == 2
    assert values["hub_outbox_waiting"] == 2
    assert values["hub_outbox_parked"] == 2
    assert 60 <= values["hub_outbox_oldest_seconds"] < 90
    assert "hub_sessions" in values


async def test_a_database_that_is_away_leaves_the_other_metrics_alone(
    notify: AsyncNotifier, maker: Maker, publisher: RecordingPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    await new_event(maker)
    assert await notify.flush()
    with mock.patch.object(notify, "counts", side_effect=ConnectionRefusedError):
        [found] = await of_outbox(notify)
    assert [sample.value for sample in found.samples] == [2.0]
    assert "outbox can't be counted" in caplog.text
