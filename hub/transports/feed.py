"""Which channels somebody hears: the feed that lets Fanout's libraries skip publishes that nobody would get.

    GET /realm/{realm}/subscriptions/items/[?since=cursor:…]   changes since a cursor, or all there are now
    GET /realm/{realm}/subscriptions/stream/                   changes as they happen, a JSON object a line

pubcontrol's `require_subscribers` reads both: the stream first, then items until there are no more. It
knows names only, so who subscribes by a wildcard does not count. With several workers the feed is of them
all (`hub.hearing`), and a cursor of one is good at another: the library's two requests may go to two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import orjson
from aiohttp import hdrs, web

from ..errors import BrokerUnavailable
from ..hearing import Changes, Run
from ..node import Node
from ..protocol.channels import is_wild, to_fanout
from ..realms import Directory
from ..sessions.links import Batch
from ..sessions.session import Session
from .answers import Answer, response, text
from .halves import hurried
from .origins import Origins
from .routes import Handler, host_of, of_publishers

#: Seconds between blank lines on a quiet stream; pubcontrol gives up after 60 without a byte.
BLANK_SECONDS = 20.0

#: Lines, and items of a list, that are written in one piece, which takes 0.2 ms: one client may begin to hear a
#: thousand names at once, and 10,000 changes are kept.
LINES = 100
ITEMS = 500

_STATE = {True: b"subscribed", False: b"unsubscribed"}

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
                found: list[tuple[bool, Sequence[str]]] = [(True, changes.heard())]
            else:
                asked = changes.parse(since.removeprefix("cursor:"))
                if asked is not None:
                    # Another worker may have given it, and be ahead.
                    await changes.begin(asked)
                after = None if asked is None else changes.after(asked)
                if asked is None or after is None:
                    return response(text(404, "Cursor not known.", {**_NO_STORE, **self._cors(request)}))
                place = max(asked, changes.place)
                found = [(run.heard, run.channels) for run in after]
        except BrokerUnavailable as error:
            return response(_not_known(error, self._cors(request)))
        items = (_item(channel, heard) for heard, channels in found for channel in channels if not is_wild(channel))
        parts = []
        while some := list(islice(items, ITEMS)):
            parts += some
            await asyncio.sleep(0)
        body = b'{"items":[%b],"last_cursor":"%b"}' % (b",".join(parts), changes.cursor(place))
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
                    place = after[-1].last
                    lines = self._lines(after)
                    while some := list(islice(lines, LINES)):
                        await answer.write(b"".join(some))
                        await asyncio.sleep(0)
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

    def _lines(self, runs: Iterable[Run]) -> Iterator[bytes]:
        """A line for each change."""
        cursor = self._changes.cursor
        for run in runs:
            report, heard = run.report, run.heard
            before = cursor(run.before)
            for number, channel in enumerate(run.channels, run.first):
                here = cursor((report, number))
                yield b'{"item":%b,"cursor":"%b","prev_cursor":"%b"}\n' % (_item(channel, heard), here, before)
                before = here


def _not_known(error: BrokerUnavailable, cors: dict[str, str]) -> Answer:
    """pubcontrol comes again by itself."""
    return text(503, f"Not known: {error}.", {**_NO_STORE, **cors, hdrs.RETRY_AFTER: "1"})


def _item(channel: str, heard: bool) -> bytes:
    return b'{"channel":%b,"state":"%b"}' % (orjson.dumps(to_fanout(channel)), _STATE[heard])
