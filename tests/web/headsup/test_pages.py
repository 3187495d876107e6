"""The pages, by plain forms: from a new project to its log."""

from __future__ import annotations

import hmac
import json
import re
from html import unescape

import pytest
from headsup_site import Site, running
from pushing import commit, deletion, github, ping, push, tag
from sqlalchemy import select
from visiting import PASSWORD, Browser, Forms

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.features.accounts.people import create_user
from web.features.headsup.models import HeadsupAddress, HeadsupDelivery, HeadsupNotice, HeadsupProject, HeadsupRule
from web.features.headsup.secrets import sign_example
from web.identity.passwords import Passwords
from web.identity.roles import Role

NEW = "/headsup/new"

#: What a browser does not send of boxes that nobody ticked.
UNTICKED = dict.fromkeys(("case_sensitive", "strict", "breaking", "tags_only", "asks_api"), "")


@pytest.fixture
async def browser(site: Site, passwords: Passwords) -> Browser:
    """Of ada, who has an account and no role."""
    await create_user(site.database, passwords, "ada", PASSWORD, Role.USER)
    browser = Browser(site.client)
    assert (await browser.sign_in()).status == 303
    return browser


async def make(browser: Browser, **fields: str) -> str:
    """Make a project; its secret."""
    await browser.look(NEW)
    values = UNTICKED | {"name": "ada/engine", "send_to": "team@example.org", "words": "headsup", "act": "save"}
    values |= fields
    response = await browser.submit(NEW, values)
    assert response.status == 200, browser.page
    match = re.search(r'<code id="new-secret">([^<]+)</code>', browser.page)
    return match[1] if match else ""


async def test_from_a_form_to_the_first_mail(site: Site, browser: Browser) -> None:
    secret = await make(browser)
    assert "Waiting for GitHub’s ping…" in browser.page
    assert "/headsup/hook/1" in browser.page
    await browser.look("/headsup/1")
    assert secret not in browser.page
    assert await site.told(github(ping(), event="ping", secret=secret)) == 200
    await browser.look("/headsup/1")
    assert "The forge reaches this site" in browser.page
    # Nobody gets mail who has not said yes.
    await site.told(github(push(commit("headsup: too early")), secret=secret))
    assert site.mails() == []
    await browser.look("/headsup/1/log")
    assert "Not confirmed" in browser.page
    async with site.database.reading() as session:
        token = await session.scalar(select(HeadsupAddress.token))
    await browser.look(f"/headsup/confirm/{token}")
    assert (await browser.submit(f"/headsup/confirm/{token}", {"answer": "yes"})).status == 303
    await site.settle()
    # What waited is sent with the yes.
    (mail,) = site.mails()
    assert mail["Subject"] == "Headsup! ada/engine: too early"
    await site.told(github(push(commit("headsup: on time")), secret=secret))
    assert len(site.mails()) == 1
    await browser.look("/headsup/1/log")
    assert browser.page.count("Sent") >= 2


async def test_asking_mail_leads_to_the_page_that_asks(site: Site, browser: Browser) -> None:
    await make(browser)
    await site.settle()
    raw, _, to = site.postman.mails[0]
    assert to.spec == "team@example.org"
    link = re.search(rb"/headsup/confirm/\S+", raw)
    assert link is not None
    assert (await browser.look(link[0].decode())).status == 200
    # A GET changes nothing: programs follow links.
    async with site.database.reading() as session:
        assert await session.scalar(select(HeadsupAddress.confirmed_at)) is None


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000"])
async def test_a_made_up_host_is_not_in_the_mails_to_others(site: Site, browser: Browser, host: str) -> None:
    browser.origin = f"http://{host}"
    headers = {"Host": host}
    await browser.look(NEW, headers=headers)
    values = UNTICKED | {"name": "ada/engine", "send_to": "team@example.org", "words": "headsup", "act": "save"}
    assert (await browser.submit(NEW, values, headers=headers)).status == 200, browser.page
    await site.settle()
    raw, _, _ = site.postman.mails[0]
    assert b"evil.example" not in raw
    assert b"http://localhost:" in raw


async def test_one_click_takes_one_off(site: Site) -> None:
    await site.watch()
    async with site.database.reading() as session:
        token = await session.scalar(select(HeadsupAddress.token))
    one_click = {"List-Unsubscribe": "One-Click"}
    async with site.client.post(f"/headsup/out/{token}", data=one_click, allow_redirects=False) as response:
        # A redirect is followed by no mail program.
        assert response.status == 200
    await site.told(github(push(commit("headsup: unheard"))))
    assert site.mails() == []
    async with site.database.reading() as session:
        assert list(await session.scalars(select(HeadsupNotice.state))) == ["out"]


async def test_rule_is_tried_on_a_history_before_it_is_saved(site: Site, browser: Browser) -> None:
    await browser.look(NEW)
    history = "headsup: one\n---commit---\nnothing\n---commit---\nno headsup needed"
    values = {"name": "ada/engine", "send_to": "a@example.org", "act": "try", "history": history, "strict": "true"}
    assert (await browser.submit(NEW, UNTICKED | values)).status == 200
    assert "1 of 3 commits tell something" in browser.page
    assert "no trigger word" in browser.page
    # What was filled in is still there, and nothing was saved.
    assert Forms.of(browser.page)[NEW]["name"] == "ada/engine"
    async with site.database.reading() as session:
        assert await session.scalar(select(HeadsupProject)) is None


def verdicts(page: str) -> list[str]:
    """What is said of each commit of a trial."""
    found = re.findall(r'<div class="verdict"[^>]*>(.*?)</div>', page, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]*>", " ", each)).split()) for each in found]


async def attempt(browser: Browser, history: str, **fields: str) -> list[str]:
    await browser.look(NEW)
    values = {"name": "ada/engine", "send_to": "a@example.org", "act": "try", "history": history, "words": "headsup"}
    assert (await browser.submit(NEW, UNTICKED | values | fields)).status == 200
    return verdicts(browser.page)


async def test_trial_judges_a_payload_as_its_delivery_is_judged(site: Site, browser: Browser) -> None:
    """Only the words were looked at: a commit on another branch, or of other files, "told something"."""
    on_dev = json.dumps(push(commit("headsup: run it", modified=["db/1.sql"], id="1" * 40), ref="refs/heads/dev"))
    assert await attempt(browser, on_dev) == []
    assert "Nothing: another branch: dev." in browser.page
    assert await attempt(browser, on_dev, branches="dev") == ["1111111111 told run it"]
    assert await attempt(browser, on_dev, branches="dev", paths="*.sql") == ["1111111111 told run it"]
    assert await attempt(browser, on_dev, branches="dev", paths="docs/") == ["1111111111 nothing: other paths"]
    kept = ["1111111111 kept for the next tag run it"]
    assert await attempt(browser, on_dev, branches="dev", tags_only="true") == kept
    tagged = json.dumps(tag("v1", commit("headsup: at the tag", id="2" * 40)))
    assert await attempt(browser, tagged) == []
    assert "Nothing: a tag: v1." in browser.page
    assert await attempt(browser, tagged, tags_only="true", tags="v*") == ["2222222222 told at the tag"]
    assert await attempt(browser, tagged, tags_only="true", tags="w*") == []
    assert "Nothing: another tag: v1." in browser.page
    gone = json.dumps(deletion("refs/heads/main"))
    assert await attempt(browser, gone) == []
    assert "Nothing: the branch main was deleted." in browser.page
    trunk = push(commit("headsup: run it", id="3" * 40), ref="refs/heads/trunk")
    trunk["repository"] |= {"default_branch": "trunk"}
    assert await attempt(browser, json.dumps(trunk)) == ["3333333333 told run it"]


async def test_trial_of_messages_knows_their_files_if_they_are_given(browser: Browser) -> None:
    pasted = (
        f"---commit---\n{'1' * 40}\nheadsup: a\n---files---\n\ndb/1.sql\n"
        f"---commit---\n{'2' * 40}\nheadsup: b\n---files---\n\nREADME.md\n"
        f"---commit---\n{'3' * 40}\nheadsup: c"
    )
    # As a browser sends it.
    with_files = pasted.replace("\n", "\r\n")
    assert await attempt(browser, with_files, paths="*.sql", branches="release/*") == [
        "1111111111 told a",
        "2222222222 nothing: other paths",
        "3333333333 if it touches the rule's files, which are not said here c",
    ]
    assert "2 of 3 commits tell something" in browser.page
    assert (await attempt(browser, with_files))[1:] == ["2222222222 told b", "3333333333 told c"]


async def test_trial_of_a_rule_there_is_knows_the_projects_branch(site: Site, browser: Browser) -> None:
    await make(browser)
    async with site.database.saving() as session:
        (await session.get_one(HeadsupProject, 1)).default_branch = "trunk"
    payload = push(commit("headsup: run it"), ref="refs/heads/trunk")
    for name in ("default_branch", "master_branch"):
        del payload["repository"][name]
    await browser.look("/headsup/1/rules/1")
    fields = {"act": "try", "history": json.dumps(payload), "words": "headsup"}
    await browser.submit("/headsup/1/rules/1", UNTICKED | fields)
    assert "1 of 1 commit tells something" in browser.page


async def test_message_is_tested_by_anybody(site: Site) -> None:
    browser = Browser(site.client)
    await browser.look("/headsup/try")
    fields = {"message": "Fix\r\n\r\nheadsup: <b>restart</b> it\r\n\r\nSigned-off-by: A <a@b.c>", "words": "headsup"}
    assert (await browser.submit("/headsup/try", UNTICKED | fields)).status == 200
    assert '<p class="remark">&lt;b&gt;restart&lt;/b&gt; it</p>' in browser.page


async def test_form_says_what_is_wrong(site: Site, browser: Browser) -> None:
    await browser.look(NEW)
    values = {
        "name": "engine",
        "send_to": "nobody",
        "webhook": "javascript:alert(1)",
        "secret": "short",
        "branches": "*" * 11,
        "act": "save",
    }
    assert (await browser.submit(NEW, values)).status == 422
    for words in ("owner/name", "no valid email address", "https://", "at least 8 characters", "at most 10 stars"):
        assert words in browser.page
    assert "short" not in re.sub(r"<[^>]*>", "", browser.page)


async def test_rule_is_changed_and_deleted(site: Site, browser: Browser) -> None:
    await make(browser, send_cc='"Doe, Jane" <jane@example.org>')
    path = "/headsup/1/rules/1"
    await browser.look(path)
    assert "&#34;Doe, Jane&#34; &lt;jane@example.org&gt;" in browser.page
    values = {
        "send_to": "b@example.org",
        "send_cc": "",
        "words": "note\nachtung",
        "branches": "release/*",
        "act": "save",
    }
    assert (await browser.submit(path, values)).status == 303
    rule = await site.get(HeadsupRule, 1)
    assert (rule.words, rule.branches) == ("note\nachtung", "release/*")
    await browser.look("/headsup/1")
    assert "b@example.org" in browser.page
    assert "jane@example.org" not in browser.page
    await browser.look("/headsup/1/rules/new")
    assert (await browser.submit("/headsup/1/rules/new", {"send_to": "c@example.org", "act": "save"})).status == 303
    await browser.look(path)
    assert (await browser.submit(f"{path}/delete", {})).status == 303
    await browser.look("/headsup/1")
    assert (await browser.submit("/headsup/1/delete", {})).status == 303
    async with site.database.reading() as session:
        for model in (HeadsupProject, HeadsupRule, HeadsupAddress):
            assert await session.scalar(select(model)) is None


async def test_secret_is_changed_and_shown_once(site: Site, browser: Browser) -> None:
    old = await make(browser)
    await browser.submit("/headsup/1/secret", {})
    match = re.search(r'<code id="new-secret">([^<]+)</code>', browser.page)
    assert match is not None
    assert match[1] != old
    assert await site.told(github(push(commit("headsup: a")), secret=old)) == 202
    assert await site.told(github(push(commit("headsup: b")), secret=match[1])) == 202
    await browser.look("/headsup/1")
    assert match[1] not in browser.page
    assert (await browser.submit("/headsup/1/secret/end", {})).status == 303
    assert await site.told(github(push(commit("headsup: c")), secret=old)) == 403


async def test_w13_an_example_is_signed_to_compare_a_secret_that_is_not_shown(site: Site, browser: Browser) -> None:
    old = await make(browser)
    await browser.look("/headsup/1")
    await browser.submit("/headsup/1/secret/example#secret-title", {})
    right = hmac.new(old.encode(), b"Hello, World!", "sha256").hexdigest()
    assert re.findall(r'<code id="signed-\d">([^<]+)</code>', browser.page) == [f"sha256={right}"]
    assert old not in browser.page
    await browser.submit("/headsup/1/secret", {})
    await browser.submit("/headsup/1/secret/example#secret-title", {})
    assert len(re.findall(r'<code id="signed-\d">', browser.page)) == 2
    assert f"sha256={right}" in browser.page


def test_w13_the_example_is_the_one_of_githubs_documentation() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert sign_example("It's a Secret to Everybody") == signature


async def test_delivery_is_sent_again_and_says_so(site: Site, browser: Browser) -> None:
    secret = await make(browser)
    async with site.database.saving() as session:
        for address in await session.scalars(select(HeadsupAddress)):
            address.confirmed_at = address.asked_at
    await site.told(github(push(commit("headsup: once")), secret=secret))
    first = site.mails()[0]
    await browser.look("/headsup/1/log/1")
    assert (await browser.submit("/headsup/1/log/1/replay", {})).status == 303
    await site.settle()
    (second,) = site.mails()
    assert second["Subject"] == "Again: Headsup! ada/engine: once"
    assert second["Message-ID"] != first["Message-ID"]
    assert "Somebody sent this again from the log." in second.get_body(("plain",)).get_content()


async def test_project_is_its_owners_alone(site: Site, browser: Browser, passwords: Passwords) -> None:
    secret = await make(browser)
    await site.told(github(push(commit("headsup: private")), secret=secret))
    await create_user(site.database, passwords, "eve", PASSWORD, Role.MANAGER)
    await browser.submit("/logout", {})
    other = Browser(site.client)
    await other.sign_in("eve")
    paths = ("/headsup/1", "/headsup/1/log", "/headsup/1/log/1", "/headsup/1/rules/1", "/headsup/1/rules/new")
    for path in paths:
        assert (await other.look(path)).status == 404
        assert "private" not in other.page
    await other.look("/headsup")
    assert "ada/engine" not in other.page
    token = await other.token()
    for path in ("/secret", "/delete", "/log/1/replay", "/rules/1", "/rules/1/delete"):
        fields = {"csrf_token": token, "send_to": "eve@example.org", "act": "save"}
        assert (await other.send(f"/headsup/1{path}", fields)).status == 404, path


async def test_log_has_pages(site: Site, browser: Browser) -> None:
    await make(browser)
    async with site.database.saving() as session:
        for number in range(65):
            session.add(
                HeadsupDelivery(project_id=1, delivery_id=f"{number}", forge="github", event="push", state="done")
            )
    seen: set[str] = set()
    path = "/headsup/1/log"
    for count in (30, 30, 5):
        await browser.look(path)
        found = re.findall(r'id="(delivery-\d+)"', browser.page)
        assert len(found) == count
        seen |= set(found)
        older = re.search(r'href="(/headsup/1/log\?before=\d+)" rel="next"', browser.page)
        path = older[1] if older else ""
    assert len(seen) == 65
    assert not path


async def test_limits_of_a_day_are_kept_and_shown(
    environ: dict[str, str], database: Database, publisher: RecordingPublisher, passwords: Passwords
) -> None:
    from web.app import read_settings

    limits = {"SITE_HEADSUP_ADDRESS_MAILS": "2", "SITE_HEADSUP_MAILS": "3", "SITE_HEADSUP_ASKS": "2"}
    settings = read_settings(environ | limits)
    async with running(settings, database, publisher) as site:
        await site.watch(to="a@example.org")
        for number in range(3):
            await site.told(github(push(commit(f"headsup: {number}"))))
        assert len(site.mails()) == 2
        async with database.reading() as session:
            assert list(await session.scalars(select(HeadsupNotice.state).order_by(HeadsupNotice.id))) == [
                "sent",
                "sent",
                "limit",
            ]
        await create_user(database, passwords, "ada", PASSWORD, Role.USER)
        browser = Browser(site.client)
        await browser.sign_in()
        await browser.look(NEW)
        values = {
            "name": "ada/loom",
            "send_to": "x@example.org y@example.org".replace(" ", "\n") + "\nz@example.org",
            "act": "save",
        }
        assert (await browser.submit(NEW, values)).status == 422
        assert "may ask at most 2 addresses a day" in browser.page
