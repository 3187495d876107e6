"""Which channels somebody hears: the feed that lets Fanout's libraries skip publishes that nobody would get.

    GET /realm/{realm}/subscriptions/items/[?since=cursor:…]   changes since a cursor, or all there are now
    GET /realm/{realm}/subscriptions/stream/                   changes as they happen, a JSON object a line

pubcontrol's `require_subscribers` reads both: the stream first, then items until there are no more. It
knows names only, so who subscribes by a wildcard does not count. The feed is of one process: with
several workers it is 501, for a library that missed another's subscribers would not publish to them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from aiohttp import hdrs, web

from ..node import Node
from ..protocol.channels import is_wild, to_fanout
from ..realms import Directory
from ..sessions import Batch, Registry, Session
from .answers import Answer, response, text
from .routes import of_publishers

#: Changes remembered; a reader that is further behind starts anew.
MAX_CHANGES = 10_000

#: Seconds between blank lines on a quiet stream; pubcontrol gives up after 60 without a byte.
BLANK_SECONDS = 20.0

_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

#: Refuses a request by its Authorization header and realm, or returns None.
Admit = Callable[[str | None, str | None], Answer | None]


def add_routes(app: web.Application, feeds: Directory[Feed]) -> None:
    """Add the feeds' routes to an application."""
    items = of_publishers(feeds, lambda feed: feed.items)
    stream = of_publishers(feeds, lambda feed: feed.stream)
    for base in ("", "/realm/{realm}"):
        for end in ("", "/"):
            app.router.add_get(f"{base}/subscriptions/items{end}", items, allow_head=False)
            app.router.add_get(f"{base}/subscriptions/stream{end}", stream, allow_head=False)


class Changes:
    """What changed in who hears which name, numbered from 1. Nothing is kept before the first reader."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._epoch = secrets.token_hex(5)
        self._kept: deque[tuple[int, str, bool]] = deque(maxlen=MAX_CHANGES)
        self._waiting: set[asyncio.Future[None]] = set()
        self.number = 0

    def begin(self) -> None:
        """From now on changes are kept."""
        if self._registry.on_change is None:
            self._registry.on_change = self._changed

    def names(self) -> list[str]:
        """The names that somebody hears now, in Fanout's form."""
        return [to_fanout(name) for name in self._registry.audiences if not is_wild(name)]

    def after(self, number: int) -> list[tuple[int, str, bool]] | None:
        """The changes after a number, oldest first; None if they are not kept."""
        if number > self.number or number < self.number - len(self._kept):
            return None
        missing = self.number - number
        return [] if not missing else list(self._kept)[-missing:]

    async def wait(self) -> None:
        """Until something changes."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def wake(self) -> None:
        """Let everybody who waits look."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def cursor(self, number: int) -> str:
        """A place among the changes, as pubcontrol reads it: base64 of something with `_` in it."""
        return base64.b64encode(f"{self._epoch}_{number}".encode()).decode()

    def parse(self, cursor: str) -> int | None:
        """The number of a cursor; None for one of another life of this process, or none at all."""
        try:
            epoch, _, number = base64.b64decode(cursor, validate=True).decode("ascii").partition("_")
            return int(number) if epoch == self._epoch and number.isdigit() and len(number) < 19 else None
        except (binascii.Error, ValueError):
            return None

    def _changed(self, name: str, heard: bool) -> None:
        if not is_wild(name):
            self.number += 1
            self._kept.append((self.number, to_fanout(name), heard))
            self.wake()


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
    """The handlers. alone: whether this process knows every subscriber."""

    def __init__(self, node: Node, admit: Admit, *, alone: bool) -> None:
        self._node = node
        self._admit = admit
        self._alone = alone
        self._changes = Changes(node.registry)

    def _refusal(self, request: web.Request) -> web.Response | None:
        refused = self._admit(request.headers.get(hdrs.AUTHORIZATION), request.match_info.get("realm"))
        if refused is None and not self._alone:
            refused = text(501, "Not known: other workers may have subscribers.", _NO_STORE)
        return None if refused is None else response(refused)

    async def items(self, request: web.Request) -> web.Response:
        """GET items: 404 for a cursor that is no longer known, and the reader starts anew."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        changes = self._changes
        changes.begin()
        since = request.query.get("since")
        if since is None:
            found = [_item(name, True) for name in changes.names()]
        else:
            number = changes.parse(since.removeprefix("cursor:"))
            after = None if number is None else changes.after(number)
            if after is None:
                return response(text(404, "Cursor not known.", _NO_STORE))
            found = [_item(name, heard) for _, name, heard in after]
        body = orjson.dumps({"items": found, "last_cursor": changes.cursor(changes.number)})
        return web.Response(body=body, headers=_NO_STORE, content_type="application/json")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """GET stream: a line for each change, blank ones while there are none."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        changes = self._changes
        changes.begin()
        number = changes.number
        answer = web.StreamResponse(headers={**_NO_STORE, "Content-Type": "application/x-ndjson"})
        reader = Stream(changes)
        self._node.attach(reader)
        try:
            await answer.prepare(request)
            await answer.write(b"\n")
            while not reader.left:
                after = changes.after(number)
                if after is None:
                    # It read too slowly; it comes back and asks for items.
                    break
                if after:
                    number = after[-1][0]
                    await answer.write(b"".join(self._line(each) for each in after))
                    continue
                try:
                    async with asyncio.timeout(BLANK_SECONDS):
                        await changes.wait()
                except TimeoutError:
                    await answer.write(b"\n")
        finally:
            self._node.detach(reader, None)
        return answer

    def _line(self, change: tuple[int, str, bool]) -> bytes:
        number, name, heard = change
        cursor, previous = self._changes.cursor(number), self._changes.cursor(number - 1)
        return orjson.dumps({"item": _item(name, heard), "cursor": cursor, "prev_cursor": previous}) + b"\n"


def _item(name: str, heard: bool) -> dict[str, Any]:
    return {"channel": name, "state": "subscribed" if heard else "unsubscribed"}
