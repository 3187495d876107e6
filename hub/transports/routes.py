"""Handlers that give a request to the realm it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import hdrs, web

from ..realms import Directory

T = TypeVar("T")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def host_of(request: web.Request) -> str | None:
    """The Host header. aiohttp's own `host` asks the machine's resolver for a name where there is none."""
    return request.headers.get(hdrs.HOST)


def of_clients(directory: Directory[T], pick: Callable[[T], Handler]) -> Handler:
    """For what browsers ask: the realm of `/r/{realm}` in the route, else of the host; 404 for one that is unknown."""

    async def handle(request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("realm")
        found = directory.at(host_of(request)) if name is None else directory.named(name)
        if found is None:
            return web.Response(status=404, text="Realm unknown.\n", headers={"Access-Control-Allow-Origin": "*"})
        return await pick(found)(request)

    return handle


def of_publishers(directory: Directory[T], pick: Callable[[T], Handler]) -> Handler:
    """For what takes the realm's key: the realm of `/realm/{realm}` in the route, else of the host.

    One that is unknown is the default realm's to refuse: a stranger hears first that he shows no key.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        return await pick(directory.publishing(request.match_info.get("realm"), host_of(request)))(request)

    return handle
