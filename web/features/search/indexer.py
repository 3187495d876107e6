"""Keeps an index in step with the rows: it follows what is told of them, as an open page does.

What is told is read anew and put into the index, or taken out if it may not be read any more; then the position up to
which was heard is noted beside it. After a restart it goes on from there. Told "lost", it reads all documents into
another index, behind the one that answers, and takes that one when it is done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex

from hub.errors import HubError
from hub.follower import Follower, Following, Heard, Lost

from ...db.database import Database
from ...db.engine import UNUSABLE
from ...pages.documents import CHANGED, Documents
from .comparing import Comparison, compare
from .engine import Changes, Engine, EngineError
from .entries import Entry, entered, key_of

logger = logging.getLogger(__name__)

#: Changes taken into one step, and documents read at a time when all are.
BATCH = 500
READ = 200

#: Seconds from the beginning of a step to that of the next one: what is heard meanwhile goes together. A step costs
#: some 12 ms of a processor whatever is in it, and a change half a millisecond more: at 200 saves a second two workers
#: that took each change as it came left no processor for the saves. A change after a quiet time waits for nothing.
PACE = 0.08

#: What is told on the documents' channel for all to build their indexes anew, and where they tell how far they are.
REBUILD = "rebuild"
#: And for who keeps an index to compare it with the database: its value is a name for the answers.
COMPARE = "compare"
BUILDING = "search-building"

#: Documents that a comparison names of each sort.
NAMED = 20

#: Seconds between two words about it.
_SAID = 0.25

_FIRST_PAUSE = 0.1
_LAST_PAUSE = 5.0

#: Seconds between renewals of the lease on a shared index, and between looks at how far its keeper is.
_LEASE_PAUSE = 3.0
_LOOK = 0.02

#: Seconds that a comparison waits for what was told.
_SETTLED = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the building of an index is. total: 0 where it isn't known."""

    done: int = 0
    words: str = ""


@dataclass(slots=True)
class State:
    """How an index is: for pages, `/ready` and metrics. reason: why it does not answer, or None.

    building: how far a new one is, None if there is none. position: up to where has been heard.
    """

    ready: bool = False
    reason: str | None = "search is being made ready"
    building: Progress | None = None
    position: tuple[str, int] | None = None
    counts: Counter[str] = field(default_factory=Counter)
    #: Seconds from hearing of a change until it was findable, at the most; of the newest steps.
    behind: deque[float] = field(default_factory=lambda: deque(maxlen=1000))


class Indexer:
    """One for an engine.

    position: where the log's channel of changed documents stands now, None if it isn't known. tell: says to `BUILDING`
    how far a new index is.
    """

    def __init__(
        self,
        engine: Engine,
        documents: Sequence[Documents],
        database: Database,
        position: Callable[[], Awaitable[str | None]],
        tell: Callable[[dict[str, object]], Awaitable[object]] | None = None,
    ) -> None:
        self.state = State()
        self.pace = PACE
        self._engine = engine
        self._documents = documents
        self._database = database
        self._position = position
        self._tell = tell
        self._name = token_hex(4)
        # What has changed while a new index is built: documents, and pages of which all parts have.
        self._dirty: set[tuple[str, int]] | None = None
        self._dirty_parts: set[tuple[str, str]] = set()
        # Held while something is put into the index that answers, and while another takes its place.
        self._lock = asyncio.Lock()
        self._waiting: list[tuple[tuple[str, int], asyncio.Future[bool]]] = []
        self._building: asyncio.Task[int] | None = None
        self._comparing: asyncio.Task[None] | None = None
        # The names of those who wait for its answer.
        self._comparing_for: list[str] = []
        # Whether this process puts into the index what it hears.
        self._keeps = False
        self._said = 0.0

    async def run(self, following: Following) -> None:
        """Follow until cancelled."""
        cursor = await self._opened()
        if not self._engine.shared:
            await self._keep(following, cursor)
            return
        while True:
            if not await self._leads():
                await asyncio.sleep(_LEASE_PAUSE)
                continue
            keeping = asyncio.create_task(self._keep(following, await self._opened()))
            try:
                while not keeping.done() and await self._leads():
                    await asyncio.wait([keeping], timeout=_LEASE_PAUSE)
            finally:
                self._keeps = False
                keeping.cancel()
                await asyncio.wait([keeping])
            if not keeping.cancelled() and (error := keeping.exception()) is not None:
                raise error

    async def _opened(self) -> str | None:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._engine.open()
            except EngineError as error:
                self._away(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE)

    async def _leads(self) -> bool:
        """Whether this process keeps the shared index; who does not asks it as well."""
        try:
            leads = await self._engine.lead()
            if not leads:
                if await self._engine.cursor() is not None:
                    self._well()
            elif self._keeps and self.state.ready:
                await self._look_after()
        except EngineError as error:
            self._away(error)
            # Nobody can take it while it does not answer.
            return self._keeps
        return leads

    async def _look_after(self) -> None:
        """Say that a shared index answers again, whether or not anything was told since; build one that is gone."""
        if await self._engine.cursor() is not None:
            self._well()
        elif self._building is None or self._building.done():
            self.state.ready, self.state.reason = False, "the index is gone, and is built anew"
            logger.warning("search index is gone, and is built anew")
            _ = self._begin_building()

    async def _keep(self, following: Following, cursor: str | None) -> None:
        self._keeps = True
        since = {CHANGED: cursor} if cursor else None
        async with following.follow(CHANGED, since=since) as follower:
            if cursor:
                self.state.position = parse(cursor)
                self._well()
            else:
                _ = self._begin_building()
            try:
                await self._follow(follower)
            finally:
                for task in (self._building, self._comparing):
                    if task is not None:
                        task.cancel()

    async def reached(self, position: str, timeout: float) -> bool:
        """Whether the index has what was told up to a position, or has within `timeout` seconds."""
        wanted = parse(position)
        if wanted is None:
            return True
        if not self._keeps:
            return await self._kept_elsewhere(wanted, timeout)
        if self._has(wanted):
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        entry = (wanted, future)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            return False
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    async def _kept_elsewhere(self, wanted: tuple[str, int], timeout: float) -> bool:
        """The same of an index that another process keeps."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    there = parse(await self._engine.cursor() or "")
                    if there is not None and there[0] == wanted[0] and there[1] >= wanted[1]:
                        return True
                    await asyncio.sleep(_LOOK)
        except (TimeoutError, EngineError):
            return False

    async def rebuild(self) -> int:
        """Read all documents into another index, or wait for whoever does; how many there are."""
        return await asyncio.shield(self._begin_building())

    def _begin_building(self) -> asyncio.Task[int]:
        if self._building is None or self._building.done():
            self._building = asyncio.create_task(self._build_until_done())
        return self._building

    async def renew(self, keys: Collection[tuple[str, int]]) -> None:
        """Read some documents anew: what is shown of them was not so."""
        self.state.counts["ghosts"] += len(keys)
        await self._apply(keys, (), None)

    # Following

    async def _follow(self, follower: Follower) -> None:
        heard_at = time.perf_counter()
        has_waited = False
        last = float("-inf")
        async for entry in follower:
            began = time.perf_counter()
            # What waited may have been heard when the step before it began.
            heard_at = heard_at if has_waited else began
            if began - last < self.pace:
                await asyncio.sleep(self.pace - (began - last))
            last = began = time.perf_counter()
            batch = [entry]
            while len(follower) and len(batch) < BATCH:
                batch.append(await anext(follower))
            if any(isinstance(each, Lost) for each in batch):
                logger.info("search index may have missed changes, and is built anew")
                self.state.counts["lost"] += 1
                _ = self._begin_building()
            heard = [each for each in batch if isinstance(each, Heard)]
            if heard:
                await self._take(heard)
                self.state.behind.append(time.perf_counter() - heard_at)
            heard_at, has_waited = began, len(follower) > 0

    async def _take(self, heard: Sequence[Heard]) -> None:
        told: dict[str, set[int]] = {}
        if any(isinstance(each.data, dict) and REBUILD in each.data for each in heard):
            _ = self._begin_building()
        for each in heard:
            if isinstance(each.data, dict):
                if isinstance(name := each.data.get(COMPARE), str):
                    self._begin_comparing(name)
                for name, id in each.data.items():
                    if isinstance(id, int):
                        told.setdefault(name, set()).add(id)
        top = heard[-1].position
        position = (top.epoch, top.offset)
        pause = _FIRST_PAUSE
        while True:
            try:
                keys, parts = await self._concerned(told)
                await self._apply(keys, parts, f"{position[0]}.{position[1]}")
                break
            except (EngineError, *UNUSABLE) as error:
                # Nothing is missed: what was told is kept until it is in the index.
                self._away(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE)
        self._well()
        self.state.counts["changes"] += len(heard)
        self._reach(position)

    async def _concerned(self, told: Mapping[str, set[int]]) -> tuple[set[tuple[str, int]], list[tuple[str, str]]]:
        """The documents that what was told may have made other; pages and kinds of which all parts are read anew."""
        keys: set[tuple[str, int]] = set()
        parts: list[tuple[str, str]] = []
        async with self._database.reading() as session:
            for each in self._documents:
                names = {one.name for one in each.told}
                for name in names & told.keys():
                    if each.parts_of is not None and each.parts_of[0] == name:
                        parts += [(key_of(each.parts_of[1], id), each.kind) for id in told[name]]
                    found = await each.concerned(session, name, told[name])
                    keys.update((each.kind, id) for id in found)
        return keys, parts

    async def _apply(
        self, keys: Collection[tuple[str, int]], parts: Sequence[tuple[str, str]], cursor: str | None
    ) -> None:
        async with self._lock:
            if self._dirty is not None:
                self._dirty.update(keys)
                self._dirty_parts.update(parts)
            await self._engine.apply(await self._changes(keys, parts, cursor))

    async def _changes(
        self, keys: Collection[tuple[str, int]], parts: Collection[tuple[str, str]], cursor: str | None = None
    ) -> Changes:
        put = await self._read(keys)
        return Changes(put, {key_of(*key) for key in keys} - {entry.key for entry in put}, parts, cursor)

    async def _read(self, keys: Collection[tuple[str, int]]) -> list[Entry]:
        by_kind: dict[str, list[int]] = {}
        for kind, id in keys:
            by_kind.setdefault(kind, []).append(id)
        found: list[Entry] = []
        for each in self._documents:
            ids = sorted(by_kind.get(each.kind, ()))
            for at in range(0, len(ids), READ):
                async with self._database.reading() as session:
                    some = await each.read(session, ids[at : at + READ])
                found += await entered(each.kind, some)
        return found

    # Building

    async def _build_until_done(self) -> int:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self.build()
            except (EngineError, *UNUSABLE) as error:
                self._away(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE)

    async def build(self, progress: Callable[[Progress], None] = lambda progress: None) -> int:
        """Read all documents into a new index, and take it; how many there are."""
        self._dirty, self._dirty_parts = set(), set()
        try:
            # Before the rows: what is told from here on is in them, or comes.
            start = await self._position() or ""
            generation = await self._engine.begin()
            done, expected = 0, await self._engine.count() if self.state.ready else 0
            for each in self._documents:
                last = 0
                while True:
                    async with self._database.reading() as session:
                        ids = await each.after(session, last, READ)
                        some = await each.read(session, ids) if ids else ()
                    if not ids:
                        break
                    last = ids[-1]
                    await generation.apply(Changes(await entered(each.kind, some)))
                    done += len(some)
                    self.state.building = Progress(done, each.labels)
                    progress(self.state.building)
                    await self._say("running", done, expected)
            async with self._lock:
                if self._dirty or self._dirty_parts:
                    await generation.apply(await self._changes(self._dirty, self._dirty_parts))
                begun, there = parse(start), self.state.position
                if begun is not None and not self._has(begun):
                    there = begun
                await self._engine.take(generation, "" if there is None else f"{there[0]}.{there[1]}")
            if there is not None:
                self._reach(there)
        finally:
            self._dirty = self.state.building = None
        self.state.counts["builds"] += 1
        self._well()
        await self._say("done", done, done)
        return done

    async def _say(self, state: str, done: int, expected: int, **more: object) -> None:
        """Say how far a new index or a comparison is, now and then; who does not hear it misses nothing."""
        at = time.monotonic()
        if self._tell is None or (state == "running" and at - self._said < _SAID):
            return
        self._said = at
        with suppress(HubError):
            await self._tell({"worker": self._name, "state": state, "done": done, "total": max(done, expected)} | more)

    # Comparing

    async def compare(self, say: Callable[[int], Awaitable[object]] | None = None) -> Comparison:
        """What the index and the database do not agree about. Raises EngineError and what the database raises."""

        async def settle() -> None:
            position = await self._position()
            if position is not None:
                await self.reached(position, _SETTLED)

        async def quiet(done: int) -> None:
            pass

        return await compare(self._engine, self._documents, self._database, settle, say or quiet)

    def _begin_comparing(self, name: str) -> None:
        # One at a time; who asks meanwhile gets the same answer.
        self._comparing_for = [*self._comparing_for, name[:40]][-NAMED:]
        if self._comparing is None or self._comparing.done():
            self._comparing = asyncio.create_task(self._compare_and_tell())

    async def _compare_and_tell(self) -> None:
        expected = await self._engine.count() if self.state.ready else 0

        async def say(done: int) -> None:
            await self._say("running", done, expected, check=self._comparing_for)

        try:
            found = await self.compare(say)
        except (EngineError, *UNUSABLE) as error:
            logger.warning("search index can't be compared", extra={"error": str(error)})
            names, self._comparing_for = self._comparing_for, []
            await self._say("failed", 0, 0, check=names, reason=str(error)[:300])
            return
        differ: dict[str, object] = {}
        for word, keys in (("missing", found.missing), ("ghosts", found.ghosts), ("outdated", found.outdated)):
            differ[word] = {"count": len(keys), "some": [key_of(*key) for key in keys[:NAMED]]}
        if not found.agrees:
            logger.warning("search index and database differ", extra=differ)
        names, self._comparing_for = self._comparing_for, []
        await self._say("done", found.documents, found.documents, check=names, differ=differ)

    # How it is

    def _has(self, wanted: tuple[str, int]) -> bool:
        there = self.state.position
        return there is not None and there[0] == wanted[0] and there[1] >= wanted[1]

    def _reach(self, position: tuple[str, int]) -> None:
        self.state.position = position
        for wanted, future in self._waiting:
            if not future.done() and self._has(wanted):
                future.set_result(True)

    def _well(self) -> None:
        if self.state.reason is not None and self.state.ready:
            logger.info("search answers again")
        self.state.ready, self.state.reason = True, None

    def _away(self, error: BaseException) -> None:
        if self.state.reason is None or not self.state.ready:
            logger.warning("search can't reach its index", extra={"error": str(error)})
        self.state.reason = str(error) or type(error).__name__


def parse(position: str) -> tuple[str, int] | None:
    """A position as an epoch and an offset; None for none."""
    epoch, _, offset = position.rpartition(".")
    return (epoch, int(offset)) if epoch and offset.isdigit() else None
