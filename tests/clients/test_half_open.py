"""Connections that go on looking well and carry nothing: unmodified clients miss nothing, and know nothing of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from clients.driven import driven, restartable

from benchmarks.ledger.proxy import Proxy


@pytest.mark.parametrize("library", ["faye", "faye-1.1.2", "cometd"])
async def test_websocket_that_dies_without_a_word_costs_no_publication(
    library: str, node: str, node_modules: Path
) -> None:
    """Three times, under a stream of publications; what was written into the dead socket is written again."""
    async with restartable(ping_interval=0.5, connect_timeout=1.5, session_ttl=20.0) as hub:
        proxy = Proxy(lambda: ("127.0.0.1", hub.port))
        await proxy.start()
        published = 0
        try:
            async with driven(
                node, node_modules, library, f"http://127.0.0.1:{proxy.port}/bayeux", "websocket"
            ) as client:
                for channel in ("/a", "/b/**"):
                    client.tell("subscribe", channel=channel)
                    await client.hear("subscribed", channel=channel)
                while len(hub.node.links) != 1:
                    await asyncio.sleep(0.01)
                received: list[int] = []

                async def publish(count: int) -> None:
                    nonlocal published
                    for _ in range(count):
                        await hub.publish("/a" if published % 2 else "/b/c", published)
                        published += 1
                        await asyncio.sleep(0.005)

                async def hear_all() -> None:
                    missing = set(range(published)) - set(received)
                    while missing:
                        [number] = await client.messages(1)
                        received.append(number)
                        missing.discard(number)

                for _ in range(3):
                    await publish(150)
                    await hear_all()
                    (link,) = hub.node.links
                    proxy.stall()
                    # Into the dead socket, then into the session that waits for its client.
                    while link in hub.node.links:
                        await publish(20)
                    # Faye's client goes on writing into such a socket until its machine gives it up.
                    proxy.cut()
                    await hear_all()
                assert list(dict.fromkeys(received)) == list(range(published)), "in order, repeats aside"
                recent = hub.node.registry.recent
                assert recent.repeated > 60, "the hub had given it up as written"
                assert hub.node.counters.opened == 1, "no session was started anew"
        finally:
            await proxy.stop()
