"""What is answered to an HTTP request, whoever writes it: aiohttp, or the lean path beside it.

Decisions are made once, as an `Answer`; `response` and `Writer.encode` turn it into the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time

TEXT = "text/plain; charset=utf-8"

#: What the Server field says: no version, by which somebody could look for holes that are known.
SERVER = "Fanfare"

#: What every answer has, that browsers take it for nothing but what its Content-Type says.
NOSNIFF = ("X-Content-Type-Options", "nosniff")

NO_STORE = {"Cache-Control": "no-cache, no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. headers: without Content-Length, Date, Server and NOSNIFF, which are added in writing.

    close: the connection can't be used for another request.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    close: bool = False


def text(status: int, words: str, headers: Mapping[str, str], *, close: bool = False) -> Answer:
    """One line for people."""
    return Answer(status, {**headers, "Content-Type": TEXT}, words.encode("utf-8", "replace") + b"\n", close)


def script(body: bytes, callback: str, more: Mapping[str, str] = {}) -> Answer:
    """JSON as a script that calls a function with it; the callback's name is checked already. more: headers."""
    # U+2028 and U+2029 end a line in old JavaScript; the leading comment and the download name keep
    # the answer from being run as something else (Rosetta Flash).
    script = body.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    headers = {
        **NO_STORE,
        "Content-Type": "text/javascript; charset=utf-8",
        "Content-Disposition": "attachment; filename=f.txt",
        **more,
    }
    return Answer(200, headers, b"/**/%b(%b);" % (callback.encode(), script))


async def harden(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Complete the head of what aiohttp is about to write, whoever made it; for `on_response_prepare`."""
    name, value = NOSNIFF
    response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER


def response(answer: Answer) -> web.Response:
    """For aiohttp to write."""
    made = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    if answer.close:
        made.force_close()
    return made


class Writer:
    """Makes answers into the bytes that aiohttp would have written. Headers passed to it must not change later."""

    __slots__ = ("_begun", "_date", "_headers", "_last", "_status", "_tail", "_whole")

    def __init__(self) -> None:
        self._date = ""
        self._tail = b""
        # What was made last, and of which answer: of publishes most have the same one as that before.
        self._last: Answer | None = None
        self._whole = b""
        # The beginning of the last head, and of what: a fan-out answers polls that asked alike.
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._begun = b""

    def encode(self, answer: Answer) -> bytes:
        """The whole answer, for HTTP/1.1 and a connection that is kept unless the answer closes it."""
        if answer is not self._last or rfc822_formatted_time() is not self._date:
            self._whole = self.head(answer.status, answer.headers, len(answer.body), close=answer.close) + answer.body
            self._last = answer
        return self._whole

    def head(self, status: int, headers: Mapping[str, str], length: int, *, close: bool = False) -> bytes:
        """The head of an answer whose body has `length` bytes."""
        date = rfc822_formatted_time()
        if date is not self._date:
            self._date = date
            self._tail = f"\r\nDate: {date}\r\nServer: {SERVER}\r\n".encode("ascii")
        if headers is not self._headers or status != self._status:
            self._begun = _fields(status, tuple(headers.items()))
            self._status, self._headers = status, headers
        return b"%b%d%b%b" % (
            self._begun,
            length,
            self._tail,
            b"Connection: close\r\n\r\n" if close else b"\r\n",
        )


@lru_cache(maxsize=1024)
def _fields(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The part of a head that is the same in many answers."""
    if not any(name == NOSNIFF[0] for name, _ in headers):
        headers = (*headers, NOSNIFF)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    if any("\r" in line or "\n" in line for line in lines):
        # As aiohttp does: what a client sent may stand in a header, and must not become two.
        raise ValueError("line break in a header")
    return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("utf-8", "surrogateescape")
