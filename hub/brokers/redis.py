"""The log in Redis: shard streams that every node reads. The only module that knows redis.

Layout, for shard n of K (n = crc32(home(channel)) % K); the keys of a shard share a hash tag, so the
layout is fit for a Redis Cluster:

    {hub:n}:log       stream   every publication of the shard, LOG_LENGTH and LOG_BYTES of them
    {hub:n}:ep        hash     e: the shard's epoch, at: the log id and aq: the number it begins after,
                               q: number of the newest entry, b: bytes written, r and r2: whose data it is
    {hub:n}:m:<ch>    hash     p: shard epoch, e: channel epoch, s: newest offset, b: bytes written,
                               fb and ft: bytes and time of the history's first entry, x: when renewed,
                               k: when an id was last used in it, within KEY_SLACK
    {hub:n}:h:<ch>    stream   the channel's history, entry id = offset
    {hub:n}:i:<key>   hash     what a publish with this key returned, for KEY_SECONDS
    hub:s:<id>        hash     w: the worker that owns a session, r: its record
    {hub:0}:canary:<worker>    what a worker writes to hear itself
    {hub:0}:layout   hash      K, the histories' bounds and the realm, from a hub's settings, for RedisCaller

These are the default realm's. In another one's, `hub` is `hub:<realm>`: `{hub:a1b2:0}:log`.

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
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs, unquote, urlsplit
from zlib import crc32

from hiredis import pack_command
from redis import Connection as BlockingConnection
from redis import ConnectionPool as BlockingPool
from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry as BlockingRetry
from redis.sentinel import Sentinel as BlockingSentinel
from redis.sentinel import SentinelConnectionPool as BlockingSentinelPool

from ..errors import BadWire, BrokerUnavailable, SettingsError
from ..histories import Histories
from ..protocol.channels import home
from ..protocol.publications import Draft, History, Position, Publication, Published, identifies
from . import KEY_SECONDS, Broker, Health, Receiver

logger = logging.getLogger(__name__)

#: What the keys of the default realm begin with.
PREFIX = "hub"

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

#: Drafts, and questions, in one pipeline. Shorter ones cost round trips; with longer ones publishers and Redis
#: wait for each other (measured, 4,000 publishes under way: 26,000 a second by 4,000, 36,000 by 1,000).
BATCH_DRAFTS = 1000
BATCH_QUESTIONS = 256

#: Bytes of commands that are sent before the rest of a batch is made.
PIECE_BYTES = 16 * 1024

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

#: Whether a key, or no id at all, is known.
_MAY_FOLLOW = (
    "if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end "
    "local used = tonumber(redis.call('HGET', KEYS[2], 'k')) "
    "if used and tonumber(redis.call('TIME')[1]) - used <= tonumber(ARGV[1]) then return 0 end return 1"
)

#: Seconds by which the note of a channel's last id may be older than the id: writing it costs as much as a look-up.
KEY_SLACK = 30

#: A canary. In one call, so that a worker that dies leaves no key for ever.
_SING = "redis.call('XADD', KEYS[1], 'MAXLEN', 4, '*', 'w', '') return redis.call('EXPIRE', KEYS[1], 60)"

_FAULTS = (RedisError, OSError, EOFError, BrokerUnavailable)
_HERE = Path(__file__).parent

Command = tuple[Any, ...]
T = TypeVar("T")


def realm_prefix(realm: str, prefix: str = PREFIX) -> str:
    """What the keys of a realm begin with that is not the default one; its name has no colon."""
    return f"{prefix}:{realm}"


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
        #: Why it broke or could not be opened last.
        self.fault: Exception | None = None

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
        try:
            self._connection, found = await self._connect()
        except Exception as error:
            self.fault = error
            raise
        self.fault = None
        return found

    async def run(self, commands: Iterable[Command], take: Callable[[Any], None] | None = None) -> list[Any]:
        """The replies; an error that Redis answers with is one of them. Raises, and hangs up, when the line breaks.

        take: is given each reply as it comes, and what it was given counts even if the line breaks afterwards.
        """
        if self._connection is None:
            raise RedisConnectionError("connection closed")
        try:
            return await _run(self._connection, commands, take)
        except BaseException as error:
            if isinstance(error, Exception):
                self.fault = error
            # Replies that were not read would be taken for those of the next commands.
            await self.hang_up()
            raise

    async def hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


class _Request:
    """One call of `publish`: what became of its drafts."""

    __slots__ = ("asked", "future", "left", "results")

    def __init__(self, count: int, future: asyncio.Future[list[Published]], now: float) -> None:
        self.results: list[Published | None] = [None] * count
        self.left = count
        self.future = future
        self.asked = now

    def answer(self, index: int, published: Published) -> None:
        self.results[index] = published
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(cast(list[Published], self.results))

    def fail(self, error: Exception) -> None:
        _fail(self.future, error)


#: A draft that waits: the request it belongs to, its place there, and itself.
_Entry = tuple[_Request, int, Draft]

#: What one Lua call accepts: its shard, and its drafts in order.
_Part = tuple[int, list[_Entry]]


@dataclass(frozen=True, slots=True)
class _Question:
    """A command that may be repeated. It is made when it is sent: a repeat proposes an epoch of its own."""

    command: Callable[[], Command]
    future: asyncio.Future[Any]


class RedisBroker(Broker):
    """The broker of a hub with many processes.

    url: redis://, rediss:// (TLS), unix:// or redis+sentinel://host:port,host:port/service[/db]
    (rediss+sentinel:// with TLS to Redis). shards: how many streams; the same for all workers of a
    hub. prefix: what its keys begin with. realm: whose log it is, for RedisCaller to find it. Raises
    SettingsError for a URL that can't be used.
    """

    keeps_sessions = True

    def __init__(
        self,
        url: str,
        *,
        shards: int = 16,
        histories: Histories | None = None,
        prefix: str = PREFIX,
        realm: str = "",
    ) -> None:
        self._server = _Server(url)
        self._shards = shards
        self._histories = histories or Histories()
        self._prefix = prefix
        self._realm = realm
        self._receiver: Receiver | None = None
        self._worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._publish_script = _Script("publish.lua")
        self._history_script = _Script("history.lua")
        self._settle_script = _Script("settle.lua")
        # Names repeat, and this is asked of every draft.
        self._shard = lru_cache(maxsize=32768)(self._find_shard)
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
        self._is_deaf = self._warned = False
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
        tasks, self._tasks = set(self._tasks), []
        while tasks:
            for task in tasks:
                task.cancel()
            # Again if need be: redis-py asks sentinels by `asyncio.wait_for` (see _Server).
            _, tasks = await asyncio.wait(tasks, timeout=0.5)
        stopping = BrokerUnavailable("the hub is stopping")
        for request, _, _ in self._drafts:
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
        size = sum(map(_size, drafts))
        if self._drafts and self._draft_bytes + size > MAX_WAITING_BYTES:
            raise BrokerUnavailable(f"Redis at {self._server.address}: too much waits for it")
        loop = asyncio.get_running_loop()
        request = _Request(len(drafts), loop.create_future(), time.monotonic())
        self._draft_bytes += size
        self._drafts += [(request, index, draft) for index, draft in enumerate(drafts)]
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
                for request, _, _ in batch:
                    request.fail(BrokerUnavailable("the hub is stopping"))
                raise
            except Exception as error:
                # A bug, but the writer must live: whoever waits is told, and the next batch is written.
                logger.exception("publishing failed")
                for request, _, _ in batch:
                    request.fail(self._unavailable(error))
            finally:
                self._draft_bytes -= sum([_size(draft) for _, _, draft in batch])

    async def _write(self, entries: list[_Entry]) -> None:
        patience = COMMAND_SECONDS - (time.monotonic() - entries[0][0].asked)
        everyone = entries
        fault: BaseException | None = None
        try:
            async with asyncio.timeout(max(patience, 0.5)):
                while entries:
                    await self._open(self._publishing)
                    parts = self._parts(entries)
                    again: list[_Entry] = []
                    unanswered = iter(parts)

                    def take(reply: Any, unanswered: Iterator[_Part] = unanswered, again: list[_Entry] = again) -> None:
                        # Who is answered publishes the next while Redis is at the parts that follow.
                        again += self._take(next(unanswered)[1], reply)

                    try:
                        await self._publishing.run(
                            (self._call(shard, [draft for _, _, draft in part]) for shard, part in parts), take
                        )
                    except _FAULTS as error:
                        fault = error
                        # Perhaps they were accepted: only what has a key can be repeated without harm.
                        for _, part in unanswered:
                            again += self._keyed(part, error)
                    else:
                        if again:
                            # A new connection brings the scripts.
                            await self._publishing.hang_up()
                    entries = again
        except TimeoutError:
            failure = self._unavailable(fault or self._publishing.fault or TimeoutError("does not answer"))
            for request, _, _ in everyone:
                request.fail(failure)

    def _take(self, part: list[_Entry], reply: Any) -> list[_Entry]:
        """Tell those who wait what became of a part; returns what must be published again."""
        if isinstance(reply, NoScriptError):
            # Redis lost its scripts, and nothing was done.
            return part
        if isinstance(reply, Exception):
            for request, _, _ in part:
                request.fail(self._unavailable(reply))
        else:
            accepted = _accepted([draft for _, _, draft in part], reply)
            for (request, index, _), published in zip(part, accepted, strict=True):
                request.answer(index, published)
        return []

    def _keyed(self, part: list[_Entry], error: BaseException) -> list[_Entry]:
        """The drafts that can be repeated; the others are told that nobody knows."""
        keyed = []
        for entry in part:
            request, _, draft = entry
            if draft.key is None:
                request.fail(self._unavailable(error))
            elif not request.future.done():
                keyed.append(entry)
        return keyed

    def _parts(self, entries: list[_Entry]) -> list[_Part]:
        """One part for each Lua call."""
        by_shard: defaultdict[int, list[_Entry]] = defaultdict(list)
        shard_of = self._shard
        for entry in entries:
            by_shard[shard_of(entry[2].channel)].append(entry)
        return [
            (shard, found[start : start + SCRIPT_DRAFTS])
            for shard, found in by_shard.items()
            for start in range(0, len(found), SCRIPT_DRAFTS)
        ]

    def _call(self, shard: int, drafts: Sequence[Draft]) -> Command:
        tag = self._tags[shard]
        numbers: dict[str, int] = {}
        own: list[str] = []
        arguments: list[Any] = []
        for channel, data, key, hint, ext in drafts:
            number = numbers.get(channel)
            if number is None:
                number = numbers[channel] = len(numbers) + 1
            form = 1 if hint else 0
            if ext:
                form += 2
            if key is not None:
                form += 12 if identifies(channel, key) else 4
                own.append(f"{tag}i:{key}")
            arguments += (number, form, data, ext) if ext else (number, form, data)
        keys = [tag + "log", tag + "ep"]
        bounds: list[Any] = []
        longest = 0.0
        for channel in numbers:
            keep = self._histories.of(channel)
            longest = max(longest, keep.seconds)
            keys += (f"{tag}m:{channel}", f"{tag}h:{channel}")
            bounds += (channel, keep.count, keep.seconds, keep.bytes)
        # A position must outlive what it points at, so that "lost" is certain.
        remembered = max(META_SECONDS, round(longest * 2))
        head = (len(drafts), len(numbers), _epoch(), LOG_LENGTH, LOG_BYTES, remembered, round(KEY_SECONDS))
        return self._publish_script.call(keys + own, (*head, *bounds, *arguments))

    # Questions

    async def position(self, channel: str) -> Position:
        epoch, top, _, _ = await self._ask(("top", channel), lambda: self._look(channel, "top", "", 0))
        return Position(epoch.decode(), top)

    async def history(self, channel: str, since: Position | None) -> History:
        if since is None:
            found = await self._ask(("all", channel), lambda: self._look(channel, "all", "", 0))
        else:
            # No offset is beyond 2**53, and Lua's numbers end there.
            offset = min(since.offset, 2**53)
            key = ("since", channel, since.epoch, offset)
            found = await self._ask(key, lambda: self._look(channel, "since", since.epoch, offset))
        epoch, top, complete, entries = found
        name = epoch.decode()
        publications = tuple(
            Publication(
                channel, fields[1], Position(name, int(entry.partition(b"-")[0])), fields[3] != b"", fields[5] or None
            )
            for entry, fields in entries
        )
        return History(publications, Position(name, top), complete == 1)

    def _look(self, channel: str, what: str, epoch: str, offset: int) -> Command:
        tag = self._tags[self._shard(channel)]
        return self._history_script.call(
            [tag + "ep", f"{tag}m:{channel}", f"{tag}h:{channel}"], (_epoch(), ASKED_SECONDS, what, epoch, offset)
        )

    async def may_follow(self, channel: str, key: str) -> bool:
        tag = self._tags[self._shard(channel)]
        seconds = round(KEY_SECONDS) + KEY_SLACK
        return bool(
            await self._ask(None, lambda: ("EVAL", _MAY_FOLLOW, 2, f"{tag}i:{key}", f"{tag}m:{channel}", seconds))
        )

    async def claim_session(self, session_id: str, worker: str) -> bytes | None:
        found: bytes | None = await self._ask(
            None, lambda: ("EVAL", _CLAIM, 1, f"{self._prefix}:s:{session_id}", worker)
        )
        return found

    async def save_session(self, session_id: str, worker: str, record: bytes, seconds: float) -> bool:
        milliseconds = max(1, round(seconds * 1000))
        key = f"{self._prefix}:s:{session_id}"
        saved: int = await self._ask(None, lambda: ("EVAL", _SAVE, 1, key, worker, record, milliseconds))
        return saved == 1

    async def _ask(self, key: object, command: Callable[[], Command]) -> Any:
        """The reply to a command that may be repeated.

        A question with the same key that has not been sent yet is shared. One that has been sent is
        not: its answer may be older than what the asker has done before asking.
        """
        self._refuse_while_away()
        future = self._shared.get(key)
        if future is None:
            if len(self._questions) >= MAX_QUESTIONS:
                raise BrokerUnavailable(f"Redis at {self._server.address}: too much waits for it")
            future = asyncio.get_running_loop().create_future()
            self._questions.append(_Question(command, future))
            if key is not None:
                self._shared[key] = future
            self._asked.set()
        # One who stops waiting must not take the answer from the others.
        return await asyncio.shield(future)

    async def _ask_on(self) -> None:
        """Everything that is asked, batch after batch."""
        while True:
            await self._asked.wait()
            await asyncio.sleep(0)
            batch, self._questions = self._questions[:BATCH_QUESTIONS], self._questions[BATCH_QUESTIONS:]
            self._shared.clear()
            if not self._questions:
                self._asked.clear()
            try:
                async with asyncio.timeout(COMMAND_SECONDS):
                    await self._answer(batch)
            except asyncio.CancelledError:
                for question in batch:
                    _fail(question.future, BrokerUnavailable("the hub is stopping"))
                raise
            except TimeoutError:
                failure = self._unavailable(self._asking.fault or TimeoutError("does not answer"))
                for question in batch:
                    _fail(question.future, failure)
            except Exception as error:
                # A bug, but those who ask next must be answered.
                logger.exception("asking failed")
                for question in batch:
                    _fail(question.future, self._unavailable(error))

    async def _answer(self, batch: list[_Question]) -> None:
        while batch:
            await self._open(self._asking)
            try:
                replies = await self._asking.run([question.command() for question in batch])
            except _FAULTS:
                continue
            again = []
            for question, reply in zip(batch, replies, strict=True):
                if isinstance(reply, NoScriptError):
                    await self._asking.hang_up()
                    again.append(question)
                elif isinstance(reply, Exception):
                    _fail(question.future, self._unavailable(reply))
                elif not question.future.done():
                    question.future.set_result(reply)
            batch = again

    def _refuse_while_away(self) -> None:
        """Known to be away for a while: say so at once instead of queueing what may never go out."""
        if self._fault and time.monotonic() - self._fault_since > PATIENCE_SECONDS:
            raise BrokerUnavailable(self._fault)

    # Reading

    async def _read_on(self) -> None:
        """Read for ever; on any fault reconnect, look what happened meanwhile, go on by id."""
        tries = 0
        while True:
            try:
                async with asyncio.timeout(COMMAND_SECONDS):
                    found = await self._reading.open()
                if found is not None:
                    self._take_up(found)
                    self._heard = time.monotonic()
                    if not self._is_deaf:
                        self._fault = ""
                    self.reconnects += 1
                    logger.warning("redis regained", extra={"address": self._server.address})
                    tries = 0
                if await self._read():
                    await asyncio.sleep(REARM)
            except _FAULTS as error:
                if not self._fault:
                    logger.warning("redis lost", extra={"address": self._server.address, "error": str(error)})
                self._ail(str(self._unavailable(error)))
            except Exception as error:
                # A bug, here or in the node. A reader that stopped would be silence, so it says "lost" and goes on.
                logger.exception("reading failed")
                self._ail(str(self._unavailable(error)))
                self._tell_lost(None)
            else:
                continue
            await self._reading.hang_up()
            tries += 1
            # Full jitter: workers that lost Redis together must not come back together.
            await asyncio.sleep(random.uniform(0.01, min(2.0, 0.05 * 2 ** min(tries, 10))))

    async def _read(self) -> int:
        """One XREAD, with a look at the shards when it is time; returns how many entries came."""
        looks: list[Command] = []
        now = time.monotonic()
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            looks = [("HMGET", tag + "ep", "e", "q") for tag in self._tags]
        read = ("XREAD", "COUNT", READ_COUNT, "BLOCK", BLOCK_MS, "STREAMS", *self._streams, self._canary)
        async with asyncio.timeout(COMMAND_SECONDS + BLOCK_MS / 1000):
            replies = await self._reading.run([*looks, (*read, *self._last, self._last_canary)])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        before = self._numbers[:]
        count, missed, doubt = 0, False, False
        full: set[int] = set()
        taken: list[tuple[int, bytes, int, list[Publication]]] = []
        if replies[-1]:
            self._heard = time.monotonic()
            self._is_deaf = False
            self._fault = ""
        for stream, entries in replies[-1] or ():
            if stream == self._canary:
                self._last_canary = entries[-1][0]
                continue
            shard = self._shard_of_stream[stream]
            publications: list[Publication] = []
            number = before[shard]
            for _, fields in entries:
                try:
                    next_number = int(fields[13])
                    if next_number > number:
                        publications.append(_publication(fields))
                except (IndexError, ValueError) as error:
                    # Another version, or another program, writes to our log. What it said is lost to us.
                    logger.error("log entry can't be read", extra={"shard": shard, "error": repr(BadWire(str(error)))})
                    missed = True
                    continue
                missed = missed or next_number > number + 1
                doubt = doubt or next_number <= number
                number = next_number
            if len(entries) >= READ_COUNT:
                full.add(shard)
            taken.append((shard, entries[-1][0], number, publications))
            count += len(entries)
        for shard, (epoch, newest) in enumerate(replies[:-1]):
            number = next((found[2] for found in taken if found[0] == shard), before[shard])
            if epoch != self._epochs[shard] or int(newest or 0) < before[shard]:
                doubt = True
            elif int(newest) > number and shard not in full:
                # They were written before the XREAD, and it did not return them.
                missed = True
                self._numbers[shard] = int(newest)
        if doubt and await self._settle_again():
            # The log begins anew, and is read from there: nothing of this reply counts.
            return count
        if missed or doubt:
            self.trims += 1
            logger.warning("log trimmed unread")
            self._tell_lost(None)
        for shard, last, number, publications in taken:
            self._last[shard] = last
            self._numbers[shard] = number if doubt else max(number, self._numbers[shard])
            if self._receiver is not None and publications:
                self._receiver.receive(publications)
                if len(publications) >= READ_COUNT:
                    await asyncio.sleep(0)
        return count

    async def _settle_again(self) -> bool:
        """Look at the shards under an open connection; returns whether a log began anew."""
        async with asyncio.timeout(COMMAND_SECONDS):
            # If everything was deleted, so was the layout.
            replies = await self._reading.run([*self._settle_calls("", "", True), self._layout_call()])
        return self._take_up(_settled(replies[:-1]))

    def _take_up(self, found: list[_Settled]) -> bool:
        """Go on reading where it was left, or where the log begins anew; returns whether it does."""
        anew = False
        for shard, state in enumerate(found):
            known = self._epochs[shard]
            if known is None:
                # A node that opens hears what is published from now on.
                self._last[shard], self._numbers[shard] = state.top, state.newest
            elif known != state.epoch:
                anew = True
                self._last[shard], self._numbers[shard] = state.at, state.begun
            self._epochs[shard] = state.epoch
        self._last_canary = b"0-0"
        if anew:
            self.rollbacks += 1
            logger.warning("log rolled back")
            self._tell_lost(None)
        return anew

    def _tell_lost(self, channels: Sequence[str] | None) -> None:
        if self._receiver is not None:
            self._receiver.lost(channels)

    async def _sing_on(self) -> None:
        """Write the canary, and notice when it is not heard."""
        while True:
            asleep = time.monotonic()
            await asyncio.sleep(CANARY_SECONDS)
            now = time.monotonic()
            if now - asleep > CANARY_SECONDS + 1:
                # It was this process that stood still; what was said meanwhile waits in the socket's buffer.
                self._heard = max(self._heard, now - DEAF_SECONDS / 2)
            silent = now - self._heard
            if silent > DEAF_SECONDS and self._reading.is_open:
                if not self._is_deaf:
                    self._ail(f"Redis at {self._server.address}: deaf for {silent:.0f} s")
                    self._is_deaf = True
                    self.deaf += 1
                    logger.error("deaf", extra={"address": self._server.address, "seconds": round(silent, 1)})
                # The reader meets a closed connection and makes a new one, to where the primary is now.
                await self._reading.hang_up()
            try:
                async with asyncio.timeout(CANARY_SECONDS):
                    await self._ask(None, lambda: ("EVAL", _SING, 1, self._canary))
            except _FAULTS as error:
                logger.debug("canary not written", extra={"error": str(error)})

    def _ail(self, reason: str) -> None:
        if not self._fault:
            self._fault_since = time.monotonic()
        # Deaf says more than the closed connection that follows from it.
        if not self._is_deaf:
            self._fault = reason

    # Connections

    async def _open(self, line: _Line) -> None:
        """Connect, trying again until the caller's time is over."""
        pause = 0.02
        while True:
            try:
                await line.open()
                return
            except _FAULTS:
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, 0.5)

    async def _connect(self) -> tuple[Connection, list[_Settled]]:
        """A connection to the primary as it is now, fit for use: it has our scripts, and the shards are settled."""
        connection = self._server.connection()
        try:
            await connection.connect()
            found = self._greeted(await _run(connection, self._greeting()))
            replies = await _run(connection, [*self._settle_calls(*found), self._layout_call()])
            return connection, _settled(replies[:-1])
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    def _greeting(self) -> list[Command]:
        """What a new connection asks and brings first."""
        return [
            ("INFO", "server"),
            ("INFO", "replication"),
            ("CONFIG", "GET", "append*"),
            ("CONFIG", "GET", "maxmemory-policy"),
            ("SCRIPT", "LOAD", self._publish_script.text),
            ("SCRIPT", "LOAD", self._history_script.text),
            ("SCRIPT", "LOAD", self._settle_script.text),
        ]

    def _greeted(self, replies: list[Any]) -> tuple[str, str, bool]:
        """What `settle.lua` is told of the server. Raises what makes it unfit."""
        for reply in replies[4:]:
            if isinstance(reply, Exception):
                raise reply
        server, replication = _info(replies[0]), _info(replies[1])
        self._check(server, replication)
        config = _config(replies[2]) | _config(replies[3])
        self._warn("run_id" in server, config.get("maxmemory-policy", ""))
        durable = config.get("appendonly") == "yes" and config.get("appendfsync") == "always"
        return server.get("run_id", ""), replication.get("master_replid2", ""), durable

    def _layout_call(self) -> Command:
        """Leaves word for those who publish without being a hub, and have not its settings."""
        values = ("shards", self._shards, "histories", self._histories.encode(), "realm", self._realm)
        return ("HSET", self._tags[0] + "layout", *values)

    def _settle_calls(self, run_id: str, replaced: str, durable: bool) -> list[Command]:
        calls = []
        for shard, tag in enumerate(self._tags):
            known = (self._epochs[shard] or b"", self._last[shard], self._numbers[shard])
            arguments = (_epoch(), run_id, replaced, b"1" if durable else b"0", *known)
            calls.append(self._settle_script.call([tag + "log", tag + "ep"], arguments))
        return calls

    def _check(self, server: dict[str, str], replication: dict[str, str]) -> None:
        """Raise BrokerUnavailable for a server that can't carry the log."""
        version = server.get("redis_version", "")
        if version and "valkey_version" not in server and int(version.split(".")[0]) < 7:
            raise BrokerUnavailable(
                f"Redis at {self._server.address}: is version {version}; 7 or later is needed, or Valkey"
            )
        # Valkey has another word for it.
        if "cluster" in (server.get("redis_mode"), server.get("server_mode")):
            raise BrokerUnavailable(
                f"Redis at {self._server.address}: is a cluster; one primary is needed, with Sentinel or without"
            )
        if replication.get("role") == "slave":
            raise BrokerUnavailable(f"Redis at {self._server.address}: is a replica")

    def _warn(self, knows_server: bool, policy: str) -> None:
        """Say once what weakens the promise."""
        if self._warned:
            return
        self._warned = True
        if not knows_server:
            logger.warning("redis forbids INFO, so not every failover can be noticed")
        # volatile-* may evict histories and sessions, which is said as "lost"; allkeys-* the log itself.
        if policy.startswith("allkeys"):
            logger.warning("redis may evict the log; use maxmemory-policy noeviction", extra={"policy": policy})

    def _unavailable(self, error: BaseException) -> BrokerUnavailable:
        if isinstance(error, BrokerUnavailable):
            return error
        reason = str(error) or "does not answer"
        if isinstance(error, ResponseError):
            reason = f"refused: {reason}"
        return BrokerUnavailable(f"Redis at {self._server.address}: {reason}")

    def _find_shard(self, channel: str) -> int:
        return crc32(home(channel).encode()) % self._shards


class RedisCaller:
    """Publishes into a hub's log with blocking calls, for code without an event loop. Not for two threads at once.

    url: as RedisBroker's; Redis must have been used by a hub, which left its layout there. realm: whose
    log it is, the default realm's if it is not said. timeout: seconds for one step: connecting, sending,
    each read. A fork may happen between calls: the child makes a connection of its own. Raises
    SettingsError for a URL that can't be used.
    """

    def __init__(self, url: str, *, realm: str = "", timeout: float = 5.0, prefix: str = PREFIX) -> None:
        self._url = url
        self._realm = realm
        self._prefix = prefix
        self._server = _BlockingServer(url, timeout)
        # It makes the commands, and is never opened.
        self._log = RedisBroker(url, prefix=prefix)
        # What hubs have written down of the default realm, and of this one.
        self._layouts: list[Any] = []
        self._connection: BlockingConnection | None = None
        self._pid = os.getpid()

    def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        """Accept drafts, each with a key: they may be repeated. Raises BrokerUnavailable: try again."""
        return self._insisting(lambda: self._publish(drafts))

    def position(self, channel: str) -> Position:
        """The newest position of a channel in Bayeux form. Raises BrokerUnavailable."""

        def look() -> Any:
            # First, for the connection brings the layout that says where to look.
            self._connect()
            return self._run([self._log._look(channel, "top", "", 0)])[0]

        epoch, top, _, _ = self._insisting(look)
        return Position(epoch.decode(), top)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.disconnect()

    def _insisting(self, call: Callable[[], T]) -> T:
        """What a call returns; once more on a new connection if that could help."""
        if self._pid != os.getpid():
            # The connection is the parent's: two processes on one would read each other's replies.
            self._connection = None
            self._pid = os.getpid()
        kept = self._connection is not None
        try:
            try:
                return call()
            except _FAULTS as error:
                self.close()
                # An idle connection may be closed at any time, and only use tells.
                if not kept and not isinstance(error, _Stale):
                    raise
                return call()
        except _FAULTS as error:
            self.close()
            raise self._log._unavailable(error) from None

    def _publish(self, drafts: Sequence[Draft]) -> list[Published]:
        self._connect()
        by_shard: dict[int, list[int]] = {}
        for index, draft in enumerate(drafts):
            by_shard.setdefault(self._log._shard(draft.channel), []).append(index)
        parts = [
            (shard, found[start : start + SCRIPT_DRAFTS])
            for shard, found in by_shard.items()
            for start in range(0, len(found), SCRIPT_DRAFTS)
        ]
        calls = [self._log._call(shard, [drafts[index] for index in part]) for shard, part in parts]
        questions = self._layout_questions()
        replies = self._run([*calls, *questions])
        if replies[-len(questions) :] != self._layouts:
            # The hub has other shards now, or realms, and nobody may read where this was written.
            raise _Stale("its layout has changed")
        results = {
            index: published
            for (_, part), reply in zip(parts, replies[: len(calls)], strict=True)
            for index, published in zip(part, _accepted([drafts[index] for index in part], reply), strict=True)
        }
        return [results[index] for index in range(len(drafts))]

    def _run(self, commands: list[Command]) -> list[Any]:
        """The replies. An error among them is raised, when all are read."""
        replies = _exchange(self._connect(), commands)
        for reply in replies:
            if isinstance(reply, NoScriptError):
                raise _Stale("lost its scripts") from reply
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _connect(self) -> BlockingConnection:
        """The connection; a new one is settled first, as a hub's."""
        if self._connection is not None:
            return self._connection
        connection = self._server.connection()
        try:
            connection.connect()
            questions = self._layout_questions()
            replies = _exchange(connection, [*self._log._greeting(), *questions])
            found = self._log._greeted(replies[: -len(questions)])
            layouts = replies[-len(questions) :]
            if layouts != self._layouts:
                self._log = self._log_of(layouts)
                self._layouts = layouts
            _settled(_exchange(connection, self._log._settle_calls(*found)))
        except BaseException:
            connection.disconnect()
            raise
        self._connection = connection
        return connection

    def _layout_questions(self) -> list[Command]:
        own = [realm_prefix(self._realm, self._prefix)] if self._realm else []
        return [("HMGET", f"{{{prefix}:0}}:layout", "shards", "histories", "realm") for prefix in (self._prefix, *own)]

    def _log_of(self, layouts: list[Any]) -> RedisBroker:
        """What makes the commands for the log that the answers to the questions tell of. Raises BrokerUnavailable."""
        address = self._log._server.address
        for layout in layouts:
            if isinstance(layout, Exception):
                raise layout
        layout, prefix = layouts[0], self._prefix
        if None in layout[:2]:
            raise BrokerUnavailable(f"Redis at {address}: no hub has used it yet")
        # Who has not said its name, as a hub of a version that knew one realm only, has no other.
        if self._realm and layout[2] not in (None, b"", self._realm.encode()):
            layout, prefix = layouts[1], realm_prefix(self._realm, self._prefix)
            if None in layout[:2]:
                raise BrokerUnavailable(f"Redis at {address}: no hub has served realm {self._realm} there yet")
        shards, histories, _ = layout
        return RedisBroker(self._url, shards=int(shards), histories=Histories.decode(histories), prefix=prefix)


class _Stale(RedisConnectionError):
    """Nothing is wrong with the server: it wants a new connection."""


class _BlockingServer:
    """As _Server, for blocking connections."""

    def __init__(self, url: str, timeout: float) -> None:
        options: dict[str, Any] = {
            "socket_connect_timeout": timeout,
            "socket_timeout": timeout,
            "retry": BlockingRetry(NoBackoff(), 0),
        }
        try:
            if _is_sentinel(url):
                hosts, service, ours, theirs = _sentinel_parts(url, options["retry"])
                sentinel = BlockingSentinel(hosts, sentinel_kwargs=theirs)
                self._pool: BlockingPool = BlockingSentinelPool(service, sentinel, **ours, **options)
            else:
                self._pool = BlockingPool.from_url(url, **options)
        except ValueError as error:
            raise SettingsError(f"REDIS_URL: {error}") from None
        self._pool.connection_kwargs |= {"protocol": 2, "decode_responses": False}

    def connection(self) -> BlockingConnection:
        return cast(BlockingConnection, self._pool.make_connection())


class _Server:
    """Where Redis is, and how to connect to it. `address` is for people: it has no password in it."""

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {
            "socket_connect_timeout": COMMAND_SECONDS,
            # Whoever waits has a limit of his own. redis-py's is `asyncio.wait_for`, which in Python 3.11 may
            # swallow a cancellation (python/cpython#86296), and a task that should stop would go on.
            "socket_timeout": None,
            # A publish that may have been accepted must not be repeated unasked; who repeats here knows what.
            "retry": Retry(NoBackoff(), 0),
        }
        self._sentinel: Sentinel | None = None
        try:
            parts = urlsplit(url)
            if _is_sentinel(url):
                self._pool: ConnectionPool = self._sentinel_pool(url, options)
                self.address = f"{parts.path.strip('/').partition('/')[0]} of {parts.netloc.rpartition('@')[2]}"
            else:
                self._pool = ConnectionPool.from_url(url, **options)
                # An IPv6 address is in brackets in a URL, and stays so.
                host = parts.netloc.rpartition("@")[2]
                self.address = parts.path if parts.scheme == "unix" else host if parts.port else f"{host}:6379"
        except ValueError as error:
            raise SettingsError(f"REDIS_URL: {error}") from None
        # What the URL says of these would change the form of replies.
        self._pool.connection_kwargs |= {"protocol": 2, "decode_responses": False}

    def connection(self) -> Connection:
        """A new connection, not connected. Names are resolved, and sentinels asked, when it connects."""
        connection: Connection = self._pool.make_connection()
        return connection

    async def close(self) -> None:
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()

    def _sentinel_pool(self, url: str, options: dict[str, Any]) -> SentinelConnectionPool:
        hosts, service, ours, theirs = _sentinel_parts(url, options["retry"])
        self._sentinel = Sentinel(hosts, sentinel_kwargs=theirs)
        return SentinelConnectionPool(service, self._sentinel, **ours, **options)


def _is_sentinel(url: str) -> bool:
    return urlsplit(url).scheme in ("redis+sentinel", "rediss+sentinel", "sentinel")


def _sentinel_parts(url: str, retry: object) -> tuple[list[tuple[str, int]], str, dict[str, Any], dict[str, Any]]:
    """The sentinels, the primary's name, and the options of connections to it and to them. Raises ValueError."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    sentinels = []
    for host in hosts.split(","):
        name, colon, port = host.rpartition(":")
        sentinels.append((name, int(port)) if colon else (host, 26379))
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("a sentinel URL ends with /service, the name of the primary")
    user, _, password = credentials.partition(":")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    ours = {
        "db": int(database or 0),
        "username": unquote(user) or None,
        "password": unquote(password) or None,
        "ssl": parts.scheme == "rediss+sentinel",
    }
    theirs = {
        "socket_timeout": 1.0,
        "socket_connect_timeout": 1.0,
        "retry": retry,
        "password": query.get("sentinel_password"),
    }
    return sentinels, service, ours, theirs


def _exchange(connection: BlockingConnection, commands: Sequence[Command]) -> list[Any]:
    """`_run`, blocking."""
    connection.send_packed_command([pack_command(command) for command in commands], check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(connection.read_response())
        except ReadOnlyError as error:
            raise RedisConnectionError("became a replica") from error
        except ResponseError as error:
            replies.append(error)
    return replies


async def _run(
    connection: Connection, commands: Iterable[Command], take: Callable[[Any], None] | None = None
) -> list[Any]:
    """Send commands as one pipeline; returns the replies as they come, errors among them, nothing decoded."""
    # A long batch goes out in pieces, so that Redis works on the first while the next is made.
    count, pieces, size = 0, [], 0
    for command in commands:
        piece = pack_command(command)
        pieces.append(piece)
        size += len(piece)
        count += 1
        if size > PIECE_BYTES:
            await connection.send_packed_command(pieces, check_health=False)
            pieces, size = [], 0
    if pieces:
        await connection.send_packed_command(pieces, check_health=False)
    replies: list[Any] = []
    for _ in range(count):
        try:
            reply = await connection.read_response()
        except ReadOnlyError as error:
            # The primary was demoted under us; the next connection looks for the new one.
            raise RedisConnectionError("became a replica") from error
        except ResponseError as error:
            reply = error
        replies.append(reply)
        if take is not None:
            take(reply)
    return replies


def _publication(fields: list[bytes]) -> Publication:
    position = Position(fields[3].decode(), int(fields[5]))
    return Publication(fields[1].decode(), fields[7], position, fields[9] != b"", fields[11] or None)


def _accepted(drafts: Sequence[Draft], reply: list[list[Any]]) -> list[Published]:
    """What became of the drafts of one call, by what `publish.lua` returned."""
    begun, known = reply
    repeated = {known[at]: (known[at + 1], known[at + 2]) for at in range(0, len(known), 3)}
    # Of each channel, in the order of their first drafts: its epoch, and the offset that is next.
    firsts = iter(zip(begun[::2], begun[1::2], strict=True))
    channels: dict[str, list[Any]] = {}
    accepted = []
    for index, draft in enumerate(drafts):
        state = channels.get(draft.channel)
        if state is None:
            epoch, offset = next(firsts)
            state = channels[draft.channel] = [epoch.decode(), offset]
        if index in repeated:
            epoch, offset = repeated[index]
            accepted.append(Published(Position(epoch.decode(), offset), True))
        else:
            accepted.append(Published(Position(state[0], state[1])))
            state[1] += 1
    return accepted


def _settled(replies: list[Any]) -> list[_Settled]:
    found = []
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
        epoch, begun, at, newest, top, _ = reply
        found.append(_Settled(epoch, begun, at, newest, top))
    return found


def _info(reply: object) -> dict[str, str]:
    """The fields of INFO; nothing if it is forbidden."""
    if not isinstance(reply, bytes):
        return {}
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


def _config(reply: object) -> dict[str, str]:
    """What CONFIG GET says; nothing where it is forbidden, as with many hosted servers."""
    if not isinstance(reply, list):
        return {}
    words = [word.decode(errors="replace") for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        # Nobody may wait for it any more; that is no reason to complain.
        future.exception()


def _epoch() -> str:
    """A new epoch: 40 random bits are unlike any other of the same channel."""
    return secrets.token_hex(5)


def _size(draft: Draft) -> int:
    return len(draft.data) + len(draft.channel) + 200
