"""The log in Redis: shard streams that every node reads. The only module that knows redis.

Layout, for shard n of K (n = crc32(channel) % K); the keys of a shard share a hash tag, so the
layout is the same in a Redis Cluster:

    {hub:n}:log       stream   every publication of the shard, about LOG_LENGTH of them
    {hub:n}:ep        string   the shard's epoch; replaced when the log was rolled back
    {hub:n}:m:<ch>    hash     p: shard epoch, e: channel epoch, s: newest offset, b: bytes of history
    {hub:n}:h:<ch>    stream   the channel's history, entry id = offset
    {hub:n}:i:<key>   hash     what a publish with this key returned, for KEY_SECONDS
    hub:s:<id>        hash     w: the worker that owns a session, r: its record
    {hub:0}:canary:<worker>    what a worker writes to hear itself

Publishing. What is published within a turn of the loop goes out as one pipeline with one Lua
call a shard (`publish.lua`). A single writer keeps the order.

Reading. One connection, one XREAD over all shards, resumed by id, so that a lost connection
loses nothing. After a batch that had entries the reader waits REARM seconds before it asks
again: measured, that makes it as cheap for Redis as Pub/Sub, and idle it adds no latency.

Doubt. Redis replicates asynchronously: a failover may roll the log back. On every reconnect the
last entry read must still be there (the anchor); if it is not, either entries were trimmed
unread or the log is another one, which then gets a new epoch. Both end in `lost`, never in
silence. And each worker writes a canary and must read it: a reader that hears nothing is deaf,
reconnects, and makes the node not ready (production hubs were deaf for hours, health green).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from zlib import crc32

from redis.asyncio import Connection, Redis
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import NoScriptError, RedisError, ResponseError

from ..errors import BrokerUnavailable, SettingsError
from ..protocol.publications import Draft, History, Position, Publication, Published
from . import KEY_SECONDS, Broker, Health, Receiver, Retention, RetentionOf

logger = logging.getLogger(__name__)

#: Entries a shard's log keeps, approximately: at 5,000 publications a second over 16 shards, 160 seconds
#: for a reader to come back; 350 bytes each make 18 MB a shard at most.
LOG_LENGTH = 50_000

#: Entries read at once. Larger batches make the loop wait, smaller ones cost round trips.
READ_COUNT = 512

#: Milliseconds a read blocks; the canary's rhythm, and how long a close may take.
BLOCK_MS = 1000

#: Seconds the reader lets entries gather after a batch (measured: 2 to 5 ms halve Redis's work at 500 a second
#: and up to a third of the readers' at 5,000).
REARM = 0.003

#: Seconds between canaries, and after which a worker that has not seen its own is deaf.
CANARY_SECONDS = 1.0
DEAF_SECONDS = 3.0

#: Seconds for a command, a connection attempt included.
COMMAND_SECONDS = 3.0

#: Drafts in one Lua call: Redis serves nobody else meanwhile, 200 are about 2 ms.
SCRIPT_DRAFTS = 200

#: Channels whose newest offset is remembered, to notice gaps and repeats.
MAX_SEEN = 200_000

#: A session's record, with the worker that owns it: who claimed it last.
_CLAIM = (
    "if redis.call('EXISTS', KEYS[1]) == 0 then return false end "
    "redis.call('HSET', KEYS[1], 'w', ARGV[1]) return redis.call('HGET', KEYS[1], 'r')"
)
_SAVE = (
    "local w = redis.call('HGET', KEYS[1], 'w') if w and w ~= ARGV[1] then return 0 end "
    "redis.call('HSET', KEYS[1], 'w', ARGV[1], 'r', ARGV[2]) redis.call('PEXPIRE', KEYS[1], ARGV[3]) return 1"
)

_FAULTS = (RedisError, OSError, asyncio.TimeoutError, EOFError)
_HERE = Path(__file__).parent


class RedisBroker(Broker):
    """The broker of a hub with many processes.

    url: redis://, rediss:// (TLS), unix:// or redis+sentinel://host:port,host:port/service[/db].
    Raises SettingsError for a URL that can't be used.
    """

    def __init__(
        self, url: str, *, shards: int = 16, retention: RetentionOf | None = None, prefix: str = "hub"
    ) -> None:
        self._address, self._connect = _client_of(url)
        self._shards = shards
        self._retention: RetentionOf = retention or (lambda channel: Retention())
        self._prefix = prefix
        self._receiver: Receiver | None = None
        self._worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._client: Redis | None = None
        self._publish_sha = self._history_sha = ""
        self._logs = [self._key(shard, "log").encode() for shard in range(shards)]
        self._canary = self._key(0, f"canary:{self._worker}").encode()
        # Where reading goes on, by stream; shard epochs as last read; newest position of channels.
        self._last: dict[bytes, bytes] = {}
        self._epochs: list[bytes | None] = [None] * shards
        self._seen: dict[str, Position] = {}
        self._waiting: list[tuple[Draft, asyncio.Future[Published]]] = []
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._reading: Connection | None = None
        self._heard = 0.0
        self._fault = "not open"
        #: Counted for /metrics.
        self.reconnects = 0
        self.deaf = 0
        self.rollbacks = 0

    # Life

    async def open(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._client = self._connect()
        try:
            info = await self._client.info("server")
            self._check_version(info)
            await self._load()
            connection = await self._reader_connection()
            await self._start_at_the_end(connection)
        except _FAULTS as error:
            await self.close()
            raise self._unavailable(error) from error
        await self._warn_of_eviction()
        self._reading = connection
        self._fault = ""
        self._heard = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._write_on(), name="redis writer"),
            asyncio.create_task(self._read_on(), name="redis reader"),
            asyncio.create_task(self._sing_on(), name="redis canary"),
        ]

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(BrokerUnavailable("the hub is stopping"))
        self._waiting = []
        self._receiver = None
        if self._reading is not None:
            await self._reading.disconnect(nowait=True)
            self._reading = None
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    # Publishing

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        if self._client is None:
            raise BrokerUnavailable("the broker is not open")
        if self._fault:
            # Known to be away: say so at once instead of queueing what may never go out.
            raise BrokerUnavailable(self._fault)
        loop = asyncio.get_running_loop()
        futures = []
        for draft in drafts:
            future: asyncio.Future[Published] = loop.create_future()
            self._waiting.append((draft, future))
            futures.append(future)
        self._wake.set()
        if len(futures) == 1:
            return [await futures[0]]
        results = await asyncio.gather(*futures, return_exceptions=True)
        published = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            published.append(result)
        return published

    async def _write_on(self) -> None:
        """The one writer: everything that waits, as one pipeline after another."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            # One more turn, so that what this turn of the loop publishes goes together.
            await asyncio.sleep(0)
            waiting, self._waiting = self._waiting, []
            if waiting:
                try:
                    await asyncio.wait_for(self._write(waiting), COMMAND_SECONDS)
                except _FAULTS as error:
                    failure = self._unavailable(error)
                    for _, future in waiting:
                        if not future.done():
                            future.set_exception(failure)
                            # Nobody may wait for it any more.
                            future.exception()

    async def _write(self, waiting: list[tuple[Draft, asyncio.Future[Published]]]) -> None:
        assert self._client is not None
        by_shard: dict[int, list[tuple[Draft, asyncio.Future[Published]]]] = {}
        for entry in waiting:
            by_shard.setdefault(self._shard(entry[0].channel), []).append(entry)
        calls = []
        pipeline = self._client.pipeline(transaction=False)
        for shard, entries in by_shard.items():
            for start in range(0, len(entries), SCRIPT_DRAFTS):
                part = entries[start : start + SCRIPT_DRAFTS]
                calls.append(part)
                keys, arguments = self._call(shard, [draft for draft, _ in part])
                pipeline.evalsha(self._publish_sha, len(keys), *keys, *arguments)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        finally:
            await pipeline.reset()
        for part, reply in zip(calls, replies, strict=True):
            if isinstance(reply, NoScriptError):
                # Redis was restarted or flushed its scripts; nothing was done.
                await self._load()
                await self._write(part)
            elif isinstance(reply, Exception):
                failure = self._unavailable(reply)
                for _, future in part:
                    if not future.done():
                        future.set_exception(failure)
                        future.exception()
            else:
                for (_, future), (epoch, offset, repeated) in zip(part, reply, strict=True):
                    if not future.done():
                        future.set_result(Published(Position(epoch.decode(), offset), bool(repeated)))

    def _call(self, shard: int, drafts: list[Draft]) -> tuple[list[str], list[Any]]:
        keys = [self._key(shard, "log"), self._key(shard, "ep")]
        arguments: list[Any] = [len(drafts), _epoch(), LOG_LENGTH, 0, round(KEY_SECONDS)]
        longest = 0.0
        for draft in drafts:
            keep = self._retention(draft.channel)
            longest = max(longest, keep.seconds)
            keys += (
                self._key(shard, "m:" + draft.channel),
                self._key(shard, "h:" + draft.channel),
                self._key(shard, "i:" + (draft.key or "")),
            )
            arguments += (
                draft.channel,
                draft.data,
                b"1" if draft.hint else b"",
                draft.ext or b"",
                b"" if draft.key is None else b"1",
                _epoch(),
                keep.count,
                keep.seconds,
                keep.bytes,
            )
        arguments[3] = _meta_seconds(longest)
        return keys, arguments

    # Asking

    async def position(self, channel: str) -> Position:
        epoch, top, _, _ = await self._ask(channel, "top", "", 0)
        return Position(epoch.decode(), top)

    async def history(self, channel: str, since: Position | None) -> History:
        if since is None:
            found = await self._ask(channel, "all", "", 0)
        else:
            found = await self._ask(channel, "since", since.epoch, since.offset)
        epoch, top, complete, entries = found
        name = epoch.decode()
        publications = tuple(
            Publication(
                channel, fields[1], Position(name, int(entry.partition(b"-")[0])), bool(fields[3]), fields[5] or None
            )
            for entry, fields in entries
        )
        return History(publications, Position(name, top), bool(complete))

    async def _ask(self, channel: str, what: str, epoch: str, offset: int) -> tuple[bytes, int, int, list[Any]]:
        shard = self._shard(channel)
        keys = [self._key(shard, "ep"), self._key(shard, "m:" + channel), self._key(shard, "h:" + channel)]
        ttl = _meta_seconds(self._retention(channel).seconds)
        arguments: list[str | int] = [_epoch(), _epoch(), ttl, what, epoch, min(offset, 2**53)]
        client = self._open_client()
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                try:
                    reply = await client.evalsha(self._history_sha, len(keys), *keys, *arguments)
                except NoScriptError:
                    await self._load()
                    reply = await client.evalsha(self._history_sha, len(keys), *keys, *arguments)
        except _FAULTS as error:
            raise self._unavailable(error) from error
        found: tuple[bytes, int, int, list[Any]] = tuple(reply)
        return found

    # Sessions

    keeps_sessions = True

    async def claim_session(self, session_id: str, worker: str) -> bytes | None:
        found: bytes | None = await self._do("EVAL", _CLAIM, 1, f"{self._prefix}:s:{session_id}", worker)
        return found

    async def save_session(self, session_id: str, worker: str, record: bytes, seconds: float) -> bool:
        milliseconds = max(1, round(seconds * 1000))
        key = f"{self._prefix}:s:{session_id}"
        return bool(await self._do("EVAL", _SAVE, 1, key, worker, record, milliseconds))

    async def drop_session(self, session_id: str) -> bool:
        return bool(await self._do("DEL", f"{self._prefix}:s:{session_id}"))

    async def _do(self, *command: Any) -> Any:
        client = self._open_client()
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await client.execute_command(*command)
        except _FAULTS as error:
            raise self._unavailable(error) from error

    # Reading

    async def _read_on(self) -> None:
        """Read for ever; on any fault reconnect, check what happened meanwhile, go on by id."""
        tries = 0
        while True:
            try:
                if self._reading is None:
                    connection = await self._reader_connection()
                    await self._resume(connection)
                    self._reading = connection
                    self._fault = ""
                    self._heard = time.monotonic()
                    self.reconnects += 1
                    logger.warning("redis regained", extra={"address": self._address})
                    tries = 0
                if await self._read(self._reading):
                    await asyncio.sleep(REARM)
            except _FAULTS as error:
                if not self._fault:
                    logger.warning("redis lost", extra={"address": self._address, "error": str(error)})
                self._fault = str(self._unavailable(error))
                await self._hang_up()
                tries += 1
                # Full jitter: workers that lost Redis together must not come back together.
                await asyncio.sleep(random.uniform(0.02, min(2.0, 0.05 * 2**tries)))

    async def _read(self, connection: Connection) -> int:
        """One XREAD; returns how many entries came."""
        streams = [*self._logs, self._canary]
        ids = [self._last.get(stream, b"0-0") for stream in streams]
        reply = await self._command(
            connection, "XREAD", "COUNT", READ_COUNT, "BLOCK", BLOCK_MS, "STREAMS", *streams, *ids
        )
        if not reply:
            return 0
        publications: list[Publication] = []
        gaps: list[str] = []
        count = 0
        for stream, entries in reply:
            self._last[stream] = entries[-1][0]
            if stream == self._canary:
                self._heard = time.monotonic()
                continue
            count += len(entries)
            for _, fields in entries:
                self._take(fields, publications, gaps)
        if count:
            self._heard = time.monotonic()
        receiver = self._receiver
        if receiver is not None:
            if gaps:
                receiver.lost(gaps)
            if publications:
                receiver.receive(publications)
        return count

    def _take(self, fields: list[bytes], publications: list[Publication], gaps: list[str]) -> None:
        channel = fields[1].decode()
        position = Position(fields[3].decode(), int(fields[5]))
        seen = self._seen.get(channel)
        if seen is not None:
            if seen.epoch != position.epoch:
                gaps.append(channel)
            elif position.offset <= seen.offset:
                return
            elif position.offset != seen.offset + 1:
                gaps.append(channel)
        elif len(self._seen) >= MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[channel] = position
        publications.append(Publication(channel, fields[7], position, bool(fields[9]), fields[11] or None))

    async def _start_at_the_end(self, connection: Connection) -> None:
        """A node that opens hears what is published from now on."""
        for shard, log in enumerate(self._logs):
            last = await self._command(connection, "XREVRANGE", log, "+", "-", "COUNT", 1)
            self._last[log] = last[0][0] if last else b"0-0"
            self._epochs[shard] = await self._command(connection, "GET", self._key(shard, "ep"))
        self._last[self._canary] = b"0-0"

    async def _resume(self, connection: Connection) -> None:
        """Is the log we come back to the one we left?"""
        lost = False
        for shard, log in enumerate(self._logs):
            last = self._last[log]
            epoch = await self._command(connection, "GET", self._key(shard, "ep"))
            if epoch != self._epochs[shard] and self._epochs[shard] is not None:
                lost = True
            self._epochs[shard] = epoch
            if last == b"0-0" or await self._command(connection, "XRANGE", log, last, last):
                continue
            # The anchor is gone.
            lost = True
            first = await self._command(connection, "XRANGE", log, "-", "+", "COUNT", 1)
            if first and _id(first[0][0]) > _id(last):
                logger.warning("log trimmed unread", extra={"shard": shard})
            else:
                self.rollbacks += 1
                self._epochs[shard] = await self._replace_epoch(connection, shard, epoch)
                logger.warning("log rolled back", extra={"shard": shard})
            self._last[log] = b"0-0"
        self._last[self._canary] = b"0-0"
        if lost:
            self._seen.clear()
            if self._receiver is not None:
                self._receiver.lost(None)

    async def _replace_epoch(self, connection: Connection, shard: int, known: bytes | None) -> bytes:
        """A new epoch for a shard whose log was rolled back, unless another worker was first."""
        script = (
            "local e = redis.call('GET', KEYS[1]) or '' "
            "if e == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return ARGV[2] end return e"
        )
        found: bytes = await self._command(
            connection, "EVAL", script, 1, self._key(shard, "ep"), known or b"", _epoch().encode()
        )
        return found

    async def _sing_on(self) -> None:
        """Write the canary, and notice when it is not heard."""
        while True:
            await asyncio.sleep(CANARY_SECONDS)
            client = self._client
            if client is None:
                return
            silent = time.monotonic() - self._heard
            if silent > DEAF_SECONDS and not self._fault:
                self.deaf += 1
                self._fault = f"Redis at {self._address}: deaf for {silent:.0f} s"
                logger.error("deaf", extra={"address": self._address, "seconds": round(silent, 1)})
                # The reader's connection ends, so it comes back by way of `_resume`.
                await self._hang_up()
            try:
                async with asyncio.timeout(COMMAND_SECONDS):
                    pipeline = client.pipeline(transaction=False)
                    pipeline.xadd(self._canary, {"w": self._worker}, maxlen=4, approximate=False)
                    pipeline.expire(self._canary, 60)
                    await pipeline.execute()
            except _FAULTS as error:
                logger.debug("canary not written", extra={"error": str(error)})

    async def _hang_up(self) -> None:
        connection, self._reading = self._reading, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    # Connections

    async def _reader_connection(self) -> Connection:
        """A connection of its own for reading; the primary is looked up anew."""
        assert self._client is not None
        pool = self._client.connection_pool
        connection: Connection = pool.make_connection()
        async with asyncio.timeout(COMMAND_SECONDS):
            await connection.connect()
        return connection

    async def _command(self, connection: Connection, *command: Any) -> Any:
        """Send one command and read its raw reply: no decoding, no callbacks, on the hot path."""
        async with asyncio.timeout(COMMAND_SECONDS + BLOCK_MS / 1000):
            await connection.send_command(*command)
            return await connection.read_response()

    async def _load(self) -> None:
        client = self._open_client()
        self._publish_sha = await client.script_load((_HERE / "publish.lua").read_text())
        self._history_sha = await client.script_load((_HERE / "history.lua").read_text())

    def _check_version(self, info: dict[str, Any]) -> None:
        if "valkey_version" in info:
            return
        version = str(info.get("redis_version", "0"))
        if int(version.split(".")[0]) < 7:
            raise BrokerUnavailable(f"Redis at {self._address}: version {version}; 7 or later is needed, or Valkey")

    async def _warn_of_eviction(self) -> None:
        try:
            policy = (await self._open_client().config_get("maxmemory-policy")).get("maxmemory-policy", "")
        except _FAULTS:
            # Hosted Redis often forbids CONFIG.
            return
        if str(policy).startswith("allkeys"):
            logger.warning("redis may evict the log; use maxmemory-policy noeviction", extra={"policy": policy})

    def _open_client(self) -> Redis:
        if self._client is None:
            raise BrokerUnavailable("the broker is not open")
        return self._client

    @property
    def health(self) -> Health:
        return Health(not self._fault, self._fault)

    def _unavailable(self, error: BaseException) -> BrokerUnavailable:
        if isinstance(error, BrokerUnavailable):
            return error
        reason = str(error) or type(error).__name__
        if isinstance(error, ResponseError):
            reason = f"refused: {reason}"
        return BrokerUnavailable(f"Redis at {self._address}: {reason}")

    def _shard(self, channel: str) -> int:
        return crc32(channel.encode()) % self._shards

    def _key(self, shard: int, rest: str) -> str:
        return f"{{{self._prefix}:{shard}}}:{rest}"


def _epoch() -> str:
    """A new epoch: 40 random bits are unlike any other of the same channel."""
    return secrets.token_hex(5)


def _meta_seconds(history_seconds: float) -> int:
    # Well beyond the history: a position outlives what it points at, so that "lost" is certain.
    return max(3600, round(history_seconds * 4))


def _id(entry: bytes) -> tuple[int, int]:
    time_part, _, number = entry.partition(b"-")
    return int(time_part), int(number)


def _client_of(url: str) -> tuple[str, Callable[[], Redis]]:
    """The address to show (no password) and a maker of clients."""
    options: dict[str, Any] = {
        "socket_connect_timeout": COMMAND_SECONDS,
        "socket_timeout": COMMAND_SECONDS + BLOCK_MS / 1000,
        "protocol": 2,
        "decode_responses": False,
    }
    parts = urlsplit(url)
    if parts.scheme in ("redis+sentinel", "rediss+sentinel", "sentinel"):
        return _sentinel_of(url, options)
    try:
        Redis.from_url(url, **options)
    except ValueError as error:
        raise SettingsError(f"REDIS_URL: {error}") from None
    address = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    return address, lambda: Redis.from_url(url, **options)


def _sentinel_of(url: str, options: dict[str, Any]) -> tuple[str, Callable[[], Redis]]:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    try:
        sentinels = [
            (host.rpartition(":")[0] or host, int(host.rpartition(":")[2]) if ":" in host else 26379)
            for host in hosts.split(",")
        ]
    except ValueError:
        raise SettingsError("REDIS_URL: a sentinel is host:port") from None
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise SettingsError("REDIS_URL: a sentinel URL ends with /service, the name of the primary")
    user, _, password = credentials.partition(":")
    options |= {
        "db": int(database or 0),
        "username": unquote(user) or None,
        "password": unquote(password) or None,
        "ssl": parts.scheme == "rediss+sentinel",
    }
    sentinel_password = parse_qs(parts.query).get("sentinel_password", [None])[0]

    def connect() -> Redis:
        sentinel = Sentinel(
            sentinels,
            sentinel_kwargs={"password": sentinel_password, "socket_timeout": COMMAND_SECONDS},
            **options,
        )
        client: Redis = sentinel.master_for(service)
        return client

    return f"{service} of sentinels {hosts}", connect
