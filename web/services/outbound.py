"""HTTP to others: the one client of the site, guarded against what a stranger's URL, or the server behind it, may do.

It fetches whole bodies under bounds of time and size, over addresses that the guard has seen, and follows redirects
itself, each hop looked at as the first. It keeps no cookies from one fetch to the next, uses no proxy of the
environment, and says who asks.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    CookieJar,
    TCPConnector,
    hdrs,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from .addresses import Guard
from .domains import may_be_split
from .unpacking import CODINGS, NotPacked, TooLong, unpack

#: Characters of a URL. Longer ones are somebody's mistake, or an attack on whoever logs them.
MAX_URL = 2000

#: Requests to one host at a time: more would be rude, and a hundred feeds of one hoster arrive together.
PER_HOST = 2

#: Requests in all at a time.
IN_ALL = 50

#: Seconds that a server may ask us to stay away; some say a year.
MAX_RETRY_AFTER = 24 * 3600.0

#: Bytes of a body that is unpacked on the event loop; longer ones in a thread.
_SMALL = 16 * 1024

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a fetch may cost. Seconds, bytes.

    line: of a header field or the status line. fields: header fields. wire: of the body as it comes; body: as it is
    unpacked. connect: until a connection is there, TLS included; gap: between two pieces; total: of it all, with
    redirects and waiting for one's turn. first: of a long body, after which the connection is closed, whatever the
    server says of ranges and lengths; what came until then is the answer, as it came. 0: all of it.
    """

    line: int = 8 * 1024
    fields: int = 128
    wire: int = 8 * 1024 * 1024
    body: int = 32 * 1024 * 1024
    connect: float = 10.0
    gap: float = 15.0
    total: float = 60.0
    redirects: int = 5
    first: int = 0


class OutboundError(Exception):
    """A fetch failed. The text is one line for people, without what a URL may keep secret."""


class Forbidden(OutboundError):
    """This may not be fetched: another scheme, an address that is not public, a port of another service."""


class Unreachable(OutboundError):
    """No connection, no name, no TLS, or it broke off."""


class TooSlow(OutboundError):
    """It took longer than it may."""


class TooLarge(OutboundError):
    """It is longer than it may be."""


class BadAnswer(OutboundError):
    """What came is not HTTP, not what it says it is, or leads nowhere."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of a version of a document, to be sent back as it stands (RFC 9110 §13)."""

    etag: str = ""
    modified: str = ""


@dataclass(frozen=True, slots=True)
class Hop:
    """A redirect that was followed: its status and where it led."""

    status: int
    url: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status. body: unpacked. url: where it came from, hops: how we got there.

    retry_after: seconds that the server asks us to stay away, at most MAX_RETRY_AFTER; None if it doesn't say.
    """

    status: int
    url: str
    body: bytes
    headers: Mapping[str, str]
    hops: tuple[Hop, ...] = ()
    validators: Validators = field(default_factory=Validators)
    retry_after: float | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a new body to look at."""
        return 200 <= self.status < 300


class _Refused(OSError):
    """The guard refused an address. An OSError, as aiohttp takes one for a connection that can't be made."""


class _Resolver(AbstractResolver):
    """Gives the addresses of a name that may be connected to. They are pinned: aiohttp connects to no others."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        permitted = [each for each in found if self._guard.permits(each["host"])]
        if not permitted:
            raise _Refused(f"{host} is at an address that is not public")
        return permitted

    async def close(self) -> None:
        await self._inner.close()


class Outbound:
    """The client; made inside a running loop, `close` at the end. agent: who asks, with a URL for more of it."""

    def __init__(self, guard: Guard, agent: str, limits: Limits | None = None) -> None:
        self._guard = guard
        self._agent = agent
        self.limits = limits or Limits()
        self._turns = asyncio.Semaphore(IN_ALL)
        self._hosts: dict[str, _Host] = {}
        self._connector = TCPConnector(
            resolver=_Resolver(guard),
            # Each fetch looks names up again: an answer that was public a minute ago need not be now.
            use_dns_cache=False,
            limit=IN_ALL,
            socket_factory=self._socket,
            keepalive_timeout=5,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.close()

    async def fetch(
        self,
        url: str,
        *,
        method: str = hdrs.METH_GET,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        validators: Validators | None = None,
        limits: Limits | None = None,
    ) -> Fetched:
        """Fetch a document; raises OutboundError. What fails by its status is an answer too.

        headers, and a user and password in the URL, go to the URL's own origin only, not where it redirects to. data:
        a body, which is sent once: a redirect of it is not followed. validators: of the version that we have; a server
        whose document is still the same answers 304. What it says then of its version is to be kept as well.
        """
        bounds = limits or self.limits
        try:
            async with asyncio.timeout(bounds.total):
                return await self._follow(url, method, dict(headers or {}), data, validators, bounds)
        except TimeoutError:
            raise TooSlow(f"{shown(url)} took longer than {bounds.total:g} s") from None

    async def _follow(
        self,
        url: str,
        method: str,
        headers: dict[str, str],
        data: bytes | None,
        validators: Validators | None,
        bounds: Limits,
    ) -> Fetched:
        at = self._checked(url)
        # To this origin only go what the caller gives us for it.
        own, user, password = at.origin(), at.user, at.password
        hops: list[Hop] = []
        seen = {at}
        timeout = ClientTimeout(total=None, connect=bounds.connect, sock_read=bounds.gap)
        # A jar of its own: sites answer a redirect with a cookie that they want to see at its end, and no later.
        async with ClientSession(
            connector=self._connector,
            connector_owner=False,
            cookie_jar=CookieJar(unsafe=True),
            auto_decompress=False,
            timeout=timeout,
            max_line_size=bounds.line,
            max_field_size=bounds.line,
            max_headers=bounds.fields,
        ) as session:
            while True:
                codings = "identity" if bounds.first else CODINGS
                sent: dict[str, str] = {hdrs.USER_AGENT: self._agent, hdrs.ACCEPT: "*/*", hdrs.ACCEPT_ENCODING: codings}
                if bounds.first:
                    sent[hdrs.RANGE] = f"bytes=0-{bounds.first - 1}"
                target = at.with_user(None)
                if at.origin() == own:
                    sent |= headers
                    if user is not None:
                        target = target.with_user(user).with_password(password)
                if validators is not None:
                    sent |= _conditions(validators)
                async with self._host(at.host or ""):
                    answer = await self._request(session, method, target, sent, data, bounds)
                if isinstance(answer, Fetched):
                    return Fetched(
                        answer.status,
                        answer.url,
                        answer.body,
                        answer.headers,
                        tuple(hops),
                        answer.validators,
                        answer.retry_after,
                    )
                status, location = answer
                at = self._checked(str(_join(at, location)))
                hops.append(Hop(status, str(at)))
                if at in seen:
                    raise BadAnswer(f"{shown(url)} redirects in a circle")
                if len(hops) > bounds.redirects:
                    raise BadAnswer(f"{shown(url)} redirects more than {bounds.redirects} times")
                seen.add(at)

    async def _request(
        self,
        session: ClientSession,
        method: str,
        target: URL,
        headers: dict[str, str],
        data: bytes | None,
        bounds: Limits,
    ) -> Fetched | tuple[int, str]:
        """An answer, or the status and place of a redirect to follow."""
        name = shown(str(target))
        try:
            async with session.request(method, target, headers=headers, data=data, allow_redirects=False) as response:
                location = response.headers.get(hdrs.LOCATION)
                if response.status in _REDIRECTS and location is not None and data is None:
                    return response.status, location
                body = await _read(response, bounds, name)
                return Fetched(
                    response.status,
                    str(target.with_user(None)),
                    body,
                    response.headers.copy(),
                    (),
                    Validators(response.headers.get(hdrs.ETAG, ""), response.headers.get(hdrs.LAST_MODIFIED, "")),
                    retry_after(response.headers.get(hdrs.RETRY_AFTER), time.time()),
                )
        except TimeoutError as error:
            if isinstance(error, ClientError):
                # aiohttp's own: to connect, or between two pieces. The total is the caller's to catch.
                raise TooSlow(f"{name} does not answer") from None
            raise
        except ClientPayloadError:
            raise Unreachable(f"{name} broke off") from None
        except ClientConnectionError as error:
            if _refused(error):
                raise Forbidden(f"{name} is at an address that is not public") from None
            raise Unreachable(f"{name} can't be reached: {_reason(error)}") from None
        except (ClientError, ValueError) as error:
            raise BadAnswer(f"{name} does not answer in HTTP: {_reason(error)}") from None

    def _checked(self, text: str) -> URL:
        """A URL that may be fetched, as far as can be said before its name is looked up. Raises Forbidden."""
        if len(text) > MAX_URL:
            raise Forbidden(f"the URL is longer than {MAX_URL} characters")
        if not may_be_split(text):
            raise Forbidden("this is not a URL")
        try:
            url = URL(text.strip())
        except ValueError:
            raise Forbidden("this is not a URL") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise Forbidden("only http:// and https:// can be fetched")
        # aiohttp looks no name up for what is an address already.
        if _is_address(url.host) and not self._guard.permits(url.host):
            raise Forbidden(f"{shown(text)} is at an address that is not public")
        return url.with_fragment(None)

    def _socket(self, info: Any) -> socket.socket:
        """Makes every socket of the client: the last look at where it connects to, whichever way that was found."""
        family, kind, protocol, _, address = info
        if not self._guard.permits(address[0]):
            raise _Refused(f"{address[0]} is not public")
        if not self._guard.permits_port(address[0], address[1]):
            raise _Refused(f"port {address[1]} is another service's")
        return socket.socket(family, kind, protocol)

    @asynccontextmanager
    async def _host(self, name: str) -> AsyncIterator[None]:
        """A place among the requests to a host, and among all."""
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host()
        host.users += 1
        try:
            async with host.turns, self._turns:
                yield
        finally:
            host.users -= 1
            if not host.users:
                del self._hosts[name]


class _Host:
    __slots__ = ("turns", "users")

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(PER_HOST)
        self.users = 0


async def _read(response: ClientResponse, bounds: Limits, name: str) -> bytes:
    """The body, unpacked; or its beginning, as it comes."""
    if bounds.first:
        return await _read_first(response, bounds.first)
    if (response.content_length or 0) > bounds.wire:
        raise TooLarge(f"{name} is longer than {bounds.wire} bytes")
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > bounds.wire:
            raise TooLarge(f"{name} is longer than {bounds.wire} bytes")
        parts.append(part)
    body, codings = b"".join(parts), response.headers.get(hdrs.CONTENT_ENCODING, "")
    try:
        if size <= _SMALL:
            return unpack(body, codings, bounds.body)
        return await asyncio.to_thread(unpack, body, codings, bounds.body)
    except TooLong as error:
        raise TooLarge(f"{name} {error}") from None
    except NotPacked as error:
        raise BadAnswer(f"{name} is not packed as it says: {error}") from None


async def _read_first(response: ClientResponse, count: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size >= count:
            # Or the rest would be read before the connection is used again.
            response.close()
            break
    return b"".join(parts)[:count]


def _conditions(validators: Validators) -> dict[str, str]:
    """Header fields that ask for a document unless it is still this version."""
    fields = {hdrs.IF_NONE_MATCH: validators.etag, hdrs.IF_MODIFIED_SINCE: validators.modified}
    # Their own words, whatever they are; but for what no header can have.
    return {str(name): value for name, value in fields.items() if value and value.isprintable() and len(value) <= 1000}


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms; None if it has none that can be read."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        # A number of many digits is far beyond the most anyway.
        return min(float(text[:12]), MAX_RETRY_AFTER)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - now), MAX_RETRY_AFTER)
    except (ValueError, TypeError, OverflowError):
        return None


def shown(url: str) -> str:
    """A URL as it may be shown and logged: its host and the beginning of its path, without what may be secret."""
    if not may_be_split(url):
        return "a URL that is none"
    try:
        parsed = URL(url)
    except ValueError:
        return "a URL that is none"
    path = parsed.path if len(parsed.path) <= 60 else parsed.path[:60] + "…"
    port = "" if parsed.explicit_port is None else f":{parsed.explicit_port}"
    text = f"{parsed.host or ''}{port}{path}"
    return "".join(char if char.isprintable() else "?" for char in text)


def _join(at: URL, location: str) -> URL:
    if len(location) > MAX_URL or not may_be_split(location):
        raise BadAnswer(f"{shown(str(at))} redirects to what is no URL")
    try:
        return at.with_user(None).join(URL(location.strip()))
    except ValueError:
        raise BadAnswer(f"{shown(str(at))} redirects to what is no URL") from None


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _refused(error: BaseException | None) -> bool:
    """Whether the guard is behind an error of a connection."""
    while error is not None:
        if isinstance(error, _Refused) or isinstance(getattr(error, "os_error", None), _Refused):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: Exception) -> str:
    inner = getattr(error, "os_error", None)
    words = getattr(inner, "strerror", None) or str(inner or error) or type(error).__name__
    return " ".join(str(words).split())[:120]
