"""Signing in and out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import jwt
import pytest
from sqlalchemy import select, update
from visiting import PASSWORD, Browser

from web.accounts import BY_BOTH, WINDOW, change_password, create_user
from web.db import Database
from web.models import FailedLogin, User, now
from web.visitors import Passwords


@pytest.fixture
async def _ada(database: Database, passwords: Passwords) -> None:
    await create_user(database, passwords, "ada", PASSWORD)


@pytest.mark.usefixtures("_ada")
async def test_the_right_password_opens_the_managers_page(browser: Browser) -> None:
    response = await browser.sign_in()
    assert (response.status, response.headers["Location"]) == (303, "/manage/events")
    assert (await browser.look("/manage/events")).status == 200


async def test_the_password_is_kept_as_an_argon2_hash(database: Database, passwords: Passwords) -> None:
    await create_user(database, passwords, "ada", PASSWORD)
    async with database.reading() as session:
        kept = await session.scalar(select(User.password_hash))
    assert kept is not None
    assert kept.startswith("$argon2id$")
    assert PASSWORD not in kept


@pytest.mark.usefixtures("_ada")
@pytest.mark.parametrize(
    ("name", "password"), [("ada", "wrong horse battery"), ("bob", PASSWORD), ("", ""), ("ada", "x" * 9000)]
)
async def test_anything_else_does_not_and_says_the_same(browser: Browser, name: str, password: str) -> None:
    response = await browser.sign_in(name, password)
    assert response.status == 403
    assert "That name and password don’t go together." in browser.page
    assert password not in browser.page or not password
    assert (await browser.look("/manage/events", allow_redirects=False)).status == 303


@pytest.mark.usefixtures("_ada")
async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Browser) -> None:
    cookie = (await browser.sign_in()).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie


@pytest.mark.usefixtures("_ada")
async def test_signing_in_changes_the_cookie_and_the_form_token(browser: Browser) -> None:
    before = await browser.token()
    await browser.sign_in()
    await browser.look("/manage/events")
    assert before not in browser.page


async def test_a_copied_cookie_is_worth_nothing_after_signing_out(
    manager: Browser, new_browser: Callable[[], Awaitable[Browser]]
) -> None:
    cookies = {cookie.key: cookie.value for cookie in manager.client.session.cookie_jar}
    thief = await new_browser()
    thief.client.session.cookie_jar.update_cookies(cookies, thief.client.make_url("/"))
    assert (await thief.look("/manage/events", allow_redirects=False)).status == 200
    await manager.look("/")
    assert (await manager.submit("/logout", {})).status == 303
    assert (await manager.look("/manage/events", allow_redirects=False)).status == 303
    thief.client.session.cookie_jar.update_cookies(cookies, thief.client.make_url("/"))
    assert (await thief.look("/manage/events", allow_redirects=False)).status == 303


async def test_a_new_password_ends_every_sign_in(manager: Browser, database: Database, passwords: Passwords) -> None:
    await change_password(database, passwords, "ada", "another horse battery")
    assert (await manager.look("/manage/events", allow_redirects=False)).status == 303
    assert (await manager.sign_in(password="another horse battery")).status == 303


@pytest.mark.usefixtures("_ada")
async def test_forged_cookies_are_nobodys(browser: Browser, database: Database) -> None:
    async with database.reading() as session:
        user = await session.scalar(select(User))
    assert user is not None
    claims = {"aud": "fanfare-visitor", "vid": "x", "exp": 4e9, "uid": user.id, "stamp": user.stamp}
    forged = [
        jwt.encode(claims, "another secret of more than 32 bytes", algorithm="HS256"),
        jwt.encode(claims, "", algorithm="none"),
        "a.b.c",
        "é",
    ]
    for text in forged:
        response = await browser.look("/manage/events", allow_redirects=False, cookies={"visitor": text})
        assert response.status == 303


async def test_without_signing_in_a_page_leads_to_the_login_and_back(browser: Browser) -> None:
    response = await browser.look("/manage/events/new", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, "/login?next=/manage/events/new")
    assert (await browser.client.get("/manage/events", headers={"Accept": "application/json"})).status == 401


@pytest.mark.usefixtures("_ada")
@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)", ""],
)
async def test_the_way_back_is_never_another_site(browser: Browser, target: str) -> None:
    await browser.look("/login")
    response = await browser.submit("/login", {"name": "ada", "password": PASSWORD, "next": target})
    assert response.headers["Location"] == "/manage/events"


@pytest.mark.usefixtures("_ada")
async def test_after_some_wrong_passwords_even_the_right_one_must_wait(browser: Browser, database: Database) -> None:
    for _ in range(BY_BOTH):
        assert (await browser.sign_in(password="wrong")).status == 403
    response = await browser.sign_in()
    assert response.status == 429
    assert int(response.headers["Retry-After"]) > 0
    async with database.saving() as session:
        await session.execute(update(FailedLogin).values(failed_at=now() - WINDOW - timedelta(seconds=1)))
    assert (await browser.sign_in()).status == 303


@pytest.mark.parametrize(
    ("name", "password"), [("", PASSWORD), ("x" * 61, PASSWORD), ("bob", "short"), ("bob", "x" * 201)]
)
async def test_an_account_needs_a_name_and_a_real_password(
    database: Database, passwords: Passwords, name: str, password: str
) -> None:
    with pytest.raises(ValueError, match="characters"):
        await create_user(database, passwords, name, password)


@pytest.mark.usefixtures("_ada")
async def test_a_name_is_given_once(database: Database, passwords: Passwords) -> None:
    with pytest.raises(ValueError, match="already"):
        await create_user(database, passwords, "ada", PASSWORD)
