"""Verdicts, the moderators' queue and the links of their mails."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select
from talking import JSON, PAGE, POST, Writer, comments, listed, records
from visiting import Browser, Forms

from hub.publisher import RecordingPublisher
from web.app import read_settings
from web.db.database import Database
from web.features.comments import spam
from web.features.comments.models import Status, Thread, Word
from web.features.comments.seals import Seals
from web.features.events.models import Event
from web.settings import Settings

SPAM = (
    "Best online casino! Free spins, no deposit bonus, slots and roulette, place your bets:"
    " https://casino.bet/win https://slots.xyz/now daftar situs judi"
)
DOUBTFUL = "Great post, thanks for sharing! https://my-shop.example.info/"


@pytest.fixture
def settings(site_url: str) -> Settings:
    """A site that judges."""
    return read_settings(
        {"DATABASE_URL": site_url, "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==", "JOBS_SERVE": "false"}
    )


async def say(writer: Writer, text: str) -> int:
    """As a script, whose forms have no age."""
    response = await writer.send(POST, name=writer.name, text=text)
    return response.status


async def act(manager: Browser, number: int, act: str, show: str = "held") -> int:
    path = f"/manage/comments?show={show}" if show != "held" else "/manage/comments"
    assert (await manager.look(path)).status == 200
    hidden = next(iter(Forms.of(manager.page).values()))
    return (await manager.send(f"/manage/comments/{number}", hidden | {"act": act})).status


async def statuses(database: Database) -> list[Status]:
    return [each.status for each in await comments(database)]


async def test_spam_is_refused_with_its_reasons_and_nothing_is_told(
    ada: Writer, database: Database, publisher: RecordingPublisher
) -> None:
    response = await ada.browser.send(POST, {"name": "Ada", "text": SPAM})
    assert response.status == 422
    assert "This was not taken, as it looks like spam." in ada.browser.page
    assert "It speaks of gambling" in ada.browser.page
    # Nothing is lost of what was typed.
    assert "Best online casino!" in ada.browser.page
    assert await statuses(database) == [Status.REFUSED]
    [record] = await records(database)
    assert record.decision == "refuse"
    assert record.weight >= 12
    assert "gambling" in record.reasons
    assert {channel for channel, _ in publisher.published} == {"comment-queue"}


async def test_a_comment_is_judged_beside_the_loop(ada: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty long texts, each to be compared with, kept all others waiting for 40 ms."""
    threads = []

    def judge(sent: spam.Sent, learned: spam.Learned | None = None) -> spam.Verdict:
        threads.append(threading.current_thread())
        return spam.Verdict("publish", 0.0, ())

    monkeypatch.setattr(spam, "judge", judge)
    assert await say(ada, "Hello") == 201
    assert threads
    assert threading.main_thread() not in threads


async def test_a_filled_hidden_field_is_refused(ada: Writer, database: Database) -> None:
    await ada.browser.look(PAGE)
    assert (await ada.browser.submit(POST, {"name": "Ada", "text": "Hello", "website": "x"})).status == 422
    assert "A field that people don&#39;t see was filled in." in ada.browser.page
    assert await statuses(database) == [Status.REFUSED]


async def test_a_form_that_comes_at_once_is_held(ada: Writer, database: Database) -> None:
    assert (await ada.post("Hello there")).status == 303
    assert await statuses(database) == [Status.HELD]
    [record] = await records(database)
    assert "seconds after its page was made." in record.reasons


async def test_a_held_comment_waits_in_the_queue_until_it_is_approved(
    ada: Writer, manager: Browser, database: Database, publisher: RecordingPublisher
) -> None:
    assert await say(ada, DOUBTFUL) == 201
    assert await statuses(database) == [Status.HELD]
    await manager.look("/manage/comments")
    assert "Held by the checks" in manager.page
    assert "It praises in words that fit any page" in manager.page
    assert await listed(ada.browser) == []
    publisher.clear()
    assert await act(manager, 1, "approve") == 303
    assert await statuses(database) == [Status.PUBLISHED]
    channels = [channel for channel, _ in publisher.published]
    assert len([each for each in channels if each.startswith("comments-")]) == 1
    assert "comment-queue" in channels
    assert await listed(ada.browser) == [(1, None)]


async def test_a_verdict_can_be_turned_round_and_is_learned_from(
    ada: Writer, manager: Browser, database: Database
) -> None:
    assert await say(ada, "Wibble wobble words") == 201

    async def learned() -> dict[str, tuple[int, int]]:
        async with database.reading() as session:
            return {row.word: (row.spam, row.good) for row in await session.scalars(select(Word))}

    assert await act(manager, 1, "spam", "published") == 303
    assert await statuses(database) == [Status.SPAM]
    assert (await learned())["wibble"] == (1, 0)
    assert await act(manager, 1, "approve", "spam") == 303
    assert await statuses(database) == [Status.PUBLISHED]
    assert await learned() == dict.fromkeys(("", "ada", "wibble", "wobble", "words"), (0, 1))
    assert await act(manager, 1, "delete", "published") == 303
    assert await statuses(database) == [Status.DELETED]
    assert (await learned())["wibble"] == (0, 1)


async def test_what_was_learned_speaks_in_the_next_verdict(ada: Writer, manager: Browser, database: Database) -> None:
    for number in range(6):
        await say(ada, f"Gadget wholesale dispatch number{number} from our depot")
        await say(ada, f"I read chapter{number} twice and the harbour was lovely")
    for number in range(1, 13, 2):
        await act(manager, number, "spam", "published")
        await act(manager, number + 1, "approve", "published")
    await say(ada, "Gadget wholesale dispatch again from our depot today")
    record = (await records(database))[-1]
    assert "Its words were in comments that moderators called spam" in record.reasons


async def test_who_is_blocked_is_refused_until_that_is_taken_back(
    ada: Writer, bo: Writer, manager: Browser, database: Database
) -> None:
    assert await say(ada, "Rude words") == 201
    assert await act(manager, 1, "block-visitor", "published") == 303
    assert await say(ada, "More of them") == 422
    assert await say(bo, "Hello") == 201
    await manager.look("/manage/comments?show=refused")
    assert "A moderator has blocked this visitor." in manager.page
    # What no row can have was a 500 on PostgreSQL.
    assert (await manager.submit("/manage/comments/unblock", {"who": "a\0b"})).status == 303
    await manager.look("/manage/comments?show=refused")
    assert (await manager.submit("/manage/comments/unblock", {})).status == 303
    assert await say(ada, "I am sorry") == 201


async def test_a_thread_is_closed_and_opened_from_the_queue(
    ada: Writer, manager: Browser, database: Database, concert: Event, publisher: RecordingPublisher
) -> None:
    assert await say(ada, "Hello") == 201
    publisher.clear()
    assert await act(manager, 1, "close", "published") == 303
    assert [data["open"] for channel, data in publisher.published if channel.startswith("comments-")] == [False]
    assert await say(ada, "Late") == 409
    assert await act(manager, 1, "reopen", "published") == 303
    async with database.reading() as session:
        assert (await session.get_one(Thread, concert.thread_id)).is_open


async def test_a_mails_link_shows_and_only_its_form_acts(ada: Writer, bo: Writer, database: Database) -> None:
    assert await say(ada, DOUBTFUL) == 201
    seals = Seals(b"sixteen bytes at least")
    path = "/comments/moderate/" + seals.link("moderate", 1, "approve")
    browser = bo.browser
    assert (await browser.look(path)).status == 200
    assert "Publish this comment" in browser.page
    assert await statuses(database) == [Status.HELD]
    assert (await browser.submit(path, {})).status == 200
    assert await statuses(database) == [Status.PUBLISHED]
    for link in (
        seals.link("moderate", 1, "spam")[:-1] + "0",
        seals.link("moderate", 2, "approve"),
        seals.link("other", 1, "approve"),
        seals.link("moderate", 1, "close"),
        "x" * 200,
    ):
        assert (await browser.look(f"/comments/moderate/{link}")).status == 404, link
        assert (await browser.send(f"/comments/moderate/{link}", {})).status == 404, link
    assert await statuses(database) == [Status.PUBLISHED]


async def test_nobody_but_managers_sees_the_queue(ada: Writer, database: Database) -> None:
    assert await say(ada, DOUBTFUL) == 201
    assert (await ada.send("/manage/comments/1", act="approve")).status == 401
    assert (await ada.browser.look("/manage/comments", allow_redirects=False)).status == 303
    assert (await ada.browser.fetch(JSON)).status == 200
    assert await statuses(database) == [Status.HELD]


async def test_an_act_that_there_is_not_and_a_comment_that_is_gone(manager: Browser, ada: Writer) -> None:
    assert await say(ada, DOUBTFUL) == 201
    await manager.look("/manage/comments")
    page = manager.page
    assert (await manager.submit("/manage/comments/1", {"act": "explode"})).status == 400
    manager.page = page
    token = await manager.token()
    fields = {"act": "approve", "csrf_token": token}
    assert (await manager.send("/manage/comments/99", fields)).status == 404
