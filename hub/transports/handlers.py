"""aiohttp's handler of a connection, with answers of our own to what its parser refuses, or should."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, hdrs, web
from aiohttp.http_exceptions import LineTooLong
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ..origins import is_host
from ..protocol.heads import SCHEMES
from .answers import NOSNIFF, SERVER

logger = logging.getLogger(__name__)

#: Slashes of a path. aiohttp looks a path up once for each, with a copy of the rest: 15,000 of them took 70 ms. A
#: channel in a path has up to HUB_MAX_SEGMENTS, mostly escaped.
MAX_SLASHES = 300

#: Characters of a path's second segment where that is a realm's name. aiohttp tries it with each of the realm's paths:
#: 30,000 characters took 20 ms.
MAX_REALM = 64
_REALM_PATHS = ("/r/", "/realm/")

_HARD = {"Server": SERVER, NOSNIFF[0]: NOSNIFF[1]}

#: Why a request is not for us, by its Host field and its path; None if it is.
Misdirected = Callable[[str | None, str], str | None]


class RequestHandler(web.RequestHandler):
    """Says in one line why a request is refused, and repeats nothing of it, to nobody.

    aiohttp's own answer and log line quote the bytes that it could not read: a cookie, or a token in the address.
    Its parser takes requests without a version and of HTTP/2.0, Hosts that are none, and chunks in HTTP/1.0.
    """

    __slots__ = ("_make", "_misdirected", "_refusal", "_serve")

    def __init__(self, server: web.Server, misdirected: Misdirected) -> None:
        # As `server()` makes them. There is no public way to have it make another class.
        super().__init__(server, loop=asyncio.get_running_loop(), **server._kwargs)
        self._misdirected = misdirected
        self._refusal: tuple[int, str] | None = None
        self._make, self._serve = self._request_factory, self._request_handler
        self._request_factory, self._request_handler = self.made, self.judged

    def made(self, message: Any, payload: StreamReader, *more: Any) -> web.BaseRequest:
        """A request, as aiohttp's server makes it of what the parser read."""
        assert self._make is not None
        self._refusal = refusal_of(message)
        if self._refusal is None and not message.path.startswith("/") and message.url.raw_authority:
            message = _named_by_target(message)
            if not (message.url.scheme in SCHEMES and is_host(message.url.raw_authority)):
                self._refusal = 400, "Bad request target"
        if self._refusal is not None:
            # Else the answer would be of a version that there is not.
            message = message._replace(version=HttpVersion10, should_close=True)
        elif words := self._misdirected(message.headers.get(hdrs.HOST), _path_of(message)):
            # RFC 9110 §15.5.20.
            self._refusal = 421, words
        elif not is_short(message.url.path_safe):
            self._refusal = 404, "Not found"
        return self._make(message, payload, *more)

    async def judged(self, request: web.BaseRequest) -> web.StreamResponse:
        """The application's answer, or a refusal."""
        assert self._serve is not None
        if self._refusal is None:
            return await self._serve(request)
        status, words = self._refusal
        # Told that there is no more of its body, aiohttp doesn't wait for it.
        request.content.feed_eof()
        return _refused(status, words)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that the parser refused, or whose handler failed, which is aiohttp's to log."""
        if status >= 500 or request.writer.output_size > 0:
            failed = super().handle_error(request, status, exc, message)
            failed.headers.update(_HARD)
            return failed
        words = "Bad request"
        # aiohttp has no class of its own for too many fields.
        if isinstance(exc, LineTooLong) or (message or "").startswith("Too many headers"):
            # RFC 6585 §5. The limit is HUB_MAX_HEAD.
            status, words = 431, "Request head too large"
        logger.debug("request refused", extra={"status": status, "reason": type(exc).__name__})
        return _refused(status, words)


def _named_by_target(message: Any) -> Any:
    """The same request with the host of its absolute-form target in place of its Host field.

    RFC 9112 §3.2.2. `heads.origin_form` does so for WebSockets, and both must agree on the host.
    """
    url = message.url
    headers = CIMultiDict(message.headers)
    headers[hdrs.HOST] = url.raw_authority
    if not url.relative().raw_path:
        # RFC 9110 §4.2.3: the same as "/". aiohttp has nothing at an empty path.
        url = URL.build(
            scheme=url.scheme, authority=url.raw_authority, path="/", query_string=url.raw_query_string, encoded=True
        )
    return message._replace(headers=CIMultiDictProxy(headers), url=url)


def _path_of(message: Any) -> str:
    """The path of a target, still escaped."""
    path: str = message.path if message.path.startswith("/") else message.url.raw_path
    return path.partition("?")[0]


def _refused(status: int, words: str) -> web.Response:
    # No application sees it, which would complete its head.
    response = web.Response(status=status, text=words + "\n", headers=_HARD)
    response.force_close()
    return response


def is_short(path: str) -> bool:
    """Whether a path can be looked up in little time; there is nothing at any that can't.

    path: as aiohttp looks it up, without escapes (yarl's `path_safe`). What came may spell `/r/` as `/%72/`, or begin
    with a scheme and a host.
    """
    if path.count("/") > MAX_SLASHES:
        return False
    if not path.startswith(_REALM_PATHS):
        return True
    begins = path.index("/", 1) + 1
    ends = path.find("/", begins)
    return (len(path) if ends < 0 else ends) - begins <= MAX_REALM


def refusal_of(message: Any) -> tuple[int, str] | None:
    """The status and words for a head that the parser took (a RawRequestMessage) and nobody should; None for any other.

    RFC 9112 §2.3 and §3: a version is there, and is one of ours. §3.2: a Host is a host. §6.1: no chunks in HTTP/1.0.
    RFC 6454 §7.3: there is at most one Origin. Of two, a proxy might have looked at the other one.
    """
    version = message.version
    if version != HttpVersion11 and version != HttpVersion10:
        return (505, "HTTP/1.1 only") if version > HttpVersion11 else (400, "Bad request line")
    host = message.headers.get(hdrs.HOST)
    if host is not None and not is_host(host):
        return 400, "Bad Host"
    if hdrs.ORIGIN in message.headers and len(message.headers.getall(hdrs.ORIGIN)) > 1:
        return 400, "More than one Origin"
    if version == HttpVersion10 and hdrs.TRANSFER_ENCODING in message.headers:
        return 400, "Transfer-Encoding needs HTTP/1.1"
    return None
