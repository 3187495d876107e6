"""C1 to C30: what forges send, and what becomes of it."""

from __future__ import annotations

import asyncio
import io
import json
import os
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from headsup_site import BOTH, Site, running
from pushing import (
    SECRET,
    ZEROS,
    bitbucket,
    bitbucket_change,
    bitbucket_push,
    commit,
    deletion,
    digest,
    encoded,
    form,
    gitea,
    gitea_push,
    github,
    gitlab,
    gitlab_push,
    ping,
    push,
    repository,
    sha,
    tag,
)
from sqlalchemy import func, select, update
from visiting import PASSWORD, Browser

from hub.publisher import RecordingPublisher
from web.app import read_settings
from web.db.database import Database
from web.db.tables import now
from web.features.accounts.people import create_user
from web.features.headsup.jobs import run_prune
from web.features.headsup.models import (
    HeadsupDelivery,
    HeadsupKept,
    HeadsupMention,
    HeadsupNotice,
    HeadsupProject,
    HeadsupRefusal,
)
from web.features.headsup.refusals import refusals
from web.features.headsup.room import room
from web.features.headsup.setting_up import rotate
from web.features.headsup.settings import HeadsupSettings
from web.identity.passwords import Passwords
from web.identity.roles import Role
from web.identity.users import User
from web.pages import keys
from web.services.jobs.kinds import GiveUp, TryAgain
from web.services.jobs.rows import table as jobs
from web.settings import Settings

HEADSUP = "headsup: run it"


def text(mail: Any) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def html(mail: Any) -> str:
    part = mail.get_body(("html",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


@pytest.mark.parametrize("site_url", BOTH, indirect=True)
async def test_c1_a_push_with_the_word_sends_one_mail(site: Site) -> None:
    await site.watch()
    assert await site.told(github(push(commit("headsup: This changes things")))) == 202
    (mail,) = site.mails()
    assert mail["To"] == "team@example.org"
    assert mail["Subject"] == "Headsup! ada/engine: This changes things"
    assert "\nThis changes things\n" in text(mail)
    assert await site.outcome() == "1 heads-up"


async def test_c2_nothing_is_told_twice(site: Site) -> None:
    await site.watch()
    payload = push(commit(HEADSUP))
    assert await site.told(github(payload, delivery="same")) == 202
    assert await site.told(github(payload, delivery="same")) == 200
    assert site.said == "had this delivery before: 1 heads-up"
    assert await site.told(github(payload, delivery="other")) == 202
    assert len(site.mails()) == 1
    first, second = await site.deliveries()
    assert (first.repeats, second.outcome) == (1, "nothing: told before")


C3 = [
    ("wrong sha256, right sha1", lambda sent, body: sent | {"X-Hub-Signature-256": "sha256=" + "0" * 64}, 403),
    ("only sha1", lambda sent, body: {k: v for k, v in sent.items() if k != "X-Hub-Signature-256"}, 403),
    ("not ASCII", lambda sent, body: sent | {"X-Hub-Signature-256": "sha256=é"}, 403),
    ("no prefix", lambda sent, body: sent | {"X-Hub-Signature-256": digest(body)}, 403),
    ("upper case", lambda sent, body: sent | {"X-Hub-Signature-256": f"sha256={digest(body).upper()}"}, 403),
    ("sha1 as sha256", lambda sent, body: sent | {"X-Hub-Signature-256": f"sha256={digest(body, kind='sha1')}"}, 403),
    ("empty", lambda sent, body: sent | {"X-Hub-Signature-256": ""}, 403),
    (
        "none",
        lambda sent, body: {k: v for k, v in sent.items() if not k.startswith("X-Hub-Signature")},
        401,
    ),
]


@pytest.mark.parametrize(("name", "change", "status"), C3, ids=[each[0] for each in C3])
async def test_c3_what_is_not_signed_right_is_refused(site: Site, name: str, change: Any, status: int) -> None:
    await site.watch()
    sent = github(push(commit(HEADSUP)))
    sent["headers"] = change(sent["headers"], sent["data"])
    assert await site.told(sent) == status
    # Nothing of what would have been right, and nothing stored.
    assert digest(sent["data"]) not in site.said
    assert await site.deliveries() == []


async def test_c3_a_signature_that_comes_twice_is_refused(site: Site) -> None:
    await site.watch()
    sent = github(push(commit(HEADSUP)))
    right = sent["headers"].pop("X-Hub-Signature-256")
    headers = [*sent["headers"].items(), ("X-Hub-Signature-256", right), ("X-Hub-Signature-256", right)]
    assert await site.told({"data": sent["data"], "headers": headers}) == 403


async def test_c3_sha1_is_taken_where_a_project_allows_it(site: Site) -> None:
    project = await site.watch()
    sent = github(push(commit(HEADSUP)))
    del sent["headers"]["X-Hub-Signature-256"]
    async with site.database.saving() as session:
        (await session.get_one(HeadsupProject, project)).allows_sha1 = True
    assert await site.told(sent) == 202
    wrong = github(push(commit(HEADSUP)))
    wrong["headers"]["X-Hub-Signature-256"] = "sha256=" + "0" * 64
    assert await site.told(wrong) == 403


#: Each forge's delivery as who has no secret would sign it.
C4 = [
    ("github", lambda: github(push(commit(HEADSUP)), secret="")),
    ("github sha1", lambda: without(github(push(commit(HEADSUP)), secret=""), "X-Hub-Signature-256")),
    ("gitlab's token", lambda: gitlab(gitlab_push(HEADSUP), secret="")),
    ("gitlab's signature", lambda: without(gitlab(gitlab_push(HEADSUP), secret="", signs=True), "X-Gitlab-Token")),
    ("gitea", lambda: gitea(gitea_push(commit(HEADSUP)), secret="")),
    ("forgejo", lambda: gitea(gitea_push(commit(HEADSUP)), secret="", label="Forgejo")),
    ("bitbucket", lambda: bitbucket(bitbucket_push(bitbucket_change(HEADSUP)), secret="")),
]


def without(sent: dict[str, Any], *names: str) -> dict[str, Any]:
    return sent | {"headers": {name: value for name, value in sent["headers"].items() if name not in names}}


@pytest.mark.parametrize(("name", "signed"), C4, ids=[each[0] for each in C4])
async def test_c4_an_empty_secret_is_nobodys(site: Site, name: str, signed: Any) -> None:
    """Of each forge, as the secret and as the one before it: a key of no bytes is a key to `hmac`."""
    project = await site.watch()
    for secret, old in (("", None), ("", ""), (SECRET, "")):
        async with site.database.saving() as session:
            row = await session.get_one(HeadsupProject, project)
            row.secret, row.old_secret, row.allows_sha1 = secret, old, True
            row.old_until = now() + timedelta(days=1)
        for path in (project, None):
            assert await site.told(signed(), path) == 403, (secret, old, path)
    assert await site.deliveries() == []


@pytest.mark.parametrize("blank", ["", " ", "        ", "\t" * 10, "short"])
async def test_c4_an_empty_secret_cannot_be_configured(site: Site, passwords: Passwords, blank: str) -> None:
    await create_user(site.database, passwords, "ada", PASSWORD, Role.USER)
    browser = Browser(site.client)
    await browser.sign_in()
    await browser.look("/headsup/new")
    fields = {"name": "ada/engine", "send_to": "a@example.org", "words": "headsup", "act": "save", "secret": blank}
    response = await browser.submit("/headsup/new", fields)
    # Of nothing one is made; anything else is refused.
    assert response.status == (422 if blank else 200)
    token = (await (await browser.fetch("/api/csrf")).json())["csrf_token"]
    data = {"csrfmiddlewaretoken": token, "github_full_name": "ada/loom", "send_to": "a@example.org"}
    data["github_webhook_secret"] = blank
    async with browser.client.post("/api/projects/add", json=data) as answer:
        assert "github_webhook_secret" in (await answer.json())["_errors"]
    async with site.database.saving() as session:
        projects = list(await session.scalars(select(HeadsupProject)))
        assert [len(each.secret) >= 40 for each in projects] == ([] if blank else [True])
        for each in projects:
            assert len(rotate(each, "")) >= 40
            assert all(each.secrets_at(now()))


async def test_c5_a_long_body_is_taken_up_to_the_limit(site: Site) -> None:
    await site.watch()
    long = push(commit(HEADSUP), padding="x" * 24 * 1024 * 1024)
    unsigned = github(long)
    for name in ("X-Hub-Signature", "X-Hub-Signature-256"):
        del unsigned["headers"][name]
    assert await site.hook(unsigned) == 401
    assert await site.deliveries() == []
    assert await site.told(github(long)) == 202
    assert len(site.mails()) == 1
    too_long = github(push(commit(HEADSUP), padding="x" * 26_000_000))
    assert await site.hook(too_long) == 413
    assert site.said == f"The delivery is longer than {HeadsupSettings().max_body} bytes."

    async def pieces() -> Any:
        for _ in range(27):
            yield b"x" * 1_000_000

    # Without a length nothing says so at first.
    assert await site.hook({"data": pieces(), "headers": too_long["headers"]}) == 413
    assert len(await site.deliveries()) == 1


async def asked(site: Site, sent: dict[str, Any], length: int) -> bytes:
    """What is answered to who says that so much will come, and sends a byte of it."""
    assert site.client.port is not None
    reader, writer = await asyncio.open_connection(site.client.host, site.client.port)
    lines = [f"{name}: {value}" for name, value in sent["headers"].items()]
    head = ["POST /headsup/hook HTTP/1.1", f"Host: {site.client.host}", f"Content-Length: {length}", *lines]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n{")
    try:
        # Who waits for the rest is not answered at all: the test's own time ends.
        return (await reader.readline()).split()[1]
    finally:
        writer.close()


async def test_c5_what_is_refused_is_not_waited_for(
    environ: dict[str, str], database: Database, publisher: RecordingPublisher
) -> None:
    """The answer comes before the body does, where its head says enough; nothing is stored."""
    settings = read_settings(environ | {"SITE_HEADSUP_BODY_TIMEOUT": "600"})
    async with running(settings, database, publisher) as site:
        await site.watch()
        signed = github(push(commit(HEADSUP)))
        unsigned = without(signed, "X-Hub-Signature", "X-Hub-Signature-256")
        async with asyncio.timeout(30):
            assert await asked(site, unsigned, 24 * 1024**2) == b"401"
            assert await asked(site, signed, 26_000_000) == b"413"
            assert await asked(site, {"headers": signed["headers"] | {"Content-Type": "text/plain"}}, 9000) == b"415"
        assert site.app[room].held == 0
        assert await site.deliveries() == []


async def test_long_deliveries_are_bounded_together(site: Site) -> None:
    """Each of 25 MB was allowed by itself, and a signature is only looked at when all has come."""
    await site.watch()
    site.app[room].most = 3_000_000
    half_way, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        yield b"x" * 2_000_000
        while site.app[room].held < 2_000_000:
            await asyncio.sleep(0.01)
        half_way.set()
        await go_on.wait()

    headers = github(push(commit(HEADSUP)))["headers"]
    first = asyncio.create_task(site.hook({"data": slow(), "headers": headers}))
    await half_way.wait()
    async with site.client.post("/headsup/hook", data=io.BytesIO(b"x" * 2_000_000), headers=headers) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "30"
        assert "send it again" in await response.text()
    # The usual ones are not held up by it.
    assert await site.told(github(push(commit(HEADSUP)))) == 202
    go_on.set()
    assert await first == 403
    assert site.app[room].held == 0
    assert await site.told(github(push(commit(HEADSUP), padding="x" * 2_000_000))) == 202


def gone_at_bitbucket(kind: str) -> dict[str, Any]:
    change = bitbucket_change(HEADSUP, name="gone", kind=kind)
    return bitbucket(bitbucket_push(change | {"new": None, "closed": True}))


#: Each lists a commit with the word: what is deleted tells nothing whatever there is in it.
C6 = [
    ("branch", lambda: github(push(commit(HEADSUP), ref="refs/heads/gone", after=ZEROS, deleted=True))),
    ("tag", lambda: github(push(commit(HEADSUP), ref="refs/tags/v1", after=ZEROS, deleted=True, head_commit=None))),
    ("as GitHub has it", lambda: github(deletion("refs/tags/v1", head_commit=None))),
    ("said, without zeros", lambda: github(push(commit(HEADSUP), ref="refs/tags/v1", deleted=True))),
    ("zeros, not said", lambda: github(push(commit(HEADSUP), ref="refs/tags/v1", after=ZEROS))),
    ("zeros of sha256", lambda: github(push(commit(HEADSUP), ref="refs/tags/v1", after="0" * 64))),
    ("branch of sha256", lambda: github(push(commit(HEADSUP), after="0" * 64))),
    ("gitlab's branch", lambda: gitlab(gitlab_push(HEADSUP, after=ZEROS, checkout_sha=None))),
    (
        "gitlab's tag",
        lambda: gitlab(gitlab_push(HEADSUP, ref="refs/tags/v1", after=ZEROS, checkout_sha=None), event="Tag Push Hook"),
    ),
    ("gitea's branch", lambda: gitea(gitea_push(commit(HEADSUP), after=ZEROS))),
    ("gitea's tag", lambda: gitea(gitea_push(commit(HEADSUP), ref="refs/tags/v1", after=ZEROS))),
    ("bitbucket's branch", lambda: gone_at_bitbucket("branch")),
    ("bitbucket's tag", lambda: gone_at_bitbucket("tag")),
]


@pytest.mark.parametrize(("name", "sent"), C6, ids=[each[0] for each in C6])
async def test_c6_what_is_deleted_tells_nothing(site: Site, name: str, sent: Any) -> None:
    """Neither what it lists, to a rule of all branches and one of tags, nor what waits for the next tag."""
    for repo in ("ada/engine", "group/sub/engine"):
        project = await site.watch(repo, branches="**")
        await site.rule(project, tags_only=True, branches="**", words="kept")
    kept = commit("kept: until a tag")
    await site.told(github(push(kept)))
    await site.told(gitlab(gitlab_push("kept: until a tag")))
    assert await site.told(sent()) == 200
    assert "was deleted" in site.said
    assert site.mails() == []
    await site.told(github(tag("v2", kept)))
    (mail,) = site.mails()
    assert "until a tag" in text(mail)


async def test_c7_a_new_branch_of_known_commits_is_old_news(site: Site) -> None:
    await site.watch(branches="**")
    created = push(ref="refs/heads/new", created=True, base_ref="refs/heads/main", head_commit=commit(HEADSUP))
    assert await site.told(github(created)) == 202
    assert site.mails() == []
    assert await site.outcome() == "nothing: no commits are listed"


async def test_c8_all_commits_of_a_new_branch_are_looked_at(site: Site) -> None:
    await site.watch(branches="**")
    commits = [commit("headsup: first of all"), commit("two"), commit("three")]
    assert await site.told(github(push(*commits, ref="refs/heads/new", created=True, before=ZEROS))) == 202
    (mail,) = site.mails()
    assert "first of all" in text(mail)


async def test_c9_commits_that_are_not_distinct_are_told(site: Site) -> None:
    """Who moves develop to master pushes commits that GitHub has seen, and nobody was told of."""
    await site.watch()
    await site.told(github(push(commit(HEADSUP, distinct=False))))
    assert len(site.mails()) == 1


async def test_c10_a_second_rule_tells_the_same_commits_on_its_branch(site: Site) -> None:
    project = await site.watch()
    await site.rule(project, to="release@example.org", branches="release")
    one = commit(HEADSUP)
    await site.told(github(push(one)))
    assert [mail["To"] for mail in site.mails()] == ["team@example.org"]
    await site.told(github(push(one, ref="refs/heads/release")))
    assert [mail["To"] for mail in site.mails()] == ["release@example.org"]
    await site.told(github(push(one, ref="refs/heads/release")))
    assert site.mails() == []


async def test_c11_a_rebase_tells_nothing_again_for_two_weeks(site: Site) -> None:
    await site.watch()
    await site.told(github(push(commit(HEADSUP))))
    assert len(site.mails()) == 1
    await site.told(github(push(commit(HEADSUP), forced=True)))
    assert site.mails() == []
    assert await site.outcome() == "nothing: again within 14 days"
    # By another author it is news.
    await site.told(github(push(commit(HEADSUP, email="bob@example.org", name="Bob"), forced=True)))
    (mail,) = site.mails()
    assert "Pushed by ada, forced." in text(mail)
    async with site.database.saving() as session:
        for mention in await session.scalars(select(HeadsupMention)):
            mention.at -= timedelta(days=15)
    await site.told(github(push(commit(HEADSUP), forced=True)))
    assert len(site.mails()) == 1


async def test_c11_the_two_weeks_begin_with_what_was_told(site: Site) -> None:
    """Each push that told nothing began them anew: a text that came every ten days was mailed once, and never again."""
    await site.watch()
    mails = []
    for _ in range(4):
        await site.told(github(push(commit(HEADSUP), forced=True)))
        mails.append(len(site.mails()))
        async with site.database.saving() as session:
            for mention in await session.scalars(select(HeadsupMention)):
                mention.at -= timedelta(days=10)
    assert mails == [1, 0, 1, 0]


@pytest.mark.parametrize("site_url", ["postgresql"], indirect=True)
async def test_c11_a_rebase_that_comes_at_once_is_told_once(site: Site) -> None:
    """Two workers saw neither's text, and both told it, by mails of different Message-IDs."""
    await site.watch()
    for number in range(5):
        sent = [github(push(commit(f"headsup: number {number}"))) for _ in range(4)]
        assert await asyncio.gather(*(site.hook(each) for each in sent)) == [202] * 4
    await site.settle()
    assert len(site.mails()) == 5


async def test_c12_many_commits_make_one_mail_that_counts_the_rest(site: Site) -> None:
    await site.watch()
    many = [commit(f"headsup: number {number}.") for number in range(2048)]
    assert await site.told(github(push(*many))) == 202
    (mail,) = site.mails()
    body = text(mail)
    assert "number 0." in body
    assert "number 49." in body
    assert "number 50." not in body
    assert "1998 more heads-ups are not shown here." in body
    project = site.projects[0]
    assert f"https://fanfare.example.org/headsup/{project}/log/1" in body
    assert mail["Subject"].endswith("(+2047)")
    # The ledger has them all.
    assert await site.told(github(push(many[2000]))) == 202
    assert site.mails() == []


async def test_c12_commits_that_the_forge_does_not_list_are_counted(site: Site) -> None:
    project = await site.watch("group/sub/engine")
    await site.told(gitlab(gitlab_push(HEADSUP, "two", total_commits_count=4)), project)
    (mail,) = site.mails()
    assert "2 more commits are not shown: the forge did not list them." in text(mail)


async def test_c13_equal_texts_are_one_entry(site: Site) -> None:
    await site.watch()
    await site.told(github(push(commit("headsup: the same"), commit("Merge #4\n\nheadsup: the same"))))
    (mail,) = site.mails()
    assert text(mail).count("\nthe same\n") == 1
    assert "and 1 more that say the same" in text(mail)
    assert await site.outcome() == "1 heads-up"


C14 = [
    ("x", 0),
    ("feature/*", 1),
    ("feature/x", 1),
    ("feature", 0),
    ("*", 0),
    ("**", 1),
    ("!main", 1),
    ("feature/y", 0),
]


@pytest.mark.parametrize(("branches", "count"), C14)
async def test_c14_branches_are_known_by_their_full_names(site: Site, branches: str, count: int) -> None:
    await site.watch(branches=branches)
    await site.told(github(push(commit(HEADSUP), ref="refs/heads/feature/x")))
    assert len(site.mails()) == count
    await site.told(github(tag("feature/x", commit("headsup: tagged"))))
    assert site.mails() == []
    assert await site.outcome() == "nothing: a tag: feature/x"


@pytest.mark.parametrize("ref", ["refs/notes/commits", "refs/pull/1/head", "refs/for/main", "main", "", "refs/heads/"])
async def test_c15_other_refs_are_ignored(site: Site, ref: str) -> None:
    await site.watch(branches="**")
    assert await site.told(github(push(commit(HEADSUP), ref=ref))) == 200
    assert site.said == f"nothing: neither a branch nor a tag: {ref}".strip()
    assert site.mails() == []


async def test_c16_without_branches_the_payloads_default_one_counts(site: Site) -> None:
    await site.watch()
    trunk = repository(default_branch="trunk", master_branch="trunk")
    await site.told(github(push(commit(HEADSUP), ref="refs/heads/trunk", repository=trunk)))
    assert len(site.mails()) == 1
    await site.told(github(push(commit("headsup: other"), repository=trunk)))
    assert site.mails() == []
    assert await site.outcome() == "nothing: another branch: main"


async def test_c17_a_rule_for_tags_tells_when_one_is_created(site: Site) -> None:
    await site.watch(tags_only=True)
    first, second = commit("headsup: the first"), commit("headsup: the second")
    await site.told(github(push(first, commit("nothing"))))
    await site.told(github(push(second)))
    assert site.mails() == []
    assert await site.outcome() == "nothing: kept for the next tag"
    await site.told(github(tag("v1.2", second)))
    (mail,) = site.mails()
    body = text(mail)
    assert mail["Subject"] == "Headsup! ada/engine v1.2: the first (+1)"
    assert body.index("the first") < body.index("the second")
    # It says what it does not know.
    assert "what was pushed before, only the forge knows" in " ".join(body.split())
    await site.told(github(tag("v1.3", second)))
    assert site.mails() == []


async def test_c18_a_moved_tag_and_the_first_there_is(site: Site) -> None:
    await site.watch(tags_only=True)
    first, second = commit("headsup: in the first"), commit("headsup: moved there")
    await site.told(github(tag("v1", first)))
    assert "in the first" in text(site.mails()[0])
    await site.told(github(tag("v1", second, before=first["id"], created=True, forced=True)))
    (mail,) = site.mails()
    assert "in the first" not in text(mail)
    assert "The tag was moved: what it told before is not repeated." in text(mail)


async def test_c18_a_tag_that_github_says_was_created_and_forced_was_moved(site: Site) -> None:
    """Its `before` is zeros all the same, by which `forced` was taken for a slip."""
    await site.watch(tags_only=True)
    await site.told(github(tag("v1", commit("headsup: here first"), forced=False)))
    assert "was moved" not in text(site.mails()[0])
    await site.told(github(tag("v1", commit("headsup: moved there"), forced=True)))
    (mail,) = site.mails()
    assert "The tag was moved: what it told before is not repeated." in text(mail)
    assert "Pushed by ada, forced." in text(mail)
    # Of a branch that is new nothing can be forced.
    await site.watch("ada/loom", to="b@example.org")
    new = push(commit(HEADSUP), created=True, forced=True, before=ZEROS, repository=repository(full_name="ada/loom"))
    await site.told(github(new | {"repository": repository(full_name="ada/loom", id=5)}))
    (mail,) = site.mails()
    assert "forced" not in text(mail)


async def test_c19_only_the_project_whose_secret_it_is_is_told(site: Site) -> None:
    await site.watch(to="a@example.org")
    await site.watch(to="b@example.org", secret="another secret")
    await site.watch(to="c@example.org")
    assert await site.told(github(push(commit(HEADSUP)))) == 202
    assert sorted(str(mail["To"]) for mail in site.mails()) == ["a@example.org", "c@example.org"]
    assert await site.told(github(push(commit(HEADSUP)), secret="another secret")) == 202
    assert [mail["To"] for mail in site.mails()] == ["b@example.org"]


async def test_c20_a_repository_is_known_by_its_id(site: Site) -> None:
    project = await site.watch("Ada/Engine")
    await site.told(github(push(commit("headsup: a"))))
    assert len(site.mails()) == 1
    renamed = repository(full_name="countess/analytical-engine")
    assert await site.told(github(push(commit("headsup: b"), repository=renamed))) == 202
    assert len(site.mails()) == 1
    assert (await site.get(HeadsupProject, project)).name == "countess/analytical-engine"
    shouted = repository(full_name="COUNTESS/Analytical-Engine")
    assert await site.told(github(push(commit("headsup: c"), repository=shouted))) == 202
    assert len(site.mails()) == 1
    # Another repository's hook has the same secret and address.
    other = repository(full_name="ada/loom", id=4712)
    assert await site.told(github(push(commit("headsup: d"), repository=other)), project) == 200
    assert site.said == "another repository: ada/loom"


async def test_c21_pings_and_other_events_are_well(site: Site) -> None:
    project = await site.watch()
    bare = ping()
    del bare["repository"]
    assert await site.told(github(bare, event="ping"), project) == 200
    assert (await site.get(HeadsupProject, project)).heard_at is not None
    organization = bare | {"organization": {"login": "ada", "id": 1}}
    assert await site.told(github(organization, event="ping")) == 200
    assert await site.told(github(ping(), event="ping")) == 200
    assert site.said == "pong"
    assert await site.told(github({"repository": repository(), "action": "opened"}, event="issues")) == 200
    assert site.said == "nothing is done for the event issues"
    app = {"action": "created", "installation": {"id": 5}, "repositories": [{"full_name": "ada/engine"}]}
    assert await site.told(github(app, event="installation")) == 200
    assert [each.event for each in await site.deliveries()] == ["ping", "ping", "ping", "issues", "installation"]


async def test_c22_a_delivery_is_json_or_a_form(site: Site) -> None:
    await site.watch()
    assert await site.told(form(push(commit("headsup: as a form 🎺 & + %")))) == 202
    assert "as a form 🎺 & + %" in text(site.mails()[0])
    assert (
        await site.told(github(push(commit("headsup: b")), **{"Content-Type": "application/json; charset=utf-8"}))
        == 202
    )
    charset = {"Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
    assert await site.told(form(push(commit("headsup: c")), **charset)) == 202
    assert len(site.mails()) == 2
    assert await site.told(github(push(commit(HEADSUP)), **{"Content-Type": "text/plain"})) == 415
    assert site.said == "Send JSON, or a form with the JSON in its field payload."
    assert await site.told(form(b"not json"), 1) == 400
    assert await site.told(github(b"a=b", **{"Content-Type": "application/x-www-form-urlencoded"}), 1) == 400


C23: list[tuple[str, bytes, int, str]] = [
    ("invalid UTF-8", b'{"ref": "\xff"}', 400, "The body is not UTF-8."),
    ("UTF-16", '{"ref": "x"}'.encode("utf-16"), 400, "The body is not UTF-8."),
    ("brackets", b"[" * 100_000, 400, "The JSON is nested too deeply."),
    ("braces", b'{"a":' * 100_000, 400, "The JSON is nested too deeply."),
    ("digits", b'{"a": ' + b"9" * 5000 + b"}", 400, "The body is not JSON that can be read."),
    ("NaN", b'{"a": NaN}', 400, "The body is not JSON that can be read."),
    ("a list", b"[]", 400, "The JSON is not an object."),
    ("nothing", b"", 400, "The body is not JSON that can be read."),
    ("an object of nothing", b"{}", 200, ""),
]


@pytest.mark.parametrize(("name", "body", "status", "said"), C23, ids=[each[0] for each in C23])
async def test_c23_what_cannot_be_read_is_said_and_kept(
    site: Site, name: str, body: bytes, status: int, said: str
) -> None:
    project = await site.watch()
    assert await site.told(github(body), project) == status
    (delivery,) = await site.deliveries()
    if said:
        assert site.said == delivery.outcome == said
        assert delivery.state == "unreadable"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[" * 1_200_000, "The JSON is nested too deeply."),
        (b'{"ref": "' + b"x" * 1_200_000, "The body is not JSON that can be read."),
        (b'{"ref": "' + b"\xff" * 1_200_000 + b'"}', "The body is not UTF-8."),
    ],
    ids=["brackets", "cut off", "no UTF-8"],
)
async def test_c23_what_is_read_later_and_cannot_be_is_kept_too(site: Site, body: bytes, said: str) -> None:
    """A large body is read by a process of its own. What could not be was tried again until it was given up, and the
    log had no word of it."""
    project = await site.watch()
    assert await site.told(github(body), project) == 202
    (delivery,) = await site.deliveries()
    assert (delivery.state, delivery.outcome) == ("unreadable", said)


async def test_c23_half_characters_and_nul_are_shown_as_what_they_are(site: Site) -> None:
    await site.watch()
    await site.told(github(push(commit("headsup: half \ud83d and \0 nul"))))
    (mail,) = site.mails()
    assert "half � and � nul" in text(mail)
    # Of two fields of one name the last counts.
    body = encoded(push(commit("headsup: doubled"))).replace(
        b'"ref": "refs/heads/main"', b'"ref": "refs/heads/other", "ref": "refs/heads/main"'
    )
    await site.told(github(body))
    assert len(site.mails()) == 1


#: All that ends a line for somebody: what `str.splitlines` splits at, and NUL.
BREAKS = [
    *("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00"),
    "\r\nBcc: eve@example.org\r\n",
    "\u2028Bcc: eve@example.org\u2028",
]

#: The headers of a heads-up, and no other.
HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Auto-Submitted"),
    *("X-Auto-Response-Suppress", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "Reply-To"),
}


@pytest.mark.parametrize("kind", ["heads", "tags"])
@pytest.mark.parametrize("end", BREAKS, ids=[repr(each) for each in BREAKS])
async def test_c24_no_name_adds_a_header(site: Site, end: str, kind: str) -> None:
    """Of the repository, the branch or tag, the author and the pusher: each is one line, wherever it stands."""
    project = await site.watch("ada/engine", branches="**")
    await site.rule(project, branches="**", tags_only=True, words="tagged")
    await site.told(github(ping(), event="ping"), project)
    where = repository(full_name=f"ada/engine{end}x", default_branch=f"main{end}x")
    one = commit("headsup: told\n\ntagged: told", name=f"Ada{end}x", email="ada@example.org")
    one["committer"] = {"name": f"Bob{end}x", "email": f"bob{end}x@example.org"}
    more = {"repository": where, "pusher": {"name": f"eve{end}x", "email": f"eve{end}x@example.org"}}
    assert await site.told(github(push(one, ref=f"refs/{kind}/v1{end}x", **more)), project) == 202
    raw = site.postman.mails[-1][0]
    (mail,) = site.mails()
    head = raw.partition(b"\r\n\r\n")[0]
    # No control, nothing but ASCII; each line is a header that is known or goes on with one.
    assert all(32 <= each < 127 for each in head.replace(b"\r\n", b""))
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b" ")]
    assert {line.partition(b":")[0].decode() for line in lines} == HEADERS
    assert len(lines) == len(HEADERS)
    for name, value in mail.items():
        assert len(str(value).splitlines()) == 1, name
    shown = " ".join(f"{end}x".replace("\0", "�").split()) if end != "\x00" else "�x"
    plain = f"ada/engine{'' if end == chr(0) else ' '}{shown}"
    ref = f"v1{'' if end == chr(0) else ' '}{shown}"
    where_to = f"{plain} {ref}" if kind == "tags" else plain
    assert " ".join(str(mail["Subject"]).split()) == f"Headsup! {where_to}: told"
    assert (mail["To"], mail["From"]) == ("team@example.org", "Fanfare <noreply@example.org>")
    assert mail["Reply-To"] == "ada@example.org"
    # In the text each has a line of its own too: none looks like another fact.
    found = [" ".join(line.split()) for line in text(mail).split("\n")]
    assert found[0] == f"1 heads-up in {plain}, {'tag' if kind == 'tags' else 'branch'} {ref}"
    assert len(text(mail).split("\n")[0].splitlines()) == 1
    gap = "" if end == chr(0) else " "
    assert f"Pushed by eve{gap}{shown}." in found
    assert any(line.startswith(f"By Ada{gap}{shown}, committed by Bob{gap}{shown}, ") for line in found)


C25 = [
    ("Doe, Jane", "jane@example.org", "jane@example.org"),
    ("Jane", "x@host.(none)", None),
    ("Jane", "583231+jane@users.noreply.github.com", None),
    ("Jane", "", None),
    ("Jane", None, None),
    (None, None, None),
    ("J\r\nBcc: x@example.org", "j@example.org\r\nBcc: x@example.org", None),
]


@pytest.mark.parametrize(("name", "address", "reply"), C25)
async def test_c25_answers_go_to_the_author_whom_mail_reaches(site: Site, name: Any, address: Any, reply: Any) -> None:
    await site.watch()
    one = commit(HEADSUP)
    one["author"] = None if name is None else {"name": name, "email": address}
    await site.told(github(push(one)))
    (mail,) = site.mails()
    assert mail["Reply-To"] == reply
    assert mail["From"] == "Fanfare <noreply@example.org>"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil", "https:", None, 7, "http://a b/"])
async def test_c26_only_web_addresses_are_links(site: Site, url: Any) -> None:
    await site.watch()
    await site.told(github(push(commit(HEADSUP, url=url), compare=url)))
    (mail,) = site.mails()
    found = html(mail).count("<a ")
    # Only those of the foot.
    assert found == html(mail).count('href="https://fanfare.example.org/')
    assert "javascript:" not in html(mail)


async def test_c27_the_forge_itself_is_no_committer(site: Site) -> None:
    await site.watch()
    web_flow = {"name": "GitHub", "email": "noreply@github.com", "username": "web-flow"}
    other = {"name": "Bob", "email": "bob@example.org"}
    await site.told(github(push(commit("headsup: a", committer=web_flow), commit("headsup: b", committer=other))))
    (mail,) = site.mails()
    assert "committed by GitHub" not in text(mail)
    assert "By Ada Lovelace, committed by Bob" in text(mail)


async def test_c28_a_server_that_is_away_delays_and_one_bad_recipient_is_one(site: Site) -> None:
    await site.watch(to="a@example.org; b@example.org, c@example.org")
    site.postman.errors = [TryAgain("smtp://mail: ConnectionRefusedError"), GiveUp("smtp://mail: 550 no such user")]
    await site.told(github(push(commit(HEADSUP))))
    states = await notices(site)
    assert sorted(states.values()) == ["refused", "sent", "waiting"]
    assert len(site.mails()) == 1
    # An hour later.
    async with site.database.saving() as session:
        waiting = jobs.c.finished.is_(None) & jobs.c.key.is_(None)
        await session.execute(update(jobs).where(waiting).values(due=0))
    site.app[keys.runner].wake()
    await site.settle()
    states = await notices(site)
    assert sorted(states.values()) == ["refused", "sent", "sent"]
    assert len(site.mails()) == 1


async def notices(site: Site) -> dict[str, str]:
    async with site.database.reading() as session:
        return {notice.address: notice.state for notice in await session.scalars(select(HeadsupNotice))}


@pytest.mark.parametrize("site_url", BOTH, indirect=True)
async def test_c29_what_a_process_took_before_it_ended_is_told_once_by_another(
    site: Site, settings: Settings, database: Database, publisher: RecordingPublisher
) -> None:
    await site.watch()
    # From here on nobody does its jobs.
    await site.app[keys.runner].stop()
    assert await site.hook(github(push(commit(HEADSUP)))) == 202
    assert site.mails() == []
    async with running(settings, database, publisher) as other:
        await other.settle()
        (mail,) = other.mails()
    assert "run it" in text(mail)
    async with running(settings, database, publisher) as third:
        await third.settle()
        assert third.mails() == []


async def test_c30_what_is_stored_is_bounded(site: Site, settings: Settings) -> None:
    await site.watch()
    for number in range(6):
        await site.told(github(push(commit(f"headsup: {number}"))))
    sizes = [each.kept for each in await site.deliveries()]
    limited = settings.with_(HeadsupSettings, kept_bytes=sum(sizes[3:]), keep=86400.0)
    job: Any = SimpleNamespace(app={keys.settings: limited, keys.database: site.database})
    async with site.database.saving() as session:
        (await session.get_one(HeadsupDelivery, 1)).received_at -= timedelta(days=2)
    await run_prune(job)
    found = await site.deliveries()
    assert [each.id for each in found] == [2, 3, 4, 5, 6]
    assert [each.kept > 0 for each in found] == [False, False, True, True, True]
    # What was told stays told, whatever is forgotten of it.
    async with site.database.reading() as session:
        assert len(list(await session.scalars(select(HeadsupMention)))) == 6


async def stored(site: Site) -> tuple[int, int]:
    """Bytes of bodies that are there, and that are counted."""
    async with site.database.reading() as session:
        there = await session.scalar(select(func.coalesce(func.sum(func.length(HeadsupDelivery.body)), 0)))
        return int(there or 0), int(await session.scalar(select(HeadsupKept.bytes)) or 0)


@pytest.mark.parametrize("site_url", BOTH, indirect=True)
async def test_c30_the_bound_holds_with_each_delivery(
    environ: dict[str, str], database: Database, publisher: RecordingPublisher
) -> None:
    """It was looked at once a day: until then, whoever has the secret could store what they liked."""
    settings = read_settings(environ | {"SITE_HEADSUP_KEPT_BYTES": "200KiB"})
    most = 200 * 1024
    async with running(settings, database, publisher) as site:
        project = await site.watch()
        for number in range(12):
            # As hex nobody packs it below a half.
            padding = os.urandom(20 * 1024).hex()
            if number % 3:
                assert await site.told(github(push(commit(f"headsup: {number}"), padding=padding))) == 202
            else:
                assert await site.told(github(b'{"padding": "' + padding.encode()), project) == 400
            there, counted = await stored(site)
            assert there == counted <= most
        deliveries = await site.deliveries()
        assert len(deliveries) == 12
        # The newest are there, of older ones what was found.
        assert [each.kept > 0 for each in deliveries] == sorted(each.kept > 0 for each in deliveries)
        assert deliveries[-1].kept
        assert deliveries[1].outcome == "1 heads-up"
        assert len(site.mails()) == 8


async def test_c30_of_what_no_rule_is_asked_about_nothing_is_stored(site: Site) -> None:
    await site.watch()
    await site.told(github({"repository": repository(), "padding": "x" * 5000}, event="issues"))
    await site.told(github(ping(), event="ping"))
    await site.told(github(deletion("refs/heads/gone")))
    assert [(each.kept, each.size > 0) for each in await site.deliveries()] == [(0, True)] * 3
    assert await stored(site) == (0, 0)


async def test_c30_nothing_is_kept_where_nothing_may_be(
    environ: dict[str, str], database: Database, publisher: RecordingPublisher
) -> None:
    settings = read_settings(environ | {"SITE_HEADSUP_KEPT_BYTES": "0"})
    async with running(settings, database, publisher) as site:
        await site.watch()
        await site.told(github(push(commit(HEADSUP))))
        assert len(site.mails()) == 1
        assert await stored(site) == (0, 0)


async def test_w10_a_mail_is_a_lists_and_no_robot_answers_it(site: Site) -> None:
    await site.watch()
    await site.told(github(push(commit("headsup: <script>alert(1)</script> & " + "x" * 5000))))
    (mail,) = site.mails()
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "All"
    assert str(mail["List-Id"]).endswith("<headsup-1.example.org>")
    assert str(mail["List-Unsubscribe"]).startswith("<https://fanfare.example.org/headsup/out/")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert str(mail["Message-ID"]).startswith("<headsup-1.")
    assert max(len(line) for line in mail.as_bytes().splitlines()) <= 78
    assert "<script>" in text(mail)
    assert "<script>" not in html(mail)


async def test_refusals_are_counted_without_their_bodies(site: Site) -> None:
    project = await site.watch()
    await site.hook(github(push(commit(HEADSUP)), secret="wrong secret"))
    await site.hook(github(push(commit(HEADSUP), repository=repository(full_name="nobody/here", id=1))))
    await site.hook({"data": b"x", "headers": {"Content-Type": "application/json"}}, project)
    await site.app[refusals].flush()
    async with site.database.reading() as session:
        rows = {(row.project_id, row.reason): row.count for row in await session.scalars(select(HeadsupRefusal))}
    assert rows == {
        (project, "with a wrong signature"): 1,
        (0, "of a repository that nobody watches"): 1,
        (project, "without a signature"): 1,
    }
    assert await site.deliveries() == []


async def test_refusals_go_with_their_project(site: Site, passwords: Passwords) -> None:
    """Deleted by the API they stayed, and SQLite gives the id once more: to somebody else's project."""
    await create_user(site.database, passwords, "ada", PASSWORD, Role.USER)
    browser = Browser(site.client)
    await browser.sign_in()
    async with site.database.saving() as session:
        owner = await session.scalar(select(User.id))
    ways = ["the API", "the page", "its owner's end"]
    for way in ways:
        project = await site.watch()
        async with site.database.saving() as session:
            (await session.get_one(HeadsupProject, project)).owner_id = owner
        await site.hook(github(push(commit(HEADSUP)), secret="wrong secret"))
        await site.app[refusals].flush()
        # Counted, and not written yet.
        await site.hook(github(push(commit(HEADSUP)), secret="wrong secret"))
        if way == "the API":
            token = (await (await browser.fetch("/api/csrf")).json())["csrf_token"]
            data = {"csrfmiddlewaretoken": token}
            async with browser.client.post(f"/api/projects/delete/{project}", json=data) as response:
                assert response.status == 200
        elif way == "the page":
            await browser.look(f"/headsup/{project}")
            assert (await browser.submit(f"/headsup/{project}/delete", {})).status == 303
        else:
            async with site.database.saving() as session:
                await session.delete(await session.get_one(User, owner))
        await site.app[refusals].flush()
        async with site.database.reading() as session:
            left = list(await session.scalars(select(HeadsupRefusal.project_id)))
        assert left == ([] if way != ways[-1] else [project]), way
    again = await site.watch()
    async with site.database.reading() as session:
        assert list(await session.scalars(select(HeadsupRefusal))) == []
    assert again == project


async def test_other_forges_are_read_as_they_write(site: Site) -> None:
    project = await site.watch(to="hub@example.org")
    lab = await site.watch("group/sub/engine", to="lab@example.org")
    one, two = commit("headsup: older"), commit("headsup: newer")
    for label in ("Gitea", "Forgejo"):
        older, newer = (commit(f"{each['message']} of {label}") for each in (one, two))
        assert await site.told(gitea(gitea_push(older, newer), label=label)) == 202
        (mail,) = site.mails()
        assert text(mail).index("older of") < text(mail).index("newer of")
    assert await site.told(gitlab(gitlab_push("headsup: by its token"))) == 202
    assert "by its token" in text(site.mails()[0])
    assert await site.told(gitlab(gitlab_push("headsup: signed"), signs=True)) == 202
    assert "signed" in text(site.mails()[0])
    changes = [
        bitbucket_change("headsup: b older", "headsup: b newer"),
        bitbucket_change("headsup: elsewhere", name="dev"),
    ]
    assert await site.told(bitbucket(bitbucket_push(*changes))) == 202
    (mail,) = site.mails()
    assert text(mail).index("b older") < text(mail).index("b newer")
    assert "elsewhere" not in text(mail)
    forges = [each.forge for each in await site.deliveries()]
    assert forges == ["gitea", "forgejo", "gitlab", "gitlab", "bitbucket"]
    assert project != lab


async def test_gitea_is_not_taken_for_github(site: Site) -> None:
    """It sends GitHub's signature too; its own decides."""
    await site.watch()
    sent = gitea(gitea_push(commit(HEADSUP)), **{"X-Gitea-Signature": "0" * 64})
    assert await site.told(sent) == 403


async def test_gitlabs_signature_is_stronger_than_its_token(site: Site) -> None:
    project = await site.watch("group/sub/engine")
    sent = gitlab(gitlab_push(HEADSUP), signs=True, **{"X-Gitlab-Token": SECRET})
    sent["headers"]["webhook-signature"] = "v1,AAAA"
    assert await site.told(sent, project) == 403
    # A clock that is years off costs nothing but a word to the owner.
    assert await site.told(gitlab(gitlab_push(HEADSUP), signs=True, moment="1000000000"), project) == 202
    assert len(site.mails()) == 1
    assert "The forge’s clock is" in (await site.deliveries())[-1].note


async def test_gitlabs_annotated_tag_lists_its_commits(site: Site) -> None:
    project = await site.watch("group/sub/engine", tags_only=True)
    payload = gitlab_push("headsup: in the tag", ref="refs/tags/v1", before=ZEROS, object_kind="tag_push")
    payload["after"] = sha("the tag itself")
    assert await site.told(gitlab(payload, event="Tag Push Hook"), project) == 202
    assert "in the tag" in text(site.mails()[0])


async def test_gitea_tells_of_a_tag_by_create(site: Site) -> None:
    await site.watch(tags_only=True)
    await site.told(gitea(gitea_push(commit("headsup: kept"))))
    created = {"ref": "v1", "ref_type": "tag", "sha": sha(1), "repository": repository()}
    assert await site.told(gitea(created, event="create")) == 202
    assert "kept" in text(site.mails()[0])


async def test_both_secrets_are_valid_while_one_is_changed(site: Site) -> None:
    project = await site.watch()
    async with site.database.saving() as session:
        rotate(await session.get_one(HeadsupProject, project), "the new secret")
    assert await site.told(github(push(commit("headsup: old")))) == 202
    assert await site.told(github(push(commit("headsup: new")), secret="the new secret")) == 202
    async with site.database.saving() as session:
        row = await session.get_one(HeadsupProject, project)
        assert row.old_until is not None
        row.old_until -= timedelta(days=8)
    assert await site.told(github(push(commit("headsup: late")))) == 403


async def test_paths_and_presets(site: Site) -> None:
    await site.watch(paths="*.sql\ndocs/", words="", breaking=True)
    await site.told(github(push(commit("feat: x\n\nBREAKING CHANGE: the tables", modified=["db/1.sql"]))))
    assert len(site.mails()) == 1
    await site.told(github(push(commit("feat: y\n\nBREAKING CHANGE: the code", modified=["a.py"]))))
    assert site.mails() == []
    assert json.loads((await site.deliveries())[-1].found)[0]["commits"][0]["why"] == "other paths"
