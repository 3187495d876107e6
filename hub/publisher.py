"""The one door for other code: `publisher.publish(channel, data)`.

BrokerPublisher     in the hub's process, straight to its broker
HttpPublisher       in another process with an event loop, over HTTP with the realm's key
SyncPublisher       in another process without one: Django, Flask, a job queue; straight through Redis
                    if it is given the hub's, else over HTTP
RecordingPublisher  in tests

What all promise: data is any JSON value; an `id` makes repeating safe for ten minutes; publications
of one channel made one after another stay in this order; input that can never succeed raises
BadMessage, InvalidChannel or TooLarge before anything is sent, and BrokerUnavailable means that the
hub couldn't be reached in the time allowed.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import multiprocessing.util
import os
import random
import threading
import time
import uuid
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from .brokers import Broker
from .caller import Caller, Told
from .errors import BadMessage, BadToken, BrokerUnavailable, HubError, TooLarge
from .notes import SITE, Notes
from .protocol import fanout, messages
from .protocol.channels import from_fanout, from_fanout_name, to_fanout
from .protocol.publications import Draft, Position

logger = logging.getLogger(__name__)

#: Longest data of a publication, in bytes; the hub's own bound (HUB_MAX_BODY) is this by default.
MAX_BYTES = 1024 * 1024

#: Bounds of one HTTP request: half of what the hub takes by default.
_BATCH_ITEMS = 500
_BATCH_BYTES = 4 * 1024 * 1024

#: Seconds between attempts while the hub is away: doubled each time, with jitter.
_FIRST_PAUSE = 0.1
_LAST_PAUSE = 3.0


@dataclass(frozen=True, slots=True)
class Item:
    """Something to publish.

    channel: in either form, `comments-17` or `/comments-17`. data: any JSON value. id: idempotency
    key, unique in its channel. hint: only the newest matters to a slow reader.
    """

    channel: str
    data: object
    id: str | None = None
    hint: bool = False

    def draft(self) -> Draft:
        """What the broker takes; raises BadMessage, InvalidChannel or TooLarge."""
        channel = from_fanout_name(self.channel)
        key = None if self.id is None else fanout.key_of(channel, _checked_id(self.id))
        return Draft(channel, encode(self.data), key=key, hint=self.hint)


def encode(data: object) -> bytes:
    """Data as JSON. Raises BadMessage for what JSON can't say, NaN included, and TooLarge over MAX_BYTES."""
    encoded = messages.dumps(data)
    if len(encoded) > MAX_BYTES:
        raise TooLarge(text=f"Longer than {MAX_BYTES} bytes")
    return encoded


class Publisher(ABC):
    """How code that runs in an event loop publishes."""

    async def publish(
        self, channel: str, data: object, *, id: str | None = None, hint: bool = False
    ) -> Position | None:
        """Publish to one channel; its position there, None where the hub doesn't tell.

        Raises BadMessage, InvalidChannel or TooLarge for what can never succeed, BrokerUnavailable
        when the hub can't be reached. A save must not fail with it: publish after the commit.
        """
        return (await self.publish_many([Item(channel, data, id=id, hint=hint)]))[0]

    @abstractmethod
    async def publish_many(self, items: Sequence[Item]) -> list[Position | None]:
        """Publish items in order. Raises as `publish` does; an item that can't succeed refuses them all."""

    @abstractmethod
    async def position(self, channel: str) -> str | None:
        """The newest position of a channel, "epoch.offset"; None when it isn't known.

        Read it before the rows it stands for: then what changes in between is told again, never missed.
        """

    async def close(self) -> None:
        """Let go of connections, after what was accepted has been sent. Safe to call twice."""


class BrokerPublisher(Publisher):
    """Publishes straight to a broker that someone else opens and closes. notes: where that is noted, if anywhere."""

    def __init__(self, broker: Broker, notes: Notes | None = None) -> None:
        self._broker = broker
        self._notes = notes

    async def publish_many(self, items: Sequence[Item]) -> list[Position | None]:
        drafts = [item.draft() for item in items]
        if not drafts:
            return []
        published = await self._broker.publish(drafts)
        if self._notes is not None:
            self._notes.note(drafts, published, SITE, time.time())
        return [each.position for each in published]

    async def position(self, channel: str) -> str | None:
        try:
            return str(await self._broker.position(from_fanout(channel)))
        except BrokerUnavailable:
            return None


class RecordingPublisher(Publisher):
    """For tests: keeps what was published, and fails when told to.

    items: everything published, in order. error: raised by the next calls while it is set. An item
    whose id was seen before in its channel gets its first position and isn't recorded again.
    """

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.error: HubError | None = None
        self._tops: dict[str, int] = {}
        self._keys: dict[str, Position] = {}

    @property
    def published(self) -> list[tuple[str, object]]:
        """What was published as (channel, data), channels in Fanout form."""
        return [(to_fanout(from_fanout(item.channel)), item.data) for item in self.items]

    async def publish_many(self, items: Sequence[Item]) -> list[Position | None]:
        return self.record(items)

    def record(self, items: Sequence[Item]) -> list[Position | None]:
        """`publish_many` for code without a loop."""
        drafts = [item.draft() for item in items]
        if self.error is not None:
            raise self.error
        return [self._accept(item, draft) for item, draft in zip(items, drafts, strict=True)]

    async def position(self, channel: str) -> str | None:
        return None if self.error is not None else str(self._top(from_fanout(channel)))

    def clear(self) -> None:
        """Forget what was published; positions and ids go on."""
        self.items.clear()

    def _accept(self, item: Item, draft: Draft) -> Position:
        if draft.key is not None and draft.key in self._keys:
            return self._keys[draft.key]
        self.items.append(item)
        self._tops[draft.channel] = self._tops.get(draft.channel, 0) + 1
        top = self._top(draft.channel)
        if draft.key is not None:
            self._keys[draft.key] = top
        return top

    def _top(self, channel: str) -> Position:
        return Position("recorded", self._tops.get(channel, 0))


@dataclass(slots=True, eq=False)
class _Entry:
    """Items that are sent together: one call's. `done` tells the caller, if one waits."""

    items: list[bytes]
    size: int
    until: float
    done: Future[list[Position | None]] | None


class Way(Protocol):
    """How a SyncPublisher reaches the hub: one attempt, blocking. `Caller` is one. Not for two threads at once."""

    def publish(self, items: Sequence[bytes]) -> list[Told]:
        """Publish encoded items, each with an id. Raises BrokerUnavailable (try again), or what refuses them all."""

    def position(self, channel: str) -> Position | None:
        """The newest position of a channel in Fanout form. Raises as `publish` does."""

    def close(self) -> None:
        """Let go of the connection; the next call makes another."""


class RedisWay(Way):
    """Straight into the log in Redis, which a hub reads: no hub need answer. Raises SettingsError for a bad URL.

    Items are read as the hub would read them, so what it refuses over HTTP is refused here too.
    realm: the hub's default one if it is not said.
    """

    def __init__(self, url: str, *, realm: str = "", timeout: float = 5.0) -> None:
        # Imported here, so that who publishes over HTTP needs no client library for Redis.
        from .brokers.redis import RedisCaller

        self._caller = RedisCaller(url, realm=realm, timeout=timeout)

    def publish(self, items: Sequence[bytes]) -> list[Told]:
        drafts = [item.draft for item in fanout.parse(fanout.encode_body(items)) if item.draft is not None]
        return [Told(published.position) for published in self._caller.publish(drafts)]

    def position(self, channel: str) -> Position | None:
        return self._caller.position(from_fanout(channel))

    def close(self) -> None:
        self._caller.close()


#: What the URL of a Redis begins with; the others are hubs'.
_REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "sentinel")


def way_to(url: str, realm: str, key: bytes, timeout: float) -> Way:
    """The way that a URL stands for. Raises ValueError, or SettingsError for a URL of Redis."""
    if url.partition(":")[0].lower() in _REDIS_SCHEMES:
        return RedisWay(url, realm=realm, timeout=timeout)
    if not realm or not key:
        raise ValueError("over HTTP the realm and its key are needed")
    return Caller(url, realm, key, timeout=timeout)


class SyncPublisher:
    """Publishes from a thread of its own, in order, for code without an event loop.

    Thread-safe; the thread starts with the first publish, and again in a forked child, whose queue
    is empty: what the parent has queued is the parent's to send. While the hub is away items wait
    up to `patience` seconds, `capacity` of them at the most. At the exit of the process `close` is
    called, with `exit_timeout` seconds to send what is left: an exit never hangs on the hub.

    url: the hub's, such as http://127.0.0.1:8000, with the realm and its decoded key; or that of the
    hub's Redis (REDIS_URL), which needs no key, and the realm only if it is not the hub's default one.
    That is straight: it goes on while no hub answers, and who has that URL may publish anything. Each
    has the same ids, so that the way may be changed.
    timeout: seconds for one step of an exchange. Raises ValueError or SettingsError for a bad URL.
    """

    _queue: deque[_Entry]
    _waiting: int
    _thread: threading.Thread | None
    _asker: Way
    _asking: threading.Lock

    def __init__(
        self,
        url: str,
        realm: str = "",
        key: bytes = b"",
        *,
        timeout: float = 5.0,
        patience: float = 10.0,
        capacity: int = 10_000,
        exit_timeout: float = 5.0,
    ) -> None:
        #: Items that were accepted from a caller, or should have been, and never reached the hub.
        self.dropped = 0
        # A URL that is none is told now, by `_reset`, not in the thread.
        self._new_way: Callable[[], Way] = lambda: way_to(url, realm, key, timeout)
        self._patience = patience
        self._capacity = capacity
        self._exit_timeout = exit_timeout
        self._reset()
        _living.add(self)
        _watch_process()

    def publish(self, channel: str, data: object, *, id: str | None = None, hint: bool = False) -> Position | None:
        """Publish and wait for the hub's answer. Raises as Publisher.publish does, BadToken too."""
        return self.publish_many([Item(channel, data, id=id, hint=hint)])[0]

    def publish_many(self, items: Sequence[Item]) -> list[Position | None]:
        """Publish in order and wait. Up to 500 items are accepted or refused as a whole."""
        return [position for future in self.submit(items) for position in future.result()]

    def publish_soon(self, channel: str, data: object, *, id: str | None = None, hint: bool = False) -> bool:
        """Queue to publish, and return at once. False: it was dropped, for the queue is full or closed.

        Raises BadMessage, InvalidChannel or TooLarge. What the hub refuses later is logged, and so is the
        first drop of a row. `dropped` counts them all.
        """
        item = encoded(Item(channel, data, id=id, hint=hint))
        try:
            self._put([_Entry([item], len(item), time.monotonic() + self._patience, None)])
        except BrokerUnavailable:
            return False
        return True

    def submit(self, items: Sequence[Item]) -> list[Future[list[Position | None]]]:
        """Queue items to publish in order; futures of their positions, one for every 500 items or 4 MiB.

        Raises as `publish_many` does, BrokerUnavailable when the queue is full.
        """
        until = time.monotonic() + self._patience
        entries: list[_Entry] = []
        for each in [encoded(item) for item in items]:
            entry = entries[-1] if entries else None
            if entry is None or len(entry.items) >= _BATCH_ITEMS or entry.size + len(each) > _BATCH_BYTES:
                entry = _Entry([], 0, until, Future())
                entries.append(entry)
            entry.items.append(each)
            entry.size += len(each)
        self._put(entries)
        return [entry.done for entry in entries if entry.done is not None]

    def position(self, channel: str) -> str | None:
        """The newest position of a channel; None when the hub can't tell now. Waits for an answer."""
        name = to_fanout(from_fanout(channel))
        with self._asking:
            try:
                found = self._asker.position(name)
            except HubError as error:
                logger.info("position not known", extra={"error": str(error)})
                return None
        return None if found is None else str(found)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything queued was sent or given up; False when `timeout` seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    def close(self, timeout: float | None = None) -> None:
        """Flush for `timeout` seconds (else `exit_timeout`), then stop; says how many items that dropped."""
        sent = self.flush(self._exit_timeout if timeout is None else timeout)
        with self._changed:
            self._closed = True
            left, self._queue = self._queue, deque()
            count = sum(len(entry.items) for entry in left)
            # The others have a caller, who gets the error.
            lost = sum(len(entry.items) for entry in (*self._sending, *left) if entry.done is None)
            self._waiting -= count
            self._changed.notify_all()
        self.dropped += count
        for entry in left:
            _fail(entry, BrokerUnavailable("the publisher was closed"))
        if not sent and lost:
            logger.warning("publications dropped at the end", extra={"count": lost})
        with self._asking:
            self._asker.close()

    def _reset(self) -> None:
        """As new: in a forked child the thread is gone, its locks may be held, the queue is the parent's."""
        self._changed = threading.Condition()
        self._queue = deque()
        # What the thread has taken from it.
        self._sending: list[_Entry] = []
        # Items queued, and those on the way.
        self._waiting = 0
        self._thread = None
        self._closed = False
        self._full = False
        self._asking = threading.Lock()
        self._asker = self._new_way()

    def _put(self, entries: Sequence[_Entry]) -> None:
        count = sum(len(entry.items) for entry in entries)
        with self._changed:
            if self._closed:
                self.dropped += count
                raise BrokerUnavailable("the publisher is closed")
            if self._waiting and self._waiting + count > self._capacity:
                self.dropped += count
                if not self._full:
                    self._full = True
                    logger.warning("queue is full, dropping publications", extra={"capacity": self._capacity})
                raise BrokerUnavailable("the publisher's queue is full")
            self._waiting += count
            self._queue.extend(entries)
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def _start(self) -> None:
        # A daemon, for an exit must not wait for a hub that is away; who exits in an orderly way calls
        # `close`. A process of `multiprocessing` runs these finalizers instead of atexit's.
        self._thread = threading.Thread(target=self._run, name="hub.publisher", daemon=True)
        self._thread.start()
        own = weakref.ref(self)
        multiprocessing.util.Finalize(None, _close_at_exit, args=(own,), exitpriority=100)

    def _run(self) -> None:
        way = self._new_way()
        pause = 0.0
        try:
            while batch := self._take(pause):
                pause = self._send(way, batch, pause)
        finally:
            way.close()

    def _take(self, pause: float) -> list[_Entry]:
        """The next entries to send together, in order; none when closed. First waits out the pause."""
        with self._changed:
            if pause:
                self._changed.wait_for(lambda: self._closed, pause * random.uniform(0.7, 1.3))
            self._changed.wait_for(lambda: self._queue or self._closed)
            batch = self._sending = []
            count = size = 0
            while self._queue:
                entry = self._queue[0]
                count += len(entry.items)
                size += entry.size
                if batch and (count > _BATCH_ITEMS or size > _BATCH_BYTES):
                    break
                batch.append(self._queue.popleft())
            return batch

    def _send(self, way: Way, batch: list[_Entry], pause: float) -> float:
        """Send entries, put back what must wait; how long to pause before the next."""
        kept: list[_Entry] = []
        groups = deque([batch])
        while groups:
            group = groups.popleft()
            try:
                positions = [told.position for told in way.publish([item for entry in group for item in entry.items])]
            except BrokerUnavailable as error:
                kept = [entry for each in (group, *groups) for entry in each]
                pause = self._postpone(kept, error, pause)
                break
            except HubError as error:
                if len(group) > 1 and not isinstance(error, BadToken):
                    # The hub refuses a body as a whole; only who made the mistake shall hear of it.
                    groups.extendleft([entry] for entry in reversed(group))
                else:
                    for entry in group:
                        self._give_up(entry, error)
            except Exception as error:
                # A bug of ours must not end the thread and leave callers waiting for ever.
                logger.exception("publishing failed")
                for entry in group:
                    _fail(entry, error)
            else:
                pause = 0.0
                at = 0
                for entry in group:
                    _finish(entry, positions[at : at + len(entry.items)])
                    at += len(entry.items)
        with self._changed:
            if self._closed:
                # `close` has counted what it found in the queue; this was on its way then.
                for entry in kept:
                    self._give_up(entry, BrokerUnavailable("the publisher was closed"))
                kept = []
            self._queue.extendleft(reversed(kept))
            self._sending = []
            self._waiting -= sum(len(entry.items) for entry in batch) - sum(len(entry.items) for entry in kept)
            if self._full and self._waiting < self._capacity:
                self._full = False
                logger.info("queue has room again", extra={"dropped": self.dropped})
            self._changed.notify_all()
        return pause

    def _postpone(self, entries: list[_Entry], error: BrokerUnavailable, pause: float) -> float:
        """Keep those entries that may wait longer; how long to leave the hub alone."""
        now = time.monotonic()
        for entry in entries:
            if entry.until <= now:
                self._give_up(entry, error)
        entries[:] = [entry for entry in entries if entry.until > now]
        pause = min(max(pause * 2, _FIRST_PAUSE), _LAST_PAUSE)
        # Never past the moment when the first must be told that it failed.
        return min(pause, max(entries[0].until - now, 0.01)) if entries else pause

    def _give_up(self, entry: _Entry, error: HubError) -> None:
        self.dropped += len(entry.items)
        if entry.done is None:
            logger.warning("publication dropped", extra={"count": len(entry.items), "error": str(error)})
        _fail(entry, error)


class HttpPublisher(Publisher):
    """Publishes to a hub in another process, over HTTP or through its Redis; arguments as SyncPublisher's.

    Calls made while another is on its way travel together in the next request.
    """

    def __init__(
        self,
        url: str,
        realm: str = "",
        key: bytes = b"",
        *,
        timeout: float = 5.0,
        patience: float = 10.0,
        capacity: int = 10_000,
    ) -> None:
        self._sync = SyncPublisher(url, realm, key, timeout=timeout, patience=patience, capacity=capacity)

    async def publish_many(self, items: Sequence[Item]) -> list[Position | None]:
        positions: list[Position | None] = []
        for future in self._sync.submit(items):
            found: list[Position | None] = await asyncio.wrap_future(future)
            positions += found
        return positions

    async def position(self, channel: str) -> str | None:
        return await asyncio.to_thread(self._sync.position, channel)

    async def close(self) -> None:
        await asyncio.to_thread(self._sync.close)


#: Every SyncPublisher of this process, for forks and the exit.
_living: weakref.WeakSet[SyncPublisher] = weakref.WeakSet()


@functools.cache
def _watch_process() -> None:
    """See to forks and the exit, from the first publisher on."""
    os.register_at_fork(after_in_child=_reset_all)
    atexit.register(_close_all)


def _reset_all() -> None:
    for publisher in list(_living):
        publisher._reset()


def _close_all() -> None:
    for publisher in list(_living):
        publisher.close()


def _close_at_exit(own: weakref.ref[SyncPublisher]) -> None:
    publisher = own()
    if publisher is not None:
        publisher.close()


def _finish(entry: _Entry, positions: list[Position | None]) -> None:
    if entry.done is not None and entry.done.set_running_or_notify_cancel():
        entry.done.set_result(positions)


def _fail(entry: _Entry, error: Exception) -> None:
    if entry.done is not None and entry.done.set_running_or_notify_cancel():
        entry.done.set_exception(error)


def encoded(item: Item) -> bytes:
    """An item for the wire. It always has an id, so that a repeated request publishes nothing twice."""
    key = uuid.uuid4().hex if item.id is None else _checked_id(item.id)
    return fanout.encode(from_fanout_name(item.channel), encode(item.data), id=key, hint=item.hint)


def _checked_id(id: str) -> str:
    if not 0 < len(id) <= fanout.MAX_ID_CHARS or not fanout.is_id(id):
        raise BadMessage("id", text=f"An id is 1 to {fanout.MAX_ID_CHARS} printable characters")
    return id
