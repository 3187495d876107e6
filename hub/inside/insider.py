"""Looks at one process's hub from inside: takes a sample a second, and answers who looks, for all workers.

Nothing but the sample is worked out while nobody looks. What looking costs is counted, and shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import mmap
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BadMessage, BrokerUnavailable, InvalidChannel
from ..node import Node, drain
from ..protocol.channels import from_fanout_name, is_meta, is_service, to_fanout
from ..protocol.messages import dumps
from ..protocol.publications import Draft, Position
from . import looking
from .fields import NAMES
from .fleet import Fleet
from .ring import TIERS, Ring, Tier, best_tier, merge_rows
from .sampling import Doorway, Machine, Sampler, named
from .trail import Trail

logger = logging.getLogger(__name__)

#: The channel of the default realm on which every worker says once a second how it is, while somebody looks. It takes
#: a token.
CHANNEL = "private-hub"

#: Seconds for which one look keeps the workers saying so.
LOOKED = 30.0

#: Seconds between samples, and between looks at how late the loop is.
SAMPLE = 1.0
LAG = 0.25

#: Seconds after a start in which the loop may be late.
STARTING = 3.0

#: Seconds between questions to what the process leans on, and how long an answer may take.
PROBE = 10.0
PROBE_PATIENCE = 5.0

#: What is remembered of what people did here, and the bytes that its file may have.
MOST_ACTS = 100
ACTS_BYTES = 64 * 1024

#: Columns that a history is given in, at most.
POINTS = 120

#: Sends something to be looked at: `Inside.spent` counts what that took.
Probe = Callable[[], Awaitable[None]]


class Inside:
    """One worker's look inside, and its way to the others'.

    nodes: of the realms, by name; the first is the default one. door: what comes in. number: this worker's. release: of
    the program. keep: the folder where history is kept; without it, it is gone with the process.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        door: Doorway,
        *,
        addresses: Mapping[str, int],
        number: int = 0,
        release: str = "",
        keep: Path | None = None,
        notes: int = 20_000,
        health: Callable[[], Awaitable[str]],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._nodes = dict(nodes)
        self._node = next(iter(nodes.values()))
        self._door = door
        self._addresses = addresses
        self._number = number
        self._release = release
        self._keep = keep
        self._health = health
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._sampler = Sampler(door)
        self._trails = {name: Trail(notes) for name in nodes}
        self._memory = bytearray(Ring.size())
        self.ring = Ring(memoryview(self._memory))
        self._file: mmap.mmap | None = None
        self._lock: int | None = None
        self._acts: deque[dict[str, Any]] = deque(maxlen=MOST_ACTS)
        self._tasks: list[asyncio.Task[None]] = []
        self._fleet = Fleet(self._node, self.answer)
        self._lag = 0.0
        self._own = 0.0
        self._looked = 0.0
        self._started = wall()
        self._last: tuple[float, ...] = ()
        self._spent_before = 0.0
        #: CPU seconds that looking has cost, samples included, and how late the loop was lately: for /metrics.
        self.own_seconds = 0.0
        self.lag = 0.0
        #: What the process leans on, by name; each is asked now and then, and how long that took is kept.
        self.probes: dict[str, Probe] = {}
        self.took: dict[str, float] = {}

    # Life

    def start(self) -> None:
        """Begin to take samples."""
        self._begin_file()
        self._read_acts()
        self._tasks = [
            asyncio.create_task(self._sample_on(), name="inside samples"),
            asyncio.create_task(self._listen_on(), name="inside lag"),
            asyncio.create_task(self._probe_on(), name="inside probes"),
        ]

    async def stop(self) -> None:
        """Take none any more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._end_file()

    def _begin_file(self) -> None:
        """Keep history in a file from now on, if no other process does."""
        if self._keep is None or self._file is not None:
            return
        path = self._keep / f"worker-{self._number}.ring"
        try:
            self._keep.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            logger.warning("history not kept", extra={"path": str(path), "error": error.strerror})
            self._keep = None
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = Ring.size()
            if os.fstat(descriptor).st_size != size:
                # Empty, or of another release.
                os.ftruncate(descriptor, 0)
                os.ftruncate(descriptor, size)
            self._file = mmap.mmap(descriptor, size)
        except BlockingIOError:
            # The worker before this one is still draining; tried again.
            os.close(descriptor)
            return
        except (OSError, ValueError) as error:
            os.close(descriptor)
            logger.warning("history not kept", extra={"path": str(path), "error": str(error)})
            self._keep = None
            return
        self._lock = descriptor
        ring = Ring(memoryview(self._file))
        ring.absorb(self.ring, self._wall())
        self.ring = ring
        self._memory = bytearray()

    def _end_file(self) -> None:
        if self._lock is not None:
            # The map itself, which has a descriptor of its own, goes with the last look at it.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = None

    # Samples

    async def _sample_on(self) -> None:
        due = self._loop.time()
        before, cpu = time.monotonic(), time.process_time()
        while True:
            due = max(due + SAMPLE, self._loop.time())
            await asyncio.sleep(due - self._loop.time())
            began = time.thread_time()
            now, used = time.monotonic(), time.process_time()
            machine = Machine(self._lag, now - before, used - cpu, self._own, resident(), self.took)
            before, cpu = now, used
            self.lag, self._lag, self._own = self._lag, 0.0, 0.0
            try:
                self._sample(machine)
            except Exception:
                # A bug here must not end the history, let alone the hub.
                logger.exception("sample not taken")
            self.spent(time.thread_time() - began)

    def _sample(self, machine: Machine) -> None:
        wall, now = self._wall(), self._loop.time()
        self._last = self._sampler.take(list(self._nodes.values()), machine)
        self.ring.add(wall, self._last)
        for name, node in self._nodes.items():
            self._trails[name].note(node.registry.recent, now, wall)
        if self._file is None and int(wall) % 10 == 0:
            self._begin_file()
        if now < self._looked:
            self._tell(wall)

    def _tell(self, wall: float) -> None:
        """Say how this worker is, to who looks."""
        data = {"worker": self._node.worker, "at": round(wall, 3), "now": named(self._last)}
        draft = Draft(from_fanout_name(CHANNEL), dumps(data), hint=True)
        if self._node.broker.try_publish([draft]) is None:
            self._node.spawn(self._publish(draft))

    async def _publish(self, draft: Draft) -> None:
        with contextlib.suppress(BrokerUnavailable):
            await self._node.broker.publish([draft])

    async def _listen_on(self) -> None:
        """How late the loop is, as a timer that is due sees it."""
        # What a start takes is no sign of anything.
        await asyncio.sleep(STARTING)
        while True:
            due = self._loop.time() + LAG
            await asyncio.sleep(LAG)
            self._lag = max(self._lag, self._loop.time() - due)

    async def _probe_on(self) -> None:
        await asyncio.sleep(STARTING)
        while True:
            for name, probe in list(self.probes.items()):
                began = time.monotonic()
                try:
                    async with asyncio.timeout(PROBE_PATIENCE):
                        await probe()
                except Exception:  # noqa: BLE001  # whatever it says, it has not answered well: `/ready` says why
                    self.took[name] = PROBE_PATIENCE
                else:
                    self.took[name] = time.monotonic() - began
            await asyncio.sleep(PROBE)

    def spent(self, seconds: float) -> None:
        """Count what looking has cost: CPU seconds of the loop's thread."""
        self._own += seconds
        self.own_seconds += seconds

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count a piece of work that does not wait."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.spent(time.thread_time() - began)

    # Questions, to all workers

    async def ask(self, what: str, **given: Any) -> dict[str, Any]:
        """What every worker answers, by its name. What is asked: the methods `_answer_…`."""
        return await self._fleet.ask(what, **given)

    @property
    def silent(self) -> Sequence[str]:
        """Workers that did not answer the last question, and had answered before."""
        return self._fleet.silent

    @property
    def worker(self) -> str:
        """This one's name."""
        return self._node.worker

    async def answer(self, what: str, given: dict[str, Any]) -> Any:
        """This worker's own answer; `{"error": …}` for what it does not know to answer."""
        answer = getattr(self, f"_answer_{what}", None)
        if answer is None:
            return {"error": f"this worker is of release {self._release} and knows no {what[:20]!r}"}
        began = time.thread_time()
        try:
            return await answer(**given)
        except (BadMessage, TypeError, ValueError) as error:
            return {"error": str(error)}
        finally:
            # With what others did meanwhile, where it waited: too much rather than too little.
            self.spent(time.thread_time() - began)

    async def _answer_now(self, live: bool = False) -> dict[str, Any]:
        """How this worker is, and what is hot, slow and refused. live: and it says so each second from now on."""
        now = self._loop.time()
        if live:
            self._looked = now + LOOKED
        nodes = list(self._nodes.values())
        reason = await self._health()
        ends: dict[str, int] = {}
        refused: dict[str, int] = {"upgrades": self._door.refused}
        for node in nodes:
            for why, count in node.notes.ends.items():
                ends[why] = ends.get(why, 0) + count
            for limit, count in node.bayeux.limited.items():
                refused[limit] = refused.get(limit, 0) + count
        return {
            "worker": self._node.worker,
            "number": self._number,
            "pid": os.getpid(),
            "machine": os.uname().nodename,
            "release": self._release,
            "started": self._started,
            "clock": self._wall(),
            "draining": self._node.draining,
            "reason": reason,
            "log": "redis" if self._node.broker.keeps_sessions else "memory",
            "sample": named(self._last) if self._last else {},
            "clients": self._door.clients,
            "max_connections": self._door.max_connections,
            "memory": _memory_limit(),
            "latency": looking.latency([node.bayeux.seen for node in nodes], now),
            "ends": ends,
            "refused": refused,
            "hot": looking.hot(nodes, now),
            "slow": await looking.slow(nodes, now),
            "addresses": looking.addresses(self._addresses),
            "realms": {
                name: {
                    "sessions": len(node.registry.sessions),
                    "published": node.counters.published,
                    "delivered": node.counters.delivered,
                    "refused": sum(node.bayeux.limited.values()),
                }
                for name, node in self._nodes.items()
            },
            "acts": list(self._acts),
        }

    async def _answer_history(self, seconds: float, until: float, points: int = POINTS) -> dict[str, Any]:
        """What this worker did, in `points` columns or fewer: `[begin, samples, values…]` of each."""
        tier, columns = columns_of(self.ring, float(seconds), float(until), min(int(points), POINTS))
        return {
            "worker": self._node.worker,
            "number": self._number,
            "machine": os.uname().nodename,
            "names": NAMES,
            "tier": tier.seconds,
            "columns": columns,
        }

    async def _answer_find(self, by: str, text: str) -> list[dict[str, Any]]:
        return [
            {**each, "worker": self._node.worker}
            for each in await looking.find(self._nodes, by, text, self._loop.time())
        ]

    async def _answer_client(self, session: str) -> dict[str, Any] | None:
        return await looking.client(self._nodes, session, self._loop.time(), self._wall())

    async def _answer_trace(self, realm: str, channel: str, position: str) -> dict[str, Any]:
        node = self._nodes.get(realm)
        if node is None:
            return {"worker": self._node.worker, "heard": False}
        at = Position.parse(position)
        return await looking.trace(node, self._trails[realm], channel, at, self._loop.time(), self._wall())

    async def trace(self, name: str, offset: str | None, realm: str | None = None) -> dict[str, Any]:
        """The way of one message of a channel; the newest without an offset.

        Raises BadMessage or InvalidChannel for what can't be asked, BrokerUnavailable while the log can't be read.
        """
        realm = next(iter(self._nodes)) if realm is None else realm
        node = self._nodes.get(realm)
        if node is None:
            raise BadMessage("realm", text="Realm unknown")
        channel = from_fanout_name(name)
        asked = looking.parse_offset(offset)
        top = await node.broker.position(channel)
        if isinstance(asked, str):
            at = Position.parse(asked)
        else:
            at = Position(top.epoch, top.offset if asked is None else asked)
        found: dict[str, Any] = {"channel": to_fanout(channel), "position": str(at), "newest": str(top), "realm": realm}
        found["published"] = None
        if at.offset < 1:
            found["log"] = {"state": "nothing was published to this channel, as far as the log goes back"}
            return {**found, "workers": []}
        if at.epoch == top.epoch and at.offset > top.offset:
            found["log"] = {"state": f"nothing has been published there yet; the newest is {top.offset}"}
            return {**found, "workers": []}
        history = await node.broker.history(channel, Position(at.epoch, at.offset - 1))
        first = history.publications[0] if history.recovered and history.publications else None
        if first is None:
            found["log"] = {"state": "not kept any more"}
        else:
            found["log"] = {
                "state": "kept",
                "bytes": len(first.data),
                "hint": first.hint,
                "data": looking.excerpt(first.data),
            }
        answers = await self.ask("trace", realm=realm, channel=channel, position=str(at))
        workers = [each for each in answers.values() if "error" not in each]
        found["published"] = next((each["published"] for each in workers if "published" in each), None)
        found["workers"] = sorted(workers, key=lambda each: str(each["worker"]))
        found["silent"] = list(self.silent)
        return found

    # Acts

    async def publish_test(self, who: str, name: str = "fanfare-test") -> dict[str, Any]:
        """Publish to a channel, so that one can look where it went. Raises as `Node.publish`, and InvalidChannel."""
        channel = from_fanout_name(name)
        self._node.bayeux.grammar.check_size(channel)
        if is_meta(channel) or is_service(channel) or self._node.bayeux.access.is_presence(channel):
            raise InvalidChannel(name)
        [published] = await self._node.publish(
            [Draft(channel, dumps({"test": True, "by": who, "at": round(self._wall(), 3)}))], f"{who}, as a test"
        )
        self.acted(who, f"published a test to {to_fanout(channel)}")
        return {"channel": to_fanout(channel), "position": str(published.position)}

    async def kick(self, who: str, *, user: str = "", session: str = "") -> int:
        """Send a user away, or one session; how many sessions of this look were ended, -1 where only others know."""
        if user:
            await self._node.kick(user)
            self.acted(who, f"sent the user {user} away")
            return -1
        answers = await self.ask("end", session=session, who=who)
        count = sum(int(each.get("ended", 0)) for each in answers.values())
        if count:
            self.acted(who, f"sent the session {session[:8]} away")
        return count

    async def _answer_end(self, session: str, who: str) -> dict[str, Any]:
        for node in self._nodes.values():
            found = node.registry.peek(session)
            if found is not None:
                node.end_session(found, "kicked")
                return {"ended": 1}
        return {"ended": 0}

    async def drain(self, who: str, worker: str, *, on: bool) -> str:
        """Have a worker send its clients elsewhere and take none, or take them again; why not, if it does not."""
        states = await self.ask("draining")
        if worker not in states:
            return "There is no such worker any more."
        others = [name for name, state in states.items() if name != worker and state.get("draining") is False]
        if on and not others:
            return "This is the only worker that takes clients: they could go nowhere. Start another one first."
        await self.ask("drain", worker=worker, on=on)
        self.acted(who, f"{'drained' if on else 'opened'} the worker {worker}")
        return ""

    async def _answer_draining(self) -> dict[str, Any]:
        return {"draining": self._node.draining}

    async def _answer_drain(self, worker: str, on: bool) -> dict[str, Any]:
        if worker != self._node.worker:
            return {}
        if on:
            self._node.spawn(drain(self._nodes.values()))
        else:
            for node in self._nodes.values():
                node.draining = False
        return {"draining": on}

    def acted(self, who: str, what: str) -> None:
        """Note what somebody did, in the log and for the page."""
        act = {"at": round(self._wall(), 3), "who": who, "what": what}
        logger.warning("act", extra={"who": who, "what": what})
        self._acts.append(act)
        if self._keep is None:
            return
        path = self._keep / "acts.log"
        try:
            if path.exists() and path.stat().st_size > ACTS_BYTES:
                path.replace(path.with_suffix(".old"))
            # A short line is written whole, whoever writes at the same time.
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(act) + "\n")
        except OSError as error:
            logger.warning("act not kept", extra={"error": error.strerror})

    def _read_acts(self) -> None:
        if self._keep is None:
            return
        for suffix in (".old", ".log"):
            try:
                lines = (self._keep / f"acts{suffix}").read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            for line in lines[-MOST_ACTS:]:
                with contextlib.suppress(ValueError):
                    act = json.loads(line)
                    if isinstance(act, dict) and act.keys() >= {"at", "who", "what"}:
                        self._acts.append(act)


def columns_of(ring: Ring, seconds: float, until: float, points: int) -> tuple[Tier, list[list[Any]]]:
    """A stretch of history as columns that are equally long, the last of which has `until` in it."""
    tier = best_tier(seconds)
    count = max(1, min(tier.count, int(seconds) // tier.seconds))
    each = -(-count // max(1, points))
    width = each * tier.seconds
    # On the same lines at every worker, and at the next look.
    end = (int(until) // width + 1) * width
    start = end - -(-count // each) * width
    rows = ring.read(tier, start, end)
    # What is older than the ring is not in it.
    missing = (end - start) // tier.seconds - len(rows)
    columns: list[list[Any]] = []
    for at in range(start, end, width):
        first = (at - start) // tier.seconds - missing
        some = rows[max(0, first) : max(0, first + each)]
        merged = merge_rows(some, ring.fields) if some else None
        if merged is None or not merged.samples:
            columns.append([at, 0])
        else:
            columns.append([at, merged.samples, *(None if each != each else _short(each) for each in merged.values)])
    return tier, columns


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() else float(f"{value:.6g}")


def resident() -> float:
    """Bytes of memory that this process has."""
    if not sys.platform.startswith("linux"):
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    with open("/proc/self/statm", "rb") as file:
        return float(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))


def _memory_limit() -> int:
    """Bytes that this process may have: its control group's, else the machine's; 0 where nobody says."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text().strip()))
    with contextlib.suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=0)


#: The tiers, for who lets people choose.
SPANS = {"15 min": 900, "1 h": 3600, "6 h": 21_600, "1 day": 86_400, "7 days": 604_800, "30 days": 2_592_000}

assert TIERS[-1].seconds * TIERS[-1].count >= SPANS["30 days"]
