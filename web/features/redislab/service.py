"""The laboratory of one process: the worker beside it that measures, and what was measured by all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from hub.errors import HubError
from hub.publisher import Item, Publisher

from ...pages import keys
from ...services.cache.cache import Cache
from . import payloads, records
from .configurations import Configuration, configurations
from .figures import Figures, Sample, figures
from .records import channel_of
from .settings import RedisLabSettings

logger = logging.getLogger(__name__)

#: Seconds between two words of what was measured.
TELL_SECONDS = 1.0

#: Seconds for an answer of the worker: it waits for Redis itself, and starts in a second or two.
PATIENCE = 20.0
#: Seconds without a question after which the worker is let go.
IDLE = 120.0

#: Seconds for what is read of Redis here.
_READ_SECONDS = 3.0


class LabAway(Exception):
    """Nothing can be measured now; the message says why, and what to do."""


class LabBusy(Exception):
    """Too much is asked for. seconds: come again after so many. crowded: too much waits; else it is the rate."""

    def __init__(self, seconds: float, *, crowded: bool = False) -> None:
        super().__init__(f"{seconds:g} s")
        self.seconds = seconds
        self.crowded = crowded


@dataclass(frozen=True, slots=True)
class State:
    """What all processes have measured of one payload. counts: by configuration, all there ever were."""

    found: Mapping[str, Figures]
    counts: Mapping[str, int]


class _Worker:
    """A process, and who waits for its answers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.reading = asyncio.create_task(self._read())

    @property
    def lives(self) -> bool:
        return self.process.returncode is None and not self.reading.done()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            while line := await self.process.stdout.readline():
                found = orjson.loads(line)
                future = self.waiting.pop(found["n"], None)
                if future is not None and not future.done():
                    future.set_result(found)
        finally:
            for future in self.waiting.values():
                if not future.done():
                    future.set_exception(LabAway("the process that measures ended; ask again"))
            self.waiting.clear()

    async def close(self) -> None:
        """End the process, once the measurement under way is done."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        self.reading.cancel()
        await asyncio.wait([self.reading])


class Lab:
    """What views use. cache: keeps the figures until more is told of."""

    def __init__(
        self,
        settings: RedisLabSettings,
        publisher: Publisher,
        cache: Cache,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.cache = cache
        self.counts: Counter[str] = Counter()
        self._publisher = publisher
        self._clock = clock
        self._worker: _Worker | None = None
        self._starting = asyncio.Lock()
        self._number = 0
        self._asked_at = 0.0
        self._telling: asyncio.Task[None] | None = None
        # Payloads of which something was measured since it was last told.
        self._untold: set[str] = set()
        self._idle: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        # Any: commands of a pipeline are only noted, and redis-py says that they must be awaited.
        self._redis: Any = None
        # The seconds are whole: a count for each is all that is remembered.
        self._second = 0
        self._taken = 0

    @property
    def waiting(self) -> int:
        """Measurements that are asked for and not there yet."""
        return 0 if self._worker is None else len(self._worker.waiting)

    def take(self) -> None:
        """Take one of the measurements that everybody may ask for. Raises LabBusy."""
        now = self._clock()
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        if self.settings.rate and self._taken >= self.settings.rate:
            self.counts["refused"] += 1
            raise LabBusy(1 - now % 1)
        self._taken += 1

    async def measure(self, configuration: Configuration, payload: str) -> Sample:
        """Measure once; it is counted when this returns. Raises LabAway and LabBusy."""
        if self.waiting >= self.settings.waiting:
            self.counts["crowded"] += 1
            raise LabBusy(1.0, crowded=True)
        worker = await self._begun()
        self._number += 1
        number = self._number
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        worker.waiting[number] = future
        self._asked_at = self._clock()
        assert worker.process.stdin is not None
        worker.process.stdin.write(orjson.dumps({"n": number, "name": configuration.name, "payload": payload}) + b"\n")
        try:
            # It is measured whether who asked still waits or not.
            async with asyncio.timeout(PATIENCE):
                found = await asyncio.shield(future)
        except TimeoutError:
            self.counts["failed"] += 1
            # It waits for Redis no longer than that itself: it is stuck, and with it all who wait behind this one.
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()
            raise LabAway("the process that measures does not answer; ask again") from None
        except LabAway:
            self.counts["failed"] += 1
            raise
        if "error" in found:
            self.counts["failed"] += 1
            raise LabAway(found["error"])
        self.counts["measured"] += 1
        self._tell(payload)
        return Sample(found["read"], found["write"], found["size"])

    async def kept_state(self, payload: str) -> State:
        """What was measured of a payload and told of: at most TELL_SECONDS old. Raises LabAway.

        86 lists are read and sorted for it, so one worker does it for all.
        """

        async def make() -> dict[str, Any]:
            state = await self.state(payload)
            return {"found": {name: each.as_json() for name, each in state.found.items()}, "counts": state.counts}

        found = await self.cache.get(f"lab-redis:{payload}", [channel_of(payload)], make)
        return State({name: Figures.from_json(each) for name, each in found["found"].items()}, found["counts"])

    async def state(self, payload: str) -> State:
        """What was measured of a payload. Raises LabAway."""
        names = [each.name for each in configurations()]
        client = self._client()
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.lrange(records.list_of(payload, name), -self.settings.kept, -1)
        pipeline.hmget(records.COUNTS, [records.field_of(payload, name) for name in names])
        *lists, counted = await self._ask(pipeline.execute())
        counts = {name: int(count) for name, count in zip(names, counted, strict=True) if count is not None}
        # A tenth of a second of arithmetic where all is full.
        found = await asyncio.to_thread(_figures, dict(zip(names, lists, strict=True)), counts, self.settings.warm_up)
        return State(found, counts)

    async def totals(self) -> Mapping[str, int]:
        """Measurements of all processes, by payload. Raises LabAway."""
        found: Counter[str] = Counter()
        for field, count in (await self._ask(self._client().hgetall(records.COUNTS))).items():
            found[field.decode().partition(":")[0]] += int(count)
        return found

    async def reset(self) -> None:
        """Forget all that was measured. Raises LabAway."""
        client = self._client()

        async def remove() -> None:
            gone = [key async for key in client.scan_iter(match=f"{records.PREFIX}records:*", count=500)]
            await client.delete(records.COUNTS, *gone)

        await self._ask(remove())
        # Who pressed the button looks at once.
        self._untold.update(payloads.NAMES)
        await self._tell_now()

    async def close(self) -> None:
        """End the worker."""
        if self._idle is not None:
            self._idle.cancel()
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])
        if self._worker is not None:
            await self._worker.close()
        if self._closing:
            await asyncio.wait(self._closing)
        if self._redis is not None:
            with contextlib.suppress(OSError):
                await self._redis.aclose()

    def _url(self) -> str:
        if self.settings.redis_url is None:
            raise LabAway("REDIS_URL is not set")
        return self.settings.redis_url

    def _client(self) -> Any:
        if self._redis is None:
            try:
                records.check_url(self._url())
            except ValueError as error:
                raise LabAway(str(error)) from None
            # A client library that a site without Redis has no use for.
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            self._redis = Redis.from_url(
                self._url(),
                protocol=2,
                decode_responses=False,
                socket_timeout=_READ_SECONDS,
                socket_connect_timeout=_READ_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        return self._redis

    async def _ask(self, asked: Any) -> Any:
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(_READ_SECONDS):
                return await asked
        except (RedisError, OSError, TimeoutError) as error:
            raise LabAway(f"Redis does not answer: {str(error) or type(error).__name__}") from error

    async def _begun(self) -> _Worker:
        """The worker; started if it is not there."""
        if self._worker is not None and self._worker.lives:
            return self._worker
        async with self._starting:
            if self._worker is not None and self._worker.lives:
                return self._worker
            url = self._url()
            self._client()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", f"{__package__}.worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            assert process.stdin is not None
            # Not among its arguments, which everybody on the machine can read.
            process.stdin.write(orjson.dumps({"url": url, "kept": self.settings.kept}) + b"\n")
            self._worker = _Worker(process)
            self.counts["started"] += 1
            self._watch()
            return self._worker

    def _watch(self) -> None:
        """Let the worker go once nobody has asked for a while."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            worker = self._worker
            if worker is None:
                return
            if worker.waiting or self._clock() - self._asked_at < IDLE:
                self._idle = loop.call_later(IDLE, look)
                return
            self._worker = None
            task = asyncio.create_task(worker.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

        if self._idle is not None:
            self._idle.cancel()
        self._idle = loop.call_later(IDLE, look)

    def _tell(self, payload: str) -> None:
        self._untold.add(payload)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_soon())

    async def _tell_soon(self) -> None:
        # Ten thousand measurements a second are one word: the page asks for all of them at once.
        await asyncio.sleep(TELL_SECONDS)
        await self._tell_now()

    async def _tell_now(self) -> None:
        items = [Item(channel_of(payload), True, hint=True) for payload in sorted(self._untold)]
        self._untold.clear()
        try:
            await self._publisher.publish_many(items)
        except HubError as error:
            logger.debug("lab not told", extra={"error": str(error)})


def _figures(lists: Mapping[str, Sequence[bytes]], counts: Mapping[str, int], warm_up: int) -> dict[str, Figures]:
    found = {}
    for name, kept in lists.items():
        samples = [sample for record in kept if (sample := records.unpack(record)) is not None]
        made = figures(samples, count=counts.get(name), warm_up=warm_up)
        if made is not None:
            found[name] = made
    return found


lab: web.AppKey[Lab] = web.AppKey("redislab", Lab)


async def running(app: web.Application) -> AsyncIterator[None]:
    """Closes what was begun."""
    app[lab] = Lab(app[keys.settings][RedisLabSettings], app[keys.publisher], app[keys.cache])
    yield
    await app[lab].close()
