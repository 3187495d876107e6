"""The log in Redis: shard streams that every node reads. The only module that knows redis.

Layout, for shard n of K (n = crc32(channel) % K); the keys of a shard share a hash tag, so the
layout is fit for a Redis Cluster:

    {hub:n}:log       stream   every publication of the shard, LOG_LENGTH and LOG_BYTES of them
    {hub:n}:ep        hash     e: the shard's epoch, at: the log id and aq: the number it begins after,
                               q: number of the newest entry, b: bytes written, r and r2: whose data it is
    {hub:n}:m:<ch>    hash     p: shard epoch, e: channel epoch, s: newest offset, b: bytes written
    {hub:n}:h:<ch>    stream   the channel's history, entry id = offset
    {hub:n}:i:<key>   hash     what a publish with this key returned, for KEY_SECONDS
    hub:s:<id>        hash     w: the worker that owns a session, r: its record
    {hub:0}:canary:<worker>    what a worker writes to hear itself

Publishing. What is published within a turn of the loop, or while the batch before is under way,
goes out as one pipeline with one Lua call a shard (`publish.lua`). A single writer keeps the order.

Reading. One connection, one XREAD over all shards, resumed by id, so that a lost connection
loses nothing. After a batch that had entries the reader waits REARM seconds before it asks
again: measured, that makes it as cheap for Redis as Pub/Sub, and idle it adds no latency.

Doubt, which always ends in `lost` and never in silence.
* Entries of a shard are numbered. A number that is missing was trimmed unread; and every
  CHECK_SECONDS the newest number is compared, for the entry trimmed may have been the last.
* Redis replicates asynchronously, and its files may lack the last second: a failover or a restart
  can roll the log back. No connection is used before `settle.lua` has looked: whether the last entry
  read is still there (the anchor), and whether it is the same server that has the data. If entries
  may be gone, the shard gets a new epoch and with it every channel, before anything is published: a
  position is never given to two publications. The price is one refetch for every client after
  a failover, even one that happened to lose nothing; nobody could know.
* Each worker writes a canary and must read it. A reader that hears nothing is deaf: it reconnects,
  and meanwhile the node is not ready (production hubs were deaf for hours, health green).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from zlib import crc32

from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from ..errors import BadWire, BrokerUnavailable, SettingsError
from ..protocol.publications import Draft, History, Position, Publication, Published
from . import KEY_SECONDS, Broker, Health, Receiver, Retention, RetentionOf

logger = logging.getLogger(__name__)

#: Entries a shard's log keeps, approximately: at 5,000 publications a second over 16 shards, 160 seconds
#: for a reader to come back; 350 bytes each make 18 MB a shard.
LOG_LENGTH = 50_000

#: Bytes a shard's log keeps, approximately, when payloads are large.
LOG_BYTES = 32 * 1024 * 1024

#: Entries of a shard read at once. Larger batches make the loop wait, smaller ones cost round trips.
READ_COUNT = 512

#: Milliseconds a read blocks; the rhythm of checks while idle.
BLOCK_MS = 1000

#: Seconds the reader lets entries gather after a batch (measured: 2 to 5 ms halve Redis's work at 500 a second
#: and up to a third of the readers' at 5,000).
REARM = 0.003

#: Seconds between two looks at the newest numbers and the epochs of the shards.
CHECK_SECONDS = 1.0

#: Seconds between canaries, and after which a worker that has not seen its own is deaf.
CANARY_SECONDS = 1.0
DEAF_SECONDS = 3.0

#: Seconds for a publish or a question, connection attempts included; the caller learns of a failure by then.
COMMAND_SECONDS = 3.0

#: Seconds a lost Redis is hoped to be back in; later, publishers are told at once that it is away.
PATIENCE_SECONDS = 1.0

#: Drafts in one Lua call: Redis serves nobody else meanwhile, 200 are about 2 ms.
SCRIPT_DRAFTS = 200

#: Drafts, and questions, in one pipeline.
BATCH_DRAFTS = 4000
BATCH_QUESTIONS = 256

#: Bytes of drafts, and questions, that may wait for Redis; beyond, publishers and clients are told to come back.
MAX_WAITING_BYTES = 64 * 1024 * 1024
MAX_QUESTIONS = 20_000

#: Seconds for which a channel is remembered after its last publication. Its epoch ends with it, which costs
#: subscribers a refetch at its next publication, so: longer than the pause of a night. About 200 bytes each.
META_SECONDS = 24 * 3600

#: Seconds for which a channel is remembered that somebody asked for and nobody published to.
ASKED_SECONDS = 600

#: A session's record, with the worker that owns it: who claimed it last.
_CLAIM = (
    "if redis.call('EXISTS', KEYS[1]) == 0 then return false end "
    "redis.call('HSET', KEYS[1], 'w', ARGV[1]) return redis.call('HGET', KEYS[1], 'r')"
)
_SAVE = (
    "local w = redis.call('HGET', KEYS[1], 'w') if w and w ~= ARGV[1] then return 0 end "
    "redis.call('HSET', KEYS[1], 'w', ARGV[1], 'r', ARGV[2]) redis.call('PEXPIRE', KEYS[1], ARGV[3]) return 1"
)

_FAULTS = (RedisError, OSError, EOFError, BrokerUnavailable)
_HERE = Path(__file__).parent

Command = tuple[Any, ...]


class _Script:
    """A Lua script and the name Redis knows it by."""

    def __init__(self, name: str) -> None:
        self.text = (_HERE / name).read_bytes()
        # Redis itself names scripts by their SHA-1; nothing is protected by it.
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], arguments: Iterable[Any]) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


@dataclass(frozen=True, slots=True)
class _Settled:
    """What `settle.lua` says of a shard."""

    epoch: bytes
    #: The number and the log id after which the epoch begins.
    begun: int
    at: bytes
    #: The newest number and log id.
    newest: int
    top: bytes


class _Line:
    """One connection, on which a batch of commands is sent and answered before the next.

    connect: makes a connection that is fit for use, and says what it found there.
    """

    def __init__(self, connect: Callable[[], Awaitable[tuple[Connection, list[_Settled]]]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None

    @property
    def is_open(self) -> bool:
        connection = self._connection
        if connection is None:
            return False
        # What the server closed while the line was idle must be known before a publish is written to it,
        # for afterwards nobody could say whether it was accepted. redis-py has no public word for it.
        reader = connection._reader
        return reader is not None and not reader.at_eof()

    async def open(self) -> list[_Settled] | None:
        """Connect if need be; returns what was found then."""
        if self.is_open:
            return None
        await self.hang_up()
        self._connection, found = await self._connect()
        return found

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies; an error that Redis answers with is one of them. Raises, and hangs up, when the line breaks."""
        if self._connection is None:
            raise RedisConnectionError("connection closed")
        try:
            return await _run(self._connection, commands)
        except BaseException:
            # Replies that were not read would be taken for those of the next commands.
            await self.hang_up()
            raise

    async def hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


class _Request:
    """One call of `publish`: its drafts, and what became of them."""

    __slots__ = ("asked", "drafts", "future", "left", "results")

    def __init__(self, drafts: Sequence[Draft], future: asyncio.Future[list[Published]], now: float) -> None:
        self.drafts = drafts
        self.results: list[Published | None] = [None] * len(drafts)
        self.left = len(drafts)
        self.future = future
        self.asked = now

    def answer(self, index: int, published: Published) -> None:
        self.results[index] = published
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result([result for result in self.results if result is not None])

    def fail(self, error: Exception) -> None:
        _fail(self.future, error)


#: A draft that waits: the request it belongs to, and its place there.
_Entry = tuple[_Request, int]


@dataclass(frozen=True, slots=True)
class _Question:
    """A command that may be repeated. It is made when it is sent: a repeat proposes an epoch of its own."""

    command: Callable[[], Command]
    future: asyncio.Future[Any]


class RedisBroker(Broker):
    """The broker of a hub with many processes.

    url: redis://, rediss:// (TLS), unix:// or redis+sentinel://host:port,host:port/service[/db]
    (rediss+sentinel:// with TLS to Redis). shards: how many streams; the same for all workers of a
    hub. prefix: what its keys begin with. Raises SettingsError for a URL that can't be used.
    """

    keeps_sessions = True

    def __init__(
        self, url: str, *, shards: int = 16, retention: RetentionOf | None = None, prefix: str = "hub"
    ) -> None:
        self._server = _Server(url)
        self._shards = shards
        self._retention: RetentionOf = retention or (lambda channel: Retention())
        self._prefix = prefix
        self._receiver: Receiver | None = None
        self._worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._publish = _Script("publish.lua")
        self._history = _Script("history.lua")
        self._settle = _Script("settle.lua")
        self._tags = [f"{{{prefix}:{shard}}}:" for shard in range(shards)]
        self._streams = [f"{tag}log".encode() for tag in self._tags]
        self._shard_of_stream = {stream: shard for shard, stream in enumerate(self._streams)}
        self._canary = f"{self._tags[0]}canary:{self._worker}".encode()
        # What the reader knows of each shard: where it goes on, the number it read last, the epoch.
        self._last = [b""] * shards
        self._numbers = [0] * shards
        self._epochs: list[bytes | None] = [None] * shards
        self._last_canary = b"0-0"
        self._reading = _Line(self._connect)
        self._publishing = _Line(self._connect)
        self._asking = _Line(self._connect)
        self._drafts: list[_Entry] = []
        self._draft_bytes = 0
        self._drafted = asyncio.Event()
        self._questions: list[_Question] = []
        # Questions of the same kind that have not been sent: what is asked now may share their answer.
        self._shared: dict[object, asyncio.Future[Any]] = {}
        self._asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = self._checked = 0.0
        self._fault = "not open"
        self._fault_since = 0.0
        self._warned = False
        #: Counted for /metrics: connections of the reader after the first; times it was deaf; times a log was
        #: found rolled back or emptied; times entries were trimmed before this worker read them.
        self.reconnects = 0
        self.deaf = 0
        self.rollbacks = 0
        self.trims = 0

    # Life

    async def open(self, receiver: Receiver) -> None:
        self._receiver = receiver
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                found = await self._reading.open()
        except _FAULTS as error:
            await self.close()
            raise self._unavailable(error) from error
        self._take_up(found or [])
        self._fault = ""
        self._heard = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._write_on(), name="redis writer"),
            asyncio.create_task(self._ask_on(), name="redis questions"),
            asyncio.create_task(self._read_on(), name="redis reader"),
            asyncio.create_task(self._sing_on(), name="redis canary"),
        ]

    async def close(self) -> None:
        self._receiver = None
        self._fault = self._fault or "closed"
        self._fault_since = 0.0
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stopping = BrokerUnavailable("the hub is stopping")
        for request, _ in self._drafts:
            request.fail(stopping)
        for question in self._questions:
            _fail(question.future, stopping)
        self._drafts, self._questions, self._draft_bytes = [], [], 0
        self._shared.clear()
        for line in (self._reading, self._publishing, self._asking):
            await line.hang_up()
        await self._server.close()

    @property
    def health(self) -> Health:
        return Health(not self._fault, self._fault)

    # Publishing

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        self._refuse_while_away()
        if not drafts:
            return []
        size = sum(_size(draft) for draft in drafts)
        if self._drafts and self._draft_bytes + size > MAX_WAITING_BYTES:
            raise BrokerUnavailable(f"Redis at {self._server.address}: too much waits for it")
        loop = asyncio.get_running_loop()
        request = _Request(drafts, loop.create_future(), time.monotonic())
        self._draft_bytes += size
        self._drafts += [(request, index) for index in range(len(drafts))]
        self._drafted.set()
        return await request.future

    async def _write_on(self) -> None:
        """The one writer: what waits, batch after batch."""
        while True:
            await self._drafted.wait()
            # One more turn, so that what this turn of the loop publishes goes together.
            await asyncio.sleep(0)
            batch, self._drafts = self._drafts[:BATCH_DRAFTS], self._drafts[BATCH_DRAFTS:]
            if not self._drafts:
                self._drafted.clear()
            entries = [entry for entry in batch if not entry[0].future.done()]
            try:
                if entries:
                    await self._write(entries)
            except asyncio.CancelledError:
                for request, _ in batch:
                    request.fail(BrokerUnavailable("the hub is stopping"))
                raise
            except Exception as error:
                # A bug, but the writer must live: whoever waits is told, and the next batch is written.
                logger.exception("publishing failed")
                for request, _ in batch:
                    request.fail(self._unavailable(error))
            finally:
                self._draft_bytes -= sum(_size(request.drafts[index]) for request, index in batch)

    async def _write(self, entries: list[_Entry]) -> None:
        patience = COMMAND_SECONDS - (time.monotonic() - entries[0][0].asked)
        fault: BaseException | None = None
        try:
            async with asyncio.timeout(max(patience, 0.5)):
                while entries:
                    fault = await self._open(self._publishing, fault)
                    parts = self._parts(entries)
                    entries = []
                    try:
                        replies = await self._publishing.run([self._call(shard, part) for shard, part in parts])
                    except _FAULTS as error:
                        fault = error
                        # Perhaps they were accepted: only what has a key can be repeated without harm.
                        for _, part in parts:
                            entries += self._keyed(part, self._unavailable(error))
                        continue
                    for (_, part), reply in zip(parts, replies, strict=True):
                        if isinstance(reply, NoScriptError):
                            # Redis lost its scripts, and nothing was done; a new connection brings them.
                            await self._publishing.hang_up()
                            entries += part
                        elif isinstance(reply, Exception):
                            for request, _ in part:
                                request.fail(self._unavailable(reply))
                        else:
                            for (request, index), (epoch, offset, repeated) in zip(part, reply, strict=True):
                                request.answer(index, Published(Position(epoch.decode(), offset), repeated == 1))
        except TimeoutError as error:
            failure = self._unavailable(fault or error)
            for request, _ in entries or [entry for _, part in self._parts(entries) for entry in part]:
                request.fail(failure)
