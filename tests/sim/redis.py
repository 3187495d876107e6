"""Redis as the hub's broker promises it, in memory: one log for all workers, and calls that may fail at every await.

`Store` is the server's side: each of its methods is atomic, as the Lua scripts are. `SimBroker` is a worker's side: a
call travels there, has its effect, and its reply travels back; `Trouble` decides how long each takes, and whether the
call is lost before its effect, its reply after it, or either comes twice or late. The broker suite
(tests/hub/test_brokers.py) holds this to what it holds the real one to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol
from zlib import crc32

from hub.brokers import KEY_SECONDS, Broker, Claim, Health, Receiver
from hub.brokers.redis.servers import COMMAND_SECONDS
from hub.errors import BrokerUnavailable
from hub.histories import Histories, Retention
from hub.protocol.channels import home
from hub.protocol.publications import Draft, History, Position, Publication, Published

#: As in hub/brokers/redis: seconds for which a server has been away when a call fails at once.
PATIENCE_SECONDS = 1.0

#: Likewise: seconds between the renewals of a worker's lease, after which it is uncertain without one, and after which
#: others may take the worker for dead.
RENEW_SECONDS = 1.0
CERTAIN_SECONDS = 3.0
LEASE_SECONDS = 4.0

#: Likewise: seconds for which a worker may believe that it hears when it does not.
HEARS_SECONDS = 2.5


class Network(Protocol):
    """What carries calls: the simulator's, or the real loop under the broker suite."""

    def now(self) -> float:
        """Seconds, for what expires."""

    def later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call in so many seconds, outside of any worker."""


class Apart:
    """A network for brokers that are looked at by themselves: on the loop that runs, and as quick as it is."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return self._loop.time()

    def later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_later(seconds, call, *arguments)


class _Channel:
    __slots__ = ("bytes", "entries", "epoch", "identified", "retention", "top")

    def __init__(self, epoch: str, retention: Retention) -> None:
        self.epoch = epoch
        self.top = 0
        self.entries: list[tuple[float, Publication]] = []
        self.bytes = 0
        self.retention = retention
        self.identified: float | None = None

    def trim(self, now: float) -> None:
        keep, entries = self.retention, self.entries
        while entries and (len(entries) > keep.count or self.bytes > keep.bytes or entries[0][0] < now - keep.seconds):
            self.bytes -= entries.pop(0)[1].size


class _Record:
    """A session: who owns it (nobody: empty), under which fence, until when it is kept."""

    __slots__ = ("expires", "fence", "owner", "record")

    def __init__(self, owner: str, fence: int, record: bytes, expires: float) -> None:
        self.owner = owner
        self.fence = fence
        self.record = record
        self.expires = expires


class _Inbox:
    """What was sent to a worker. read: how much of it the worker has read."""

    __slots__ = ("expires", "mail", "read")

    def __init__(self, expires: float) -> None:
        self.expires = expires
        self.mail: list[bytes] = []
        self.read = 0


class Store:
    """The server. shards: how many logs; nothing is promised across them."""

    def __init__(self, clock: Callable[[], float], histories: Histories | None = None, shards: int = 2) -> None:
        self.clock = clock
        self.histories = histories or Histories()
        self.logs: list[list[Publication]] = [[] for _ in range(shards)]
        self.sessions: dict[str, _Record] = {}
        self.inboxes: dict[str, _Inbox] = {}
        #: Who is told of mail, by worker; and all who are told of each publication as it is accepted.
        self.readers: dict[str, Callable[[], None]] = {}
        self.accepted: list[Callable[[int], None]] = []
        self._channels: dict[str, _Channel] = {}
        self._keys: dict[str, tuple[float, Position]] = {}
        self._epochs = 0

    def shard(self, channel: str) -> int:
        return crc32(home(channel).encode()) % len(self.logs)

    def _channel(self, name: str) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            self._epochs += 1
            channel = self._channels[name] = _Channel(f"e{self._epochs}", self.histories.of(name))
        return channel

    def _seen(self, key: str) -> Position | None:
        found = self._keys.get(key)
        return None if found is None or found[0] < self.clock() - KEY_SECONDS else found[1]

    def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        now, results, touched = self.clock(), [], set()
        for draft in drafts:
            first = None if draft.key is None else self._seen(draft.key)
            if first is not None:
                results.append(Published(first, repeated=True))
                continue
            channel = self._channel(draft.channel)
            channel.top += 1
            position = Position(channel.epoch, channel.top)
            publication = Publication(draft.channel, draft.data, position, draft.hint, draft.ext)
            if channel.retention.count:
                channel.entries.append((now, publication))
                channel.bytes += publication.size
                channel.trim(now)
            if draft.key is not None:
                self._keys[draft.key] = (now, position)
                if draft.identified:
                    channel.identified = now
            shard = self.shard(draft.channel)
            self.logs[shard].append(publication)
            touched.add(shard)
            results.append(Published(position))
        for shard in sorted(touched):
            for tell in self.accepted:
                tell(shard)
        return results

    def position(self, name: str) -> Position:
        channel = self._channel(name)
        return Position(channel.epoch, channel.top)

    def history(self, name: str, since: Position | None) -> History:
        channel = self._channel(name)
        channel.trim(self.clock())
        top = Position(channel.epoch, channel.top)
        kept = tuple(publication for _, publication in channel.entries)
        if since is None:
            return History(kept, top, True)
        missing = channel.top - since.offset
        if since.epoch != channel.epoch or missing < 0 or missing > len(kept):
            return History((), top, False)
        return History(kept[len(kept) - missing :], top, True)

    def accepted_between(self, start: float, end: float) -> set[tuple[str, int]]:
        """The channels and offsets of what was accepted in a time."""
        return {
            (name, publication.position.offset)
            for name, channel in self._channels.items()
            for when, publication in channel.entries
            if start <= when <= end
        }

    def may_follow(self, name: str, key: str) -> bool:
        channel = self._channels.get(name)
        identified = None if channel is None else channel.identified
        return identified is None or identified < self.clock() - KEY_SECONDS or self._seen(key) is not None

    def session(self, session_id: str) -> _Record | None:
        """The record of a session that has not expired."""
        found = self.sessions.get(session_id)
        return None if found is None or found.expires <= self.clock() else found

    def claim_session(self, session_id: str, worker: str, seconds: float, against: int) -> Claim | None:
        found = self.session(session_id)
        if found is None:
            return None
        if found.owner not in ("", worker) and found.fence != against:
            return Claim(found.owner, found.fence, b"")
        found.owner = worker
        found.fence += 1
        found.expires = self.clock() + seconds
        return Claim(worker, found.fence, found.record)

    def save_session(
        self, session_id: str, worker: str, fence: int, record: bytes, seconds: float, release: bool
    ) -> bool:
        found = self.session(session_id)
        if found is not None and (found.owner != worker or found.fence != fence):
            return False
        owner = "" if release else worker
        self.sessions[session_id] = _Record(owner, fence, record, self.clock() + seconds)
        return True

    def renew(self, worker: str) -> bool:
        """Renew a lease; whether it had lasted till now."""
        inbox, now = self.inboxes.get(worker), self.clock()
        lasted = inbox is not None and inbox.expires > now
        if inbox is None or not lasted:
            # What was in it and not read expired with it.
            self.inboxes[worker] = _Inbox(now + LEASE_SECONDS)
        else:
            inbox.expires = now + LEASE_SECONDS
        return lasted

    def is_alive(self, worker: str) -> bool:
        inbox = self.inboxes.get(worker)
        return inbox is not None and inbox.expires > self.clock()

    def mail(self, worker: str, message: bytes) -> bool:
        if not self.is_alive(worker):
            return False
        self.inboxes[worker].mail.append(message)
        tell = self.readers.get(worker)
        if tell is not None:
            tell()
        return True


class Unfenced(Store):
    """A server that lets two workers own a session: what a mend that is taken out looks like."""

    def claim_session(self, session_id: str, worker: str, seconds: float, against: int) -> Claim | None:
        found = self.session(session_id)
        if found is not None:
            found.owner = ""
        return super().claim_session(session_id, worker, seconds, against)

    def save_session(
        self, session_id: str, worker: str, fence: int, record: bytes, seconds: float, release: bool
    ) -> bool:
        found = self.session(session_id)
        if found is not None:
            found.owner, found.fence = worker, fence
        return super().save_session(session_id, worker, fence, record, seconds, release)


class Trouble:
    """How calls fare. slow: a factor on all delays. away: whether the server can't be reached. chance: of each fault.

    `faults` counts what happened, by kind.
    """

    KINDS = ("lost before", "lost after", "twice", "late")

    def __init__(self, dice: Random | None = None) -> None:
        self.dice = dice
        self.slow = 1.0
        self.away = False
        self.since = 0.0
        self.chance = 0.0
        self.faults: dict[str, int] = {}

    def delay(self) -> float:
        """How long a message to the server or from it takes."""
        if self.dice is None:
            return 0.0
        roll = self.dice.random()
        if roll < 0.85:
            return (0.0001 + roll * 0.001) * self.slow
        if roll < 0.98:
            return (roll - 0.85) * 0.2 * self.slow
        return (roll - 0.98) * 10 * self.slow

    def fault(self) -> str | None:
        """What becomes of a call, None for nothing unusual."""
        if self.dice is None or not self.chance or self.dice.random() >= self.chance:
            return None
        kind = self.dice.choice(self.KINDS)
        self.faults[kind] = self.faults.get(kind, 0) + 1
        return kind


class _Call:
    """One call on its way."""

    __slots__ = ("asked", "effect", "fault", "future", "line", "repeatable", "tries", "what")

    def __init__(
        self,
        what: tuple[Any, ...],
        effect: Callable[[], Any],
        future: asyncio.Future[Any],
        line: str,
        asked: float,
        repeatable: bool,
    ) -> None:
        self.what = what
        self.effect = effect
        self.future = future
        self.line = line
        self.asked = asked
        self.repeatable = repeatable
        self.fault: str | None = None
        self.tries = 0


class SimBroker(Broker):
    """A worker's way to a `Store`. arrive: hands the worker what comes back for it. halted: whether it stands still."""

    keeps_sessions = True

    def __init__(
        self,
        store: Store,
        network: Network,
        trouble: Trouble | None = None,
        *,
        worker: str,
        arrive: Callable[..., None] | None = None,
        halted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.worker = worker
        self.store = store
        self.trouble = trouble or Trouble()
        #: Told of each call as it has its effect, for a trace.
        self.tell: Callable[[tuple[Any, ...], Any], None] | None = None
        #: What this worker asked and has no answer to.
        self.pending = 0
        self._network = network
        self._arrive = arrive or (lambda call, *arguments: call(*arguments))
        self._receiver: Receiver | None = None
        self._read = [0] * len(store.logs)
        self._reading = [False] * len(store.logs)
        # Since when a shard may have something that this worker has not received.
        self._behind: list[float | None] = [None] * len(store.logs)
        # When the last call of a line has its effect, and its reply: a connection keeps their order.
        self._last: dict[str, float] = {}
        # What waits for a server that is away.
        self._held: list[_Call] = []
        self._gone = False
        self._halted = halted
        # The lease: its number, and when the renewal was sent that was answered last.
        self._life = 0
        self._renewed = 0.0
        self._collecting = False

    # Life

    async def open(self, receiver: Receiver) -> None:
        if self.trouble.away:
            raise BrokerUnavailable("Redis is away")
        self._receiver = receiver
        self._read = [len(log) for log in self.store.logs]
        self.store.accepted.append(self._wake)
        self.store.readers[self.worker] = self._collect
        self.store.renew(self.worker)
        self._life, self._renewed = 1, self._network.now()
        self._network.later(RENEW_SECONDS, self._renew, self._renewed + RENEW_SECONDS)

    async def close(self) -> None:
        if not self._gone:
            self.store.inboxes.pop(self.worker, None)
        self.vanish()

    def vanish(self) -> None:
        """The worker is no more; what it has asked is perhaps done, perhaps not."""
        self._receiver = None
        self._gone = True
        self.store.readers.pop(self.worker, None)
        if self._wake in self.store.accepted:
            self.store.accepted.remove(self._wake)

    @property
    def health(self) -> Health:
        return Health(not self.trouble.away, "Redis is away" if self.trouble.away else "")

    @property
    def hears(self) -> bool:
        if self._receiver is None or self.trouble.away:
            return False
        now = self._network.now()
        return all(since is None or now - since < HEARS_SECONDS for since in self._behind)

    # Calls

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        if not drafts:
            return []
        # Only what has a key can be repeated without harm.
        repeatable = all(draft.key is not None for draft in drafts)
        found: list[Published] = await self._call(
            ("publish", *drafts), lambda: self.store.publish(drafts), "publishing", repeatable
        )
        return found

    async def position(self, channel: str) -> Position:
        found: Position = await self._call(("position", channel), lambda: self.store.position(channel))
        return found

    async def history(self, channel: str, since: Position | None) -> History:
        found: History = await self._call(("history", channel, since), lambda: self.store.history(channel, since))
        return found

    async def may_follow(self, channel: str, key: str) -> bool:
        found: bool = await self._call(("may follow", channel, key), lambda: self.store.may_follow(channel, key))
        return found

    @property
    def life(self) -> int:
        certain = not self._gone and self._network.now() - self._renewed < CERTAIN_SECONDS
        return self._life if certain else 0

    async def claim_session(self, session_id: str, seconds: float, *, against: int = 0) -> Claim | None:
        store, worker = self.store, self.worker
        found: Claim | None = await self._call(
            ("claim", session_id[-4:], "against", against),
            lambda: store.claim_session(session_id, worker, seconds, against),
        )
        return found

    async def save_session(
        self, session_id: str, fence: int, record: bytes, seconds: float, *, release: bool = False
    ) -> bool:
        store, worker = self.store, self.worker
        saved: bool = await self._call(
            ("save", session_id[-4:], "fence", fence, "release" if release else "", record),
            lambda: store.save_session(session_id, worker, fence, record, seconds, release),
        )
        return saved

    async def mail(self, worker: str, message: bytes) -> bool:
        sent: bool = await self._call(("mail", worker, message), lambda: self.store.mail(worker, message))
        return sent

    async def is_alive(self, worker: str) -> bool:
        alive: bool = await self._call(("is alive", worker), lambda: self.store.is_alive(worker))
        return alive

    async def _call(
        self, what: tuple[Any, ...], effect: Callable[[], Any], line: str = "asking", repeatable: bool = True
    ) -> Any:
        now, trouble = self._network.now(), self.trouble
        if trouble.away and now - trouble.since > PATIENCE_SECONDS:
            raise BrokerUnavailable("Redis is away")
        future = asyncio.get_running_loop().create_future()
        call = _Call(what, effect, future, line, now, repeatable)
        call.fault = trouble.fault()
        self.pending += 1
        self._send(call)
        # Whoever asks the real one gives up then, wherever the call or its reply is.
        self._network.later(COMMAND_SECONDS, self._give_up, call)
        try:
            return await future
        finally:
            self.pending -= 1

    def _due(self, line: str, seconds: float) -> float:
        """When something on a line arrives that takes so long: not before what went ahead of it."""
        now = self._network.now()
        # A little later, as `now` and the rest of the time may add up to less than they should.
        due = max(now + seconds, self._last.get(line, 0.0) + 1e-9)
        self._last[line] = due
        return due - now

    def _send(self, call: _Call) -> None:
        call.tries += 1
        trouble = self.trouble
        seconds = self._due(call.line, trouble.delay())
        if call.fault == "lost before":
            self._network.later(seconds, self._fail, call)
        elif call.fault == "late":
            # It lies in a buffer of a server that stands still; who asked has given up by the time it is read.
            self._network.later(seconds, self._fail, call)
            self._network.later(seconds + trouble.delay() * 20, self._late, call)
        else:
            self._network.later(seconds, self._take_effect, call)

    def _late(self, call: _Call) -> None:
        if not self.trouble.away:
            self._do(call)

    def _do(self, call: _Call) -> Any:
        found = call.effect()
        if self.tell is not None:
            self.tell(call.what, found)
        return found

    def _take_effect(self, call: _Call) -> None:
        if self._gone and self.trouble.dice is not None and self.trouble.dice.random() < 0.5:
            return
        if self.trouble.away:
            self._again(call)
            return
        reply = self._do(call)
        fault, call.fault = call.fault, None
        if fault == "twice":
            # The connection broke before the reply: what may be repeated is, on a new one.
            if call.repeatable:
                self._network.later(self.trouble.delay() * 5, self._send, call)
            else:
                self._network.later(self.trouble.delay(), self._fail, call)
            return
        seconds = self._due(call.line + " replies", self.trouble.delay())
        if fault == "lost after":
            self._network.later(seconds, self._fail, call)
        else:
            self._network.later(seconds, self._answer, call, reply)

    def _again(self, call: _Call) -> None:
        """Wait for the server to be back, in line."""
        if not self._gone:
            if not self._held:
                self._network.later(0.1, self._retry)
            self._held.append(call)

    def _retry(self) -> None:
        held, self._held = self._held, []
        now = self._network.now()
        for call in held:
            if not self.trouble.away:
                self._take_effect(call)
            elif now - call.asked >= COMMAND_SECONDS:
                self._fail(call)
            else:
                self._again(call)

    def _answer(self, call: _Call, reply: Any) -> None:
        if self.trouble.away and call.repeatable:
            # The server went with the reply.
            self._again(call)
        elif self.trouble.away:
            self._fail(call)
        else:
            self._arrive(_resolve, call.future, reply)

    def _give_up(self, call: _Call) -> None:
        if not call.future.done():
            self._fail(call)

    def _fail(self, call: _Call) -> None:
        self._arrive(_refuse, call.future)

    # The lease

    def _renew(self, sent: float) -> None:
        """A renewal that was sent at a time has its effect, and its reply is here; the next is sent."""
        now = self._network.now()
        if self._gone:
            return
        if self._halted() or self.trouble.away:
            self._network.later(0.1, self._renew, now + 0.1)
            return
        lasted = self.store.renew(self.worker)
        if not lasted or now - self._renewed >= LEASE_SECONDS:
            self._life += 1
        self._renewed = sent
        after = max(sent + RENEW_SECONDS, now)
        self._network.later(after - now + self.trouble.delay(), self._renew, after)

    # The reader

    def _collect(self) -> None:
        """Begin to collect the mail that has arrived."""
        if not self._collecting:
            self._collecting = True
            self._network.later(self.trouble.delay(), self._open_inbox)

    def _open_inbox(self) -> None:
        if self._gone:
            return
        if self.trouble.away or self._halted():
            self._network.later(0.1, self._open_inbox)
            return
        self._collecting = False
        inbox = self.store.inboxes.get(self.worker)
        if inbox is None or not self.store.is_alive(self.worker):
            return
        found = inbox.mail[inbox.read :]
        inbox.read = len(inbox.mail)
        if found:
            self._network.later(self._due("inbox", self.trouble.delay()), self._arrive, self._take_mail, found)

    def _take_mail(self, found: list[bytes]) -> None:
        for message in found:
            if self._receiver is not None:
                self._receiver.mail(message)

    def _wake(self, shard: int) -> None:
        if self._behind[shard] is None:
            self._behind[shard] = self._network.now()
        if not self._reading[shard]:
            self._reading[shard] = True
            self._network.later(self.trouble.delay(), self._fetch, shard)

    def _fetch(self, shard: int) -> None:
        if self._gone:
            return
        if self.trouble.away:
            self._network.later(0.1, self._fetch, shard)
            return
        log, start = self.store.logs[shard], self._read[shard]
        found = log[start:]
        self._read[shard] = len(log)
        now = self._network.now()
        self._network.later(self.trouble.delay(), self._arrive, self._receive, shard, found, now)

    def _receive(self, shard: int, found: list[Publication], fetched: float) -> None:
        if self._receiver is None:
            return
        if found:
            self._receiver.receive(found)
        self._reading[shard] = False
        # What came after it was fetched is not here yet.
        self._behind[shard] = fetched if self._read[shard] < len(self.store.logs[shard]) else None
        if self._read[shard] < len(self.store.logs[shard]):
            self._wake(shard)

    def lose(self) -> None:
        """What was written meanwhile is trimmed before this worker has read it."""
        if self._receiver is not None:
            self._read = [len(log) for log in self.store.logs]
            self._receiver.lost(None)


def _resolve(future: asyncio.Future[Any], reply: Any) -> None:
    if not future.done():
        future.set_result(reply)


def _refuse(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(BrokerUnavailable("Redis did not answer"))
