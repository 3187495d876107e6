"""What all workers keep, in Redis. The one place of the cache that speaks Redis, and waits for it, never for long."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .errors import FarAway

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Before all keys of the cache.
PREFIX = "fanfare:cache:"

#: Connections of a process; who finds none free in time makes the value himself.
CONNECTIONS = 16

#: Seconds for which a Redis that did not answer is not asked again: doubled each time, with jitter.
_FIRST_PAUSE, _LAST_PAUSE = 0.25, 10.0


class Far:
    """Bytes by key, each with a time to live. patience: seconds for one command. Raises ValueError for a bad URL."""

    def __init__(self, url: str, patience: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._patience = patience
        self._clock = clock
        self._client = _client(url)
        self._pause = _FIRST_PAUSE
        self._again = 0.0

    async def get(self, key: str) -> tuple[bytes, float] | None:
        """The bytes of a key and the seconds that they have left. Raises FarAway."""

        async def ask() -> tuple[bytes, float] | None:
            # Commands of a pipeline are only noted.
            pipeline: Any
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.get(PREFIX + key)
                pipeline.pttl(PREFIX + key)
                data, left = await pipeline.execute()
            # Without an end it is not ours.
            return None if data is None or left <= 0 else (bytes(data), left / 1000)

        return await self._ask(ask())

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Raises FarAway."""
        await self._ask(self._client.set(PREFIX + key, data, px=max(1, round(seconds * 1000))))

    async def close(self) -> None:
        """Let go of the connections."""
        with suppress(RedisError, OSError):
            await self._client.aclose()
            await self._client.connection_pool.disconnect()

    async def _ask(self, asked: Awaitable[T]) -> T:
        if self._clock() < self._again:
            _drop(asked)
            self.counts["skipped"] += 1
            raise FarAway
        try:
            # Not redis-py's own limit: in Python 3.11 it may swallow a cancellation (python/cpython#86296).
            async with asyncio.timeout(self._patience):
                found = await asked
        except (RedisError, OSError, TimeoutError) as error:
            self.counts["failed"] += 1
            now = self._clock()
            # A hundred that were asked at one moment failed once.
            if now >= self._again:
                self._again = now + random.uniform(self._pause / 2, self._pause)
                self._pause = min(self._pause * 2, _LAST_PAUSE)
            logger.warning("cache in Redis is away", extra={"error": str(error) or type(error).__name__})
            raise FarAway from error
        self._pause = _FIRST_PAUSE
        return found


def _drop(asked: Awaitable[Any]) -> None:
    """Let go of what will not be awaited."""
    close = getattr(asked, "close", None)
    if close is not None:
        close()


def _client(url: str) -> redis.asyncio.Redis:
    options: dict[str, Any] = {
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": None,
        "retry": Retry(NoBackoff(), 0),
    }
    parts = urlsplit(url)
    if "sentinel" not in parts.scheme:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=None, socket_connect_timeout=None, **options
        )
        return redis.asyncio.Redis(connection_pool=pool)
    # As the hub reads it: redis+sentinel://user:password@host,host/primary/database
    credentials, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    user, _, password = credentials.partition(":")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    sentinels = [
        (name, int(port)) if colon else (host, 26379)
        for host in hosts.split(",")
        for name, colon, port in [host.rpartition(":")]
    ]
    found = Sentinel(sentinels, sentinel_kwargs={"socket_timeout": 1.0, "password": query.get("sentinel_password")})
    client: redis.asyncio.Redis = found.master_for(
        service,
        db=int(database or 0),
        username=unquote(user) or None,
        password=unquote(password) or None,
        ssl=parts.scheme == "rediss+sentinel",
        max_connections=CONNECTIONS,
        **options,
    )
    return client
