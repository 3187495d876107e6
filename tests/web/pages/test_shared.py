"""One answer for many: never older than its position, never longer than a moment."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest
from visiting import Browser, Calendar

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.features.comments.models import Comment
from web.features.events.models import Event
from web.pages import keys
from web.pages.shared import Shared


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Made:
    """Makes numbered answers, when told to go on."""

    def __init__(self) -> None:
        self.count = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self) -> int:
        self.count += 1
        number = self.count
        await self.go_on.wait()
        return number


async def test_who_asks_at_the_same_position_gets_the_same_answer() -> None:
    shared, make = Shared[int](), Made()
    make.go_on.clear()
    asking = [asyncio.create_task(shared.get("a", "e.1", make)) for _ in range(10)]
    await asyncio.sleep(0)
    make.go_on.set()
    assert await asyncio.gather(*asking) == [1] * 10
    assert await shared.get("a", "e.1", make) == 1


async def test_another_position_or_key_is_another_answer() -> None:
    shared, make = Shared[int](), Made()
    assert await shared.get("a", "e.1", make) == 1
    assert await shared.get("a", "e.2", make) == 2
    assert await shared.get("b", "e.2", make) == 3


async def test_a_position_that_moves_while_an_answer_is_made_asks_again() -> None:
    shared, make = Shared[int](), Made()
    make.go_on.clear()
    first = asyncio.create_task(shared.get("a", "e.1", make))
    second = asyncio.create_task(shared.get("a", "e.2", make))
    await asyncio.sleep(0)
    make.go_on.set()
    assert (await first, await second) == (1, 2)
    assert await shared.get("a", "e.2", make) == 2


async def test_without_a_position_nothing_is_shared() -> None:
    """The hub is away then, and nobody says when an answer is too old."""
    shared, make = Shared[int](), Made()
    assert [await shared.get("a", "", make), await shared.get("a", "", make)] == [1, 2]


async def test_an_answer_gets_old_by_itself() -> None:
    clock = Clock()
    shared, make = Shared[int](seconds=1.0, clock=clock), Made()
    assert await shared.get("a", "e.1", make) == 1
    clock.now = 0.9
    assert await shared.get("a", "e.1", make) == 1
    clock.now = 1.0
    assert await shared.get("a", "e.1", make) == 2


async def test_the_first_to_ask_may_leave() -> None:
    shared, make = Shared[int](), Made()
    make.go_on.clear()
    first = asyncio.create_task(shared.get("a", "e.1", make))
    second = asyncio.create_task(shared.get("a", "e.1", make))
    await asyncio.sleep(0)
    first.cancel()
    make.go_on.set()
    assert await second == 1


async def test_a_failure_is_told_to_all_who_wait_and_not_kept() -> None:
    shared = Shared[int]()

    async def fail() -> int:
        raise ZeroDivisionError

    async def work() -> int:
        return 1

    found = await asyncio.gather(*(shared.get("a", "e.1", fail) for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in found] == [ZeroDivisionError] * 2
    assert await shared.get("a", "e.1", work) == 1


async def test_answers_are_bounded() -> None:
    shared, make = Shared[int](most=2), Made()
    for key in ("a", "b", "c"):
        await shared.get(key, "e.1", make)
    assert await shared.get("c", "e.1", make) == 3
    assert await shared.get("a", "e.1", make) == 4


@pytest.mark.parametrize("path", ["/", "/events/brass-on-the-quay/about", "/events/brass-on-the-quay/comments.json"])
async def test_a_hundred_browsers_are_one_query(browser: Browser, concert: Event, path: str) -> None:
    app = browser.client.server.app  # type: ignore[attr-defined]  # TestServer's, which BaseTestServer lacks
    # A busy machine took longer than an answer's second for the hundred, and made two.
    app[keys.answers].seconds = math.inf
    found = await asyncio.gather(*(browser.client.get(path) for _ in range(100)))
    assert {response.status for response in found} == {200}
    assert app[keys.answers].made == 1


async def test_after_a_save_everyone_gets_the_new_list(
    browser: Browser, concert: Event, database: Database, calendar: Calendar
) -> None:
    path = "/events/brass-on-the-quay/comments.json"
    assert (await (await browser.fetch(path)).json())["comments"] == []
    async with database.saving() as session:
        session.add(Comment(thread_id=concert.thread_id, name="Ada", text="New"))
    assert [comment["text"] for comment in (await (await browser.fetch(path)).json())["comments"]] == ["New"]


async def test_what_a_manager_sees_is_given_to_nobody_else(
    manager: Browser,
    new_browser: Callable[[], Awaitable[Browser]],
    concert: Event,
    publisher: RecordingPublisher,
) -> None:
    stranger = await new_browser()
    for path, words in (("/", "Sign out"), ("/events/brass-on-the-quay/about", "Edit this event")):
        await manager.look(path)
        assert words in manager.page
        await stranger.look(path)
        assert words not in stranger.page
        await manager.look(path)
        assert words in manager.page


async def test_what_one_visitor_asked_for_is_shown_to_no_other(browser: Browser, concert: Event) -> None:
    await browser.look("/?from=a-private-letter&category=music")
    await browser.look("/?category=music")
    assert "private" not in browser.page
    assert 'data-source="/?category=music"' in browser.page
