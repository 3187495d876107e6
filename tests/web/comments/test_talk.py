"""Comments and replies, as they are written, changed and read without JavaScript."""

from __future__ import annotations

import asyncio
import itertools
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as events
from talking import JSON, PAGE, POST, Writer, comments, fill, listed, set_columns
from visiting import Calendar

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.db.tables import now
from web.features.comments.models import Comment, Status, Thread
from web.features.comments.queries import SHOWN
from web.features.events.models import Category, Event


def told(publisher: RecordingPublisher) -> list[dict[str, Any]]:
    """What the thread's channel was told since the last time."""
    found = [data for channel, data in publisher.published if re.fullmatch(r"comments-\d+", channel)]
    publisher.clear()
    return found


async def test_replies_stand_below_what_they_answer_in_two_levels(ada: Writer, bo: Writer, database: Database) -> None:
    first = await ada.say("First")
    second = await bo.say("Second")
    reply = await bo.say("Reply", first)
    answer = await ada.say("Answer to the reply", reply)
    assert await listed(ada.browser) == [(second, None), (first, None), (reply, first), (answer, first)]
    assert await listed(ada.browser, "?order=oldest") == [
        (first, None),
        (reply, first),
        (answer, first),
        (second, None),
    ]
    [*_, last] = await comments(database)
    assert (last.parent_id, last.answers_id) == (first, reply)
    await bo.browser.look(PAGE)
    assert f'<a href="#comment-{reply}"><bdi>Bo</bdi></a>' in bo.browser.page
    assert '<ol class="replies" aria-label="Replies to Ada">' in bo.browser.page


async def test_markdown_is_rendered_once_at_the_save(ada: Writer, database: Database) -> None:
    await ada.say("**Loud** `code` <b>no</b>\n\n> so\n\n[x](javascript:alert(1)) https://example.org")
    [comment] = await comments(database)
    assert comment.html.startswith("<p><strong>Loud</strong> <code>code</code> &lt;b&gt;no&lt;/b&gt;</p>")
    assert "<blockquote>" in comment.html
    assert 'href="javascript' not in comment.html
    assert 'rel="nofollow ugc noopener noreferrer"' in comment.html
    await ada.browser.look(PAGE)
    assert comment.html in ada.browser.page


async def test_a_comment_travels_whole_in_its_publication(
    ada: Writer, publisher: RecordingPublisher, database: Database
) -> None:
    number = await ada.say("**Hello**")
    [data] = told(publisher)
    assert data["comment"] == {
        "id": number,
        "parent": None,
        "answers": None,
        "edition": 1,
        "name": "Ada",
        "html": "<p><strong>Hello</strong></p>\n",
        "posted_at": (await (await ada.browser.fetch(JSON)).json())["comments"][0]["posted_at"],
    }
    assert data["count"] == 1


async def test_an_edit_and_a_deletion_travel_too(
    ada: Writer, publisher: RecordingPublisher, database: Database
) -> None:
    number = await ada.say("Helo")
    publisher.clear()
    response = await ada.edit(number, "Hello")
    assert (response.status, response.headers["Location"]) == (303, f"/comments/{number}")
    [data] = told(publisher)
    assert (data["comment"]["edition"], data["comment"]["html"]) == (2, "<p>Hello</p>\n")
    assert data["comment"]["edited_at"]
    await ada.browser.look(PAGE)
    assert ">edited</span>" in ada.browser.page
    assert (await ada.delete(number)).status == 303
    [data] = told(publisher)
    assert (data["gone"], data["edition"], data["replies"], data["count"]) == (number, 3, 0, 0)
    assert await listed(ada.browser) == []


async def test_a_deleted_comment_keeps_its_place_while_it_has_replies(
    ada: Writer, bo: Writer, publisher: RecordingPublisher
) -> None:
    first = await ada.say("A secret")
    reply = await bo.say("I know", first)
    publisher.clear()
    await ada.delete(first)
    [data] = told(publisher)
    assert (data["gone"], data["replies"], data["count"]) == (first, 1, 1)
    await bo.browser.look(PAGE)
    assert "A secret" not in bo.browser.page
    assert "This comment was taken away. What answers it is below." in bo.browser.page
    answer = await (await bo.browser.fetch(JSON)).json()
    assert answer["comments"][0] == {"id": first, "parent": None, "edition": 2, "gone": True}
    await bo.delete(reply)
    assert [(each["gone"], each["replies"]) for each in told(publisher)] == [(reply, 0), (first, 0)]
    assert await listed(bo.browser) == []


async def test_the_writer_finds_a_way_to_edit_on_the_page_and_others_do_not(ada: Writer, bo: Writer) -> None:
    number = await ada.say("Mine")
    await ada.browser.look(PAGE)
    assert f'href="/comments/{number}/edit"' in ada.browser.page
    await bo.say("Mine too")
    await bo.browser.look(PAGE)
    assert f'href="/comments/{number}/edit"' not in bo.browser.page


async def test_nobody_else_edits_and_nobody_after_the_window(ada: Writer, bo: Writer, database: Database) -> None:
    number = await ada.say("Mine")
    await bo.say("Other")
    for stranger in (bo, Writer(bo.browser)):
        response = await stranger.send(f"/comments/{number}/edit", text="Yours")
        assert response.status == 403
        assert "Only who wrote a comment may change it" in (await response.json())["error"]
    bo.browser.client.session.cookie_jar.update_cookies({"visitor": "eyJhbGciOiJub25lIn0.eyJ2aWQiOiJ4In0."})
    assert (await bo.send(f"/comments/{number}/delete")).status == 403
    await set_columns(database, number, posted_at=now() - timedelta(minutes=11))
    response = await ada.browser.send(f"/comments/{number}/edit", {"text": "Second thoughts"})
    assert response.status == 403
    assert "may be changed for 10 minutes, and they are over" in ada.browser.page
    # Nothing is lost of what was typed.
    assert "Second thoughts" in ada.browser.page
    assert (await comments(database))[0].text == "Mine"


async def test_an_edit_that_will_not_do_comes_back_with_the_reason(ada: Writer) -> None:
    number = await ada.say("Mine")
    response = await ada.edit(number, "*" * 1500)
    assert response.status == 422
    assert "at most 1,000 signs of Markdown" in ada.browser.page
    assert "*" * 1500 in ada.browser.page
    assert (await ada.send(f"/comments/{number}/edit", text=" ")).status == 422


async def test_what_is_sent_twice_is_one_comment(ada: Writer, database: Database) -> None:
    await ada.browser.look(PAGE)
    fields = {"name": "Ada", "text": "Hello"}
    page = ada.browser.page
    first = await ada.browser.submit(POST, fields)
    ada.browser.page = page
    second = await ada.browser.submit(POST, fields)
    assert first.headers["Location"] == second.headers["Location"]
    # The same form with other words is another comment.
    ada.browser.page = page
    assert (await ada.browser.submit(POST, {"name": "Ada", "text": "Hello again"})).status == 303
    assert [each.text for each in await comments(database)] == ["Hello", "Hello again"]


async def test_what_is_sent_twice_at_once_is_one_comment(ada: Writer, database: Database) -> None:
    fields = {"name": "Ada", "text": "Hello", "key": "own-0123456789abcdef"}
    answers = await asyncio.gather(*(ada.send(POST, **fields) for _ in range(4)))
    assert {response.status for response in answers} == {201}
    assert len({(await response.json())["comment"]["id"] for response in answers}) == 1
    assert len(await comments(database)) == 1


async def test_a_reply_to_a_deleted_comment_is_refused_and_kept(ada: Writer, bo: Writer, database: Database) -> None:
    number = await ada.say("First")
    await bo.browser.look(f"/comments/{number}/reply")
    page = bo.browser.page
    await ada.delete(number)
    bo.browser.page = page
    response = await bo.browser.submit(POST, {"name": "Bo", "text": "I wanted to say"})
    assert response.status == 409
    assert "What you answer is not there any more" in bo.browser.page
    assert "I wanted to say" in bo.browser.page
    assert (await bo.browser.look(f"/comments/{number}/reply")).status == 404
    assert (await bo.send(POST, name="Bo", text="x", parent="999999")).status == 409
    assert len(await comments(database)) == 1


async def test_a_reply_to_another_threads_comment_is_refused(ada: Writer, calendar: Calendar, music: Category) -> None:
    number = await ada.say("Here")
    await calendar.event("Another", music)
    assert (await ada.send("/events/another/comments", name="Ada", text="There", parent=str(number))).status == 409


async def test_a_closed_thread_refuses_and_keeps_what_was_typed(
    ada: Writer, database: Database, concert: Event
) -> None:
    await ada.browser.look(PAGE)
    page = ada.browser.page
    async with database.saving() as session:
        (await session.get_one(Thread, concert.thread_id)).is_open = False
    ada.browser.page = page
    assert (await ada.browser.submit(POST, {"name": "Ada", "text": "Too late"})).status == 409
    assert "This discussion is closed." in ada.browser.page
    assert "Too late" in ada.browser.page
    answer = await ada.send(POST, name="Ada", text="Too late")
    assert (answer.status, (await answer.json())["error"]) == (409, "This discussion is closed.")


async def test_a_thread_that_is_gone_shows_what_was_typed(ada: Writer, database: Database, concert: Event) -> None:
    await ada.browser.look(PAGE)
    page = ada.browser.page
    async with database.saving() as session:
        await session.delete(await session.get_one(Event, concert.id))
    ada.browser.page = page
    assert (await ada.browser.submit(POST, {"name": "Ada", "text": "Where is it?"})).status == 404
    assert "Where is it?" in ada.browser.page
    assert (await ada.send(POST, name="Ada", text="x")).status == 404


async def test_a_closed_thread_still_lets_writers_edit(ada: Writer, database: Database, concert: Event) -> None:
    number = await ada.say("Helo")
    async with database.saving() as session:
        (await session.get_one(Thread, concert.thread_id)).is_open = False
    assert (await ada.edit(number, "Hello")).status == 303


async def test_names_turn_nothing_round(ada: Writer, database: Database) -> None:
    await ada.say("Hello", name="\u202eadA\u200b \u2066x\u2069")
    [comment] = await comments(database)
    assert comment.name == "adA x"
    await ada.browser.look(PAGE)
    assert "<bdi>adA x</bdi>" in ada.browser.page
    assert (await ada.post("Hello", name="\u202e\u200b")).status == 422


async def test_a_held_comment_is_seen_by_its_writer_only_and_nothing_is_told(
    ada: Writer, bo: Writer, database: Database, publisher: RecordingPublisher
) -> None:
    number = await ada.say("Held words")
    await set_columns(database, number, status=Status.HELD)
    publisher.clear()
    async with database.saving() as session:
        (await session.get_one(Comment, number)).text = "Still held words"
    assert [(channel, data) for channel, data in publisher.published] == [("comment-queue", True)]
    await ada.browser.look(PAGE)
    assert "Held words" in ada.browser.page
    assert "Waits for a moderator. Only you see it." in ada.browser.page
    await bo.say("Other")
    await bo.browser.look(PAGE)
    assert "Held words" not in bo.browser.page
    assert number not in [each for each, _ in await listed(ada.browser)]
    assert (await bo.browser.look(f"/comments/{number}", allow_redirects=False)).status == 404
    assert (await bo.browser.look(f"/comments/{number}/reply")).status == 404


async def pages(writer: Writer, query: str = "") -> list[list[int]]:
    found = []
    path: str | None = JSON + query
    while path:
        answer = await (await writer.browser.fetch(path)).json()
        found.append([each["id"] for each in answer["comments"]])
        path = answer["older"]
    return found


@pytest.mark.parametrize("query", ["", "?order=oldest"])
async def test_pages_have_everything_once_and_stay_put(
    ada: Writer, database: Database, concert: Event, query: str
) -> None:
    await fill(database, concert, 250)
    before = await pages(ada, query)
    assert [len(page) for page in before] == [SHOWN, SHOWN, 50]
    assert sorted(itertools.chain(*before)) == list(range(1, 251))
    second = (await (await ada.browser.fetch(JSON + query)).json())["older"]
    await ada.say("New")
    answer = await (await ada.browser.fetch(second)).json()
    # Newest first, what is new comes before: the second page begins where it began.
    assert [each["id"] for each in answer["comments"]] == before[1]


async def test_a_permanent_link_leads_to_the_page_that_has_it(ada: Writer, database: Database, concert: Event) -> None:
    await fill(database, concert, 250)
    for number in (1, 2, 77, 100, 149, 250):
        response = await ada.browser.look(f"/comments/{number}")
        assert response.status == 200
        assert f'id="comment-{number}"' in ada.browser.page
    for number in (251, 999):
        assert (await ada.browser.look(f"/comments/{number}")).status == 404


async def test_a_page_in_the_midst_of_replies_says_so(ada: Writer, database: Database, concert: Event) -> None:
    root = await ada.say("Root")
    async with database.saving() as session:
        for number in range(SHOWN + 20):
            session.add(Comment(thread_id=concert.thread_id, name="Bo", text=str(number), parent_id=root))
    first, second = await pages(ada)
    assert (len(first), len(second)) == (SHOWN, 21)
    await ada.browser.look((await (await ada.browser.fetch(JSON)).json())["older"].replace("/comments.json", ""))
    assert (
        f'More answers to <a href="/comments/{root}" rel="nofollow">a comment</a> on the page before.'
        in ada.browser.page
    )


async def test_a_page_of_a_thread_costs_few_statements(ada: Writer, database: Database, concert: Event) -> None:
    await fill(database, concert, 250)
    statements: list[str] = []
    note = lambda *given: statements.append(given[2])  # noqa: E731
    events.listen(database.engine.sync_engine, "before_cursor_execute", note)
    await ada.browser.look(PAGE + "?order=oldest&start=100-100")
    events.remove(database.engine.sync_engine, "before_cursor_execute", note)
    assert len([each for each in statements if each != "begin"]) <= 8
