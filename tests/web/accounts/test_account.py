"""A user's own page: where they are signed in, and the password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from visiting import PASSWORD, Browser, Forms

from web.db.database import Database
from web.db.tables import now
from web.features.accounts.attempts import BY_BOTH
from web.features.accounts.people import change_role, create_user
from web.identity.passwords import Passwords
from web.identity.roles import Role
from web.identity.signins import COARSE, MOST, SignIn
from web.identity.users import User
from web.identity.visitors import LIFE, LONGEST

NewBrowser = Callable[[], Awaitable[Browser]]

_FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


async def rows(database: Database) -> list[SignIn]:
    async with database.reading() as session:
        return list(await session.scalars(select(SignIn).order_by(SignIn.id)))


async def is_signed_in(browser: Browser) -> bool:
    return (await browser.look("/account", allow_redirects=False)).status == 200


async def ends(browser: Browser) -> list[str]:
    """The buttons that end a sign-in."""
    await browser.look("/account")
    return [action for action in Forms.of(browser.page) if action.endswith("/end")]


async def test_sign_in_is_a_row_that_a_thief_of_the_table_can_do_nothing_with(
    manager: Browser, database: Database
) -> None:
    [row] = await rows(database)
    cookies = {cookie.key: cookie.value for cookie in manager.client.session.cookie_jar}
    assert len(row.key_hash) == 64
    assert row.key_hash not in cookies["visitor"]
    assert (row.way, row.network) == ("password", "127.0.0.0/24")
    assert abs(row.created_at - now()) < timedelta(minutes=5)


async def test_browsers_are_listed_with_short_names(
    manager: Browser, new_browser: NewBrowser, database: Database
) -> None:
    other = await new_browser()
    await other.look("/login")
    await other.submit("/login", {"name": "ada", "password": PASSWORD}, headers=_FIREFOX)
    assert len(await ends(manager)) == 2
    assert "Firefox on Linux" in manager.page
    assert "127.0.0.0/24" in manager.page
    assert "Gecko" not in manager.page
    assert manager.page.count("this browser") == 1


async def test_sign_ins_end_one_by_one(manager: Browser, new_browser: NewBrowser, database: Database) -> None:
    others = [await new_browser() for _ in range(2)]
    for other in others:
        await other.sign_in()
    first, second = (row.id for row in (await rows(database))[1:])
    await ends(manager)
    assert (await manager.submit(f"/account/sign-ins/{first}/end", {})).status == 303
    assert [await is_signed_in(each) for each in (manager, *others)] == [True, False, True]
    await ends(manager)
    assert (await manager.submit("/account/sign-ins/end-others", {})).status == 303
    assert [await is_signed_in(each) for each in (manager, *others)] == [True, False, False]
    assert second not in [row.id for row in await rows(database)]
    [own] = await ends(manager)
    response = await manager.submit(own, {})
    assert response.headers["Location"] == "/"
    assert not await is_signed_in(manager)


async def test_nobody_ends_another_users_sign_in(
    manager: Browser, new_browser: NewBrowser, database: Database, passwords: Passwords
) -> None:
    await create_user(database, passwords, "bob", PASSWORD)
    bob = await new_browser()
    await bob.sign_in("bob")
    [own] = await ends(bob)
    token = await bob.token()
    ada = (await rows(database))[0].id
    assert f"/account/sign-ins/{ada}/end" != own
    await bob.send(f"/account/sign-ins/{ada}/end", {"csrf_token": token})
    await bob.send("/account/sign-ins/end-others", {"csrf_token": token})
    assert await is_signed_in(manager)
    assert await is_signed_in(bob)


async def test_signing_out_ends_this_browser_only(manager: Browser, new_browser: NewBrowser) -> None:
    other = await new_browser()
    await other.sign_in()
    await manager.look("/account")
    await manager.submit("/logout", {})
    assert [await is_signed_in(each) for each in (manager, other)] == [False, True]


async def test_signing_in_again_takes_the_place_of_the_sign_in_before(manager: Browser, database: Database) -> None:
    """Else each sign-in in one browser left a row, and with it a cookie that was good for three months."""
    before = (await rows(database))[0].key_hash
    token = await manager.token()
    fields = {"name": "ada", "password": PASSWORD, "csrf_token": token}
    assert (await manager.send("/login", fields)).status == 303
    [row] = await rows(database)
    assert row.key_hash != before
    assert await is_signed_in(manager)


async def test_user_has_a_bounded_number_of_sign_ins(
    manager: Browser, new_browser: NewBrowser, database: Database
) -> None:
    async with database.saving() as session:
        user_id = await session.scalar(select(User.id))
        for number in range(MOST - 1):
            session.add(SignIn(key_hash=f"{number:064}", user_id=user_id, way="password"))
    async with database.saving() as session:
        await session.execute(update(SignIn).where(SignIn.key_hash == f"{7:064}").values(seen_at=now() - COARSE * 2))
    await (await new_browser()).sign_in()
    found = await rows(database)
    assert len(found) == MOST
    assert f"{7:064}" not in [row.key_hash for row in found], "not seen for longest"
    assert await is_signed_in(manager)


@pytest.mark.parametrize(
    "columns",
    [
        {"seen_at": now() - timedelta(seconds=LIFE + 60) - COARSE},
        {"created_at": now() - timedelta(seconds=LONGEST + 60)},
    ],
)
async def test_sign_in_ends_by_itself_and_is_pruned(
    manager: Browser, new_browser: NewBrowser, database: Database, columns: dict[str, object]
) -> None:
    async with database.saving() as session:
        await session.execute(update(SignIn).values(**columns))
    assert not await is_signed_in(manager)
    await (await new_browser()).sign_in()
    assert len(await rows(database)) == 1


async def test_last_visit_is_written_down_now_and_then(manager: Browser, database: Database) -> None:
    async with database.saving() as session:
        await session.execute(update(SignIn).values(seen_at=now() - COARSE / 2))
    [before] = await rows(database)
    await manager.look("/account")
    assert (await rows(database))[0].seen_at == before.seen_at, "not for each page"
    async with database.saving() as session:
        await session.execute(update(SignIn).values(seen_at=now() - COARSE * 2))
    await manager.look("/account")
    assert now() - (await rows(database))[0].seen_at < COARSE


async def test_new_password_ends_the_other_browsers(
    manager: Browser, new_browser: NewBrowser, database: Database
) -> None:
    other = await new_browser()
    await other.sign_in()
    await manager.look("/account")
    response = await manager.submit("/account/password", {"current": PASSWORD, "new": "another horse battery"})
    assert response.status == 303
    assert [await is_signed_in(each) for each in (manager, other)] == [True, False]
    assert (await other.sign_in(password=PASSWORD)).status == 403
    assert (await other.sign_in(password="another horse battery")).status == 303


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"current": "wrong horse battery", "new": "another horse battery"}, 403, "not your password"),
        ({"current": "x" * 5000, "new": "another horse battery"}, 403, "not your password"),
        ({"current": PASSWORD, "new": "short"}, 422, "A password has 10 to 200 characters."),
        ({"current": PASSWORD, "new": "x" * 201}, 422, "A password has 10 to 200 characters."),
        ({}, 422, "A password has"),
    ],
)
async def test_password_is_not_changed_by_who_does_not_know_it(
    manager: Browser, fields: dict[str, str], status: int, words: str
) -> None:
    await manager.look("/account")
    assert (await manager.submit("/account/password", fields)).status == status
    assert words in manager.page
    for value in fields.values():
        assert value not in manager.page
    await manager.look("/account")
    await manager.submit("/logout", {})
    assert (await manager.sign_in()).status == 303


async def test_stolen_browser_has_as_many_guesses_as_the_sign_in(manager: Browser) -> None:
    for number in range(BY_BOTH + 1):
        await manager.look("/account")
        response = await manager.submit("/account/password", {"current": f"guess {number}", "new": "x" * 12})
        assert response.status == (403 if number < BY_BOTH else 429)


async def test_role_changes_at_once_and_who_lacks_it_reads_why(manager: Browser, database: Database) -> None:
    assert (await manager.look("/manage/events")).status == 200
    await change_role(database, "ada", Role.WRITER)
    response = await manager.look("/manage/events", allow_redirects=False)
    assert response.status == 403
    assert "That takes another role" in manager.page
    assert '/manage/events"' not in manager.page, "nor is there a link"
    assert (await manager.fetch("/manage/events")).status == 403


async def test_user_without_a_role_is_a_visitor_with_an_account(
    browser: Browser, database: Database, passwords: Passwords
) -> None:
    await create_user(database, passwords, "ada", PASSWORD, Role.USER)
    assert (await browser.sign_in()).headers["Location"] == "/account"
    assert (await browser.look("/manage/events", allow_redirects=False)).status == 403
    assert (await browser.look("/")).status == 200


async def test_every_users_rows_are_his_own(manager: Browser, database: Database) -> None:
    async with database.saving() as session:
        await session.delete(await session.get_one(User, 1))
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(SignIn)) == 0
    assert not await is_signed_in(manager)
