"""What is sent again: by the log's button, after a yes, after a refusal; and what is not."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from headsup_site import BOTH, Site, running
from pushing import commit, github, ping, push, tag
from sqlalchemy import func, select, update
from visiting import PASSWORD, Browser

from hub.publisher import RecordingPublisher
from web.app import read_settings
from web.db.database import Database
from web.features.accounts.people import create_user
from web.features.headsup.jobs import NOTICE, PUSH, run_prune
from web.features.headsup.models import (
    HeadsupAddress,
    HeadsupDelivery,
    HeadsupMention,
    HeadsupNotice,
    HeadsupProject,
    HeadsupRule,
    HeadsupTarget,
)
from web.identity.passwords import Passwords
from web.identity.roles import Role
from web.pages import keys
from web.services.jobs.kinds import GiveUp
from web.services.jobs.rows import table as jobs
from web.services.mail.postmen import AddressRefused


def body(mail: Any) -> str:
    return " ".join(str(mail.get_body(("plain",)).get_content()).split())


async def replay(site: Site, delivery: int) -> None:
    async with site.database.saving() as session:
        await site.app[keys.jobs].add(session, PUSH, {"delivery": delivery, "replay": True})
    await site.settle()


async def states(site: Site) -> list[tuple[str, str]]:
    async with site.database.reading() as session:
        asked = select(HeadsupNotice).order_by(HeadsupNotice.id)
        return [(each.address, each.state) for each in await session.scalars(asked)]


async def as_manager(site: Site, passwords: Passwords) -> Browser:
    """Who looks after projects that a command, or a test, has made."""
    await create_user(site.database, passwords, "eve", PASSWORD, Role.MANAGER)
    browser = Browser(site.client)
    await browser.sign_in("eve")
    return browser


@pytest.mark.parametrize("site_url", BOTH, indirect=True)
async def test_what_is_sent_again_is_in_the_ledger(site: Site) -> None:
    """A rule that is made after the push tells it by the button: the same push under another id was then mailed again,
    and so was its rebase."""
    project = await site.watch(words="other")
    one = commit("headsup: run it")
    await site.told(github(push(one)))
    await site.rule(project)
    await replay(site, 1)
    assert len(site.mails()) == 1
    await site.told(github(push(one)))
    await site.told(github(push(commit("headsup: run it"), forced=True)))
    assert site.mails() == []
    # The button overrides, each time.
    await replay(site, 1)
    assert len(site.mails()) == 1


async def test_two_weeks_begin_anew_with_what_is_sent_again(site: Site) -> None:
    await site.watch()
    await site.told(github(push(commit("headsup: run it"))))
    async with site.database.saving() as session:
        for mention in await session.scalars(select(HeadsupMention)):
            mention.at -= timedelta(days=15)
    await replay(site, 1)
    assert len(site.mails()) == 2
    await site.told(github(push(commit("headsup: run it"), forced=True)))
    assert site.mails() == []


@pytest.mark.parametrize("site_url", BOTH, indirect=True)
async def test_tag_that_is_sent_again_tells_what_it_told(site: Site) -> None:
    """It told what had been kept since, which the next tag then did not; and nothing of what it had told itself."""
    await site.watch(tags_only=True)
    first, second, third = commit("headsup: the first"), commit("headsup: the second"), commit("headsup: the third")
    await site.told(github(push(first)))
    await site.told(github(push(second)))
    await site.told(github(tag("v1", second)))
    (told,) = site.mails()
    assert body(told).index("the first") < body(told).index("the second")
    await site.told(github(push(third)))
    for _ in range(2):
        await replay(site, 3)
        (mail,) = site.mails()
        assert body(mail).index("the first") < body(mail).index("the second")
        assert "the third" not in body(mail)
    await site.told(github(tag("v2", third)))
    (mail,) = site.mails()
    assert "the third" in body(mail)
    assert "the first" not in body(mail)


async def test_what_a_tag_told_is_kept_as_long_as_the_tag(site: Site, settings: Any) -> None:
    await site.watch(tags_only=True)
    one = commit("headsup: kept")
    await site.told(github(push(one)))
    await site.told(github(tag("v1", one)))
    site.mails()
    job: Any = SimpleNamespace(app={keys.settings: settings, keys.database: site.database})
    await run_prune(job)
    async with site.database.saving() as session:
        assert await session.scalar(select(HeadsupMention.entry)) is not None
        await session.execute(update(HeadsupDelivery).values(body=None, kept=0))
    await run_prune(job)
    async with site.database.reading() as session:
        mention = (await session.scalars(select(HeadsupMention))).one()
    assert (mention.entry, mention.told_by) == (None, 2)
    # It stays told.
    await site.told(github(tag("v2", one)))
    assert site.mails() == []


async def test_rule_that_is_no_more_for_tags_has_told_what_it_told(site: Site, passwords: Passwords) -> None:
    """What waits for a tag is forgotten with the tick; what tags have told must not be."""
    await site.watch(tags_only=True)
    one = commit("headsup: told by a tag")
    await site.told(github(push(one)))
    await site.told(github(tag("v1", one)))
    assert len(site.mails()) == 1
    browser = await as_manager(site, passwords)
    await browser.look("/headsup/1/rules/1")
    fields = {"send_to": "team@example.org", "words": "headsup", "tags_only": "", "act": "save"}
    assert (await browser.submit("/headsup/1/rules/1", fields)).status == 303
    await site.told(github(push(one)))
    assert site.mails() == []


async def test_no_more_waits_for_a_tag_than_may(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a rule whose tag never comes, what waited filled the database."""
    monkeypatch.setattr("web.features.headsup.jobs.MAX_KEPT", 3)
    await site.watch(tags_only=True)
    await site.told(github(push(*(commit(f"headsup: {number}") for number in range(2)))))
    assert await site.outcome() == "nothing: kept for the next tag"
    await site.told(github(push(*(commit(f"headsup: {number}") for number in range(2, 5)))))
    assert await site.outcome() == "nothing: kept for the next tag, but for 2: 3 wait already"
    await site.told(github(tag("v1", commit("at the tag"))))
    (mail,) = site.mails()
    assert mail["Subject"].endswith("(+2)")
    assert "those beyond are in the log alone" in body(mail)
    await site.told(github(push(commit("headsup: after it"))))
    assert await site.outcome() == "nothing: kept for the next tag"


async def test_asking_again_counts_as_asking(
    environ: dict[str, str], database: Database, publisher: RecordingPublisher, passwords: Passwords
) -> None:
    """By as many projects as somebody liked, an address could be asked each day by each of them."""
    limits = {"SITE_HEADSUP_ASKS": "3", "SITE_HEADSUP_ADDRESS_ASKS": "2"}
    async with running(read_settings(environ | limits), database, publisher) as site:
        browser = await as_manager(site, passwords)
        for name in ("ada/a", "ada/b", "ada/c"):
            await site.watch(name, says_yes=False)
        async with database.saving() as session:
            for address in await session.scalars(select(HeadsupAddress)):
                address.asked_at = address.asked_at and address.asked_at - timedelta(days=2)
        fields = {"csrf_token": await browser.token()}
        found = [(await browser.send(f"/headsup/{id}/addresses/{id}/ask", fields)).status for id in (1, 2, 3)]
        assert found == [303, 303, 429]
        await site.settle()
        assert len(site.postman.mails) == 2
        # Of another address the account's own limit is left.
        for number, status in ((4, 303), (5, 429)):
            project = await site.watch(f"ada/{number}", to=f"{number}@example.org", says_yes=False)
            async with database.saving() as session:
                address = await session.get_one(HeadsupAddress, number)
                address.asked_at = address.asked_at and address.asked_at - timedelta(days=2)
            assert (await browser.send(f"/headsup/{project}/addresses/{number}/ask", fields)).status == status


async def test_button_is_there_when_no_rule_found_anything(site: Site, passwords: Passwords) -> None:
    """It was hidden where it is needed most: when the rule was made after the push."""
    project = await site.watch()
    async with site.database.saving() as session:
        await session.delete(await session.get_one(HeadsupRule, 1))
    await site.told(github(push(commit("headsup: run it"))))
    assert await site.outcome() == "there are no rules"
    await site.told(github(ping(), event="ping"))
    browser = await as_manager(site, passwords)
    await browser.look(f"/headsup/{project}/log/1")
    assert "Send again" in browser.page
    await site.rule(project)
    path = f"/headsup/{project}/log/1/replay"
    fields = {"csrf_token": await browser.token()}
    assert (await browser.send(path, fields)).status == 303
    await site.settle()
    assert len(site.mails()) == 1
    # Of a ping there is nothing to send.
    await browser.look(f"/headsup/{project}/log/2")
    assert "Send again" not in browser.page
    assert (await browser.send(f"/headsup/{project}/log/2/replay", fields)).status == 409
    # Pressed twice, it is sent once.
    await site.app[keys.runner].stop()
    assert [(await browser.send(path, fields)).status for _ in range(2)] == [303, 303]
    async with site.database.reading() as session:
        waiting = jobs.c.finished.is_(None) & (jobs.c.kind == PUSH.name)
        assert await session.scalar(select(func.count()).select_from(jobs).where(waiting)) == 1


async def test_yes_sends_no_more_than_the_day_allows(
    environ: dict[str, str], database: Database, publisher: RecordingPublisher
) -> None:
    """All that had waited for three days was sent at once, whatever the limits said."""
    limits = {"SITE_HEADSUP_ADDRESS_MAILS": "2", "SITE_HEADSUP_MAILS": "3"}
    async with running(read_settings(environ | limits), database, publisher) as site:
        project = await site.watch(to="a@example.org", says_yes=False)
        await site.rule(project, to="b@example.org", words="other", says_yes=False)
        for number in range(4):
            await site.told(github(push(commit(f"headsup: {number}\n\nother: {number}"))))
        async with database.saving() as session:
            # Yesterday.
            for notice in await session.scalars(select(HeadsupNotice)):
                notice.created_at -= timedelta(days=1)
            tokens = list(await session.scalars(select(HeadsupAddress.token).order_by(HeadsupAddress.id)))
        browser = Browser(site.client)
        for token in tokens:
            await browser.look(f"/headsup/confirm/{token}")
            await browser.submit(f"/headsup/confirm/{token}", {"answer": "yes"})
        await site.settle()
        assert sorted(str(mail["To"]) for mail in site.mails()) == ["a@example.org", "a@example.org", "b@example.org"]
        found = await states(site)
        assert sorted(found) == sorted(
            [("a@example.org", "sent")] * 2
            + [("a@example.org", "limit")] * 2
            + [("b@example.org", "sent")]
            + [("b@example.org", "limit")] * 3
        )
        # They count for today, though they were pushed yesterday.
        await site.told(github(push(commit("headsup: one more"))))
        assert site.mails() == []
        async with database.reading() as session:
            errors = set(await session.scalars(select(HeadsupNotice.error).where(HeadsupNotice.state == "limit")))
        assert errors == {"more than 2 mails to this address today", "more than 3 mails of this project today"}


async def test_yes_of_an_address_in_another_alphabets_capitals(site: Site) -> None:
    """SQLite lowers the letters of ASCII only: what waited for such an address was never sent."""
    await site.watch(to="Ärger@example.org", says_yes=False)
    await site.told(github(push(commit("headsup: waits"))))
    async with site.database.reading() as session:
        token = await session.scalar(select(HeadsupAddress.token))
    browser = Browser(site.client)
    await browser.look(f"/headsup/confirm/{token}")
    await browser.submit(f"/headsup/confirm/{token}", {"answer": "yes"})
    await site.settle()
    assert len(site.mails()) == 1


@pytest.mark.parametrize("site_url", BOTH, indirect=True)
async def test_address_that_is_refused_for_good_is_not_tried_at_each_push(site: Site, passwords: Passwords) -> None:
    """550 each time, which costs the good name of who sends; and its people saw it only in the log."""
    project = await site.watch(to="Gone@example.org")
    await site.rule(project, to="gone@example.org", words="other")
    site.postman.errors = [AddressRefused("smtp://mail: 550 5.1.1 no such user")]
    await site.told(github(push(commit("headsup: one"))))
    await site.told(github(push(commit("headsup: two\n\nother: two"))))
    assert site.mails() == []
    assert [state for _, state in await states(site)] == ["refused"] * 3
    browser = await as_manager(site, passwords)
    await browser.look(f"/headsup/{project}/log")
    assert "550 5.1.1 no such user" in browser.page
    await browser.look(f"/headsup/{project}")
    assert browser.page.count("Refuses since") == 2
    assert "550 5.1.1 no such user" in browser.page
    # Its mailbox is there again: the way back sends what was refused.
    assert (await browser.submit(f"/headsup/{project}/targets/1/again", {})).status == 303
    await site.settle()
    assert sorted(str(mail["Subject"]).rpartition(": ")[2] for mail in site.mails()) == ["one", "two", "two"]
    await browser.look(f"/headsup/{project}")
    assert "Refuses since" not in browser.page
    await site.told(github(push(commit("headsup: three"))))
    assert len(site.mails()) == 1


async def test_trouble_of_one_mail_is_not_remembered_of_its_address(site: Site) -> None:
    await site.watch()
    site.postman.errors = [GiveUp("smtp://mail: 554 the message looks like spam")]
    await site.told(github(push(commit("headsup: cheap watches"))))
    await site.told(github(push(commit("headsup: run it"))))
    assert [state for _, state in await states(site)] == ["refused", "sent"]


async def test_who_says_yes_is_there(site: Site) -> None:
    await site.watch()
    site.postman.errors = [AddressRefused("smtp://mail: 550 no such user")]
    await site.told(github(push(commit("headsup: one"))))
    async with site.database.reading() as session:
        token = await session.scalar(select(HeadsupAddress.token))
    browser = Browser(site.client)
    await browser.look(f"/headsup/confirm/{token}")
    await browser.send(f"/headsup/confirm/{token}", {"csrf_token": await browser.token(), "answer": "yes"})
    await site.told(github(push(commit("headsup: two"))))
    assert len(site.mails()) == 1


async def test_target_of_another_project_is_not_tried(site: Site, passwords: Passwords) -> None:
    await site.watch()
    await create_user(site.database, passwords, "ada", PASSWORD, Role.USER)
    browser = Browser(site.client)
    await browser.sign_in()
    async with site.database.saving() as session:
        target = await session.get_one(HeadsupTarget, 1)
        target.refused_at = (await session.get_one(HeadsupProject, 1)).created_at
    fields = {"csrf_token": await browser.token()}
    assert (await browser.send("/headsup/1/targets/1/again", fields)).status == 404
    assert (await site.get(HeadsupTarget, 1)).refused_at is not None


async def test_delivery_that_nobody_could_look_at_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After twelve attempts it was given up, and was "in the queue" for ever."""
    await site.watch()

    async def break_off(*arguments: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("web.features.headsup.jobs._judge", break_off)
    monkeypatch.setattr("web.features.headsup.jobs.PUSH", PUSH.__class__(name="x", run=PUSH.run, attempts=1))
    await site.told(github(push(commit("headsup: run it"))))
    assert await site.outcome() == "could not be looked at (OSError): send it again"
    monkeypatch.undo()
    await replay(site, 1)
    assert len(site.mails()) == 1


async def test_notice_whose_number_is_given_again_is_not_sent_by_the_job_of_the_first(site: Site) -> None:
    """SQLite gives the highest id once more when its row goes, and the job of a project that is gone has it too."""
    await site.watch()
    await site.told(github(push(commit("headsup: once"))))
    assert len(site.mails()) == 1
    async with site.database.saving() as session:
        (await session.get_one(HeadsupNotice, 1)).state = "waiting"
        await site.app[keys.jobs].add(session, NOTICE, {"notice": 1, "message": 99})
    await site.settle()
    assert site.mails() == []
