"""Where Redis is: URLs, sentinels, and the connections they lead to."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from redis import Connection as BlockingConnection
from redis import ConnectionPool as BlockingPool
from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry as BlockingRetry
from redis.sentinel import Sentinel as BlockingSentinel
from redis.sentinel import SentinelConnectionPool as BlockingSentinelPool

from ...errors import SettingsError

#: Seconds for a publish or a question, connection attempts included; the caller learns of a failure by then.
COMMAND_SECONDS = 3.0


class Server:
    """Where Redis is, and how to connect to it. `address` is for people: it has no password in it.

    url: as RedisBroker's. Raises SettingsError for one that can't be used.
    """

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
            if _is_sentinel(url):
                self._pool: ConnectionPool = self._sentinel_pool(url, options)
            else:
                self._pool = ConnectionPool.from_url(url, **options)
            self.address = _address(url)
        except ValueError as error:
            raise SettingsError(f"REDIS_URL: {error}") from None
        # What the URL says of these would change the form of replies.
        self._pool.connection_kwargs |= {"protocol": 2, "decode_responses": False}

    def connection(self) -> Connection:
        """A new connection, not connected. Names are resolved, and sentinels asked, when it connects."""
        connection: Connection = self._pool.make_connection()
        return connection

    async def close(self) -> None:
        """Close the connections to sentinels. Those to Redis are their users'."""
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()

    def _sentinel_pool(self, url: str, options: dict[str, Any]) -> SentinelConnectionPool:
        hosts, service, ours, theirs = _sentinel_parts(url, options["retry"])
        self._sentinel = Sentinel(hosts, sentinel_kwargs=theirs)
        return SentinelConnectionPool(service, self._sentinel, **ours, **options)


class BlockingServer:
    """As Server, for blocking connections. timeout: seconds for connecting, for sending and for each read."""

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
            self.address = _address(url)
        except ValueError as error:
            raise SettingsError(f"REDIS_URL: {error}") from None
        self._pool.connection_kwargs |= {"protocol": 2, "decode_responses": False}

    def connection(self) -> BlockingConnection:
        """A new connection, not connected."""
        return cast(BlockingConnection, self._pool.make_connection())


def _address(url: str) -> str:
    parts = urlsplit(url)
    if _is_sentinel(url):
        return f"{parts.path.strip('/').partition('/')[0]} of {parts.netloc.rpartition('@')[2]}"
    # An IPv6 address is in brackets in a URL, and stays so.
    host = parts.netloc.rpartition("@")[2]
    return parts.path if parts.scheme == "unix" else host if parts.port else f"{host}:6379"


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
