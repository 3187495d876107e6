"""Who is in a channel, as JSON.

    GET /presence?channel=a[&channel=b][&token=…]         for clients, as the rules allow
    GET /realm/{realm}/presence/?channel=a[&channel=b]    for servers that show the realm's key

The answer is `{"channel", "count", "users", "position"}`, or several of them under `channels`. A page
that subscribes to `/presence/a` from that position misses nothing of what changes after the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from aiohttp import hdrs, web

from ..errors import BrokerUnavailable, ProtocolError
from ..protocol.access import Who
from ..protocol.messages import dumps
from ..realms import Directory
from ..reporter import Reporter, answer
from .answers import Answer, response
from .plain import Plain, refuse
from .routes import Handler, of_publishers

#: Refuses a request by its Authorization header and realm, or returns None.
Admit = Callable[[str | None, str | None], Answer | None]


def add_routes(app: web.Application, rosters: Directory[Roster], preflights: Directory[Handler]) -> None:
    """Add what servers ask to an application."""
    preflight = of_publishers(preflights, lambda answer: answer)
    for path in ("/realm/{realm}/presence", "/realm/{realm}/presence/"):
        app.router.add_options(path, preflight)
        app.router.add_get(path, of_publishers(rosters, lambda roster: roster.of_server), allow_head=False)


class Roster:
    """The handlers. reporter: None in a realm whose rules let nobody see who is in a channel."""

    def __init__(self, plain: Plain, reporter: Reporter | None, admit: Admit) -> None:
        self._plain = plain
        self._reporter = reporter
        self._admit = admit

    async def of_client(self, request: web.Request) -> web.Response:
        """GET /presence."""
        headers = self._plain.cors(request)
        try:
            await self._plain.turn(request)
            who = self._plain.who(request)
        except ProtocolError as error:
            return refuse(error, headers)
        return await self._answer(request, who, headers)

    async def of_server(self, request: web.Request) -> web.Response:
        """GET /realm/{realm}/presence/."""
        refusal = self._admit(request.headers.get(hdrs.AUTHORIZATION), request.match_info.get("realm"))
        if refusal is not None:
            return response(replace(refusal, headers={**refusal.headers, **self._plain.cors(request)}))
        return await self._answer(request, None, self._plain.cors(request))

    async def _answer(self, request: web.Request, who: Who | None, headers: dict[str, str]) -> web.Response:
        headers = {**headers, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if self._reporter is None:
            return web.Response(status=404, text="No rule says who may see who is in a channel.\n", headers=headers)
        try:
            states = await self._reporter.states(request.query.getall("channel", []), who)
        except BrokerUnavailable:
            headers["Retry-After"] = "1"
            return web.Response(status=503, text="Not known yet. Try again.\n", headers=headers)
        except ProtocolError as error:
            return refuse(error, headers)
        return web.Response(body=dumps(answer(states)), headers=headers, content_type="application/json")
