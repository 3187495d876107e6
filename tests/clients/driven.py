"""Unmodified client libraries in a Node process, and a hub that can be restarted under them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from hub.app import Hub, running
from hub.node import Node
from hub.protocol.publications import Draft
from hub.settings import Settings

SCRIPT = Path(__file__).with_name("client.cjs")


class Driven:
    """A client library at the other end of a pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: list[dict[str, Any]] = []

    def tell(self, do: str, **more: Any) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")

    async def hear(self, event: str, seconds: float = 15.0, **more: Any) -> dict[str, Any]:
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
                assert self._process.stdout is not None
                line = await self._process.stdout.readline()
                assert line, f"the client ended; it had said {self._said}"
                self._said.append(json.loads(line))

    async def messages(self, count: int, seconds: float = 15.0) -> list[Any]:
        """The data of the next so many messages."""
        return [(await self.hear("message", seconds))["data"] for _ in range(count)]

    def heard(self, event: str) -> list[dict[str, Any]]:
        """What has been read of this kind and not taken."""
        return [said for said in self._said if said["event"] == event]


@contextlib.asynccontextmanager
async def driven(
    node_program: str, modules: Path, library: str, url: str, transport: str, **environ: str
) -> AsyncIterator[Driven]:
    """A library's client, running; it is ended with the block."""
    process = await asyncio.create_subprocess_exec(
        node_program,
        str(SCRIPT),
        library,
        url,
        transport,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(modules), "NODE_NO_WARNINGS": "1", **environ},
    )
    try:
        client = Driven(process)
        await client.hear("ready")
        yield client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # The pipe's transport would otherwise be collected with the loop gone.
        process._transport.close()  # type: ignore[attr-defined]


class Restartable:
    """A hub on one port, that can go away and come back empty."""

    def __init__(self, **changes: Any) -> None:
        self._settings = Settings(**({"connect_timeout": 2.0, "client_publish": ("/chat/**",)} | changes))
        self._stack = contextlib.AsyncExitStack()
        self.port = 0
        self.node: Node

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/bayeux"

    async def start(self) -> None:
        """Serve, on the port it had."""
        hub = Hub(self._settings)
        app = web.Application(client_max_size=self._settings.body_bytes)
        hub.setup(app)
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
async def restartable(**changes: Any) -> AsyncIterator[Restartable]:
    """A started hub."""
    hub = Restartable(**changes)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()
