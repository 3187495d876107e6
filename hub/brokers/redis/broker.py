"""The log in Redis, as a node uses it.

Layout, for shard n of K (n = crc32(home(channel)) % K); the keys of a shard share a hash tag, so the
layout is fit for a Redis Cluster:

    {hub:n}:log       stream   every publication of the shard, LOG_LENGTH and LOG_BYTES of them
    {hub:n}:ep        hash     e: the shard's epoch, at: the log id and aq: the number it begins after,
                               q: number of the newest entry, b: bytes written, r and r2: whose data it is
    {hub:n}:m:<ch>    hash     p: shard epoch, e: channel epoch, s: newest offset, b: bytes written,
                               fb and ft: bytes and time of the history's first entry, x: when renewed,
                               k: when an id was last used in it, within KEY_SLACK,
                               w: the window that a derived epoch is of (log.py)
    {hub:n}:h:<ch>    stream   the channel's history, entry id = offset
    {hub:n}:i:<key>   hash     what a publish with this key returned, for KEY_SECONDS
    hub:c:<id>        hash     w: the worker that owns a session, f: its fence, r: its record
    {hub:0}:canary:<worker>    stream: what a worker writes to hear itself, and what others send to it; it lasts as
                               long as the worker's lease
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
import contextlib
import logging
import math
import os
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis.asyncio import Connection
from redis.exceptions import NoScriptError

from ...errors import BadWire, BrokerUnavailable
from ...histories import Histories
from ...protocol.messages import mended
from ...protocol.publications import Draft, History, Position, Publication, Published
from .. import Broker, Claim, Health, Receiver
from .lines import FAULTS, Command, Line, run
from .log import PREFIX, SCRIPT_DRAFTS, Log, Read
from .replies import Settled, accepted, publication, settled
from .requests import Entry, Part, Question, Request, fail
from .servers import COMMAND_SECONDS, Server

# The package's name is what logs have been searched by.
logger = logging.getLogger(__package__)

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

#: Seconds after a question to the log, answered with all that was there, for which a worker may believe that it hears.
#: A quiet log answers each BLOCK_MS, so the last answer's question may be two of them old. This is how long a worker
#: that is cut off without a word, by a dead network or a Redis that stands still, does not know it.
HEARS_SECONDS = 2.5

#: Seconds after its last canary for which a worker owns its sessions for certain, and after which others take them.
#: Between the two nobody does.
SURE_SECONDS = 3.0
LEASE_SECONDS = 4.0

#: Seconds a lost Redis is hoped to be back in; later, publishers are told at once that it is away.
PATIENCE_SECONDS = 1.0

#: Drafts, and questions, in one pipeline. Shorter ones cost round trips; with longer ones publishers and Redis
#: wait for each other (measured, 4,000 publishes under way: 26,000 a second by 4,000, 36,000 by 1,000).
BATCH_DRAFTS = 1000
BATCH_QUESTIONS = 256

#: Bytes of drafts, and questions, that may wait for Redis; beyond, publishers and clients are told to come back.
MAX_WAITING_BYTES = 64 * 1024 * 1024
MAX_QUESTIONS = 20_000


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
        self._server = Server(url)
        self._log = Log(self._server.address, shards=shards, histories=histories, prefix=prefix, realm=realm)
        self._receiver: Receiver | None = None
        self.worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        # The lease: its number, and until when it certainly holds.
        self._life = 0
        self._sure_until = -math.inf
        self._streams = [f"{tag}log".encode() for tag in self._log.tags]
        self._shard_of_stream = {stream: shard for shard, stream in enumerate(self._streams)}
        self._canary = self._log.inbox(self.worker).encode()
        # What the reader knows of each shard: where it goes on, the number it read last, the epoch.
        self._last = [b""] * shards
        self._numbers = [0] * shards
        self._epochs: list[bytes | None] = [None] * shards
        self._last_canary = b"0-0"
        self._reading = Line(self._connect)
        self._publishing = Line(self._connect)
        self._asking = Line(self._connect)
        self._drafts: list[Entry] = []
        self._draft_bytes = 0
        self._drafted = asyncio.Event()
        self._questions: list[Question] = []
        # Questions of the same kind that have not been sent: what is asked now may share their answer.
        self._shared: dict[object, asyncio.Future[Any]] = {}
        self._asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = self._checked = 0.0
        # When the log was asked the last time that its answer had all there was; -inf while it is caught up with.
        self._complete = -math.inf
        self._fault = "not open"
        self._fault_since = 0.0
        self._is_deaf = False
        #: Counted for /metrics: connections of the reader after the first; times it was deaf; times a log was
        #: found rolled back or emptied; times entries were trimmed before this worker read them.
        self.reconnects = 0
        self.deaf = 0
        # When the canary was sung that has not been heard yet, 0 if there is none.
        self._sung = 0.0
        self.rollbacks = 0
        self.trims = 0

    # Life

    async def open(self, receiver: Receiver) -> None:
        self._receiver = receiver
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                found = await self._reading.open()
                # The inbox is there before anybody can be told of this worker.
                asked = time.monotonic()
                (reply,) = await self._reading.run([self._sing()])
                if isinstance(reply, Exception):
                    raise reply
                self._renewed(asked, False)
        except FAULTS as error:
            await self.close()
            raise self._log.unavailable(error) from error
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
        self._complete = -math.inf
        is_well = not self._fault
        self._fault = self._fault or "closed"
        self._fault_since = 0.0
        tasks, self._tasks = set(self._tasks), []
        while tasks:
            for task in tasks:
                task.cancel()
            # Again if need be: redis-py asks sentinels by `asyncio.wait_for` (see Server).
            _, tasks = await asyncio.wait(tasks, timeout=0.5)
        stopping = BrokerUnavailable("the hub is stopping")
        for request, _, _ in self._drafts:
            request.fail(stopping)
        for question in self._questions:
            fail(question.future, stopping)
        self._drafts, self._questions, self._draft_bytes = [], [], 0
        self._shared.clear()
        self._sure_until = -math.inf
        with contextlib.suppress(TimeoutError, *FAULTS):
            async with asyncio.timeout(0.5):
                # Who sends to this worker knows at once that it is gone.
                if is_well:
                    await self._asking.open()
                    await self._asking.run([("DEL", self._canary)])
        for line in (self._reading, self._publishing, self._asking):
            await line.hang_up()
        await self._server.close()

    @property
    def health(self) -> Health:
        return Health(not self._fault, self._fault)

    @property
    def hears(self) -> bool:
        return not self._fault and time.monotonic() - self._complete < HEARS_SECONDS and self._reading.is_open

    # Publishing

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        self._refuse_while_away()
        if not drafts:
            return []
        size = sum(map(_size, drafts))
        if self._drafts and self._draft_bytes + size > MAX_WAITING_BYTES:
            raise BrokerUnavailable(f"Redis at {self._log.address}: too much waits for it")
        loop = asyncio.get_running_loop()
        request = Request(len(drafts), loop.create_future(), time.monotonic())
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
                    request.fail(self._log.unavailable(error))
            finally:
                self._draft_bytes -= sum([_size(draft) for _, _, draft in batch])

    async def _write(self, entries: list[Entry]) -> None:
        patience = COMMAND_SECONDS - (time.monotonic() - entries[0][0].asked)
        everyone = entries
        fault: BaseException | None = None
        try:
            async with asyncio.timeout(max(patience, 0.5)):
                while entries:
                    await self._open(self._publishing)
                    parts = self._parts(entries)
                    again: list[Entry] = []
                    unanswered = iter(parts)

                    def take(reply: Any, unanswered: Iterator[Part] = unanswered, again: list[Entry] = again) -> None:
                        # Who is answered publishes the next while Redis is at the parts that follow.
                        again += self._take(next(unanswered)[1], reply)

                    try:
                        await self._publishing.run(
                            (self._log.publish_call(shard, [draft for _, _, draft in part]) for shard, part in parts),
                            take,
                        )
                    except FAULTS as error:
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
            failure = self._log.unavailable(fault or self._publishing.fault or TimeoutError("does not answer"))
            for request, _, _ in everyone:
                request.fail(failure)

    def _take(self, part: list[Entry], reply: Any) -> list[Entry]:
        """Tell those who wait what became of a part; returns what must be published again."""
        if isinstance(reply, NoScriptError):
            # Redis lost its scripts, and nothing was done.
            return part
        if isinstance(reply, Exception):
            for request, _, _ in part:
                request.fail(self._log.unavailable(reply))
        else:
            results = accepted([draft for _, _, draft in part], reply)
            for (request, index, _), published in zip(part, results, strict=True):
                request.answer(index, published)
        return []

    def _keyed(self, part: list[Entry], error: BaseException) -> list[Entry]:
        """The drafts that can be repeated; the others are told that nobody knows."""
        keyed = []
        for entry in part:
            request, _, draft = entry
            if draft.key is None:
                request.fail(self._log.unavailable(error))
            elif not request.future.done():
                keyed.append(entry)
        return keyed

    def _parts(self, entries: list[Entry]) -> list[Part]:
        """One part for each Lua call."""
        by_shard: defaultdict[int, list[Entry]] = defaultdict(list)
        shard_of = self._log.shard
        for entry in entries:
            by_shard[shard_of(entry[2].channel)].append(entry)
        return [
            (shard, found[start : start + SCRIPT_DRAFTS])
            for shard, found in by_shard.items()
            for start in range(0, len(found), SCRIPT_DRAFTS)
        ]

    # Questions

    async def position(self, channel: str) -> Position:
        epoch, top, _, _ = await self._ask(("top", channel), lambda: self._log.look(channel, "top", "", 0))
        return Position(epoch.decode(), top)

    async def history(self, channel: str, since: Position | None) -> History:
        if since is None:
            found = await self._ask(("all", channel), lambda: self._log.look(channel, "all", "", 0))
        else:
            # No offset is beyond 2**53, and Lua's numbers end there.
            offset = min(since.offset, 2**53)
            key = ("since", channel, since.epoch, offset)
            found = await self._ask(key, lambda: self._log.look(channel, "since", since.epoch, offset))
        epoch, top, complete, entries = found
        name = epoch.decode()
        publications = tuple(
            Publication(
                channel,
                mended(fields[1]),
                Position(name, int(entry.partition(b"-")[0])),
                fields[3] != b"",
                mended(fields[5]) or None,
            )
            for entry, fields in entries
        )
        return History(publications, Position(name, top), complete == 1)

    async def may_follow(self, channel: str, key: str) -> bool:
        return bool(await self._ask(None, lambda: self._log.may_follow(channel, key)))

    @property
    def life(self) -> int:
        return self._life if time.monotonic() < self._sure_until else 0

    async def claim_session(self, session_id: str, seconds: float, *, against: int = 0) -> Claim | None:
        found = await self._ask(None, lambda: self._log.claim_session(session_id, self.worker, seconds, against))
        return None if found is None else Claim(found[0].decode(), found[1], found[2])

    async def save_session(
        self, session_id: str, fence: int, record: bytes, seconds: float, *, release: bool = False
    ) -> bool:
        saved: int = await self._ask(
            None, lambda: self._log.save_session(session_id, self.worker, fence, record, seconds, release=release)
        )
        return saved == 1

    async def mail(self, worker: str, message: bytes) -> bool:
        sent: int = await self._ask(None, lambda: self._log.mail(worker, message))
        if sent < 0:
            raise BrokerUnavailable("another worker has too much to do")
        return sent == 1

    async def is_alive(self, worker: str) -> bool:
        found: int = await self._ask(("alive", worker), lambda: ("EXISTS", self._log.inbox(worker)))
        return found == 1

    async def _ask(self, key: object, command: Callable[[], Command]) -> Any:
        """The reply to a command that may be repeated.

        A question with the same key that has not been sent yet is shared. One that has been sent is
        not: its answer may be older than what the asker has done before asking.
        """
        self._refuse_while_away()
        future = self._shared.get(key)
        if future is None:
            if len(self._questions) >= MAX_QUESTIONS:
                raise BrokerUnavailable(f"Redis at {self._log.address}: too much waits for it")
            future = asyncio.get_running_loop().create_future()
            self._questions.append(Question(command, future))
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
                    fail(question.future, BrokerUnavailable("the hub is stopping"))
                raise
            except TimeoutError:
                failure = self._log.unavailable(self._asking.fault or TimeoutError("does not answer"))
                for question in batch:
                    fail(question.future, failure)
            except Exception as error:
                # A bug, but those who ask next must be answered.
                logger.exception("asking failed")
                for question in batch:
                    fail(question.future, self._log.unavailable(error))

    async def _answer(self, batch: list[Question]) -> None:
        while batch:
            await self._open(self._asking)
            try:
                replies = await self._asking.run([question.command() for question in batch])
            except FAULTS:
                continue
            again = []
            for question, reply in zip(batch, replies, strict=True):
                if isinstance(reply, NoScriptError):
                    await self._asking.hang_up()
                    again.append(question)
                elif isinstance(reply, Exception):
                    fail(question.future, self._log.unavailable(reply))
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
                    self._complete = -math.inf
                    self._take_up(found)
                    self._heard = time.monotonic()
                    if not self._is_deaf:
                        self._fault = ""
                    self.reconnects += 1
                    logger.warning("redis regained", extra={"address": self._log.address})
                    tries = 0
                if await self._read():
                    await asyncio.sleep(REARM)
            except FAULTS as error:
                if not self._fault:
                    logger.warning("redis lost", extra={"address": self._log.address, "error": str(error)})
                self._ail(str(self._log.unavailable(error)))
            except Exception as error:
                # A bug, here or in the node. A reader that stopped would be silence, so it says "lost" and goes on.
                logger.exception("reading failed")
                self._ail(str(self._log.unavailable(error)))
                self._tell_lost(None)
            else:
                continue
            self._complete = -math.inf
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
            looks = [("HMGET", tag + "ep", "e", "q") for tag in self._log.tags]
        # Who must catch up is told at once that there is no more.
        block = ("BLOCK", BLOCK_MS) if self._complete > -math.inf else ()
        read = ("XREAD", "COUNT", READ_COUNT, *block, "STREAMS", *self._streams, self._canary)
        async with asyncio.timeout(COMMAND_SECONDS + BLOCK_MS / 1000):
            replies = await self._reading.run([*looks, (*read, *self._last, self._last_canary)])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        before = self._numbers[:]
        count, missed, doubt = 0, False, False
        full: set[int] = set()
        taken: list[tuple[int, bytes, int, list[Publication]]] = []
        mail: list[bytes] = []
        if replies[-1]:
            self._heard = time.monotonic()
            self._is_deaf = False
            self._fault = ""
        for stream, entries in replies[-1] or ():
            if stream == self._canary:
                self._last_canary = entries[-1][0]
                if self._sung and any(fields[0] != b"m" for _, fields in entries):
                    self.lag, self._sung = self._heard - self._sung, 0.0
                mail += [fields[1] for _, fields in entries if fields[0] == b"m"]
                continue
            shard = self._shard_of_stream[stream]
            publications: list[Publication] = []
            number = before[shard]
            for _, fields in entries:
                try:
                    next_number = int(fields[13])
                    if next_number > number:
                        publications.append(publication(fields))
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
        if self._receiver is not None:
            for message in mail:
                self._receiver.mail(message)
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
            self._complete = -math.inf
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
        self._complete = -math.inf if full else now
        return count

    async def _settle_again(self) -> bool:
        """Look at the shards under an open connection; returns whether a log began anew."""
        async with asyncio.timeout(COMMAND_SECONDS):
            # If everything was deleted, so was the layout.
            replies = await self._reading.run(
                [*self._log.settle_calls("", "", True, self._known()), self._log.layout_call()]
            )
        return self._take_up(settled(replies[:-1]))

    def _known(self) -> list[Read]:
        return [
            (epoch or b"", last, number)
            for epoch, last, number in zip(self._epochs, self._last, self._numbers, strict=True)
        ]

    def _take_up(self, found: list[Settled]) -> bool:
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
        if anew:
            self._last_canary = b"0-0"
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
                    self._ail(f"Redis at {self._log.address}: deaf for {silent:.0f} s")
                    self._is_deaf = True
                    self.deaf += 1
                    logger.error("deaf", extra={"address": self._log.address, "seconds": round(silent, 1)})
                # The reader meets a closed connection and makes a new one, to where the primary is now; whose clock
                # may be slow, so that its ids are smaller.
                self._last_canary = b"0-0"
                await self._reading.hang_up()
            try:
                asked = time.monotonic()
                # One that is late is waited for: the next one would say less.
                self._sung = self._sung or asked
                async with asyncio.timeout(CANARY_SECONDS):
                    lasted = await self._ask(None, self._sing)
                self._renewed(asked, lasted == 1)
            except FAULTS as error:
                logger.debug("canary not written", extra={"error": str(error)})

    def _sing(self) -> Command:
        return self._log.sing(self.worker, self._last_canary, LEASE_SECONDS)

    def _renewed(self, asked: float, lasted: bool) -> None:
        """The lease holds from the moment when its renewal was asked for. lasted: whether it still did till then."""
        # A renewal of which no reply came may have been the one that found the lease over.
        if not lasted or time.monotonic() >= self._sure_until - SURE_SECONDS + LEASE_SECONDS:
            # Others may have taken sessions meanwhile.
            self._life += 1
        self._sure_until = asked + SURE_SECONDS

    def _ail(self, reason: str) -> None:
        if not self._fault:
            self._fault_since = time.monotonic()
        # Deaf says more than the closed connection that follows from it.
        if not self._is_deaf:
            self._fault = reason

    # Connections

    async def _open(self, line: Line) -> None:
        """Connect, trying again until the caller's time is over."""
        pause = 0.02
        while True:
            try:
                await line.open()
                return
            except FAULTS:
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, 0.5)

    async def _connect(self) -> tuple[Connection, list[Settled]]:
        """A connection to the primary as it is now, fit for use: it has our scripts, and the shards are settled."""
        connection = self._server.connection()
        try:
            await connection.connect()
            found = self._log.greeted(await run(connection, self._log.greeting()))
            replies = await run(connection, [*self._log.settle_calls(*found, self._known()), self._log.layout_call()])
            return connection, settled(replies[:-1])
        except BaseException:
            await connection.disconnect(nowait=True)
            raise


def _size(draft: Draft) -> int:
    return len(draft.data) + len(draft.channel) + 200
