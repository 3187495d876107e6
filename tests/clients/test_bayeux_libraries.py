"""npm faye 1.4.3 and 1.1.2 and cometd 9, unmodified, against a served hub, on each transport they have in Node."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from changed_rules import set_wall
from clients.driven import driven, restartable, until
from road import road_to

from hub.bayeux.outcome import Call
from hub.errors import BadMessage

FAYE = [("faye", "websocket"), ("faye", "long-polling"), ("faye-1.1.2", "websocket"), ("faye-1.1.2", "long-polling")]
COMETD = [("cometd", "websocket"), ("cometd", "long-polling")]
EVERY = pytest.mark.parametrize(("library", "transport"), FAYE + COMETD)


@EVERY
async def test_library_receives_what_server_code_publishes(
    library: str, transport: str, node: str, node_modules: Path
) -> None:
    values = [17, True, None, 0, "", {"a": ["é☃", None]}, "\u2028"]
    async with restartable() as hub, driven(node, node_modules, library, hub.url, transport) as client:
        client.tell("subscribe", channel="/comments-17")
        await client.hear("subscribed", channel="/comments-17")
        await hub.publish("/comments-17", *values)
        assert await client.messages(len(values)) == values
        await hub.publish("/other", 1)
        await hub.publish("/comments-17", "next")
        assert await client.messages(1) == ["next"]


@EVERY
async def test_library_hears_a_wildcard_once_and_stops_when_it_unsubscribes(
    library: str, transport: str, node: str, node_modules: Path
) -> None:
    async with restartable() as hub, driven(node, node_modules, library, hub.url, transport) as client:
        client.tell("subscribe", channel="/a/**")
        await client.hear("subscribed", channel="/a/**")
        client.tell("subscribe", channel="/end")
        await client.hear("subscribed", channel="/end")
        await hub.publish("/a/b/c", 1)
        message = await client.hear("message")
        assert message["data"] == 1
        assert message.get("channel", "/a/b/c") == "/a/b/c"
        client.tell("unsubscribe", channel="/a/**")
        await client.hear("unsubscribed")
        if library != "cometd":
            # Faye's cancel() has no answer to wait for: let a publish of its own pass the same way.
            client.tell("publish", channel="/chat/x", data=0)
            await client.hear("published")
        await hub.publish("/a/b/c", 2)
        await hub.publish("/end", 3)
        assert await client.messages(1) == [3]


@EVERY
async def test_library_publishes_where_the_hub_allows_it_and_learns_where_not(
    library: str, transport: str, node: str, node_modules: Path
) -> None:
    async with restartable() as hub, driven(node, node_modules, library, hub.url, transport) as client:
        client.tell("subscribe", channel="/chat/a")
        await client.hear("subscribed", channel="/chat/a")
        client.tell("publish", channel="/chat/a", data={"x": 1})
        await client.hear("published")
        assert await client.messages(1) == [{"x": 1}]
        client.tell("publish", channel="/comments-17", data=1)
        refused = await client.hear("refused", channel="/comments-17")
        assert "Forbidden channel" in refused["text"]
        if library != "cometd":
            assert refused["code"] == 403, "the error is in Faye's grammar"


@EVERY
async def test_library_learns_why_it_may_not_subscribe(
    library: str, transport: str, node: str, node_modules: Path
) -> None:
    async with restartable() as hub, driven(node, node_modules, library, hub.url, transport) as client:
        client.tell("subscribe", channel="/chat/a")
        await client.hear("subscribed", channel="/chat/a")
        client.tell("subscribe", channel="/meta/x")
        assert "Forbidden channel" in (await client.hear("refused", channel="/meta/x"))["text"]


@EVERY
async def test_library_recovers_by_itself_when_the_hub_is_restarted(
    library: str, transport: str, node: str, node_modules: Path
) -> None:
    async with restartable() as hub, driven(node, node_modules, library, hub.url, transport) as client:
        client.tell("subscribe", channel="/comments-17")
        await client.hear("subscribed", channel="/comments-17")
        await hub.publish("/comments-17", 1)
        assert await client.messages(1) == [1]
        await hub.stop()
        await hub.start()
        # Faye subscribes again without a word to the page; the hub knows when it has.
        await until(lambda: hub.node.subscribers("/comments-17"))
        await hub.publish("/comments-17", 2)
        assert await client.messages(1) == [2]


@EVERY
async def test_library_says_goodbye(library: str, transport: str, node: str, node_modules: Path) -> None:
    async with restartable() as hub, driven(node, node_modules, library, hub.url, transport) as client:
        client.tell("subscribe", channel="/a")
        await client.hear("subscribed", channel="/a")
        client.tell("disconnect")
        await client.hear("disconnected")
        await until(lambda: not hub.node.registry.sessions)


@pytest.mark.parametrize("transport", ["websocket", "long-polling"])
async def test_cometd_with_acknowledgements_gets_everything_in_order(
    transport: str, node: str, node_modules: Path
) -> None:
    async with (
        restartable() as hub,
        driven(node, node_modules, "cometd", hub.url, transport, extensions=["AckExtension"]) as client,
    ):
        client.tell("subscribe", channel="/a")
        await client.hear("subscribed", channel="/a")
        for number in range(30):
            await hub.publish("/a", number)
        assert await client.messages(30) == list(range(30))


@pytest.mark.parametrize("transport", ["websocket", "long-polling"])
async def test_cometd_with_acknowledgements_gets_again_what_was_lost_on_the_way(
    transport: str, node: str, node_modules: Path
) -> None:
    """The hub has written it, and nobody told it that it never arrived."""
    async with restartable() as hub, road_to(hub.port) as road:
        url = road.url + "/bayeux"
        async with driven(node, node_modules, "cometd", url, transport, extensions=["AckExtension"]) as client:
            client.tell("subscribe", channel="/a")
            await client.hear("subscribed", channel="/a")
            await hub.publish("/a", 1)
            assert await client.messages(1) == [1]
            for number in (2, 3):
                # Until the next connect is held, an answer may be one to that.
                await until(lambda: any(session.hold for session in hub.node.registry.sessions.values()))
                road.loses_answers, road.lost = True, 0
                await hub.publish("/a", number)
                await until(lambda: road.lost)
                road.loses_answers = False
                road.cut()
            await hub.publish("/a", 4)
            assert await client.messages(3) == [2, 3, 4]
            assert road.lost
        road.cut()


@pytest.mark.parametrize("transport", ["websocket", "long-polling"])
async def test_cometd_s_bytes_reach_another_client_unchanged(transport: str, node: str, node_modules: Path) -> None:
    options = {"extensions": ["BinaryExtension"]}
    async with (
        restartable() as hub,
        driven(node, node_modules, "cometd", hub.url, transport, **options) as one,
        driven(node, node_modules, "cometd", hub.url, transport, **options) as other,
    ):
        other.tell("subscribe", channel="/chat/a")
        await other.hear("subscribed", channel="/chat/a")
        every = [*range(256), 0, 255, 7]
        one.tell("bytes", channel="/chat/a", data=every)
        await one.hear("published")
        assert await other.messages(1) == [{"data": every, "last": True, "meta": {"name": "bytes"}}]


@pytest.mark.parametrize("transport", ["websocket", "long-polling"])
async def test_cometd_sets_its_clock_by_the_hub_s(transport: str, node: str, node_modules: Path) -> None:
    async with restartable() as hub:
        set_wall(hub.node.bayeux, lambda: time.time() + 60)
        async with driven(node, node_modules, "cometd", hub.url, transport, extensions=["TimeSyncExtension"]) as client:
            client.tell("subscribe", channel="/a")
            await client.hear("subscribed", channel="/a")
            client.tell("clock")
            told = await client.hear("clock")
            assert abs(told["offset"] - 60_000) < 1000
            assert 0 <= told["lag"] < 1000


@pytest.mark.parametrize("transport", ["websocket", "long-polling"])
async def test_cometd_calls_a_service(transport: str, node: str, node_modules: Path) -> None:
    async def double(call: Call) -> object:
        if not isinstance(call.data, int):
            raise BadMessage("data", text="Not a number")
        return call.data * 2

    async with restartable() as hub:
        hub.node.bayeux.services["/service/double"] = double
        async with driven(node, node_modules, "cometd", hub.url, transport) as client:
            client.tell("subscribe", channel="/a")
            await client.hear("subscribed", channel="/a")
            client.tell("call", target="double", data=21)
            assert (await client.hear("answered"))["data"] == 42
            client.tell("call", target="double", data="x")
            assert (await client.hear("answered"))["error"] == "400:data:Not a number"
