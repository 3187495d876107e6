"""An event's page and its comments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select
from visiting import Browser, Calendar

from hub.errors import BrokerUnavailable
from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.features.comments.models import MAX_COMMENT, MAX_NAME, Comment
from web.features.events.models import Event
from web.pages import keys

PAGE = "/events/brass-on-the-quay"
POST = PAGE + "/comments"
JSON = PAGE + "/comments.json"


@pytest.fixture(autouse=True)
async def _an_event(concert: Event) -> None:
    """Every test here looks at one."""


async def comments(database: Database) -> list[Comment]:
    async with database.reading() as session:
        return list(await session.scalars(select(Comment).order_by(Comment.id)))


async def post(browser: Browser, headers: dict[str, str] | None = None, **fields: str) -> int:
    await browser.look(PAGE)
    return (await browser.submit(POST, {"name": "Ada", "text": "Hello"} | fields, headers=headers or {})).status


async def test_the_page_reads_without_javascript(browser: Browser, calendar: Calendar, concert: Event) -> None:
    await calendar.comments(concert, 2)
    assert (await browser.look(PAGE)).status == 200
    assert '<span class="status" data-status="scheduled">Scheduled</span>' in browser.page
    assert "Three bands." in browser.page
    assert browser.page.index("Number 2.") < browser.page.index("Number 1.")


async def test_a_comment_is_posted_without_javascript(browser: Browser, database: Database) -> None:
    await browser.look(PAGE)
    response = await browser.submit(POST, {"name": " Ada ", "text": "Hello\r\nthere\n"})
    (comment,) = await comments(database)
    assert (response.status, response.headers["Location"]) == (303, f"{PAGE}#comment-{comment.id}")
    assert (comment.name, comment.text) == ("Ada", "Hello\nthere")


async def test_a_posted_comment_tells_the_event_channel_once(
    browser: Browser, publisher: RecordingPublisher, database: Database, concert: Event
) -> None:
    assert await post(browser) == 303
    (comment,) = await comments(database)
    [(channel, data), (_, counts)] = publisher.published
    assert (channel, data["comment"]["id"], data["count"]) == (f"comments-{concert.id}", comment.id, 1)
    assert (counts["thread"], counts["count"]) == (concert.thread_id, 1)


async def test_a_comment_is_posted_while_the_hub_is_away(
    browser: Browser, publisher: RecordingPublisher, database: Database
) -> None:
    publisher.error = BrokerUnavailable("no hub")
    assert await post(browser) == 303
    assert len(await comments(database)) == 1


async def test_a_script_gets_the_comment_it_posted(browser: Browser) -> None:
    response = await browser.client.post(
        POST, json={"name": "Ada", "text": "Hé"}, headers={"Origin": browser.origin, "Accept": "application/json"}
    )
    assert response.status == 201
    comment = (await response.json())["comment"]
    assert (comment["name"], comment["text"]) == ("Ada", "Hé")
    assert (await (await browser.fetch(JSON)).json())["comments"] == [comment]


async def test_the_list_says_where_its_channel_stood_before_its_rows(
    browser: Browser, publisher: RecordingPublisher, concert: Event
) -> None:
    position = await publisher.publish(f"comments-{concert.id}", 1)
    answer = await (await browser.fetch(JSON)).json()
    assert (answer["channel"], answer["position"]) == (f"comments-{concert.id}", str(position))


async def test_a_comment_saved_while_the_list_is_read_is_told_after_its_position(
    browser: Browser, publisher: RecordingPublisher, concert: Event, database: Database
) -> None:
    """The position is read before the rows: else a comment between the two would be in neither."""
    saved: list[bool] = []
    read_position = publisher.position

    async def position(channel: str) -> str | None:
        before = await read_position(channel)
        if not saved:
            saved.append(True)
            async with database.saving() as session:
                session.add(Comment(thread_id=concert.thread_id, name="Bo", text="In between"))
        return before

    publisher.position = position  # type: ignore[method-assign]  # the fake's own method, slowed down
    answer = await (await browser.fetch(JSON)).json()
    assert [comment["text"] for comment in answer["comments"]] == ["In between"]
    assert answer["position"] != await read_position(f"comments-{concert.id}")


async def test_markup_in_a_comment_is_shown_not_obeyed(browser: Browser) -> None:
    await post(browser, name="<i>Ada</i>", text='<script>alert(1)</script> & "quotes" {{ 7*7 }}')
    await browser.look(PAGE)
    assert "<script>alert" not in browser.page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in browser.page
    assert "<i>Ada" not in browser.page
    assert "{{ 7*7 }}" in browser.page


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": ""}, "Write something first."),
        ({"text": " \n\t "}, "Write something first."),
        ({"name": ""}, "Say who you are"),
        ({"name": "\x00\x07"}, "Say who you are"),
        ({"text": "x" * (MAX_COMMENT + 1)}, f"at most {MAX_COMMENT} characters; this one has {MAX_COMMENT + 1}"),
        ({"name": "x" * (MAX_NAME + 1)}, f"at most {MAX_NAME} characters"),
    ],
)
async def test_a_comment_that_will_not_do_comes_back_with_the_reason(
    browser: Browser, database: Database, publisher: RecordingPublisher, fields: dict[str, str], message: str
) -> None:
    assert await post(browser, **fields) == 422
    assert message in browser.page
    assert 'aria-invalid="true"' in browser.page
    kept = {"name": "Ada", "text": "Hello"} | fields
    assert all(value in browser.page for value in kept.values() if value.isprintable())
    assert await comments(database) == []
    assert publisher.published == []


async def test_a_script_gets_the_reason_by_field(browser: Browser) -> None:
    response = await browser.send(POST, {"name": "Ada", "text": ""}, headers={"Accept": "application/json"})
    assert response.status == 422
    answer = await response.json()
    assert answer["fields"] == {"text": "Write something first."}
    assert answer["next"]


async def test_the_longest_comment_fits_in_any_script(browser: Browser, database: Database) -> None:
    text = "𝄞" * MAX_COMMENT
    assert await post(browser, text=text) == 303
    assert [comment.text for comment in await comments(database)] == [text]


async def test_control_characters_are_left_out(browser: Browser, database: Database) -> None:
    assert await post(browser, text="a\x00b\x1b[31mc") == 303
    assert [comment.text for comment in await comments(database)] == ["ab[31mc"]


async def test_older_comments_come_by_pages(browser: Browser, calendar: Calendar, concert: Event) -> None:
    await calendar.comments(concert, 103)
    first = await (await browser.fetch(JSON)).json()
    assert (len(first["comments"]), first["total"]) == (100, 103)
    second = await (await browser.fetch(first["older"])).json()
    assert [comment["text"] for comment in second["comments"]] == ["Number 3.", "Number 2.", "Number 1."]
    assert (second["total"], second["older"]) == (103, None)
    await browser.look(PAGE + "?start=" + first["older"].split("=")[1])
    assert "Number 3." in browser.page
    assert "Number 4." not in browser.page


async def test_too_many_comments_from_one_address_must_wait(
    new_browser: Callable[[], Awaitable[Browser]], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await new_browser()
    app = browser.client.server.app  # type: ignore[attr-defined]  # TestServer's, which BaseTestServer lacks
    limiter = next(part for key, part in app.items() if "comment limiter" in str(key))
    monkeypatch.setattr(limiter, "_count", 2)
    assert [await post(browser) for _ in range(3)] == [303, 303, 429]
    assert len(await comments(database)) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/events/nothing",
        "/events/nothing/comments.json",
        PAGE + "?start=x",
        JSON + "?start=99999999999-1",
        PAGE + "?order=best",
    ],
)
async def test_what_is_not_there_is_404_with_a_next_step(browser: Browser, path: str) -> None:
    response = await browser.look(path)
    assert response.status == 404
    assert "home page" in browser.page


async def test_a_list_is_one_query_for_the_rows(
    browser: Browser, calendar: Calendar, concert: Event, database: Database
) -> None:
    await calendar.comments(concert, 20)
    statements: list[str] = []
    listen = lambda *given: statements.append(given[2])  # noqa: E731
    sqlalchemy_event.listen(database.engine.sync_engine, "before_cursor_execute", listen)
    assert (await browser.fetch(JSON)).status == 200
    sqlalchemy_event.remove(database.engine.sync_engine, "before_cursor_execute", listen)
    assert (
        sum(
            "text FROM comments" in " ".join(statement.split()).replace("comments.edited_at", "text")
            for statement in statements
        )
        == 1
    )


async def test_behind_a_proxy_each_reader_has_their_own_address(
    new_browser: Callable[[], Awaitable[Browser]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind nginx with HUB_PROXIES=1 the site still took all its readers for one: SITE_PROXIES was another setting."""
    browser = await new_browser()
    app = browser.client.server.app  # type: ignore[attr-defined]  # TestServer's, which BaseTestServer lacks
    app[keys.proxies].count = 1
    limiter = next(part for key, part in app.items() if "comment limiter" in str(key))
    monkeypatch.setattr(limiter, "_count", 1)
    for line, status in (
        ("203.0.113.5", 303),
        ("203.0.113.6", 303),
        # What stands before the proxy's word is the reader's own, and a port is no other reader.
        ("203.0.113.7, 203.0.113.5", 429),
        ("203.0.113.6:4711", 429),
    ):
        assert await post(browser, headers={"X-Forwarded-For": line}) == status
