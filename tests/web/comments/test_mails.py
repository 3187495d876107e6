"""Mail of answers, and to moderators of what waits."""

from __future__ import annotations

import json
import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from talking import PAGE, POST, Writer, comments
from visiting import Browser

from web.app import read_settings
from web.db.database import Database
from web.db.tables import now
from web.features.comments.mails import DIGEST
from web.features.comments.models import Comment, Status, Subscription
from web.services.jobs import rows
from web.services.mail.messages import Mail
from web.settings import Settings

URL = "https://site.example"


@pytest.fixture
def settings(site_url: str, tmp_path: Path) -> Settings:
    return read_settings(
        {
            "DATABASE_URL": site_url,
            "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "JOBS_SERVE": "false",
            "HUB_VAR": str(tmp_path),
            "SITE_URL": URL,
            "SITE_COMMENT_MODERATORS": "mo@example.org",
        }
    )


@pytest.fixture(autouse=True)
def _as_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Browsers of tests ask by http, and send no cookie that is for https."""
    monkeypatch.setattr("web.pages.settings.PageSettings.is_https", False)
    monkeypatch.setattr("web.middleware.forgery.host_of", lambda request: request.headers.get("Host", ""))


@dataclass
class Doing:
    """A job at work, as its handler sees it."""

    app: Any
    database: Database
    data: Any

    def saving(self) -> AbstractAsyncContextManager[AsyncSession]:
        return self.database.saving()


async def mails(database: Database) -> list[Mail]:
    """What is to be sent, and was not looked at before."""
    kind = rows.table.c.kind == "mail"
    async with database.engine.execution_options(writing=True).begin() as connection:
        found = (await connection.execute(select(rows.table.c.data).where(kind).order_by(rows.table.c.id))).scalars()
        sent = [Mail.from_data(json.loads(each)) for each in found]
        await connection.execute(delete(rows.table).where(kind))
    return sent


async def digests(database: Database, browser: Browser) -> tuple[list[Mail], list[float]]:
    """Do the digests that are planned, whenever; the mails, and when the digests were due."""
    kind = rows.table.c.kind == DIGEST.name
    async with database.engine.execution_options(writing=True).begin() as connection:
        planned = (await connection.execute(select(rows.table.c.data, rows.table.c.due).where(kind))).all()
        await connection.execute(delete(rows.table).where(kind))
    app = browser.client.server.app  # type: ignore[attr-defined]  # TestServer's, which BaseTestServer lacks
    for data, _ in planned:
        await DIGEST.run(Doing(app, database, json.loads(data)))  # type: ignore[misc]  # of the loop, not a thread
    return await mails(database), [due for _, due in planned]


def link(mail: Mail, use: str) -> str:
    found = re.search(rf"{re.escape(URL)}(/comments/{use}/\S+)", mail.text)
    assert found is not None, mail.text
    return found[1]


async def say(writer: Writer, text: str, **fields: str) -> int:
    response = await writer.send(POST, name=writer.name, text=text, **fields)
    assert response.status == 201
    return int((await response.json())["comment"]["id"])


async def subscriptions(database: Database) -> list[Subscription]:
    async with database.reading() as session:
        return list(await session.scalars(select(Subscription)))


async def test_answers_are_mailed_only_after_the_address_was_confirmed_by_mail(
    ada: Writer, bo: Writer, database: Database
) -> None:
    first = await say(ada, "Who knows?", mail="ada@example.org")
    [question] = await mails(database)
    assert (question.to, question.subject) == ("ada@example.org", "Is this you? Answers on “Brass on the Quay”")
    await say(bo, "I do", parent=str(first))
    assert await digests(database, bo.browser) == ([], [])
    path = link(question, "mail")
    assert (await ada.browser.look(path)).status == 200
    [waits] = await subscriptions(database)
    assert waits.confirmed_at is None
    assert (await ada.browser.submit(path, {})).status == 200
    await say(bo, "Really, I do", parent=str(first))
    [digest], _ = await digests(database, bo.browser)
    assert (digest.to, digest.list_id) == ("ada@example.org", "comments")
    assert "> Really, I do" in digest.text
    # What was said before the address was confirmed is an answer, too.
    assert digest.subject == "2 answers on “Brass on the Quay”"


async def confirmed(writer: Writer, database: Database) -> int:
    """A comment whose writer gets answers."""
    number = await say(writer, "Who knows?", mail="ada@example.org")
    [question] = await mails(database)
    path = link(question, "mail")
    await writer.browser.look(path)
    await writer.browser.submit(path, {})
    return number


async def test_one_digest_an_hour_a_thread_has_all_answers(ada: Writer, bo: Writer, database: Database) -> None:
    first = await confirmed(ada, database)
    reply = await say(bo, "One", parent=str(first))
    await say(bo, "Two", parent=str(reply))
    [digest], [due] = await digests(database, bo.browser)
    assert digest.subject == "2 answers on “Brass on the Quay”"
    assert due <= now().timestamp()
    await say(bo, "Three", parent=str(first))
    await say(bo, "Four", parent=str(first))
    # One's own and what answers nobody are no answers.
    await say(ada, "Mine", parent=str(first), mail="ada@example.org")
    await say(bo, "Aside")
    [digest], [due] = await digests(database, bo.browser)
    assert ("> Three" in digest.text, "> Four" in digest.text, "> One" in digest.text) == (True, True, False)
    assert 3500 < due - now().timestamp() <= 3600


async def test_one_click_unsubscribes_without_a_session_and_a_look_does_not(
    ada: Writer, bo: Writer, database: Database
) -> None:
    first = await confirmed(ada, database)
    await say(bo, "One", parent=str(first))
    [digest], _ = await digests(database, bo.browser)
    assert digest.unsubscribe is not None
    path = digest.unsubscribe.removeprefix(URL)
    assert (await bo.browser.look(path)).status == 200
    assert len(await subscriptions(database)) == 1
    # As a mail's server sends it: no cookie, no Origin, no page.
    response = await bo.browser.client.session.post(
        bo.browser.client.make_url(path), data={"List-Unsubscribe": "One-Click"}, headers={"Accept": "*/*"}
    )
    assert response.status == 200
    assert await subscriptions(database) == []
    await say(bo, "Two", parent=str(first))
    assert await digests(database, bo.browser) == ([], [])
    # Once more is no fault, and forged links are none of ours.
    assert (await bo.browser.send(path, {})).status == 200
    assert (await bo.browser.look(path[:-1] + "x")).status == 404


async def test_a_wrong_address_comes_back_with_the_reason(ada: Writer, database: Database) -> None:
    response = await ada.send(POST, name="Ada", text="Hello", mail="nobody")
    assert response.status == 422
    assert "No mail goes there" in (await response.json())["fields"]["mail"]
    await ada.browser.look(PAGE)
    assert 'name="mail"' in ada.browser.page


async def test_nobody_is_asked_again_and_again(ada: Writer, database: Database) -> None:
    for number in range(3):
        await say(ada, f"Number {number}", mail="victim@example.org")
    assert len(await mails(database)) == 1


async def test_moderators_are_mailed_what_waits_with_links_that_decide(
    ada: Writer, bo: Writer, database: Database
) -> None:
    await say(ada, "Great post, thanks for sharing! https://my-shop.example.info/")
    [mail] = await mails(database)
    assert (mail.to, mail.subject) == ("mo@example.org", "A comment waits: Ada on “Brass on the Quay”")
    assert "It praises in words that fit any page" in mail.text
    path = link(mail, "moderate")
    assert (await bo.browser.look(path)).status == 200
    assert [each.status for each in await comments(database)] == [Status.HELD]
    await bo.browser.submit(path, {})
    assert [each.status for each in await comments(database)] == [Status.PUBLISHED]


async def test_an_answer_that_was_held_is_mailed_once_it_is_approved(
    ada: Writer, bo: Writer, database: Database
) -> None:
    first = await confirmed(ada, database)
    await say(bo, "Great post, thanks for sharing! https://my-shop.example.info/", parent=str(first))
    [to_moderators], planned = await digests(database, bo.browser)
    assert (to_moderators.to, planned) == ("mo@example.org", [])
    path = link(to_moderators, "moderate")
    await bo.browser.look(path)
    await bo.browser.submit(path, {})
    [digest], _ = await digests(database, bo.browser)
    assert digest.to == "ada@example.org"


async def test_what_was_refused_long_ago_is_forgotten(ada: Writer, database: Database) -> None:
    from web.features.comments.jobs import KINDS

    kept = await say(ada, "Stays")
    gone = await say(ada, "Goes")
    async with database.saving() as session:
        comment = await session.get_one(Comment, gone)
        comment.status, comment.posted_at = Status.SPAM, now() - timedelta(days=31)
    app = ada.browser.client.server.app  # type: ignore[attr-defined]  # TestServer's, which BaseTestServer lacks
    forget = next(kind for kind in KINDS if kind.name == "comments forgotten")
    await forget.run(Doing(app, database, None))  # type: ignore[misc]  # of the loop, not a thread
    assert [each.id for each in await comments(database)] == [kept]
