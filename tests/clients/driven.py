"""Unmodified client libraries in a Node process or a page, and a hub that can be restarted under them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from playwright.async_api import Browser, Page
from road import Road, road_to

from hub.app import Hub, running
from hub.node import Node
from hub.protocol.publications import Draft
from hub.settings import Settings

SCRIPT = Path(__file__).with_name("client.cjs")

_NOT_AWAITED = re.compile(r"__jsonp\d+__ is not (?:a function|defined)")

#: The browser builds, as the packages have them; cometd is a module, which page.mjs imports, and EventSource is there.
BUILDS = {
    "faye": "<script src='/npm/faye/client/faye-browser-min.js'></script>",
    "faye-1.1.2": "<script src='/npm/faye-1.1.2/browser/faye-browser-min.js'></script>",
    "cometd": "",
    "EventSource": "",
}


class Driven(ABC):
    """A client library somewhere else: it is given orders, and says events (libraries.mjs)."""

    def __init__(self) -> None:
        self._said: list[dict[str, Any]] = []

    @abstractmethod
    def tell(self, do: str, **more: Any) -> None:
        """Send an order to the library's process."""

    @abstractmethod
    async def _next(self) -> dict[str, Any]:
        """The next event that the library's process reports."""

    async def hear(self, event: str, seconds: float = 60.0, **more: Any) -> dict[str, Any]:
        """The next event of this kind (with these fields); what came before it is kept for other calls."""
        seen = 0
        async with asyncio.timeout(seconds):
            while True:
                while seen < len(self._said):
                    said = self._said[seen]
                    if said["event"] == event and all(said.get(name) == value for name, value in more.items()):
                        del self._said[seen]
                        return said
                    seen += 1
                self._said.append(await self._next())

    async def messages(self, count: int, seconds: float = 60.0) -> list[Any]:
        """The data of the next so many messages."""
        return [(await self.hear("message", seconds))["data"] for _ in range(count)]


class Process(Driven):
    """A library at the other end of a pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__()
        self._process = process

    def tell(self, do: str, **more: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")

    async def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, f"the client ended; it had said {self._said}"
        said: dict[str, Any] = json.loads(line)
        return said


class Visit(Driven):
    """A library in a page of Chromium."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._orders: list[asyncio.Task[Any]] = []

    def tell(self, do: str, **more: Any) -> None:
        order = self.page.evaluate("(order) => window.order(order)", {"do": do, **more})
        self._orders.append(asyncio.create_task(order))

    async def _next(self) -> dict[str, Any]:
        return await self.events.get()

    async def leave(self) -> None:
        """Go to another page, which takes a moment to come, as pages do: until then this one may still speak."""
        await self.page.goto(self.page.url.partition("/page")[0] + "/elsewhere")

    async def finish(self) -> None:
        """Raise what an order of `tell` raised."""
        await asyncio.gather(*self._orders)


@contextlib.asynccontextmanager
async def driven(
    node_program: str, modules: Path, library: str, url: str, transport: str, **options: Any
) -> AsyncIterator[Process]:
    """A library's client in Node, running; it is ended with the block."""
    process = await asyncio.create_subprocess_exec(
        node_program,
        str(SCRIPT),
        library,
        json.dumps({"url": url, "transport": transport, **options}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(modules), "NODE_NO_WARNINGS": "1"},
    )
    try:
        client = Process(process)
        await client.hear("ready")
        yield client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # The pipe's transport would otherwise be collected with the loop gone.
        process._transport.close()  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def visiting(browser: Browser, base: str, library: str, **options: Any) -> AsyncIterator[Visit]:
    """A library's client in a page of `base`, running. What its scripts throw fails the test.

    But for an answer of callback-polling that comes when Faye has given up waiting, or left: it deletes the function.
    """
    context = await browser.new_context()
    errors: list[str] = []
    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        visit = Visit(page)
        await page.expose_function("say", visit.events.put_nowait)
        await page.goto(f"{base}/page?{urlencode({'library': library, 'options': json.dumps(options)})}")
        await visit.hear("ready")
        yield visit
        await visit.finish()
    finally:
        await context.close()
    assert [error for error in errors if not _NOT_AWAITED.search(error)] == []


def add_pages(app: web.Application, modules: Path) -> None:
    """Serve /page, page.mjs for every library, and the packages it needs."""

    async def page(request: web.Request) -> web.Response:
        scripts = BUILDS[request.query["library"]] + "<script type='module' src='/clients/page.mjs'></script>"
        return web.Response(text=f"<!doctype html><title>A page</title>{scripts}", content_type="text/html")

    async def elsewhere(request: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response(text="Another page")

    app.router.add_get("/page", page)
    app.router.add_get("/elsewhere", elsewhere)
    app.router.add_static("/npm", modules)
    app.router.add_static("/clients", SCRIPT.parent)


class Restartable:
    """A hub on one port, that can go away and come back empty. modules: it serves pages with them, too."""

    def __init__(self, modules: Path | None = None, **changes: Any) -> None:
        self._modules = modules
        self._settings = Settings(**({"connect_timeout": 2.0, "client_publish": ("/chat/**",)} | changes))
        self._stack = contextlib.AsyncExitStack()
        self.port = 0
        self.node: Node

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/bayeux"

    async def start(self) -> None:
        """Start the hub, on the port that it had before."""
        hub = Hub(self._settings)
        app = web.Application(client_max_size=self._settings.body_bytes)
        hub.setup(app)
        if self._modules is not None:
            add_pages(app, self._modules)
        base = await self._stack.enter_async_context(running(app, hub, port=self.port))
        self.port = int(base.rpartition(":")[2])
        self.node = hub.node

    async def stop(self) -> None:
        """Drain and close."""
        await self._stack.aclose()

    async def publish(self, channel: str, *data: Any) -> None:
        """Publish as server code does."""
        await self.node.publish([Draft(channel, json.dumps(item).encode()) for item in data])


@contextlib.asynccontextmanager
async def restartable(modules: Path | None = None, **changes: Any) -> AsyncIterator[Restartable]:
    """A started hub."""
    hub = Restartable(modules, **changes)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


@dataclass
class Scene:
    """A hub, the road to it, and a site whose pages (`base`) talk to it."""

    hub: Restartable
    road: Road
    base: str

    @property
    def url(self) -> str:
        return self.road.url + "/bayeux"


@contextlib.asynccontextmanager
async def scene(modules: Path, origin: str, **changes: Any) -> AsyncIterator[Scene]:
    """origin: "same", the pages are the hub's own; "listed", another's in HUB_ORIGINS."""
    if origin == "same":
        async with restartable(modules, **changes) as hub, road_to(hub.port) as road:
            yield Scene(hub, road, road.url)
            road.cut()
        return
    site = web.Application()
    add_pages(site, modules)
    runner = web.AppRunner(site, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        # Another port is another origin. (Browsers keep pages of other hosts from loopback addresses.)
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with restartable(origins=(base,), **changes) as hub, road_to(hub.port) as road:
            yield Scene(hub, road, base)
            road.cut()
    finally:
        await runner.cleanup()


async def until(fact: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until `fact()` is true: of what has no event."""
    async with asyncio.timeout(seconds):
        while not fact():
            await asyncio.sleep(0.02)
