"""Pages that are kept: the same for everybody, never older than what was told, and one's own write is on them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.exc import OperationalError
from visiting import Browser, Calendar, Heard

from hub.app import Hub, running
from hub.errors import BrokerUnavailable
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import create_app
from web.db.database import Database
from web.features.comments.models import Comment, Thread
from web.features.events.models import Event
from web.pages import keys
from web.pages.page import metrics_of, pages
from web.settings import Settings

PAGE = "/events/brass-on-the-quay"
ALL = ["/", "/events", PAGE, f"{PAGE}/about", f"{PAGE}/comments.json"]


def kept_of(browser: Browser):  # type: ignore[no-untyped-def]  # the site's pages
    server = browser.client.server
    assert isinstance(server, TestServer)
    return server.app[pages]


def how(response: object) -> str:
    return response.headers["Cache-Status"]  # type: ignore[attr-defined]  # a response


HIT, MADE, UNKEPT, SHARED, OWN = (
    "fanfare; hit",
    "fanfare; fwd=miss; stored",
    "fanfare; fwd=miss",
    "fanfare; fwd=miss; collapsed",
    "fanfare; fwd=bypass",
)


@pytest.mark.parametrize("path", ALL)
async def test_hundred_browsers_are_one_making(browser: Browser, concert: Event, path: str) -> None:
    kept_of(browser)._seconds = math.inf
    found = await asyncio.gather(*(browser.client.get(path) for _ in range(100)))
    assert {response.status for response in found} == {200}
    counts = kept_of(browser).counts
    assert (counts["made"], counts["hit"] + counts["shared"]) == (1, 99)
    assert how(await browser.look(path)) == HIT


async def test_page_of_before_is_not_given_after_a_save(browser: Browser, concert: Event, database: Database) -> None:
    for path in ALL:
        await browser.look(path)
        assert how(await browser.look(path)) == HIT
    async with database.saving() as session:
        session.add(Comment(thread_id=concert.thread_id, name="Ada", text="New words"))
    for path in (PAGE, f"{PAGE}/comments.json"):
        assert how(await browser.look(path)) == MADE
        assert "New words" in browser.page
    # What does not show comments stands.
    assert how(await browser.look("/events")) == HIT
    assert how(await browser.look(f"{PAGE}/about")) == HIT
    async with database.saving() as session:
        (await session.get_one(Event, concert.id)).title = "Strings"
    for path in ("/events", PAGE, f"{PAGE}/about"):
        assert how(await browser.look(path)) == MADE
        assert "Strings" in browser.page


async def test_closed_discussion_shows_at_once(browser: Browser, concert: Event, database: Database) -> None:
    await browser.look(PAGE)
    assert "comment-form" in browser.page
    async with database.saving() as session:
        (await session.get_one(Thread, concert.thread_id)).is_open = False
    await browser.look(PAGE)
    assert "This discussion is closed." in browser.page
    assert "comment-form" not in browser.page
    response = await browser.send(f"{PAGE}/comments", {"name": "Ada", "text": "Too late"})
    assert response.status == 409


async def test_renamed_event_is_gone_from_its_old_address_at_once(
    browser: Browser, concert: Event, database: Database
) -> None:
    for path in (PAGE, f"{PAGE}/comments.json"):
        await browser.look(path)
    async with database.saving() as session:
        (await session.get_one(Event, concert.id)).slug = "strings"
    for path in (PAGE, f"{PAGE}/comments.json", f"{PAGE}/about"):
        assert (await browser.look(path)).status == 404
    assert (await browser.look("/events/strings")).status == 200


async def test_user_gets_a_page_of_his_own_and_nobody_else_gets_it(
    manager: Browser, new_browser: Callable[[], Awaitable[Browser]], concert: Event
) -> None:
    stranger = await new_browser()
    for path, words in (("/", "Sign out"), (PAGE, "Edit this event"), (f"{PAGE}/about", "Edit this event")):
        assert how(await manager.look(path)) == OWN
        assert words in manager.page
        await stranger.look(path)
        assert words not in stranger.page
        assert "csrf_token" not in stranger.page
        assert how(await stranger.look(path)) == HIT
        await manager.look(path)
        assert words in manager.page


async def test_page_of_a_stranger_sets_no_cookie(browser: Browser, concert: Event) -> None:
    for path in [*ALL, "/login"]:
        assert "Set-Cookie" not in (await browser.look(path)).headers


async def test_what_one_visitor_asked_for_is_shown_to_no_other(browser: Browser, calendar: Calendar) -> None:
    await calendar.category("Music")
    await browser.look("/events?from=a-private-letter&category=music")
    assert how(await browser.look("/events?category=music")) == HIT
    assert "private" not in browser.page
    assert 'data-source="/events?category=music"' in browser.page


async def test_not_found_is_not_kept(browser: Browser, calendar: Calendar) -> None:
    assert (await browser.look("/events/brass-on-the-quay")).status == 404
    await calendar.event("Brass on the Quay", await calendar.category("Music"))
    assert (await browser.look("/events/brass-on-the-quay")).status == 200


class TestOwnWrite:
    """A worker that has not heard of a save gave its author the page from before it."""

    async def post(self, browser: Browser) -> None:
        await browser.look(PAGE)
        response = await browser.submit(f"{PAGE}/comments", {"name": "Ada", "text": "My words"})
        assert response.status == 303

    async def test_author_sees_it_at_a_worker_that_has_not_heard(
        self, browser: Browser, new_browser: Callable[[], Awaitable[Browser]], concert: Event, heard: Heard
    ) -> None:
        await browser.look(PAGE)
        heard.wait(f"comments-{concert.thread_id}")
        await self.post(browser)
        for path in (PAGE, f"{PAGE}/comments.json"):
            assert how(await browser.look(path)) != HIT
            assert "My words" in browser.page

    async def test_others_are_not_made_to_wait_for_it(
        self, browser: Browser, new_browser: Callable[[], Awaitable[Browser]], concert: Event, heard: Heard
    ) -> None:
        stranger = await new_browser()
        await stranger.look(PAGE)
        heard.wait(f"comments-{concert.thread_id}")
        await self.post(browser)
        assert how(await stranger.look(PAGE)) == HIT

    async def test_worker_that_has_heard_gives_the_author_what_it_keeps(self, browser: Browser, concert: Event) -> None:
        await self.post(browser)
        for expected in (MADE, HIT):
            assert how(await browser.look(f"{PAGE}/comments.json")) == expected
            assert "My words" in browser.page

    async def test_author_sees_it_while_nobody_can_be_told(
        self, browser: Browser, concert: Event, publisher: RecordingPublisher
    ) -> None:
        await browser.look(PAGE)
        publisher.error = BrokerUnavailable("no hub")
        await self.post(browser)
        publisher.error = None
        # The worker hears again, and of this save it has not heard yet.
        for path, expected in ((f"{PAGE}/comments.json", MADE), (PAGE, OWN)) * 2:
            assert how(await browser.look(path)) == expected
            assert "My words" in browser.page

    async def test_author_may_edit_it_on_a_page_of_their_own(self, browser: Browser, concert: Event) -> None:
        await self.post(browser)
        assert how(await browser.look(PAGE)) == OWN
        assert "My words" in browser.page

    async def test_reader_whose_script_has_heard_of_it_sees_it(
        self, browser: Browser, concert: Event, heard: Heard, database: Database
    ) -> None:
        """The hint came through one worker, and the fetch went to another, which gave the list from before it."""
        path, channel = f"{PAGE}/comments.json", f"comments-{concert.thread_id}"
        await browser.fetch(path)
        heard.wait(channel)
        async with database.saving() as session:
            session.add(Comment(thread_id=concert.thread_id, name="Ada", text="New words"))
        at = heard._publisher._top(f"/{channel}")
        assert "New words" not in await (await browser.fetch(path)).text()
        assert "New words" in await (await browser.fetch(path, headers={"Hub-Heard": f"{channel}:{at}"})).text()

    @pytest.mark.parametrize("said", ["", "|", "x", "comments-1:", "comments-1:x", "%:e.1", "a:" * 2000, "*", "é:1"])
    async def test_nonsense_in_the_cookie_or_header_gives_the_page_all_the_same(
        self, browser: Browser, concert: Event, said: str
    ) -> None:
        await browser.look(PAGE)
        for headers in ({"Hub-Heard": said.encode().decode("latin-1")}, {"Cookie": f"wrote={said}"}):
            assert (await browser.look(PAGE, headers=headers)).status == 200
            assert "Brass on the Quay" in browser.page


class TestForms:
    async def test_each_browser_gets_the_form_it_likes_best(self, browser: Browser, concert: Event) -> None:
        plain = await (await browser.client.get(PAGE, headers={"Accept-Encoding": "identity"})).read()
        found = {}
        for accept in ("gzip, deflate, br, zstd", "gzip"):
            response = await browser.client.get(PAGE, headers={"Accept-Encoding": accept})
            found[response.headers["Content-Encoding"]] = response.headers["ETag"]
            # Unpacked by the client.
            assert await response.read() == plain
            assert "Accept-Encoding" in response.headers["Vary"]
        assert sorted(found) == ["br", "gzip"]
        assert len(set(found.values())) == 2

    @pytest.mark.parametrize("accept", ["identity", "gzip", "br"])
    async def test_browser_that_has_it_is_sent_nothing(self, browser: Browser, concert: Event, accept: str) -> None:
        first = await browser.look(PAGE, headers={"Accept-Encoding": accept})
        again = await browser.look(PAGE, headers={"Accept-Encoding": accept, "If-None-Match": first.headers["ETag"]})
        assert (again.status, browser.page) == (304, "")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Content-Security-Policy"]

    async def test_page_of_a_user_is_not_packed(self, manager: Browser, concert: Event) -> None:
        """Its token could be guessed by the length of what is packed with it."""
        assert "Content-Encoding" not in (await manager.look(PAGE)).headers

    async def test_packed_forms_count(self, browser: Browser, concert: Event) -> None:
        await browser.look(PAGE, headers={"Accept-Encoding": "identity"})
        before = kept_of(browser).bytes
        await browser.look(PAGE, headers={"Accept-Encoding": "br"})
        assert kept_of(browser).bytes > before


class TestAway:
    async def test_page_that_stands_is_given_while_the_database_is_away_and_others_are_503(
        self, browser: Browser, concert: Event, database: Database
    ) -> None:
        await browser.look("/")

        def refuse(*_: object) -> None:
            raise OperationalError("select", {}, Exception("server closed the connection"))

        engine = database.engine.sync_engine
        sqlalchemy_event.listen(engine, "before_cursor_execute", refuse)
        try:
            assert how(await browser.look("/")) == HIT
            response = await browser.look(PAGE)
            assert (response.status, response.headers["Retry-After"]) == (503, "5")
        finally:
            sqlalchemy_event.remove(engine, "before_cursor_execute", refuse)
        assert (await browser.look(PAGE)).status == 200

    async def test_who_does_not_hear_the_log_shows_what_the_database_has(
        self, browser: Browser, concert: Event, heard: Heard, database: Database
    ) -> None:
        await browser.look(PAGE)
        heard.deaf = True
        async with database.saving() as session:
            session.add(Comment(thread_id=concert.thread_id, name="Ada", text="New words"))
        assert how(await browser.look(PAGE)) == UNKEPT
        assert "New words" in browser.page


async def test_metrics_count_how_answers_came_about(browser: Browser, manager: Browser, concert: Event) -> None:
    kept = kept_of(browser)
    kept.counts.clear()
    kept.clear()
    await browser.look(PAGE)
    await browser.look(PAGE)
    await manager.look(PAGE)
    samples = {
        (sample.name, sample.labels.get("how")): sample.value
        for metric in await metrics_of(kept)
        for sample in metric.samples
    }
    assert [samples["site_pages_total", name] for name in ("hit", "shared", "made", "own")] == [1, 0, 1, 1]
    assert samples["site_pages_kept", None] == 1
    assert samples["site_pages_kept_bytes", None] > 1000


async def test_pages_are_kept_with_the_followers_of_a_hub(
    settings: Settings, database: Database, concert: Event
) -> None:
    """`Followers` has a length, which is 0 while nobody follows: the site took it for nothing, and kept no page."""
    hub = Hub(HubSettings())
    app = create_app(settings, hub.publisher, database=database, tops=hub.followers)
    hub.setup(app)
    async with running(app, hub) as url, ClientSession() as client:
        for expected in (MADE, HIT):
            async with client.get(url + PAGE) as response:
                assert how(response) == expected


async def test_page_that_is_given_again_without_aiohttp_is_never_older_than_what_was_told(
    settings: Settings, concert: Event
) -> None:
    """From the third on, a question in the same bytes is answered from the connection's own protocol."""
    hub = Hub(HubSettings())
    app = create_app(settings, hub.publisher, tops=hub.followers)
    hub.setup(app)
    database, given = app[keys.database], hub.door.repeats
    async with running(app, hub) as url, ClientSession() as client:

        async def look(path: str, **headers: str) -> str:
            async with client.get(url + path, headers=headers) as response:
                return how(response) if response.status == 200 else str(response.status)

        assert [await look(path) for path in (PAGE, PAGE, PAGE, PAGE)] == [MADE, HIT, HIT, HIT]
        assert (given.given, app[pages].counts["hit"]) == (2, 3)
        async with client.get(url + PAGE) as response:
            tag = response.headers["ETag"]
        for _ in range(3):
            assert await look(PAGE, **{"If-None-Match": tag}) == "304"
        assert given.given == 5
        # Who has a cookie may be somebody.
        assert await look(PAGE, Cookie="theme=dark") == HIT
        assert await look(PAGE, Cookie="theme=dark") == HIT
        assert given.given == 5
        for number in range(20):
            async with database.saving() as session:
                session.add(Comment(thread_id=concert.thread_id, name="Ada", text=f"New words {number}"))
            await database.notifier.flush(5)
            async with asyncio.timeout(5):
                while True:
                    async with client.get(url + PAGE) as response:
                        if f"New words {number}" in await response.text():
                            break
            # Once it was on a page, it is on all.
            for _ in range(3):
                async with client.get(url + PAGE) as response:
                    assert f"New words {number}" in await response.text()
