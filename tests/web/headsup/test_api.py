"""GitHub's API, a fake of it: names as one types, histories, and what is new in a tag."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from headsup_site import Site
from pushing import commit, github, push, sha, tag
from visiting import PASSWORD, Browser

from web.app import read_settings
from web.features.accounts.people import create_user
from web.features.headsup.api import tag_before, tags_missed
from web.identity.passwords import Passwords
from web.identity.roles import Role
from web.settings import Settings


class FakeApi:
    """What GitHub says of ada/engine to everybody."""

    def __init__(self) -> None:
        self.tags = ["v1.9", "v1.10", "v1.1"]
        self.commits = [self.commit("headsup: of the API"), self.commit("nothing"), self.commit("headsup: older")]
        self.status = 200
        self.private = False
        self.files: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[str] = []

    @staticmethod
    def commit(message: str) -> dict[str, Any]:
        person = {"name": "Ada", "email": "ada@example.org"}
        inner = {"message": message, "author": person, "committer": person}
        return {
            "sha": sha(message),
            "html_url": "https://github.com/ada/engine/commit/x",
            "commit": inner,
            "author": None,
        }

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if self.status != 200:
            return web.json_response({"message": "API rate limit exceeded"}, status=self.status)
        path = request.path
        if self.private:
            return web.json_response({"message": "Not Found"}, status=404)
        if path == "/repos/ada/engine":
            owner = {"login": "ada", "avatar_url": "https://avatars.example.org/1"}
            return web.json_response(
                {
                    "id": 4711,
                    "full_name": "ada/engine",
                    "description": "<b>It</b>",
                    "owner": owner,
                    "private": False,
                    "default_branch": "main",
                }
            )
        if path == "/users/ada/repos":
            return web.json_response([{"full_name": name} for name in ("ada/engine", "ada/english", "ada/loom")])
        if path == "/repos/ada/engine/commits":
            return web.json_response(self.commits)
        if path.startswith("/repos/ada/engine/commits/"):
            return web.json_response({"files": self.files.get(path.rpartition("/")[2], [{"filename": "README.md"}])})
        if path == "/repos/ada/engine/tags":
            return web.json_response([{"name": name} for name in self.tags])
        if path.startswith("/repos/ada/engine/compare/"):
            return web.json_response({"total_commits": len(self.commits), "commits": list(reversed(self.commits))})
        return web.json_response({"message": "Not Found"}, status=404)


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    fake = FakeApi()
    app = web.Application()
    app.router.add_get("/{path:.*}", fake.answer)
    async with TestServer(app) as server:
        fake.url = str(server.make_url("")).rstrip("/")  # type: ignore[attr-defined]  # of this test
        yield fake


@pytest.fixture
def settings(environ: dict[str, str], api: Any) -> Settings:
    return read_settings({**environ, "GITHUB_API_URL": api.url})


@pytest.fixture
async def browser(site: Site, passwords: Passwords) -> Browser:
    await create_user(site.database, passwords, "ada", PASSWORD, Role.USER)
    browser = Browser(site.client)
    await browser.sign_in()
    return browser


async def test_names_come_as_one_types(browser: Browser, api: FakeApi) -> None:
    found = await browser.fetch("/headsup/names", params={"begins": "ada/en"})
    assert await found.json() == {"names": ["ada/engine", "ada/english"]}
    for odd in ("ada", "../x/y", "ada/e?x=1", ""):
        found = await browser.fetch("/headsup/names", params={"begins": odd})
        assert await found.json() == {"names": []}
    api.status = 403
    found = await browser.fetch("/headsup/names", params={"begins": "ada/en"})
    assert await found.json() == {"names": []}


async def test_history_is_fetched_and_tried(browser: Browser, api: FakeApi) -> None:
    await browser.look("/headsup/new")
    fields = {"name": "ada/engine", "send_to": "a@example.org", "act": "fetch", "words": "headsup", "breaking": ""}
    await browser.submit("/headsup/new", fields)
    assert "2 of 3 commits tell something" in browser.page
    assert browser.page.index("older") < browser.page.index("of the API")
    api.status = 403
    await browser.look("/headsup/new")
    await browser.submit("/headsup/new", fields)
    assert "The history could not be fetched" in browser.page


async def test_history_is_of_a_branch_that_the_rule_is_about(browser: Browser, api: FakeApi) -> None:
    """It was the default branch's whatever the rule said, and its files were not looked at."""
    fields = {"name": "ada/engine", "send_to": "a@example.org", "act": "fetch", "words": "headsup", "breaking": ""}
    for branches, asked, told in (
        ("main", "main", "2 of 3 commits tell something"),
        ("release/1.x", "release/1.x", "2 of 3 commits tell something"),
        ("ma*", "main", "2 of 3 commits tell something"),
        ("release/*", "main", "Nothing: another branch: main."),
    ):
        await browser.look("/headsup/new")
        await browser.submit("/headsup/new", fields | {"branches": branches})
        assert told in browser.page, branches
        assert api.asked[-1].startswith(f"/repos/ada/engine/commits?sha={asked}&"), branches


async def test_history_by_files_asks_for_those_of_what_would_be_told(browser: Browser, api: FakeApi) -> None:
    api.files = {sha("headsup: older"): [{"filename": "db/new.sql", "previous_filename": "old.txt"}]}
    fields = {"name": "ada/engine", "send_to": "a@example.org", "act": "fetch", "words": "headsup", "breaking": ""}
    for paths in ("*.sql", "old.txt"):
        api.asked.clear()
        await browser.look("/headsup/new")
        await browser.submit("/headsup/new", fields | {"paths": paths})
        assert "1 of 3 commits tell something" in browser.page
        asked = [each for each in api.asked if "/commits/" in each]
        assert sorted(asked) == sorted(
            f"/repos/ada/engine/commits/{sha(text)}" for text in ("headsup: older", "headsup: of the API")
        )
        assert "other paths" in browser.page


async def test_tag_has_all_commits_since_the_tag_before(site: Site, api: FakeApi) -> None:
    await site.watch(tags_only=True, asks_api=True)
    await site.told(github(push(commit("headsup: pushed to a branch"))))
    await site.told(github(tag("v1.10", commit("at the tag"))))
    (mail,) = site.mails()
    body = " ".join(mail.get_body(("plain",)).get_content().split())
    assert "All commits since v1.9, the tag before." in body
    for text in ("pushed to a branch", "older", "of the API"):
        assert text in body
    assert "/repos/ada/engine/compare/v1.9...v1.10?per_page=100&page=1" in api.asked


async def test_c18_tags_of_which_no_event_came_are_told_with_the_next(site: Site, api: FakeApi) -> None:
    """GitHub sends none when more than three tags are pushed at once."""
    await site.watch(tags_only=True, asks_api=True)
    await site.told(github(tag("v1.1", commit("headsup: of the first"))))
    assert "no event came" not in str(site.mails()[0].get_body(("plain",)).get_content())
    api.commits.append(api.commit("headsup: of the one between"))
    await site.told(github(tag("v1.10", commit("headsup: at the tag"))))
    (mail,) = site.mails()
    body = " ".join(mail.get_body(("plain",)).get_content().split())
    assert "All commits since v1.1, the tag before that was heard of." in body
    assert "Tags of which no event came: v1.9." in body
    assert "of the one between" in body
    assert "/repos/ada/engine/compare/v1.1...v1.10?per_page=100&page=1" in api.asked
    deliveries = await site.deliveries()
    assert [each.note for each in deliveries] == [
        "",
        "Tags of which no event came: v1.9. GitHub sends none for more than three at once.",
    ]


MISSED = [
    ("v1.5", ["v1.1", "v1.2", "v1.3", "v1.4", "v1.5"], {"v1.1"}, ["v1.2", "v1.3", "v1.4"]),
    ("v1.10", ["v1.10", "v1.9", "v1.8"], {"v1.8"}, ["v1.9"]),
    # Of what was before anybody listened, nobody knows.
    ("v1.5", ["v1.4", "v1.5"], set(), []),
    ("v1.5", ["v1.4", "v1.5", "v1.6"], {"v1.6"}, []),
    ("v1.5", ["v1.4", "v1.5"], {"v1.4"}, []),
    ("v1.5", ["v1.4", "v1.5", "w1.4.1"], {"v1.4"}, []),
    ("beta", ["alpha", "beta"], {"alpha"}, []),
]


@pytest.mark.parametrize(("name", "tags", "heard", "missed"), MISSED)
def test_missed_tags_are_between_two_that_were_heard_of(
    name: str, tags: list[str], heard: set[str], missed: list[str]
) -> None:
    assert tags_missed(name, tags, heard) == missed


async def test_tag_of_a_private_repository_says_what_is_not_known(site: Site, api: FakeApi) -> None:
    """GitHub answers 404 to who has no token: the mail said "does not list this tag yet", and not that what it had was
    from pushes."""
    await site.watch(tags_only=True, asks_api=True)
    api.private = True
    await site.told(github(push(commit("headsup: kept"))))
    await site.told(github(tag("v1.10", commit("headsup: at the tag"))))
    (mail,) = site.mails()
    body = " ".join(mail.get_body(("plain",)).get_content().split())
    assert "could not be asked: GitHub shows no such repository to everybody." in body
    assert "These are from what was pushed since this was set up" in body
    assert "yet" not in body


async def test_tag_that_is_not_listed_yet_says_what_is_not_known(site: Site, api: FakeApi) -> None:
    await site.watch(tags_only=True, asks_api=True)
    await site.told(github(tag("v2", commit("headsup: at the tag"))))
    (mail,) = site.mails()
    body = " ".join(mail.get_body(("plain",)).get_content().split())
    assert "GitHub does not list this tag yet. These are from what was pushed" in body


async def test_rule_that_asks_nobody_has_what_was_pushed(site: Site, api: FakeApi) -> None:
    """Another rule of the project asked GitHub: then this one told what it found there too."""
    project = await site.watch(tags_only=True, asks_api=True)
    await site.rule(project, to="quiet@example.org", tags_only=True)
    await site.told(github(push(commit("headsup: pushed to a branch"))))
    await site.told(github(tag("v1.10", commit("headsup: at the tag"))))
    bodies = {str(mail["To"]): " ".join(mail.get_body(("plain",)).get_content().split()) for mail in site.mails()}
    assert "of the API" in bodies["team@example.org"]
    assert "GitHub does not list it in this" in bodies["team@example.org"]
    assert "of the API" not in bodies["quiet@example.org"]
    assert "pushed to a branch" in bodies["quiet@example.org"]
    assert "These are from what was pushed since this was set up" in bodies["quiet@example.org"]


async def test_tag_of_a_rule_about_files_asks_for_those(site: Site, api: FakeApi) -> None:
    """The list of a tag's commits has no files: a rule about some told nothing of it, and nobody knew why."""
    await site.watch(tags_only=True, asks_api=True, paths="*.sql")
    api.files = {sha("headsup: older"): [{"filename": "db/1.sql"}]}
    await site.told(github(tag("v1.10", commit("at the tag"))))
    (mail,) = site.mails()
    body = " ".join(mail.get_body(("plain",)).get_content().split())
    assert "older" in body
    assert "of the API" not in body
    # As many as are asked for, and how many are not.
    api.commits = [api.commit(f"headsup: number {number}") for number in range(13)]
    api.files = {sha(f"headsup: number {number}"): [{"filename": "db/1.sql"}] for number in range(13)}
    await site.told(github(tag("v1.11", commit("at the tag"))))
    api.tags.append("v1.12")
    await site.told(github(tag("v1.12", commit("at the tag"))))
    (mail,) = site.mails()
    assert "(+9)" in mail["Subject"]
    body = " ".join(mail.get_body(("plain",)).get_content().split())
    assert "Of 3 of its commits GitHub was not asked which files they touch: they are not here." in body


async def test_tag_says_when_nobody_could_be_asked(site: Site, api: FakeApi) -> None:
    await site.watch(tags_only=True, asks_api=True)
    api.status = 500
    await site.told(github(tag("v1.10", commit("headsup: at the tag"))))
    (mail,) = site.mails()
    body = " ".join(mail.get_body(("plain",)).get_content().split())
    assert "could not be asked: GitHub answers 500." in body
    assert "These are from what was pushed since this was set up" in body


BEFORE = [
    ("v1.10", ["v1.9", "v1.10", "v1.1"], "v1.9"),
    ("v2", ["v2", "v1"], "v1"),
    ("v1", ["v2", "v1"], None),
    ("v1.0", ["v1.0"], None),
    ("beta", ["gamma", "beta", "alpha"], "alpha"),
    ("1.2.10", ["1.2.9", "1.2.10", "v1.2.99"], "1.2.9"),
]


@pytest.mark.parametrize(("name", "tags", "before"), BEFORE)
def test_tag_before_is_the_next_lower_number(name: str, tags: list[str], before: str | None) -> None:
    assert tag_before(name, tags) == before


# The JSON of before


async def post(browser: Browser, path: str, data: Any) -> tuple[int, Any]:
    async with browser.client.post(path, json=data) as response:
        return response.status, await response.json()


async def token(browser: Browser) -> str:
    return str((await (await browser.fetch("/api/csrf")).json())["csrf_token"])


async def test_who_is_signed_in_is_said(site: Site, passwords: Passwords) -> None:
    browser = Browser(site.client)
    assert await (await browser.fetch("/api/signedin")).json() == {"username": None}
    assert await token(browser)
    projects = await browser.fetch("/api/projects")
    assert (projects.status, await projects.json()) == (403, {"error": "You must be logged in"})
    preview = await browser.fetch("/api/preview-github-project?full_name=ada/engine")
    assert preview.status == 403
    await create_user(site.database, passwords, "ada", PASSWORD, Role.USER)
    await browser.sign_in()
    assert (await (await browser.fetch("/api/signedin")).json())["username"] == "ada"


async def test_project_is_added_listed_and_deleted(site: Site, browser: Browser) -> None:
    assert await (await browser.fetch("/api/projects")).json() == {"projects": []}
    async with browser.client.post("/api/projects/add", data={}) as response:
        assert (response.status, await response.json()) == (400, {"error": "Invalid request body"})
    assert await post(browser, "/api/projects/add", {}) == (403, {"error": "Missing csrfmiddlewaretoken"})
    assert (await post(browser, "/api/projects/add", {"csrfmiddlewaretoken": "xxx"}))[0] == 403
    data: dict[str, Any] = {"csrfmiddlewaretoken": await token(browser)}
    status, answer = await post(browser, "/api/projects/add", data)
    assert status == 200
    assert answer["_errors"]["send_to"] == ["No valid email address(es)"]
    data |= {"github_full_name": "xxx/yyy", "github_webhook_secret": "secret enough", "send_to": "xxx"}
    assert (await post(browser, "/api/projects/add", data))[1] == {
        "_errors": {
            "send_to": ["'xxx' not a valid email address"],
            "github_full_name": ["Not found as a publically available GitHub project"],
        }
    }
    data |= {"github_full_name": "ada/engine", "send_to": "me@example.org; you@example.org", "on_tag_only": False}
    status, answer = await post(browser, "/api/projects/add", data)
    assert status == 200
    project = answer["project"]
    (listed,) = (await (await browser.fetch("/api/projects")).json())["projects"]
    assert listed == project
    assert listed == {
        "id": project["id"],
        "github_full_name": "ada/engine",
        "github_webhook_secret": None,
        "trigger_word": "headsup",
        "case_sensitive_trigger_word": False,
        "on_tag_only": False,
        "on_branch": "",
        "send_to": "me@example.org\nyou@example.org",
        "send_cc": None,
        "send_bcc": None,
        "payloads": {"times_used": 0, "times_messages_sent": 0},
    }
    assert await site.told(github(push(commit("headsup: x")), secret="secret enough")) == 202
    (listed,) = (await (await browser.fetch("/api/projects")).json())["projects"]
    assert listed["payloads"] == {"times_used": 1, "times_messages_sent": 1}
    path = f"/api/projects/delete/{project['id']}"
    assert await post(browser, path, {}) == (403, {"error": "Missing csrfmiddlewaretoken"})
    assert await post(browser, path, {"csrfmiddlewaretoken": data["csrfmiddlewaretoken"]}) == (200, {"ok": True})
    assert await (await browser.fetch("/api/projects")).json() == {"projects": []}


@pytest.mark.parametrize("value", [{}, [], [{}], 7, 1.5, None, "x" * 1000, "\0", "\ud83d", True])
async def test_values_of_any_kind_are_told_or_taken(browser: Browser, value: Any) -> None:
    """An object for on_tag_only was answered 500."""
    data: dict[str, Any] = {
        "csrfmiddlewaretoken": await token(browser),
        "github_full_name": "ada/engine",
        "github_webhook_secret": "secret enough",
        "send_to": "me@example.org",
    }
    fields = ("on_tag_only", "case_sensitive_trigger_word", "on_branch", "trigger_word", "send_cc", "send_bcc")
    for name in (*fields, "send_to", "github_full_name", "github_webhook_secret"):
        status, answer = await post(browser, "/api/projects/add", data | {name: value})
        assert status == 200 or answer["error"] == "Invalid request body", (name, answer)
        if "project" in answer:
            path = f"/api/projects/delete/{answer['project']['id']}"
            assert (await post(browser, path, {"csrfmiddlewaretoken": data["csrfmiddlewaretoken"]}))[0] == 200
    status, answer = await post(browser, "/api/projects/add", {"csrfmiddlewaretoken": value})
    assert status in {200, 400, 403}


async def test_repository_is_previewed(browser: Browser) -> None:
    assert (await browser.fetch("/api/preview-github-project")).status == 400
    found = await browser.fetch("/api/preview-github-project", params={"full_name": "xxx/yyy"})
    assert await found.json() == {"project": None}
    found = await browser.fetch("/api/preview-github-project", params={"full_name": "ada/engine"})
    assert (await found.json())["project"]["full_name"] == "ada/engine"
