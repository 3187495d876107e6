"""Which channels somebody hears: the feed that lets Fanout's libraries skip publishes that nobody would get.

    GET /realm/{realm}/subscriptions/items/[?since=cursor:…]   changes since a cursor, or all there are now
    GET /realm/{realm}/subscriptions/stream/                   changes as they happen, a JSON object a line

pubcontrol's `require_subscribers` reads both: the stream first, then items until there are no more. It
knows names only, so who subscribes by a wildcard does not count. With several workers the feed is of them
all (`hub.hearing`), and a cursor of one is good at another: the library's two requests may go to two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import orjson
from aiohttp import hdrs, web

from ..errors import BrokerUnavailable
from ..hearing import Change, Changes
from ..node import Node
from ..realms import Directory
from ..sessions import Batch, Session
from .answers import Answer, response, text
from .halves import hurried
from .origins import Origins
from .routes import Handler, host_of, of_publishers

#: Seconds between blank lines on a quiet stream; pubcontrol gives up after 60 without a byte.
BLANK_SECONDS = 20.0

#: Lines, and items of a list, that are written in one piece, which takes 0.3 ms: one client may begin to hear a
#: thousand names at once, and 10,000 changes are kept.
LINES = 50
ITEMS = 500

_T = TypeVar("_T")

_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

#: What is between must neither compress nor buffer a line until more of them have come.
_STREAM = {**_NO_STORE, "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}

#: Refuses a request by its Authorization header and realm, or returns None.
Admit = Callable[[str | None, str | None], Answer | None]


def add_routes(app: web.Application, feeds: Directory[Feed], preflights: Directory[Handler]) -> None:
    """Add the feeds' routes to an application."""
    preflight = of_publishers(preflights, lambda answer: answer)
    items = of_publishers(feeds, lambda feed: feed.items)
    stream = of_publishers(feeds, lambda feed: feed.stream)
    for base in ("", "/realm/{realm}"):
        for end in ("", "/"):
            app.router.add_options(f"{base}/subscriptions/items{end}", preflight)
            app.router.add_options(f"{base}/subscriptions/stream{end}", preflight)
            app.router.add_get(f"{base}/subscriptions/items{end}", items, allow_head=False)
            app.router.add_get(f"{base}/subscriptions/stream{end}", stream, allow_head=False)


class Stream:
    """One reader of the stream: a link, so that a node that drains can send it away."""

    __slots__ = ("_changes", "blocked", "left", "session")

    closed_by = ""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.blocked = True
        self.left = False
        self.session: Session | None = None

    def offer(self, batch: Batch) -> None:
        """Publications have no place here."""

    def send(self, parts: list[bytes]) -> None:
        """Bayeux replies have no place here."""

    def tell_lost(self, channels: Iterable[str]) -> bool:
        return True

    def leave(self, code: int, reason: str) -> None:
        self.left = True
        self._changes.wake()


class Feed:
    """The handlers. changes: of this process if it knows every subscriber, else of all."""

    def __init__(self, node: Node, origins: Origins, admit: Admit, changes: Changes) -> None:
        self._node = node
        self._origins = origins
        self._admit = admit
        self._changes = changes

    def _refusal(self, request: web.Request) -> web.Response | None:
        refused = self._admit(request.headers.get(hdrs.AUTHORIZATION), request.match_info.get("realm"))
        return (
            None if refused is None else response(replace(refused, headers={**refused.headers, **self._cors(request)}))
        )

    def _cors(self, request: web.Request) -> dict[str, str]:
        """For who looks from a page at what is heard."""
        return self._origins.headers(request.headers.get(hdrs.ORIGIN), host_of(request))

    async def items(self, request: web.Request) -> web.Response:
        """GET items: 404 for a cursor that is no longer known, and the reader starts anew."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        changes = self._changes
        since = request.query.get("since")
        try:
            await changes.begin()
            if since is None:
                place = changes.place
                found = [(name, True) for name in changes.names()]
            else:
                asked = changes.parse(since.removeprefix("cursor:"))
                if asked is not None:
                    # Another worker may have given it, and be ahead.
                    await changes.begin(asked)
                after = None if asked is None else changes.after(asked)
                if asked is None or after is None:
                    return response(text(404, "Cursor not known.", {**_NO_STORE, **self._cors(request)}))
                place = max(asked, changes.place)
                found = [(change.name, change.heard) for change in after]
        except BrokerUnavailable as error:
            return response(_not_known(error, self._cors(request)))
        parts = [
            orjson.dumps([_item(name, heard) for name, heard in some])[1:-1] async for some in _pieces(found, ITEMS)
        ]
        body = b'{"items":[%b],"last_cursor":%b}' % (b",".join(parts), orjson.dumps(changes.cursor(place)))
        return web.Response(body=body, headers={**_NO_STORE, **self._cors(request)}, content_type="application/json")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """GET stream: a line for each change, blank ones while there are none."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        changes = self._changes
        try:
            await changes.begin()
        except BrokerUnavailable as error:
            return response(_not_known(error, self._cors(request)))
        place = changes.place
        answer = web.StreamResponse(headers={**_STREAM, **self._cors(request), "Content-Type": "application/x-ndjson"})
        # It has no length, so over HTTP/1.0 its end is that of the connection, whatever the request asks for.
        answer.force_close()
        reader = Stream(changes)
        self._node.attach(reader)
        try:
            await answer.prepare(request)
            await answer.write(b"\n")
            while not reader.left:
                changes.renew()
                after = changes.after(place)
                if after is None:
                    # It read too slowly; it comes back and asks for items.
                    break
                if after:
                    place = after[-1].place
                    async for some in _pieces(after, LINES):
                        await answer.write(b"".join(map(self._line, some)))
                    continue
                try:
                    with hurried(request, lambda: reader.leave(0, "")):
                        async with asyncio.timeout(BLANK_SECONDS):
                            await changes.wait()
                except TimeoutError:
                    await answer.write(b"\n")
        finally:
            self._node.detach(reader, None)
        return answer

    def _line(self, change: Change) -> bytes:
        cursor, previous = self._changes.cursor(change.place), self._changes.cursor(change.before)
        return (
            orjson.dumps({"item": _item(change.name, change.heard), "cursor": cursor, "prev_cursor": previous}) + b"\n"
        )


async def _pieces(found: Sequence[_T], size: int) -> AsyncIterator[Sequence[_T]]:
    """So many at a time; others have their turn in between."""
    for start in range(0, len(found), size):
        yield found[start : start + size]
        await asyncio.sleep(0)


def _not_known(error: BrokerUnavailable, cors: dict[str, str]) -> Answer:
    """pubcontrol comes again by itself."""
    return text(503, f"Not known: {error}.", {**_NO_STORE, **cors, hdrs.RETRY_AFTER: "1"})


def _item(name: str, heard: bool) -> dict[str, Any]:
    return {"channel": name, "state": "subscribed" if heard else "unsubscribed"}
