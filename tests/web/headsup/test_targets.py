"""Other targets than mail: chats, webhooks, and the hub."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from headsup_site import Site
from pushing import commit, github, push, repository
from sqlalchemy import select

from hub.publisher import RecordingPublisher
from web.db.tables import now
from web.features.headsup.headsups import HeadsUp, Told
from web.features.headsup.hints import told_channel
from web.features.headsup.models import HeadsupAddress, HeadsupNotice, HeadsupProject, HeadsupTarget
from web.features.headsup.setting_up import try_again
from web.features.headsup.settings import HeadsupSettings
from web.features.headsup.targets import chat_text
from web.pages import keys


class Receiver:
    """Takes what is posted, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((request.path, dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/{name}", found.take)
    async with TestServer(app) as server:
        found.url = str(server.make_url("")).rstrip("/")
        yield found


async def states(site: Site) -> list[tuple[str, str]]:
    async with site.database.reading() as session:
        return [
            (each.state, each.error) for each in await session.scalars(select(HeadsupNotice).order_by(HeadsupNotice.id))
        ]


async def test_chat_is_sent_text_that_calls_nobody(site: Site, receiver: Receiver) -> None:
    await site.watch(to="", slack=f"{receiver.url}/slack")
    await site.told(github(push(commit("headsup: <!channel> & run it"))))
    ((path, _, body),) = receiver.got
    text = json.loads(body)["text"]
    assert path == "/slack"
    assert "&lt;!channel&gt; &amp; run it" in text
    assert "Ada Lovelace" in text
    assert await states(site) == [("sent", "")]


def test_chat_has_whole_remarks_and_counts_the_rest() -> None:
    """It was cut at 3,000 characters, in the middle of a letter or of `&lt;`, without a word of what was missing."""
    some = tuple(Told(sha=f"{number:040}", text=f"{number}: " + "<&>" * 60, author="Ada") for number in range(20))
    said = chat_text(
        HeadsUp(repository="ada/engine", kind="tag", ref="v1", entries=some, more=7, notes=("Of pushes.",))
    )
    assert len(said) <= 3_000
    head, note = said.split("\n")[:2]
    assert head.startswith("*Headsup! ada/engine v1: 0: &lt;&amp;&gt;")
    assert head.endswith("… (+26)*")
    assert note == "_Of pushes._"
    shown = said.count("_Ada, ")
    assert 0 < shown < 20
    assert said.count("&lt;&amp;&gt;" * 60) == shown
    assert said.endswith(f"_{27 - shown} more heads-ups are not shown here._")
    # The first is always there, cut between two letters.
    (one,) = (Told(sha="1", text="👩‍👩‍👧‍👦" * 1000, author="Ada"),)
    said = chat_text(HeadsUp(repository="ada/engine", entries=(one,)))
    assert len(said) <= 3_000
    assert said.split("\n\n")[1].split("\n")[0].rstrip("…").replace("👩‍👩‍👧‍👦", "") == ""


async def test_webhook_that_is_gone_is_sent_nothing_more(site: Site, receiver: Receiver) -> None:
    """410: Standard Webhooks asks senders to stop then."""
    await site.watch(to="", webhook=f"{receiver.url}/hook")
    receiver.statuses = [410]
    await site.told(github(push(commit("headsup: one"))))
    await site.told(github(push(commit("headsup: two"))))
    assert len(receiver.got) == 1
    assert [state for state, _ in await states(site)] == ["refused", "refused"]
    async with site.database.saving() as session:
        target = await session.get_one(HeadsupTarget, 1)
        project = await session.get_one(HeadsupProject, 1)
        assert target.refusal == "answers 410"
        assert await try_again(session, site.app[keys.jobs], HeadsupSettings(), project, target) == 2
    await site.settle()
    assert [state for state, _ in await states(site)] == ["sent", "sent"]


async def test_mail_names_only_who_gets_it(site: Site) -> None:
    """Who had left was still named to all others."""
    await site.watch(to="ada@example.org; bob@example.org; eve@example.org")
    async with site.database.saving() as session:
        for address in await session.scalars(select(HeadsupAddress).where(HeadsupAddress.address == "eve@example.org")):
            address.out_at = now()
    await site.told(github(push(commit("headsup: x"))))
    bodies = [str(mail.get_body(("plain",))) for mail in site.mails()]
    assert len(bodies) == 2
    assert all("Also sent to:" in body and "eve@example.org" not in body for body in bodies)


async def test_webhook_is_signed_and_keeps_its_id(site: Site, receiver: Receiver) -> None:
    await site.watch(to="", webhook=f"{receiver.url}/hook")
    await site.told(github(push(commit("headsup: signed"))))
    ((_, headers, body),) = receiver.got
    async with site.database.reading() as session:
        secret = await session.scalar(select(HeadsupTarget.secret))
    assert secret is not None
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, "sha256").digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    data = json.loads(body)
    assert data["type"] == "headsup"
    assert data["data"]["entries"][0]["text"] == "signed"


@pytest.mark.parametrize(("status", "state"), [(503, "waiting"), (429, "waiting"), (410, "refused"), (404, "refused")])
async def test_target_that_refuses_is_tried_again_or_given_up(
    site: Site, receiver: Receiver, status: int, state: str
) -> None:
    await site.watch(to="team@example.org", webhook=f"{receiver.url}/hook")
    receiver.statuses = [status]
    await site.told(github(push(commit("headsup: x"))))
    assert ("sent", "") in await states(site)
    assert (state, f"answers {status}") in await states(site)
    # The others have it.
    assert len(site.mails()) == 1


async def test_private_addresses_are_nobodys_target(site: Site) -> None:
    await site.watch(to="", webhook="http://10.0.0.1/hook http://169.254.169.254/latest")
    await site.told(github(push(commit("headsup: x"))))
    assert {state for state, _ in await states(site)} == {"refused"}
    assert all("not public" in error for _, error in await states(site))


async def test_hub_is_told_each_time_and_of_private_ones_a_number_only(
    site: Site, publisher: RecordingPublisher
) -> None:
    project = await site.watch()
    await site.told(github(push(commit("headsup: for all"))))
    await site.told(github(push(commit("headsup: secret"), repository=repository(private=True))))
    told: list[Any] = [data for channel, data in publisher.published if channel.strip("/") == told_channel(project)]
    assert told[0]["headsup"]["entries"][0]["text"] == "for all"
    assert told[1] == {"id": told[1]["id"]}
    assert "secret" not in json.dumps(told[1])
