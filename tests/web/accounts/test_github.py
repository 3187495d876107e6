"""Signing in with GitHub: the right way, and every other."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientResponse, ClientSession, web
from fake_github import CLIENT_ID, CLIENT_SECRET, FakeGitHub
from sqlalchemy import func, select
from visiting import PASSWORD, Browser

from hub.errors import SettingsError
from web.app import read_settings
from web.db.database import Database
from web.features.accounts import github as github_module
from web.features.accounts.flow import LIFE, Flows
from web.features.accounts.github import Person, role_for
from web.features.accounts.github_views import BACK, RATE
from web.features.accounts.models import GithubAccount
from web.features.accounts.people import create_user
from web.features.accounts.settings import AccountSettings
from web.identity.passwords import Passwords
from web.identity.roles import Role
from web.identity.signins import SignIn
from web.identity.users import User
from web.services.outbound import Limits
from web.settings import Settings

NewBrowser = Callable[[], Awaitable[Browser]]


@pytest.fixture
async def github() -> AsyncIterator[FakeGitHub]:
    fake = FakeGitHub()
    await fake.start()
    yield fake
    await fake.close()


@pytest.fixture
def environ(site_url: str, github: FakeGitHub) -> dict[str, str]:
    return {
        "DATABASE_URL": site_url,
        "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
        "GITHUB_CLIENT_ID": CLIENT_ID,
        "GITHUB_CLIENT_SECRET": CLIENT_SECRET,
        "GITHUB_URL": github.url,
        "GITHUB_MANAGERS": "Octocat, @crew",
        "GITHUB_WRITERS": "scribe, #77",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
    }


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return read_settings(environ)


@pytest.fixture
async def browser(browser: Browser, github: FakeGitHub) -> Browser:
    github.callback = browser.origin + BACK
    return browser


async def leave(browser: Browser, target: str = "", *, page: str = "/login", action: str = "/login/github") -> str:
    """Press the button; the address at GitHub to which the browser goes."""
    await browser.look(f"{page}?next={target}" if target else page)
    response = await browser.submit(action, {})
    assert response.status == 200, browser.page
    match = re.search(r'<meta http-equiv="refresh" content="0; url=([^"]+)">', browser.page)
    assert match is not None
    return html.unescape(match[1])


async def consent(url: str) -> str:
    """Say yes or no at GitHub; the path at which the browser comes back."""
    async with ClientSession() as session, session.get(url, allow_redirects=False) as response:
        assert response.status == 302
        parts = urlsplit(response.headers["Location"])
    return f"{parts.path}?{parts.query}"


async def sign_in(browser: Browser, target: str = "") -> ClientResponse:
    return await browser.look(await consent(await leave(browser, target)), allow_redirects=False)


async def users(database: Database) -> list[tuple[str, str, str]]:
    async with database.reading() as session:
        rows = await session.execute(select(User.name, User.role, User.password_hash).order_by(User.id))
        return [(name, role, "password" if kept else "") for name, role, kept in rows]


async def counts(database: Database) -> tuple[int, int, int]:
    """Users, GitHub accounts and sign-ins."""
    async with database.reading() as session:
        found = [await session.scalar(select(func.count()).select_from(each)) for each in (User, GithubAccount, SignIn)]
    return found[0] or 0, found[1] or 0, found[2] or 0


# The right way


async def test_who_says_yes_at_github_is_signed_in_with_the_role_that_the_settings_give(
    browser: Browser, github: FakeGitHub, database: Database
) -> None:
    response = await sign_in(browser)
    assert (response.status, response.headers["Location"]) == (303, "/manage/events")
    assert (await browser.look("/manage/events")).status == 200
    assert await users(database) == [("octocat", "manager", "")]
    async with database.reading() as session:
        account = (await session.scalars(select(GithubAccount))).one()
    assert (account.id, account.login, account.email) == (583231, "octocat", "octocat@example.org")
    await sign_in(await _out(browser))
    assert len(await users(database)) == 1


async def _out(browser: Browser) -> Browser:
    await browser.look("/account")
    assert (await browser.submit("/logout", {})).status == 303
    return browser


async def test_the_way_there_has_state_and_a_challenge_and_no_secret(browser: Browser, github: FakeGitHub) -> None:
    url = await leave(browser)
    query = parse_qs(urlsplit(url).query)
    assert url.startswith(f"{github.url}/login/oauth/authorize?")
    assert (query["client_id"], query["code_challenge_method"]) == ([CLIENT_ID], ["S256"])
    assert len(query["code_challenge"][0]) == 43
    assert len(query["state"][0]) >= 43
    assert query["scope"] == ["read:user user:email read:org"]
    # Nothing of ours says where to come back: the Host header is a stranger's to choose.
    assert "redirect_uri" not in query
    assert CLIENT_SECRET not in browser.page
    second = parse_qs(urlsplit(await leave(browser)).query)
    assert second["state"] != query["state"]
    assert second["code_challenge"] != query["code_challenge"]


async def test_one_comes_back_to_where_one_wanted_to_go_and_never_to_another_site(browser: Browser) -> None:
    response = await sign_in(browser, "/manage/events/new")
    assert response.headers["Location"] == "/manage/events/new"
    await _out(browser)
    response = await sign_in(browser, "//evil.example")
    assert response.headers["Location"] == "/manage/events"


async def test_the_token_of_github_is_kept_nowhere_and_no_secret_is_logged(
    browser: Browser, github: FakeGitHub, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    url = await leave(browser)
    path = await consent(url)
    await browser.look(path, allow_redirects=False)
    [token] = github.tokens
    code, state = parse_qs(urlsplit(path).query)["code"][0], parse_qs(urlsplit(path).query)["state"][0]
    async with database.reading() as session:
        kept = str([tuple(row) for row in await session.execute(select(GithubAccount.__table__))])
        kept += str([tuple(row) for row in await session.execute(select(SignIn.__table__))])
        kept += str([tuple(row) for row in await session.execute(select(User.__table__))])
    cookies = {cookie.key: cookie.value for cookie in browser.client.session.cookie_jar}
    ours = [record.getMessage() + str(record.__dict__) for record in caplog.records if record.name.startswith("web")]
    assert ours
    for secret in (token, code, state, CLIENT_SECRET, cookies["visitor"]):
        assert secret not in kept
        assert secret not in "".join(ours)
    assert "github" not in cookies, "a flow comes back once"


@pytest.mark.parametrize("address", ["https://github.example/login/oauth", "https://evil.example", "x://[", ""])
async def test_answer_of_another_server_is_refused(browser: Browser, github: FakeGitHub, address: str) -> None:
    """RFC 9207: who has several servers to choose from could be made to give one's code to another."""
    path = await consent(await leave(browser))
    response = await browser.look(f"{path}&iss={address}", allow_redirects=False)
    assert response.status == 403
    assert github.asked[-1].startswith("GET /login/oauth/authorize"), "nothing was asked with the code"


async def test_answer_that_says_that_it_is_of_this_server_is_taken(browser: Browser, github: FakeGitHub) -> None:
    path = await consent(await leave(browser))
    response = await browser.look(f"{path}&iss={github.url}/login/oauth", allow_redirects=False)
    assert response.status == 303


# Whose account it is


async def test_who_has_a_users_name_at_github_gets_another_account(
    browser: Browser, github: FakeGitHub, database: Database, passwords: Passwords
) -> None:
    """Whoever registers the manager's name at GitHub must not become the manager."""
    await create_user(database, passwords, "octocat", PASSWORD)
    github.login = "octocat"
    await sign_in(browser)
    assert await users(database) == [("octocat", "manager", "password"), ("octocat-2", "manager", "")]
    async with database.reading() as session:
        account = (await session.scalars(select(GithubAccount))).one()
        assert (await session.get_one(User, account.user_id)).name == "octocat-2"


async def test_account_is_known_by_its_number_when_its_login_changes(
    browser: Browser, github: FakeGitHub, database: Database
) -> None:
    github.id = 77
    github.login = "before"
    await sign_in(browser)
    github.login = "after"
    await sign_in(await _out(browser))
    assert await users(database) == [("before", "writer", "")]


async def test_stranger_who_takes_over_a_login_that_was_given_up_has_not_its_role(
    browser: Browser, new_browser: NewBrowser, github: FakeGitHub, database: Database
) -> None:
    await sign_in(browser)
    github.id = 999
    stranger = await new_browser()
    response = await sign_in(stranger)
    assert response.status == 403
    assert "You have no account here" in stranger.page
    assert await counts(database) == (1, 1, 1)


async def test_who_is_not_listed_may_not_sign_in_and_leaves_nothing(
    browser: Browser, github: FakeGitHub, database: Database
) -> None:
    github.login, github.memberships = "nobody", {"other": "active"}
    response = await sign_in(browser)
    assert response.status == 403
    assert "who has no account here" in browser.page
    assert await counts(database) == (0, 0, 0)
    assert (await browser.look("/account", allow_redirects=False)).status == 303


@pytest.mark.parametrize(("state", "status"), [("active", 303), ("pending", 403)])
async def test_member_of_an_organisation_is_one_who_has_agreed(
    browser: Browser, github: FakeGitHub, state: str, status: int
) -> None:
    github.login, github.memberships = "member", {"crew": state}
    assert (await sign_in(browser)).status == status


async def test_who_is_no_longer_listed_loses_the_role_and_every_sign_in(
    browser: Browser, new_browser: NewBrowser, github: FakeGitHub, database: Database
) -> None:
    github.login, github.memberships = "member", {"crew": "active"}
    await sign_in(browser)
    github.memberships = {}
    other = await new_browser()
    assert (await sign_in(other)).status == 403
    assert await users(database) == [("member", "user", "")]
    assert (await browser.look("/manage/events", allow_redirects=False)).status == 303


@pytest.mark.parametrize("emails", [[], [{"email": "a@b.example", "primary": True, "verified": False}]])
async def test_address_that_github_has_not_verified_is_not_kept(
    browser: Browser, github: FakeGitHub, database: Database, emails: list[dict[str, object]]
) -> None:
    github.emails = emails
    assert (await sign_in(browser)).status == 303
    async with database.reading() as session:
        assert (await session.scalars(select(GithubAccount.email))).one() is None


_LISTS = AccountSettings(
    client_id="x", client_secret="y", managers=("ada", "@crew", "#5"), writers=("bob", "@press", "#6"), anybody=False
)


@pytest.mark.parametrize(
    ("person", "role"),
    [
        (Person(1, "Ada", None), Role.MANAGER),
        (Person(1, "BOB", None), Role.WRITER),
        (Person(5, "x", None), Role.MANAGER),
        (Person(6, "x", None), Role.WRITER),
        (Person(1, "x", None, frozenset({"crew", "press"})), Role.MANAGER),
        (Person(1, "x", None, frozenset({"press"})), Role.WRITER),
        (Person(1, "crew", None), None),
        (Person(1, "adam", None), None),
        (Person(55, "x", None), None),
    ],
)
def test_role_is_by_login_number_or_organisation(person: Person, role: Role | None) -> None:
    assert role_for(person, _LISTS) == role


def test_anybody_has_no_role() -> None:
    settings = AccountSettings(client_id="x", client_secret="y", managers=("ada",), anybody=True)
    assert role_for(Person(1, "x", None), settings) is Role.USER
    assert role_for(Person(1, "ada", None), settings, keeps_login=False) is Role.USER


# Every other way


async def test_answer_with_a_wrong_state_is_refused_and_the_flow_is_over(
    browser: Browser, github: FakeGitHub, database: Database
) -> None:
    path = await consent(await leave(browser))
    wrong = re.sub(r"state=[^&]+", "state=" + "A" * 43, path)
    response = await browser.look(wrong, allow_redirects=False)
    assert response.status == 403
    assert "did not begin here" in browser.page
    assert (await browser.look(path, allow_redirects=False)).status == 403, "its cookie is gone"
    assert not any("access_token" in each for each in github.asked)
    assert await counts(database) == (0, 0, 0)


@pytest.mark.parametrize("path", [BACK, f"{BACK}?code=x", f"{BACK}?state=&code=x", f"{BACK}?state=%ED%A0%80&code=x"])
async def test_answer_that_nobody_asked_for_is_refused(browser: Browser, github: FakeGitHub, path: str) -> None:
    assert (await browser.look(path, allow_redirects=False)).status == 403
    assert github.asked == []


async def test_stranger_cannot_sign_a_browser_in_as_himself(
    browser: Browser, new_browser: NewBrowser, github: FakeGitHub
) -> None:
    """Login CSRF: the stranger begins, says yes, and sends the victim the address to come back to."""
    path = await consent(await leave(browser))
    victim = await new_browser()
    assert (await victim.look(path, allow_redirects=False)).status == 403
    await leave(victim)
    assert (await victim.look(path, allow_redirects=False)).status == 403, "nor with a flow of the victim's own"
    assert (await victim.look("/account", allow_redirects=False)).status == 303


async def test_another_sites_page_cannot_begin_it(browser: Browser) -> None:
    assert (await browser.look("/login/github")).status == 405
    await browser.look("/login")
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await browser.send("/login/github", {}, headers=headers)).status == 403


async def test_session_that_a_stranger_has_put_into_a_browser_is_not_signed_in(
    browser: Browser, new_browser: NewBrowser
) -> None:
    """Session fixation: the cookie from before knows nothing afterwards."""
    stranger = await new_browser()
    await stranger.look("/login")
    planted = {cookie.key: cookie.value for cookie in stranger.client.session.cookie_jar}
    browser.client.session.cookie_jar.update_cookies(planted, browser.client.make_url("/"))
    assert (await sign_in(browser)).status == 303
    assert (await stranger.look("/account", allow_redirects=False)).status == 303


async def test_code_is_good_once(browser: Browser, github: FakeGitHub, database: Database) -> None:
    first = await consent(await leave(browser))
    code = parse_qs(urlsplit(first).query)["code"][0]
    assert (await browser.look(first, allow_redirects=False)).status == 303
    await _out(browser)
    path = re.sub(r"code=[^&]+", f"code={code}", await consent(await leave(browser)))
    response = await browser.look(path, allow_redirects=False)
    assert response.status == 403
    assert "That sign-in is used up" in browser.page
    assert (await counts(database))[2] == 0


async def test_code_of_another_flow_is_worth_nothing(
    browser: Browser, new_browser: NewBrowser, github: FakeGitHub
) -> None:
    """A code that was stolen on its way is no good without the verifier of the browser that began."""
    victim = await new_browser()
    stolen = parse_qs(urlsplit(await consent(await leave(victim))).query)["code"][0]
    path = re.sub(r"code=[^&]+", f"code={stolen}", await consent(await leave(browser)))
    assert (await browser.look(path, allow_redirects=False)).status == 403
    assert "That sign-in is used up" in browser.page


async def test_who_says_no_reads_that_nothing_has_changed(
    browser: Browser, github: FakeGitHub, database: Database
) -> None:
    github.consents = False
    response = await sign_in(browser)
    assert response.status == 403
    assert "You said no at GitHub" in browser.page
    assert await counts(database) == (0, 0, 0)


async def test_other_errors_of_github_are_not_repeated(browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    await leave(browser)
    url = await leave(browser)
    state = parse_qs(urlsplit(url).query)["state"][0]
    response = await browser.look(f"{BACK}?state={state}&error=<script>alert(1)</script>", allow_redirects=False)
    assert response.status == 502
    assert "alert(1)" not in browser.page
    assert "alert(1)" not in caplog.text


_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("path", ["/login/oauth/access_token", "/api/v3/user", "/api/v3/user/emails"])
@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (web.Response(status=502, text="bad gateway"), 503),
        (None, 503),
        (web.Response(status=429, headers={"Retry-After": "60"}), 503),
        (web.Response(status=403, headers={"X-RateLimit-Remaining": "0"}), 503),
        (web.Response(text="<html>", headers={"Content-Type": "text/html"}), 502),
        (web.Response(text="7", headers=_JSON), 502),
        (web.Response(text='{"id": true, "login": "octocat"}', headers=_JSON), 502),
        (web.Response(text='{"id": "583231", "login": "octocat", "access_token": 7}', headers=_JSON), 502),
        (web.Response(text='{"id": 1, "login": "../x", "error": "other"}', headers=_JSON), 502),
        (web.Response(status=401, text="{}", headers=_JSON), 502),
    ],
    ids=["5xx", "broken", "429", "limited", "html", "number", "true", "text", "login", "401"],
)
async def test_github_that_fails_gets_a_page_and_nothing_is_half_done(
    browser: Browser, github: FakeGitHub, database: Database, path: str, wrong: web.Response | None, status: int
) -> None:
    if path.endswith("access_token") and wrong is not None and wrong.status == 429:
        status = 502
    if path.endswith("access_token") and wrong is not None and wrong.status == 403:
        status = 502
    github.wrong[path] = wrong
    response = await sign_in(browser)
    assert response.status == status, browser.page
    assert "Nothing has changed" in browser.page
    assert (response.headers.get("Retry-After") is not None) == (status == 503)
    assert await counts(database) == (0, 0, 0)
    # And it works again once GitHub does.
    github.wrong.clear()
    assert (await sign_in(browser)).status == 303


async def test_github_that_does_not_answer_is_waited_for_a_while(
    browser: Browser, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_module, "LIMITS", Limits(total=0.0))
    response = await sign_in(browser)
    assert response.status == 503
    assert "GitHub can’t be reached" in browser.page


async def test_wrong_secret_is_noted_and_not_shown(
    browser: Browser, github: FakeGitHub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fake_github.CLIENT_SECRET", "another")
    response = await sign_in(browser)
    assert response.status == 502
    assert any("incorrect_client_credentials" in str(record.__dict__) for record in caplog.records)
    assert CLIENT_SECRET not in caplog.text + browser.page


async def test_flood_of_answers_waits(browser: Browser, github: FakeGitHub) -> None:
    for number in range(RATE + 1):
        state = parse_qs(urlsplit(await leave(browser)).query)["state"][0]
        response = await browser.look(f"{BACK}?state={state}&code=!", allow_redirects=False)
        assert response.status == (403 if number < RATE else 429)
    assert int(response.headers["Retry-After"]) > 0


def test_flow_ends_and_is_of_one_secret() -> None:
    from aiohttp.test_utils import make_mocked_request

    now = 1_800_000_000.0
    flows = Flows(b"x" * 32, secure=True, clock=lambda: now)
    flow = flows.new("/a")
    response = web.Response()
    flows.write(response, flow)
    cookie = response.cookies["__Host-github"]
    assert (cookie["secure"], cookie["httponly"], cookie["path"], cookie["samesite"]) == (True, True, "/", "Lax")
    assert cookie["domain"] == ""
    assert flows.verifier(flow) not in cookie.value
    request = make_mocked_request("GET", "/", {"Cookie": f"__Host-github={cookie.value}"})
    assert flows.read(request, flow.state) == flow
    assert Flows(b"y" * 32, secure=True, clock=lambda: now).read(request, flow.state) is None
    now += LIFE
    assert flows.read(request, flow.state) is None


# Connecting


async def test_user_with_a_password_connects_github_and_keeps_the_role(
    browser: Browser, github: FakeGitHub, database: Database, passwords: Passwords
) -> None:
    await create_user(database, passwords, "ada", PASSWORD, Role.WRITER)
    github.login = "nobody-listed"
    await browser.sign_in()
    response = await browser.look(
        await consent(await leave(browser, page="/account", action="/account/github")), allow_redirects=False
    )
    assert (response.status, response.headers["Location"]) == (303, "/account")
    await _out(browser)
    response = await sign_in(browser)
    assert (response.status, response.headers["Location"]) == (303, "/account")
    assert await users(database) == [("ada", "writer", "password")]
    await browser.look("/account")
    assert (await browser.submit("/account/github/disconnect", {})).status == 303
    assert (await sign_in(await _out(browser))).status == 403


async def test_account_of_another_user_is_not_connected(
    browser: Browser, new_browser: NewBrowser, database: Database, passwords: Passwords
) -> None:
    await sign_in(await new_browser())
    await create_user(database, passwords, "ada", PASSWORD)
    await browser.sign_in()
    path = await consent(await leave(browser, page="/account", action="/account/github"))
    assert (await browser.look(path, allow_redirects=False)).status == 409
    assert "can’t be connected" in browser.page


async def test_flow_to_connect_is_of_the_sign_in_that_began_it(
    browser: Browser, database: Database, passwords: Passwords
) -> None:
    """Someone who signs in meanwhile in the same browser gets nobody else's GitHub account."""
    for name in ("ada", "bob"):
        await create_user(database, passwords, name, PASSWORD)
    await browser.sign_in()
    path = await consent(await leave(browser, page="/account", action="/account/github"))
    await browser.look("/account")
    await browser.submit("/logout", {})
    assert (await browser.sign_in("bob")).status == 303
    assert (await browser.look(path, allow_redirects=False)).status == 403
    assert (await counts(database))[1] == 0


async def test_who_has_no_password_keeps_github(browser: Browser, database: Database) -> None:
    await sign_in(browser)
    token = await browser.token()
    assert (await browser.send("/account/github/disconnect", {"csrf_token": token})).status == 409
    assert (await browser.send("/account/password", {"csrf_token": token, "new": "x" * 12})).status == 403
    assert (await counts(database))[1] == 1
    assert (await (await _out(browser)).sign_in("octocat", "")).status == 403


# Settings


async def test_without_a_client_id_there_is_no_button_and_no_route(
    site_url: str, database: Database, publisher: object, passwords: Passwords
) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    from web.app import create_app

    settings = read_settings({"DATABASE_URL": site_url, "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA=="})
    app = create_app(settings, publisher, database=database)  # type: ignore[arg-type]  # a fixture's
    async with TestClient(TestServer(app)) as client:
        assert "GitHub" not in await (await client.get("/login")).text()
        assert (await client.get(BACK)).status == 404
        assert (await client.post("/login/github", headers={"Origin": str(client.make_url(""))})).status == 404


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"GITHUB_CLIENT_ID": "x"}, "GITHUB_CLIENT_SECRET: "),
        ({"GITHUB_CLIENT_ID": "x", "GITHUB_CLIENT_SECRET": "y"}, "GITHUB_CLIENT_ID: is set, and nobody"),
        ({"GITHUB_MANAGERS": "a b!"}, "GITHUB_MANAGERS: .*'b!' is neither"),
        ({"GITHUB_WRITERS": "#0"}, "GITHUB_WRITERS: "),
    ],
)
def test_settings_that_let_nobody_in_stop_the_start(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=f"^{words}"):
        read_settings(environ)


@pytest.mark.parametrize(
    ("environ", "api"),
    [
        ({}, "https://api.github.com"),
        ({"GITHUB_URL": "https://github.example.org"}, "https://github.example.org/api/v3"),
        ({"GITHUB_API_URL": "https://api.example.org"}, "https://api.example.org"),
    ],
)
def test_api_follows_from_where_github_is(environ: dict[str, str], api: str) -> None:
    assert read_settings(environ)[AccountSettings].api == api
