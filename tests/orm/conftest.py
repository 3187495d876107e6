"""A database with the shop's tables, and notifiers over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from shop import Base, Comment, driver
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from hub.orm import outbox
from hub.orm.sqlalchemy import AsyncNotifier, Notifier
from hub.publisher import RecordingPublisher


class SyncRecorder:
    """The part of SyncPublisher that a notifier uses, over a RecordingPublisher."""

    def __init__(self, publisher: RecordingPublisher) -> None:
        self.publish_many = publisher.record


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
async def async_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(driver(database_url))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.run_sync(outbox.create)
    yield engine
    await engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(driver(database_url, sync=True))
    Base.metadata.create_all(engine)
    outbox.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def maker(async_engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(async_engine, expire_on_commit=False)


@pytest.fixture
async def notify(
    maker: async_sessionmaker[AsyncSession], publisher: RecordingPublisher
) -> AsyncIterator[AsyncNotifier]:
    """Bound to `maker` and started, with comments declared."""
    notifier = AsyncNotifier(publisher, poll=0.05)
    notifier.declare(Comment, "comments-{event_id}", data=lambda comment: comment.id)
    notifier.bind(maker)
    async with notifier:
        await notifier.flush()
        yield notifier


@pytest.fixture
def sync_maker(engine: Engine) -> sessionmaker[Session]:
    return sessionmaker(engine)


@pytest.fixture
def sync_notify(sync_maker: sessionmaker[Session], publisher: RecordingPublisher) -> Iterator[Notifier]:
    notifier = Notifier(SyncRecorder(publisher), poll=0.05)  # type: ignore[arg-type]  # it uses publish_many only
    notifier.declare(Comment, "comments-{event_id}", data=lambda comment: comment.id)
    notifier.bind(sync_maker)
    yield notifier
    notifier.close()
