"""The hub seen from inside, as JSON, for who shows the default realm's key.

GET /realm/{realm}/inside/now/                        every worker as it is
GET /realm/{realm}/inside/history/?seconds=900        every worker as it was
GET /realm/{realm}/inside/find/?user=alice            clients: by user, address, channel or session
GET /realm/{realm}/inside/client/?session=…           all that is known of one
GET /realm/{realm}/inside/trace/?channel=a[&offset=3] the way of one message
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Callable
from typing import Any

from aiohttp import hdrs, web

from ..errors import BrokerUnavailable, ProtocolError
from ..inside.insider import Inside
from ..protocol.messages import dumps
from ..settings import Settings
from .answers import NO_STORE, Answer, response, text
from .front import Door

#: Refuses a request by its Authorization header and realm, or returns None.
Admit = Callable[[str | None, str | None], Answer | None]

#: By what clients are found.
BY = ("user", "address", "channel", "session")

#: Seconds of a history: a minute to thirty days.
_SECONDS = (60, 30 * 86_400)


def add_routes(app: web.Application, windows: Window) -> None:
    """Add them to an application."""
    for name in ("now", "history", "find", "client", "trace", "setup"):
        for end in ("", "/"):
            app.router.add_get(f"/realm/{{realm}}/inside/{name}{end}", getattr(windows, name), allow_head=False)


class Window:
    """The handlers. examine: asks Redis how it is set up, where there is one; it blocks."""

    def __init__(
        self,
        inside: Inside,
        admit: Admit,
        door: Door,
        settings: Settings,
        examine: Callable[[], dict[str, Any]] | None,
    ) -> None:
        self._inside = inside
        self._admit = admit
        self._door = door
        self._settings = settings
        self._examine = examine

    def _refusal(self, request: web.Request) -> web.Response | None:
        refused = self._admit(request.headers.get(hdrs.AUTHORIZATION), request.match_info.get("realm"))
        return None if refused is None else response(refused)

    async def now(self, request: web.Request) -> web.Response:
        """GET now."""
        return self._refusal(request) or self._say(await self._ask("now"))

    async def history(self, request: web.Request) -> web.Response:
        """GET history: of the last `seconds`."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        asked = request.query.get("seconds", "900")
        if not (asked.isascii() and asked.isdigit() and len(asked) < 9):
            return _wrong("seconds: a whole number, such as 900.")
        seconds = min(max(int(asked), _SECONDS[0]), _SECONDS[1])
        return self._say(await self._ask("history", seconds=seconds, until=time.time()))

    async def find(self, request: web.Request) -> web.Response:
        """GET find."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        asked = [(name, request.query[name]) for name in BY if request.query.get(name)]
        if len(asked) != 1:
            return _wrong("Look for one of these: ?user=, ?address=, ?channel= or ?session=.")
        answers = await self._inside.ask("find", by=asked[0][0], text=asked[0][1])
        found = [each for some in answers.values() if isinstance(some, list) for each in some]
        return self._say({"clients": found, "silent": list(self._inside.silent)})

    async def client(self, request: web.Request) -> web.Response:
        """GET client."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        answers = await self._inside.ask("client", session=request.query.get("session", ""))
        known = [each for each in answers.values() if isinstance(each, dict) and "session" in each]
        if not known:
            return response(text(404, "No worker knows this session; it may have ended long ago.", NO_STORE))
        # A worker that it went away from may remember it, too.
        return self._say(next((each for each in known if "ended" not in each), known[0]))

    async def trace(self, request: web.Request) -> web.Response:
        """GET trace."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        try:
            return self._say(await self._inside.trace(request.query.get("channel", ""), request.query.get("offset")))
        except BrokerUnavailable:
            return response(text(503, "Not known: the hub has lost its broker. Try again.", NO_STORE))
        except ProtocolError as error:
            return _wrong(f"{error.text}: {', '.join(error.params)}" if error.params else f"{error.text}.")

    async def setup(self, request: web.Request) -> web.Response:
        """GET setup."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        settings, proxies = self._settings, self._door.proxies
        lines = request.headers.getall(proxies.header, ())
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        told: dict[str, Any] = {
            "worker": self._inside.worker,
            "log": "memory" if settings.redis_url is None else "redis",
            "clock": time.time(),
            "host": request.headers.get(hdrs.HOST, ""),
            "http": f"HTTP/{request.version.major}.{request.version.minor}",
            "address": self._door.address_of(request),
            "header": proxies.header,
            "clients_named": sum(len([each for each in line.split(",") if each.strip()]) for line in lines),
            "proxies": proxies.count,
            "descriptors": 0 if soft == resource.RLIM_INFINITY else soft,
            "open": _open_files(),
            "max_connections": self._door.max_connections,
            "connect_timeout": settings.connect_timeout,
            "ping_interval": settings.ping_interval,
            "idle_timeout": settings.idle_timeout,
            "body_bytes": settings.body_bytes,
            "origins": list(settings.origins),
            "redis": None,
        }
        if self._examine is not None:
            told["redis"] = await asyncio.to_thread(self._examine)
        return self._say(told)

    async def _ask(self, what: str, **given: Any) -> dict[str, Any]:
        answers = await self._inside.ask(what, **given)
        return {"asked": self._inside.worker, "workers": list(answers.values()), "silent": list(self._inside.silent)}

    def _say(self, told: dict[str, Any]) -> web.Response:
        with self._inside.counting():
            body = dumps(told)
        return response(Answer(200, {**NO_STORE, "Content-Type": "application/json"}, body + b"\n"))


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _wrong(words: str) -> web.Response:
    return response(text(400, words, NO_STORE))
