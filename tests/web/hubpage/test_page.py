"""/manage/hub: ten questions answered, for managers alone, and what they may do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import WSMsgType
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from changed_rules import set_wall
from sqlalchemy import delete, update
from visiting import PASSWORD, Browser

from hub.app import Hub
from hub.errors import BadToken
from hub.settings import Settings as HubSettings
from web.app import all_hints_of, create_app, read_settings
from web.db.database import Database
from web.features.accounts.people import create_user
from web.identity.passwords import Passwords
from web.identity.roles import Role
from web.identity.signins import SignIn
from web.identity.users import User
from web.pages.listening import SECONDS

SECRET = {"SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA=="}


@dataclass
class Site:
    browser: Browser
    hub: Hub
    database: Database


@pytest.fixture
def site_url(migrated_file: Path, tmp_path: Path) -> str:
    path = tmp_path / "site.db"
    path.write_bytes(migrated_file.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
async def site(site_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    hub = Hub(HubSettings(drain_timeout=1.0, key=bytes(32), var=tmp_path))
    settings = read_settings({"DATABASE_URL": site_url, "HUB_VAR": str(tmp_path), **SECRET})
    database = Database(site_url, hub.publisher, hints=all_hints_of())
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    app = create_app(
        settings,
        hub.publisher,
        database=database,
        hasher=hasher,
        with_jobs=False,
        listening=hub.token,
        inside=hub.inside,
    )
    hub.setup(app)
    server = TestServer(app)
    await server.start_server()
    await database.start()
    client = TestClient(server)
    yield Site(Browser(client), hub, database)
    await client.session.close()
    await server.close()
    await database.close()


@pytest.fixture
async def manager(site: Site, passwords: Passwords) -> Site:
    await create_user(site.database, passwords, "ada", PASSWORD, Role.MANAGER)
    assert (await site.browser.sign_in()).status == 303
    return site


async def test_the_ten_questions_are_answered_in_their_order(manager: Site) -> None:
    await manager.hub.publisher.publish("a", 1)
    assert (await manager.browser.look("/manage/hub")).status == 200
    page = manager.browser.page
    places = [page.index(f'id="q{number}"') for number in range(1, 11)]
    assert places == sorted(places)
    assert page.count('<svg class="plot"') == 11
    assert "sum(rate(hub_delivered_total[1m]))" in page
    for span in ("3600", "2592000", "7", "x"):
        assert (await manager.browser.look(f"/manage/hub?span={span}")).status == 200
    response = await manager.browser.fetch("/manage/hub.json")
    told = await response.json()
    assert told["workers"][0]["log"] == "memory"
    assert len(told["histories"][0]["columns"]) <= 61


@pytest.mark.parametrize(
    "path", ["", ".json", "/pictures", "/token", "/trace?channel=a", "/clients?text=a", "/clients/0123456789abcdef"]
)
async def test_nobody_else_sees_it(path: str, site: Site, passwords: Passwords) -> None:
    await create_user(site.database, passwords, "ada", PASSWORD, Role.WRITER)
    assert (await site.browser.look(f"/manage/hub{path}", allow_redirects=False)).status in (303, 401)
    await site.browser.sign_in()
    assert (await site.browser.look(f"/manage/hub{path}")).status == 403


async def test_a_test_is_published_and_its_way_shown(manager: Site) -> None:
    await manager.browser.look("/manage/hub")
    response = await manager.browser.submit("/manage/hub/publish", {"channel": "comments-17"})
    assert response.status == 303
    await manager.browser.look(response.headers["Location"])
    page = manager.browser.page
    assert "ada, as a test" in page
    assert "kept" in page
    await manager.browser.look("/manage/hub")
    assert "published a test to comments-17" in manager.browser.page
    for channel in ("news/*", "meta/kick", "service/x", "a" * 400):
        await manager.browser.look("/manage/hub")
        response = await manager.browser.submit("/manage/hub/publish", {"channel": channel})
        assert response.status == 422, channel
        assert "Name a channel" in manager.browser.page


async def test_what_can_t_be_followed_is_said(manager: Site) -> None:
    assert (await manager.browser.look("/manage/hub/trace")).status == 200
    assert (await manager.browser.look("/manage/hub/trace?channel=quiet")).status == 200
    assert "nothing was published" in manager.browser.page
    assert (await manager.browser.look("/manage/hub/trace?channel=news/*")).status == 422
    assert (await manager.browser.look("/manage/hub/trace?channel=a&offset=x")).status == 422
    assert "such as 12" in manager.browser.page


async def test_clients_are_found_and_sent_away(manager: Site) -> None:
    origin = manager.browser.origin
    async with manager.browser.client.session.ws_connect(f"{origin}/ws?channel=a") as ws:
        await ws.receive_json()
        await manager.browser.look("/manage/hub/clients?by=channel&text=a")
        [session] = manager.hub.node.registry.sessions
        assert f"/manage/hub/clients/{session}" in manager.browser.page
        await manager.browser.look(f"/manage/hub/clients/{session}")
        assert "Reached by WebSocket" in manager.browser.page
        response = await manager.browser.submit("/manage/hub/kick", {"session": session})
        assert response.headers["Location"].endswith("done=session")
    await manager.browser.look(f"/manage/hub/clients/{session}")
    assert "It is gone: ended: kicked" in manager.browser.page
    assert (await manager.browser.look("/manage/hub/clients/0123456789abcdef")).status == 404
    assert (await manager.browser.look("/manage/hub/clients?by=x&text=%3Cb%3E")).status == 200
    assert "<b>" not in manager.browser.page


async def test_the_only_worker_is_not_drained(manager: Site) -> None:
    await manager.browser.look("/manage/hub")
    assert manager.hub.inside is not None
    response = await manager.browser.submit("/manage/hub/drain", {"worker": manager.hub.inside.worker, "do": "drain"})
    assert response.status == 409
    assert "only worker" in manager.browser.page
    await manager.browser.look("/manage/hub")
    response = await manager.browser.submit("/manage/hub/kick", {"user": "bob"})
    assert response.headers["Location"].endswith("done=user")


async def test_the_token_hears_how_the_workers_are_and_nothing_else(manager: Site) -> None:
    token = await (await manager.browser.fetch("/manage/hub/token")).text()
    client = manager.browser.client
    assert (await client.get("/poll", params={"channel": "private-hub", "token": token})).status == 200
    assert (await client.get("/poll", params={"channel": "private-other", "token": token})).status in (401, 403)


@pytest.mark.parametrize("change", ["demoted", "signed out"])
async def test_the_token_of_who_is_no_manager_any_more_is_soon_over(change: str, manager: Site) -> None:
    """Who was demoted, or had signed out, went on hearing how the workers are for an hour: so long did the token last,
    and nobody asked again. Now it lasts for 45 seconds, the session that showed it ends with it, and what its page
    asks for then is refused.
    """
    token = await (await manager.browser.fetch("/manage/hub/token")).text()
    async with manager.database.saving() as session:
        gone = update(User).values(role=Role.WRITER.value) if change == "demoted" else delete(SignIn)
        await session.execute(gone)
    refused = await manager.browser.fetch("/manage/hub/token", allow_redirects=False)
    assert refused.status == (403 if change == "demoted" else 401)
    node, leeway = manager.hub.node, manager.hub.settings.token_leeway
    ws = await manager.browser.client.session.ws_connect(
        f"{manager.browser.origin}/ws?channel=private-hub&token={token}"
    )
    assert "subscribed" in await ws.receive_json()
    [listener] = [each for each in node.registry.sessions.values() if each.grant is not None]
    assert listener.grant is not None
    assert listener.grant.expires <= node.bayeux.wall() + SECONDS + leeway
    later = node.bayeux.wall() + SECONDS + leeway
    set_wall(node.bayeux, lambda: later)
    node.deadlines._check_grant(listener)
    while (message := await ws.receive()).type is WSMsgType.TEXT:
        pass
    assert message.extra == "token expired"
    with pytest.raises(BadToken, match="expired"):
        node.bayeux.access.grant(token, later)


async def test_a_site_apart_from_its_hub_says_so(site_url: str, passwords: Passwords, tmp_path: Path) -> None:
    hub = Hub(HubSettings(var=tmp_path))
    settings = read_settings({"DATABASE_URL": site_url, "HUB_VAR": str(tmp_path), **SECRET})
    database = Database(site_url, hub.publisher, hints=all_hints_of())
    app = create_app(settings, hub.publisher, database=database, with_jobs=False)
    server = TestServer(app)
    await server.start_server()
    await database.start()
    browser = Browser(TestClient(server))
    await create_user(database, passwords, "ada", PASSWORD, Role.MANAGER)
    await browser.sign_in()
    for path in ("", "/pictures", "/trace", "/clients", "/clients/a"):
        assert (await browser.look(f"/manage/hub{path}")).status == 200
        assert "fanfare top" in browser.page
    await browser.client.session.close()
    await server.close()
    await database.close()
