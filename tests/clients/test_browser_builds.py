"""npm faye 1.4.3 and 1.1.2 and cometd 9, unmodified, in pages of Chromium: on every way to the hub that they have.

Fanout's own change of 1.1.2 (transportMode) is the business of static/faye.js: the stock file throws at it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from clients.driven import Scene, Visit, scene, until, visiting
from playwright.async_api import Browser, Error

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAYE = ["faye", "faye-1.1.2"]


@dataclass(frozen=True)
class Way:
    """How a page comes to the hub: where the page is from, what is in its way, what it disables; what is left."""

    transport: str
    origin: str
    refused: bool = False
    disable: tuple[str, ...] = ()

    def disabled_by(self, library: str) -> tuple[str, ...]:
        """What its page disables.

        Faye 1.1.2 waits for ever for a WebSocket that is refused after its handshake was answered, and stays with the
        handshake's transport. So that it is sure to go on to the next, its page wants no WebSocket in the first place.
        """
        return (*self.disable, "websocket") if self.refused and library == "faye-1.1.2" else self.disable

    def __str__(self) -> str:
        return f"{self.origin}-{self.transport}"


#: In Faye's own order of preference; callback-polling where a page disables what needs CORS, as Faye can't find out by
#: itself that its browser or a proxy won't have it.
WAYS = [
    Way("websocket", "same"),
    Way("websocket", "listed"),
    Way("eventsource", "same", refused=True),
    Way("long-polling", "same", refused=True, disable=("eventsource",)),
    Way("cross-origin-long-polling", "listed", refused=True),
    Way("callback-polling", "listed", disable=("websocket", "cross-origin-long-polling")),
]
COMETD = [
    (transport, origin)
    for transport in ("websocket", "long-polling", "callback-polling")
    for origin in ("same", "listed")
]


async def converse(visit: Visit, there: Scene) -> None:
    """Receive, publish where it is allowed and where it is not, unsubscribe."""
    visit.tell("subscribe", channel="/comments-17")
    await visit.hear("subscribed", channel="/comments-17")
    values = [17, None, "", {"a": ["é☃", None]}, "\u2028"]
    await there.hub.publish("/comments-17", *values)
    assert await visit.messages(len(values)) == values
    visit.tell("subscribe", channel="/chat/a")
    await visit.hear("subscribed", channel="/chat/a")
    visit.tell("publish", channel="/chat/a", data={"x": 1})
    await visit.hear("published")
    assert await visit.messages(1) == [{"x": 1}]
    visit.tell("publish", channel="/comments-17", data=1)
    assert "Forbidden channel" in (await visit.hear("refused", channel="/comments-17"))["text"]
    visit.tell("unsubscribe", channel="/comments-17")
    await until(lambda: not there.hub.node.subscribers("/comments-17"))
    await there.hub.publish("/comments-17", "unheard")
    await there.hub.publish("/chat/a", "heard")
    assert await visit.messages(1) == ["heard"]


async def uses(visit: Visit, transport: str) -> None:
    """Wait until Faye has changed over to this transport: it asks them one after the other, beside its work."""
    async with asyncio.timeout(60):
        visit.tell("state")
        while (await visit.hear("state"))["transport"] != transport:
            await asyncio.sleep(0.05)
            visit.tell("state")


@pytest.mark.parametrize("library", FAYE)
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_faye_finds_the_way_that_is_open_and_leaves_with_its_page(
    library: str, way: Way, shared_chromium: Browser, node_modules: Path
) -> None:
    async with scene(node_modules, way.origin) as there:
        there.road.refuses_sockets = way.refused
        disable = way.disabled_by(library)
        async with visiting(shared_chromium, there.base, library, url=there.url, disable=disable) as visit:
            visit.tell("subscribe", channel="/first")
            await visit.hear("subscribed")
            # Between transports it may be given something twice: at least once is the promise.
            await uses(visit, way.transport)
            await converse(visit, there)
            shaken = there.road.seen("GET /bayeux?message=%5B%7B%22channel%22%3A%22%2Fmeta%2Fhandshake%22")
            assert bool(shaken) == (way.origin != "same"), "across origins a handshake is a script"
            await visit.leave()
            await until(lambda: not there.hub.node.registry.sessions)


@pytest.mark.parametrize(
    ("origin", "transports"),
    [
        ("same", {"eventsource", "long-polling"}),
        ("listed", {"cross-origin-long-polling", "callback-polling"}),
    ],
)
async def test_faye_1_1_2_works_on_whatever_it_is_left_with_when_websockets_are_refused(
    origin: str, transports: set[str], shared_chromium: Browser, node_modules: Path
) -> None:
    async with scene(node_modules, origin) as there:
        there.road.refuses_sockets = True
        async with visiting(shared_chromium, there.base, "faye-1.1.2", url=there.url) as visit:
            visit.tell("subscribe", channel="/a")
            await visit.hear("subscribed")
            await there.hub.publish("/a", 1)
            assert await visit.messages(1) == [1]
            visit.tell("state")
            assert (await visit.hear("state"))["transport"] in transports


@pytest.mark.parametrize("library", FAYE)
async def test_faye_on_an_eventsource_hears_again_before_its_next_connect(
    library: str, shared_chromium: Browser, node_modules: Path
) -> None:
    """After a restart the stream of its old session was a 404, which ended it: deaf for 41 s."""
    way = Way("eventsource", "same", refused=True)
    async with scene(node_modules, "same", connect_timeout=600.0) as there:
        there.road.refuses_sockets = True
        disable = way.disabled_by(library)
        async with visiting(shared_chromium, there.base, library, url=there.url, disable=disable) as visit:
            visit.tell("subscribe", channel="/a")
            await visit.hear("subscribed")
            await uses(visit, "eventsource")
            await there.hub.publish("/a", 1)
            assert 1 in await visit.messages(1)
            for number in (2, 3):
                await there.hub.stop()
                await there.hub.start()
                await until(lambda: there.hub.node.subscribers("/a"))
                await there.hub.publish("/a", number)
                # Between transports it may be given something twice.
                while number not in await visit.messages(1):
                    pass
                await uses(visit, "eventsource")
            # The stream of the session before does not send it to shake hands again and again.
            assert there.hub.node.counters.opened <= 3


@pytest.mark.parametrize("library", FAYE)
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_faye_recovers_by_itself_when_the_hub_is_restarted(
    library: str, way: Way, shared_chromium: Browser, node_modules: Path
) -> None:
    async with scene(node_modules, way.origin) as there:
        there.road.refuses_sockets = way.refused
        disable = way.disabled_by(library)
        async with visiting(shared_chromium, there.base, library, url=there.url, disable=disable) as visit:
            visit.tell("subscribe", channel="/comments-17")
            await visit.hear("subscribed")
            await there.hub.publish("/comments-17", 1)
            assert await visit.messages(1) == [1]
            await there.hub.stop()
            await there.hub.start()
            await until(lambda: there.hub.node.subscribers("/comments-17"))
            await there.hub.publish("/comments-17", 2)
            heard = await visit.messages(1)
            # Between the stream and its next connect it may be given something twice.
            while heard == [1] and way.transport == "eventsource":
                heard = await visit.messages(1)
            assert heard == [2]


@pytest.mark.parametrize(("transport", "origin"), COMETD)
async def test_cometd_converses_and_says_goodbye(
    transport: str, origin: str, shared_chromium: Browser, node_modules: Path
) -> None:
    async with scene(node_modules, origin) as there:
        async with visiting(shared_chromium, there.base, "cometd", url=there.url, transport=transport) as visit:
            await converse(visit, there)
            visit.tell("session")
            assert (await visit.hear("session"))["transport"] == transport
            visit.tell("disconnect")
            await visit.hear("disconnected")
            await until(lambda: not there.hub.node.registry.sessions)


@pytest.mark.parametrize("transport", ["websocket", "long-polling", "callback-polling"])
async def test_cometd_recovers_by_itself_when_the_hub_is_restarted(
    transport: str, shared_chromium: Browser, node_modules: Path
) -> None:
    async with scene(node_modules, "listed") as there:
        async with visiting(shared_chromium, there.base, "cometd", url=there.url, transport=transport) as visit:
            visit.tell("subscribe", channel="/comments-17")
            await visit.hear("subscribed")
            await there.hub.stop()
            await there.hub.start()
            # A script that was asked for while the hub went is given up after 10 s (maxNetworkDelay) only.
            await visit.hear("subscribed", 45)
            await there.hub.publish("/comments-17", 2)
            assert await visit.messages(1) == [2]


@pytest.mark.parametrize("transport", ["websocket", "long-polling"])
async def test_cometd_keeps_its_session_over_a_reload_of_the_page(
    transport: str, shared_chromium: Browser, node_modules: Path
) -> None:
    """The new page's connection takes the session over; what was published in between is delivered."""
    options = {
        "transport": transport,
        "extensions": ["ReloadExtension", "AckExtension"],
        "channels": ["/comments-17"],
    }
    async with scene(node_modules, "same") as there:
        async with visiting(shared_chromium, there.base, "cometd", url=there.url, **options) as visit:
            await visit.hear("subscribed")
            visit.tell("session")
            before = await visit.hear("session")
            visit.tell("reload")
            await visit.finish()
            await there.hub.publish("/comments-17", 1)
            await visit.page.reload()
            await visit.hear("subscribed")
            await there.hub.publish("/comments-17", 2)
            assert await visit.messages(2) == [1, 2]
            visit.tell("session")
            assert await visit.hear("session") == before
            assert list(there.hub.node.registry.sessions) == [before["id"]]


async def test_stock_faye_1_1_2_knows_no_transport_mode(shared_chromium: Browser, node_modules: Path) -> None:
    """Which is why pages written for Fanout get static/faye.js."""
    async with scene(node_modules, "same") as there:
        async with visiting(shared_chromium, there.base, "faye-1.1.2", url=there.url) as visit:
            with pytest.raises(Error, match="Unrecognized option: transportMode"):
                await visit.page.evaluate("() => new Faye.Client('/bayeux', { transportMode: 'fallback' })")
