"""Two requests change the same subscription at the same time, and the broker can't be told of one of them.

A page of CometD's subscribed twice to a channel, as two of its parts wanted it. The save for the first failed, and was
undone: with it went the subscription that the second had been answered successful for, and the page heard nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fleet import Message, connect, data, fleet, rest, say, start, subscribe, unsubscribe

from hub.errors import BrokerUnavailable
from hub.node import Node
from hub.protocol.publications import Draft
from hub.sessions.session import Session
from hub.tentative import Flip, Tentative


class Subscriptions:
    """One session's, changed by requests that overlap."""

    def __init__(self, *patterns: str) -> None:
        self.session = Session("c" * 40, 0.0)
        self.now = set(patterns)
        self.tentative = Tentative()

    def ask(self, *patterns: str, on: bool) -> list[Flip]:
        changed = [each for each in patterns if (each in self.now) is not on]
        self.now = self.now | set(changed) if on else self.now - set(changed)
        return self.tentative.begin(self.session, patterns, changed, on=on)

    def end(self, flips: list[Flip], *, kept: bool) -> None:
        for pattern, on in self.tentative.finish(self.session, flips, kept=kept).items():
            self.now = self.now | {pattern} if on else self.now - {pattern}


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_request_that_fails_alone_has_changed_nothing(before: bool, on: bool) -> None:
    found = Subscriptions(*["/a"] * before)
    found.end(found.ask("/a", on=on), kept=False)
    assert found.now == {"/a"} if before else not found.now


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("kept", [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_one_of_two_was_promised_stays(order: tuple[int, int], kept: tuple[bool, bool], on: bool) -> None:
    found = Subscriptions(*[] if on else ["/a"])
    requests = [found.ask("/a", "/b", on=on), found.ask("/a", on=on)]
    for each in order:
        found.end(requests[each], kept=kept[each])
    assert ("/a" in found.now) is (on if any(kept) else not on)
    assert ("/b" in found.now) is (on and kept[0])


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("kept", [(True, False), (False, True), (True, True), (False, False)])
def test_last_of_two_opposites_that_was_kept_holds(
    kept: tuple[bool, bool], order: tuple[int, int], before: bool
) -> None:
    found = Subscriptions(*["/a"] * before)
    requests = [found.ask("/a", on=not before), found.ask("/a", on=before)]
    for each in order:
        found.end(requests[each], kept=kept[each])
    assert ("/a" in found.now) is (not before if kept == (True, False) else before)


def test_nothing_is_kept_of_what_is_finished() -> None:
    found = Subscriptions("/a")
    requests = [found.ask("/a", on=True), found.ask("/a", on=False), found.ask("/a", "/b", on=True)]
    requests += [found.ask("/b", on=False), found.ask("/b", on=False)]
    for number, flips in enumerate(requests):
        found.end(flips, kept=number % 2 == 0)
    assert not len(found.tentative)


def fail_first(node: Node) -> asyncio.Event:
    """Have the first save fail, once the event is set."""
    save, failed, ready = node.broker.save_session, [False], asyncio.Event()

    async def once(*arguments: Any, **options: Any) -> bool:
        if failed[0]:
            return await save(*arguments, **options)
        failed[0] = True
        await ready.wait()
        raise BrokerUnavailable("gone")

    node.broker.save_session = once  # type: ignore[method-assign]
    return ready


async def both(node: Node, message: Message) -> list[bool]:
    """Send a message twice at the same time; whether it was successful. The first can't be saved."""
    ready = fail_first(node)
    first = asyncio.create_task(say(node, message))
    await asyncio.sleep(0)
    second = asyncio.create_task(say(node, message))
    await asyncio.sleep(0)
    ready.set()
    return [(await first)[0]["successful"], (await second)[0]["successful"]]


async def test_subscription_that_another_request_was_promised_is_not_undone(redis_url: str) -> None:
    async with fleet(redis_url) as (one, two):
        client_id = await start(one)
        await say(one, connect(client_id))
        await rest(one)
        assert await both(one, subscribe(client_id, "/a")) == [False, True]
        await two.publish([Draft("/a", b"1")])
        assert data(await say(one, connect(client_id, 5000))) == [1]
        await one.broker.close()
        await two.publish([Draft("/a", b"2")])
        assert data(await say(two, connect(client_id)))[-1] == 2


async def test_subscription_that_another_request_has_left_does_not_come_back(redis_url: str) -> None:
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a", "/b")
        await say(one, connect(client_id))
        await rest(one)
        assert await both(one, unsubscribe(client_id, "/a")) == [False, True]
        await two.publish([Draft("/a", b"1"), Draft("/b", b"2")])
        assert data(await say(one, connect(client_id, 5000))) == [2]


async def test_request_that_can_not_be_saved_is_undone(redis_url: str) -> None:
    async with fleet(redis_url) as (one, _):
        client_id = await start(one)
        await say(one, connect(client_id))
        await rest(one)
        fail_first(one).set()
        (reply,) = await say(one, subscribe(client_id, "/a"))
        assert reply["error"].startswith("503:")
        assert one.registry.count("/a") == 0
        assert (await say(one, subscribe(client_id, "/a")))[0]["successful"]
        assert one.registry.count("/a") == 1
