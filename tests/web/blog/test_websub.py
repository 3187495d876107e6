"""The site's own WebSub hub, with a real subscriber on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import feedparser
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from blogging import Blog
from sqlalchemy import func, select, update
from visiting import Heard

from hub.publisher import RecordingPublisher
from web.app import create_app, read_settings
from web.db.database import Database
from web.db.tables import now
from web.features.blog.models import Subscription
from web.features.blog.subscribers import _forget
from web.features.blog.websub import MIN_LEASE, Ask, BadAsk, key_of, parse_topic, read_ask, signature, verification
from web.pages import keys
from web.services.jobs import rows

SITE = "https://site.example"
TOPIC = f"{SITE}/atom.xml"
ASK = {"hub.mode": "subscribe", "hub.topic": TOPIC, "hub.callback": "https://reader.example/x"}
DAY = 86400


def ask(**fields: str) -> Ask:
    given = ASK | {f"hub.{name}": value for name, value in fields.items()}
    return read_ask(given, default_lease=10 * DAY, max_lease=30 * DAY)


# What is asked, as values


def test_a_lease_is_within_bounds() -> None:
    leases = [ask(lease_seconds=text).lease for text in ("", "1", "86400", "9" * 50)]
    assert leases == [10 * DAY, MIN_LEASE, DAY, 30 * DAY]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "publish"),
        ("mode", ""),
        ("topic", ""),
        ("callback", ""),
        ("callback", "ftp://reader.example/"),
        ("callback", "/relative"),
        ("callback", "http://[broken"),
        ("callback", "https://reader.example/\nx"),
        ("callback", "https://reader.example/" + "x" * 2000),
        ("secret", "x" * 200),
        ("secret", "é" * 100),
        ("lease_seconds", "-1"),
        ("lease_seconds", "ten"),
        ("topic", "https://site.example/\0"),
    ],
)
def test_what_can_not_be_asked_is_refused_in_words(field: str, value: str) -> None:
    with pytest.raises(BadAsk) as error:
        ask(**{field: value})
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    "topic", [TOPIC, f"{SITE}/oc-Web+development/oc-Redis/feed.json", "http://localhost:8000/rss.xml"]
)
def test_a_topic_is_a_feed_of_a_list(topic: str) -> None:
    origin, address = parse_topic(topic)
    assert origin + address.path == topic


@pytest.mark.parametrize(
    "topic",
    [SITE, f"{SITE}/p2", f"{SITE}/atom.xml?x=1", f"{SITE}/oc-Web%20development/rss.xml", f"{SITE}/x/atom.xml", "x"],
)
def test_what_is_no_feed_is_no_topic(topic: str) -> None:
    with pytest.raises(BadAsk):
        parse_topic(topic)


def test_the_callbacks_own_query_stays() -> None:
    found = verification(ask(callback="https://reader.example/x?id=7&a=b"), "c&d")
    assert found.startswith(
        "https://reader.example/x?id=7&a=b&hub.mode=subscribe&hub.topic=https%3A%2F%2Fsite.example%2F"
    )
    assert "&hub.challenge=c%26d&hub.lease_seconds=864000" in found
    assert "lease_seconds" not in verification(ask(mode="unsubscribe"), "c")


def test_a_signature_is_of_the_body_by_the_secret() -> None:
    assert signature("secret", b"body") == "sha256=" + hmac.new(b"secret", b"body", hashlib.sha256).hexdigest()


# With a subscriber


@dataclass
class Reader:
    """A subscriber: what it was asked and told; how it answers."""

    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    got: asyncio.Queue[tuple[float, dict[str, str], bytes]] = field(default_factory=asyncio.Queue)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    means_it: bool = True
    #: Statuses of the next deliveries; then 204.
    answers: list[int] = field(default_factory=list)

    async def ask(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        self.was_asked.set()
        return web.Response(text=request.query["hub.challenge"] if self.means_it else "what?")

    async def take(self, request: web.Request) -> web.Response:
        self.got.put_nowait((time.monotonic(), dict(request.headers), await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 204)

    async def next(self) -> tuple[float, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            return await self.got.get()


Site = TestClient[web.Request, web.Application]


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    found = Reader()
    app = web.Application()
    app.add_routes([web.get("/callback", found.ask), web.post("/callback", found.take)])
    async with TestServer(app) as server:
        found.url = str(server.make_url("/callback"))
        yield found


@pytest.fixture
async def site(site_url: str, publisher: RecordingPublisher, database: Database, heard: Heard) -> AsyncIterator[Site]:
    settings = read_settings(
        {
            "DATABASE_URL": site_url,
            "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "SITE_URL": SITE,
            "OUTBOUND_ALLOW": "127.0.0.0/8,::1",
            "JOBS_SERVE": "true",
        }
    )
    app = create_app(settings, publisher, database=database, tops=heard, with_jobs=True)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
async def blog(site: Site, database: Database, publisher: RecordingPublisher) -> Blog:
    app = site.server.app  # type: ignore[attr-defined]  # a TestServer has it
    return Blog(database, publisher, app[keys.jobs])


async def subscribe(site: Site, reader: Reader, database: Database, **fields: str) -> None:
    given = ASK | {"hub.callback": reader.url} | {f"hub.{name}": value for name, value in fields.items()}
    before = await count(database)
    response = await site.post("/websub", data=given)
    assert response.status == 202, await response.text()
    async with asyncio.timeout(10):
        await reader.was_asked.wait()
        while await count(database) == before and reader.means_it:
            await asyncio.sleep(0.01)
    reader.was_asked.clear()


async def count(database: Database) -> int:
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(Subscription)) or 0


async def test_a_subscriber_has_a_new_post_within_two_seconds_of_its_commit(
    site: Site, reader: Reader, blog: Blog, database: Database
) -> None:
    await subscribe(site, reader, database, secret="s3cret", lease_seconds="86400")
    assert reader.asked[0]["hub.mode"] == "subscribe"
    assert (reader.asked[0]["hub.topic"], reader.asked[0]["hub.lease_seconds"]) == (TOPIC, "86400")
    draft = await blog.draft("First snow", text="It *snows*.")
    await blog.publish(draft)
    committed = time.monotonic()
    arrived, head, body = await reader.next()
    assert arrived - committed < 2
    assert head["X-Hub-Signature"] == signature("s3cret", body)
    assert head["Content-Type"] == "application/atom+xml; charset=utf-8"
    assert head["Link"] == f'<{SITE}/websub>; rel="hub", <{TOPIC}>; rel="self"'
    found = feedparser.parse(body)
    assert not found.bozo
    assert [entry.title for entry in found.entries] == ["First snow"]
    # What it was told is the feed as readers have it, which says so too.
    async with site.get("/atom.xml") as response:
        assert await response.read() == body
        assert response.headers["Link"] == head["Link"]
    assert {link.href for link in found.feed.links if link.rel == "hub"} == {f"{SITE}/websub"}


async def test_a_planned_post_is_told_when_its_time_has_come_and_a_draft_never(
    site: Site, reader: Reader, blog: Blog, database: Database
) -> None:
    await subscribe(site, reader, database)
    draft = await blog.draft("Draft")
    await blog.edit(draft, text="Still one.")
    at = now() + timedelta(seconds=1)
    await blog.post("Planned", at=at)
    _, head, body = await reader.next()
    assert now() >= at
    assert "X-Hub-Signature" not in head
    assert [entry.title for entry in feedparser.parse(body).entries] == ["Planned"]


async def test_only_feeds_that_are_other_now_are_told(
    site: Site, reader: Reader, blog: Blog, database: Database
) -> None:
    await blog.post("Old", "Weather")
    await subscribe(site, reader, database, topic=f"{SITE}/oc-Weather/rss.xml")
    await blog.post("Elsewhere", "Town")
    await blog.post("Here", "Weather")
    _, _, body = await reader.next()
    assert [entry.title for entry in feedparser.parse(body).entries] == ["Here", "Old"]
    assert reader.got.empty()


async def test_a_delivery_that_fails_is_tried_again_and_one_that_is_gone_is_not(
    site: Site, reader: Reader, blog: Blog, database: Database
) -> None:
    await subscribe(site, reader, database)
    reader.answers = [503, 410]
    post = await blog.post("One")
    await reader.next()
    # It waits for its next time, with its error; it is the database's to say when that is.
    async with asyncio.timeout(10):
        while not (row := await _waiting(database)):
            await asyncio.sleep(0.01)
    assert "answers 503" in row[1]
    async with database.saving() as session:
        await session.execute(update(rows.table).where(rows.table.c.id == row[0]).values(due=0.0))
    site.server.app[keys.runner].wake()  # type: ignore[attr-defined]  # a TestServer has it
    await reader.next()
    async with asyncio.timeout(10):
        while await count(database):
            await asyncio.sleep(0.01)
    await blog.edit(post, text="Nobody hears it.")


async def _waiting(database: Database) -> tuple[int, str] | None:
    query = select(rows.table.c.id, rows.table.c.error).where(
        rows.table.c.kind == "websub delivery", rows.table.c.error.is_not(None), rows.table.c.owner.is_(None)
    )
    async with database.engine.connect() as connection:
        row = (await connection.execute(query)).first()
        return None if row is None else (row[0], row[1])


async def test_who_did_not_mean_it_is_not_subscribed_and_who_is_can_leave(
    site: Site, reader: Reader, database: Database
) -> None:
    reader.means_it = False
    await subscribe(site, reader, database)
    assert await count(database) == 0
    reader.means_it = True
    await subscribe(site, reader, database)
    assert await count(database) == 1
    # Nobody else can unsubscribe them: the callback is asked.
    reader.means_it = False
    await subscribe(site, reader, database, mode="unsubscribe")
    assert await count(database) == 1
    reader.means_it = True
    await subscribe(site, reader, database, mode="unsubscribe")
    assert await count(database) == 0


async def test_asking_again_renews_a_subscription(site: Site, reader: Reader, database: Database) -> None:
    await subscribe(site, reader, database, lease_seconds="3600")
    async with database.reading() as session:
        first = (await session.scalars(select(Subscription))).one()
    response = await site.post("/websub", data=ASK | {"hub.callback": reader.url, "hub.lease_seconds": "7200"})
    assert response.status == 202
    async with asyncio.timeout(10):
        while True:
            async with database.reading() as session:
                found = await session.scalar(select(Subscription))
            if found is not None and found.until > first.until + timedelta(seconds=3000):
                break
            await asyncio.sleep(0.01)
    assert await count(database) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hub.topic": "https://other.example/atom.xml"}, "another site"),
        ({"hub.topic": f"{SITE}/oc-Nothing/atom.xml"}, "a category that is not there"),
        ({"hub.topic": f"{SITE}/sitemap.xml"}, "no feed"),
        ({"hub.mode": "x"}, "subscribe or unsubscribe"),
    ],
)
async def test_what_the_hub_refuses_it_refuses_in_words(site: Site, fields: dict[str, str], words: str) -> None:
    response = await site.post("/websub", data=ASK | fields)
    assert response.status == 400
    assert words in await response.text()


async def test_there_is_a_bound_of_subscribers_and_of_requests(
    site: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database.saving() as session:
        session.add(Subscription(key=key_of(TOPIC, ASK["hub.callback"]), topic=TOPIC, callback="", until=now()))
    app = site.server.app  # type: ignore[attr-defined]  # a TestServer has it
    from web.features.blog import subscribers

    monkeypatch.setattr(subscribers, "_is_full", _one_is_enough(subscribers._is_full))
    assert (await site.post("/websub", data=ASK | {"hub.callback": "https://other.example/"})).status == 503
    # Who is among them may ask again.
    assert (await site.post("/websub", data=ASK)).status == 202
    for _ in range(60):
        app[subscribers.limiter].take("127.0.0.1")
    response = await site.post("/websub", data=ASK)
    assert (response.status, response.headers["Retry-After"].isdigit()) == (429, True)


def _one_is_enough(is_full):  # type: ignore[no-untyped-def]  # of a test
    return lambda session, ask, most: is_full(session, ask, 1)


async def test_a_lease_that_is_over_is_forgotten(site: Site, reader: Reader, blog: Blog, database: Database) -> None:
    await subscribe(site, reader, database)
    async with database.saving() as session:
        await session.execute(update(Subscription).values(until=now() - timedelta(seconds=1)))

    class Nightly:
        app = site.server.app  # type: ignore[attr-defined]  # a TestServer has it

        def saving(self):  # type: ignore[no-untyped-def]  # as a job's
            return database.saving()

    await _forget(Nightly())  # type: ignore[arg-type]  # all that it uses
    assert await count(database) == 0
