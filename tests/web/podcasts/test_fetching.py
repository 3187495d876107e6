"""Feeds fetched from servers that misbehave in every way that has been reported."""

from __future__ import annotations

import asyncio
import time
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from feeding import episodes, feed, item, weekly
from serving import Podcasts, Publisher
from sqlalchemy import select, update

from hub.publisher import RecordingPublisher
from web.db.tables import now
from web.features.podcasts import fetching, reading, store
from web.features.podcasts.models import Episode, Feed
from web.features.podcasts.schedule import DAY, HOUR, Outcome
from web.features.podcasts.settings import PodcastSettings
from web.services.outbound import Fetched, Hop

pytestmark = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)


async def test_a_feed_is_read_and_its_podcast_is_what_it_says(podcasts: Podcasts, server: Publisher) -> None:
    server.body = weekly(12, title="The Show")
    id = await podcasts.add(server.url)
    outcome, words = await podcasts.fetch(id)
    assert (outcome, words) == (Outcome.NEW, "read 12 episodes of 12 items; 12 new, 0 changed, 0 gone")
    podcast, state = await podcasts.get(id), await podcasts.feed(id)
    assert (podcast.name, podcast.slug, podcast.episodes, podcast.known, podcast.seconds) == (
        "The Show",
        "the-show",
        12,
        12,
        21600,
    )
    assert podcast.gap == 7 * DAY
    assert state.next is not None
    assert state.next == pytest.approx(time.time() + DAY, abs=60)
    (fetch,) = await podcasts.fetches(id)
    assert (fetch.outcome, fetch.status, fetch.bytes) == ("new", 200, len(server.body))


async def test_it_says_who_asks_and_for_what(podcasts: Podcasts, server: Publisher) -> None:
    """podgrab 303, Podcastindex web-ui 200: a default user agent or no Accept is answered 403."""
    await podcasts.fetch(await podcasts.add(server.url))
    headers = server.asked[0].headers
    assert headers["User-Agent"].startswith("Fanfare/")
    assert "http" in headers["User-Agent"]
    assert headers["Accept"].startswith("application/rss+xml")
    assert "Authorization" not in headers


async def test_only_changes_are_asked_for_with_the_servers_own_words(podcasts: Podcasts, server: Publisher) -> None:
    """AntennaPod 686, nextcloud/news 678: If-Modified-Since from one's own clock, or for a feed never fetched."""
    server.headers = {"ETag": '"strange; \\ etag"', "Last-Modified": "Sometime in May"}
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    assert "If-None-Match" not in server.asked[0].headers
    assert "If-Modified-Since" not in server.asked[0].headers
    server.status, server.body = 304, b""
    server.headers = {"ETag": '"new"'}
    assert (await podcasts.fetch(id))[0] is Outcome.SAME
    assert server.asked[1].headers["If-None-Match"] == '"strange; \\ etag"'
    assert server.asked[1].headers["If-Modified-Since"] == "Sometime in May"
    await podcasts.fetch(id)
    # Renewed by the 304 itself.
    assert server.asked[2].headers["If-None-Match"] == '"new"'
    assert "If-Modified-Since" not in server.asked[2].headers


async def test_the_same_bytes_are_read_once_and_tell_nobody(
    podcasts: Podcasts, server: Publisher, publisher: RecordingPublisher
) -> None:
    """Servers without validators send all of it each time."""
    server.body = weekly(3)
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    before = (await podcasts.get(id)).fetched_at
    publisher.clear()
    outcome, words = await podcasts.fetch(id)
    assert (outcome, words) == (Outcome.SAME, "nothing new: the same bytes as before")
    assert {channel for channel, _ in publisher.published} == {f"podcast-feed-{id}"}
    after = (await podcasts.get(id)).fetched_at
    assert before is not None
    assert after is not None
    assert after > before
    # Asked for, they are read again; and by another reader.
    assert (await podcasts.fetch(id, whole=True))[0] is Outcome.NEW
    await podcasts.change_feed(id, reader=0)
    assert (await podcasts.fetch(id))[0] is Outcome.NEW


async def test_a_304_never_hides_what_could_not_be_read(podcasts: Podcasts, server: Publisher) -> None:
    """AntennaPod PR 6332, FreshRSS 4477."""
    server.body, server.headers = b"<html>gone fishing</html>", {"ETag": '"x"'}
    id = await podcasts.add(server.url)
    assert (await podcasts.fetch(id))[0] is Outcome.NOT_FEED
    server.body = weekly(3)
    assert (await podcasts.fetch(id))[0] is Outcome.NEW
    assert "If-None-Match" not in server.asked[1].headers


async def test_p7_what_could_not_be_read_is_kept_until_something_can(podcasts: Podcasts, server: Publisher) -> None:
    async def kept() -> bytes | None:
        async with podcasts.database.reading() as session:
            packed = await session.scalar(select(Feed.unread).where(Feed.podcast_id == id))
        return None if packed is None else zlib.decompress(packed)

    id = await podcasts.add(server.url)
    server.body = weekly(1)
    await podcasts.fetch(id)
    assert await kept() is None
    server.body = b"\xff\xfe broken \x00" + b"x" * store.KEPT
    assert (await podcasts.fetch(id))[0] in {Outcome.NOT_FEED, Outcome.UNREADABLE}
    assert await kept() == server.body[: store.KEPT]
    body, server.status = server.body, 500
    await podcasts.fetch(id)
    assert await kept() == body[: store.KEPT]
    server.status, server.body = 200, weekly(2)
    assert (await podcasts.fetch(id))[0] is Outcome.NEW
    assert await kept() is None


async def test_304_for_ever_is_asked_for_the_whole_once_a_week(podcasts: Podcasts, server: Publisher) -> None:
    server.headers = {"ETag": '"Sun, 2041"'}
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    await podcasts.change_feed(id, whole=time.time() - 8 * DAY)
    server.body = weekly(5)
    assert (await podcasts.fetch(id))[0] is Outcome.NEW
    assert "If-None-Match" not in server.asked[1].headers
    assert len(await podcasts.episodes(id)) == 5


async def test_a_login_page_with_200_changes_nothing(podcasts: Podcasts, server: Publisher) -> None:
    """ruTorrent 1024: a portal's page with 200 wipes the episodes."""
    server.body = weekly(5)
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    for body in (b"<!DOCTYPE html><html><body><form>Sign in<br></form></body></html>", feed(title=""), b""):
        server.body = body
        await podcasts.fetch(id)
        assert [each.is_gone for each in await podcasts.episodes(id)] == [False] * 5
        assert (await podcasts.get(id)).name == "A Show"


async def test_what_fails_says_what_and_since_when_and_when_it_is_tried_again(
    podcasts: Podcasts, server: Publisher
) -> None:
    server.status = 500
    id = await podcasts.add(server.url)
    for _ in range(12):
        await podcasts.fetch(id)
    podcast, state, fetches = await podcasts.get(id), await podcasts.feed(id), await podcasts.fetches(id)
    assert podcast.error == "the server says 500"
    assert (state.failures, state.outcome) == (12, "server error")
    assert state.since is not None
    assert len(fetches) == 10
    server.status, server.body = 200, weekly(2)
    await podcasts.fetch(id)
    assert (await podcasts.get(id)).error == ""


@pytest.mark.parametrize(
    ("status", "headers", "outcome", "least", "most"),
    [
        (429, {"Retry-After": "7200"}, Outcome.BUSY, 2 * HOUR, 2.5 * HOUR),
        (503, {"Retry-After": "Fri, 31 Dec 2199 23:59:59 GMT"}, Outcome.BUSY, DAY, 1.21 * DAY),
        (429, {"Retry-After": "-1"}, Outcome.BUSY, 0.8 * HOUR, 1.2 * HOUR),
        (403, {}, Outcome.FORBIDDEN, 4.8 * HOUR, 7.2 * HOUR),
        (404, {}, Outcome.MISSING, 0.8 * HOUR, 1.2 * HOUR),
        (500, {}, Outcome.SERVER, 480, 720),
        (418, {}, Outcome.STATUS, 0.8 * HOUR, 1.2 * HOUR),
        (204, {}, Outcome.NOT_FEED, 0.8 * HOUR, 1.2 * HOUR),
    ],
)
async def test_each_status_has_its_pause(
    podcasts: Podcasts,
    server: Publisher,
    status: int,
    headers: dict[str, str],
    outcome: Outcome,
    least: float,
    most: float,
) -> None:
    server.status, server.headers, server.body = status, headers, b""
    id = await podcasts.add(server.url)
    at = time.time()
    assert (await podcasts.fetch(id))[0] is outcome
    state = await podcasts.feed(id)
    assert state.next is not None
    assert least - 1 <= state.next - at <= most + 5


async def test_410_is_gone_at_once_and_asking_again_brings_it_back(podcasts: Podcasts, server: Publisher) -> None:
    server.status = 410
    id = await podcasts.add(server.url)
    assert (await podcasts.fetch(id))[0] is Outcome.GONE
    assert (await podcasts.feed(id)).next is None
    assert (await podcasts.get(id)).error.startswith("the feed is gone")
    server.status, server.body = 200, weekly(1)
    await podcasts.fetch(id)
    assert (await podcasts.feed(id)).next is not None
    assert (await podcasts.get(id)).error == ""


# Servers that are slow, endless, or lie


def test_p16_limits_are_these_numbers(site_url: str) -> None:
    settings = PodcastSettings()
    limits = fetching.limits_of(settings)
    assert (limits.wire, limits.body, limits.line) == (20 * 1024**2, 40 * 1024**2, 16 * 1024)
    assert (limits.total, limits.gap, limits.connect, limits.redirects) == (30, 10, 10, 5)
    assert (reading.MAX_BYTES, reading.MAX_ITEMS, reading.MAX_DEPTH) == (40 * 1024**2, 10_000, 100)
    assert (settings.pages, settings.parse, settings.probes) == (50, 20, 20)


async def test_a_server_that_says_nothing_costs_its_own_fetch_only(podcasts: Podcasts, server: Publisher) -> None:
    """AntennaPod 2252: a server that accepts and says nothing blocks all."""
    stop = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        await stop.wait()
        return web.Response()

    server.handler = silent
    podcasts.settings(seconds=1.0)
    id = await podcasts.add(server.url)
    began = time.monotonic()
    assert (await podcasts.fetch(id))[0] is Outcome.TOO_SLOW
    assert time.monotonic() - began < 5
    stop.set()


@pytest.mark.parametrize("packed", [False, True])
async def test_an_endless_feed_and_a_bomb_end_at_their_bounds(
    podcasts: Podcasts, server: Publisher, packed: bool
) -> None:

    async def endless(request: web.Request) -> web.StreamResponse:
        if packed:
            return web.Response(body=reading.pack(b" " * 2_000_000), headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"<item></item>" * 1000)
        return response

    server.handler = endless
    podcasts.settings(wire=300_000, body=500_000)
    id = await podcasts.add(server.url)
    outcome, words = await podcasts.fetch(id)
    assert outcome is Outcome.TOO_LARGE, words
    state = await podcasts.feed(id)
    assert state.next is not None
    assert state.next - time.time() > 0.7 * DAY


async def test_a_reader_that_takes_too_long_is_cut_off(podcasts: Podcasts, server: Publisher) -> None:
    podcasts.settings(parse=0.1)
    id = await podcasts.add(server.url)

    async def hangs(*args: object, limit: float | None = None) -> object:
        async with asyncio.timeout(limit):
            return await asyncio.Event().wait()

    from web.features.podcasts import jobs

    outcome, words = await jobs.fetch(podcasts.app, id, hangs)
    assert (outcome, words) == (Outcome.TOO_LARGE, "reading it took longer than 0.1 s")


async def test_addresses_that_are_not_public_are_not_asked_at_any_hop(podcasts: Podcasts, server: Publisher) -> None:
    """audiobookshelf 2266: a feed, a redirect or an enclosure that leads inside."""
    server.status, server.headers = 302, {"Location": "http://169.254.169.254/latest/meta-data/"}
    id = await podcasts.add(server.url)
    outcome, words = await podcasts.fetch(id)
    assert outcome is Outcome.BLOCKED
    assert "not public" in words
    assert (await podcasts.fetch(await podcasts.add("http://10.0.0.1/feed")))[0] is Outcome.BLOCKED


async def test_a_redirect_in_a_circle_ends(podcasts: Podcasts, server: Publisher) -> None:
    server.status, server.headers = 301, {"Location": server.url}
    assert (await podcasts.fetch(await podcasts.add(server.url)))[0] is Outcome.SERVER


async def test_a_cookie_that_a_redirect_sets_comes_back_once_and_to_nobody_else(
    podcasts: Podcasts, server: Publisher
) -> None:
    """miniflux 1512, gofeed 181: without the cookie it redirects for ever."""

    async def wants_cookie(request: web.Request) -> web.StreamResponse:
        if request.cookies.get("seen"):
            return web.Response(body=weekly(1))
        response = web.Response(status=302, headers={"Location": "/with-cookie"})
        response.set_cookie("seen", "yes")
        return response

    server.handler = wants_cookie
    id = await podcasts.add(server.url)
    assert (await podcasts.fetch(id))[0] is Outcome.NEW
    await podcasts.fetch(id)
    assert "Cookie" not in server.asked[2].headers


@pytest.mark.parametrize("coding", ["gzip", ""])
async def test_gzip_is_unpacked_by_its_header_and_by_its_magic(
    podcasts: Podcasts, server: Publisher, coding: str
) -> None:
    server.body = reading.pack(weekly(3))
    server.headers = {"Content-Encoding": coding} if coding else {}
    assert (await podcasts.fetch(await podcasts.add(server.url)))[0] is Outcome.NEW


async def test_lengths_that_lie_and_tls_that_is_none_are_failures_of_the_network(
    podcasts: Podcasts, server: Publisher
) -> None:
    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n<rss>")
        writer.close()

    made = await asyncio.start_server(short, "127.0.0.1", 0)
    port = made.sockets[0].getsockname()[1]
    assert (await podcasts.fetch(await podcasts.add(f"http://127.0.0.1:{port}/f")))[0] is Outcome.NETWORK
    made.close()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    made = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = made.sockets[0].getsockname()[1]
    assert (await podcasts.fetch(await podcasts.add(f"https://127.0.0.1:{port}/g")))[0] is Outcome.NETWORK
    made.close()
    assert (await podcasts.fetch(await podcasts.add("http://127.0.0.1:9/closed")))[0] in (
        Outcome.NETWORK,
        Outcome.BLOCKED,
    )


async def test_a_header_of_ten_kilobytes_is_taken(podcasts: Podcasts, server: Publisher) -> None:
    """aiohttp's own bound is 8,190 bytes."""
    server.headers = {"Content-Security-Policy": "x" * 10_000}
    server.body = weekly(1)
    assert (await podcasts.fetch(await podcasts.add(server.url)))[0] is Outcome.NEW


async def test_a_charset_of_the_answer_counts_where_the_feed_says_none(podcasts: Podcasts, server: Publisher) -> None:
    server.body = weekly(1, title="Öl").decode().partition("\n")[2].encode("latin-1")
    server.headers = {"Content-Type": "text/xml; charset=ISO-8859-1"}
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    assert (await podcasts.get(id)).name == "Öl"
    server.headers = {"Content-Type": "text/html"}
    server.body = weekly(1, title="Öl 2")
    await podcasts.fetch(id)
    assert (await podcasts.get(id)).name == "Öl 2"


# Identity across fetches


async def test_episodes_are_changed_in_place_and_what_leaves_the_feed_stays(
    podcasts: Podcasts, server: Publisher
) -> None:
    server.body = weekly(5)
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    before = [each.id for each in await podcasts.episodes(id)]
    server.body = (
        weekly(5, minutes=40).replace(b"Number 5", b"Number five").replace(b"<guid>Number five", b"<guid>Number 5")
    )
    _, words = await podcasts.fetch(id)
    assert words.endswith("0 new, 5 changed, 0 gone")
    found = await podcasts.episodes(id)
    assert [each.id for each in found] == before
    assert found[0].title == "Number five"
    assert {each.seconds for each in found} == {2400}
    first = (await podcasts.get(id)).first_at
    server.body = feed(*episodes(5, datetime.now(UTC))[:2])
    await podcasts.fetch(id)
    assert [each.is_gone for each in await podcasts.episodes(id)] == [False, False, True, True, True]
    # spotifeed 14, AntennaPod 5683: a feed of the last few items; what was the first ever stays that.
    assert (await podcasts.get(id)).episodes == 5
    assert (await podcasts.get(id)).first_at == first


async def test_what_the_feed_says_wins_over_what_its_file_has_said(podcasts: Podcasts, server: Publisher) -> None:
    """bjarneo/cliamp PR 474: the file that is served has advertisements, and is longer than its tag says."""
    server.body = weekly(1).replace(b"<itunes:duration>1800</itunes:duration>", b"")
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    async with podcasts.database.saving() as session:
        await session.execute(update(Episode).values(seconds=2100, source="probe"))
    await podcasts.fetch(id, whole=True)
    assert [(each.seconds, each.source) for each in await podcasts.episodes(id)] == [(2100, "probe")]
    server.body = weekly(1)
    await podcasts.fetch(id)
    assert [(each.seconds, each.source) for each in await podcasts.episodes(id)] == [(1800, "feed")]


async def test_without_guids_all_are_kept(podcasts: Podcasts, server: Publisher) -> None:
    """gpodder 847: a guid missing in 100 of 101 items, a unique constraint, 22 saved, and no message."""
    server.body = feed(
        *(item(f"Number {number}", guid="", url=f"http://a.example/{number}.mp3") for number in range(101))
    )
    id = await podcasts.add(server.url)
    for _ in range(2):
        await podcasts.fetch(id, whole=True)
        assert len(await podcasts.episodes(id)) == 101


async def test_a_date_of_the_future_counts_as_when_it_was_first_seen(podcasts: Podcasts, server: Publisher) -> None:
    """sn-spec 58: dates of the future to stay on top."""
    later = datetime(2041, 1, 1, tzinfo=UTC)
    server.body = feed(
        item("Future", date=later),
        item("Old", date="1895-05-05", url="http://a.example/2.mp3"),
        item("None", date="?", url="http://a.example/3.mp3"),
    )
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    future, old, none = await podcasts.episodes(id)
    assert future.published_at == later
    assert future.at is not None
    assert future.at <= now()
    assert old.at is not None
    assert old.at.year == 1895
    assert none.at is None
    await podcasts.fetch(id, whole=True)
    assert (await podcasts.episodes(id))[0].at == future.at


async def test_pages_are_read_once_and_a_circle_or_a_404_ends_them(podcasts: Podcasts, server: Publisher) -> None:
    """gpodder 231, 836: only page 1 is read; page 2 redirects to page 1."""
    end = datetime.now(UTC)
    every = episodes(6, end)

    async def paged(request: web.Request) -> web.StreamResponse:
        page = int(request.query.get("page", "1"))
        if page > 3:
            raise web.HTTPNotFound
        following = f'<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="next" href="/feed.xml?page={page + 1}"/>'
        return web.Response(body=feed(*every[2 * page - 2 : 2 * page], more=following))

    server.handler = paged
    id = await podcasts.add(server.url)
    assert (await podcasts.fetch(id))[0] is Outcome.NEW
    assert len(await podcasts.episodes(id)) == 6
    asked = len(server.asked)
    every = [*episodes(7, end + timedelta(days=7))]
    await podcasts.fetch(id)
    # Page 1 has an episode that is known: the others are not asked for, and have left nothing.
    assert len(server.asked) == asked + 1
    assert [each.is_gone for each in await podcasts.episodes(id)] == [False] * 7


async def test_pages_have_so_many_items_together_as_a_feed_may_have(
    podcasts: Podcasts, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_ITEMS", 5)

    async def paged(request: web.Request) -> web.StreamResponse:
        page = int(request.query.get("page", "1"))
        following = f'<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="next" href="/feed.xml?page={page + 1}"/>'
        names = [f"{page}-{number}" for number in range(2)]
        return web.Response(
            body=feed(*(item(name, url=f"http://a.example/{name}.mp3") for name in names), more=following)
        )

    server.handler = paged
    id = await podcasts.add(server.url)
    outcome, words = await podcasts.fetch(id)
    assert (outcome, words) == (
        Outcome.NEW,
        "read 5 episodes of 6 items; the rest of it is left out; 5 new, 0 changed, 0 gone",
    )
    assert len(server.asked) == 3


# Moves


async def test_a_permanent_move_is_believed_after_three_fetches_over_two_days(
    podcasts: Podcasts, server: Publisher
) -> None:
    target = server.url.replace("feed.xml", "new.xml")

    async def moved(request: web.Request) -> web.StreamResponse:
        if request.path == "/new.xml":
            return web.Response(body=weekly(4))
        return web.Response(status=301, headers={"Location": target})

    server.body = weekly(4)
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    server.handler = moved
    for number in range(3):
        assert (await podcasts.get(id)).url == server.url, number
        await podcasts.fetch(id, whole=True)
        await podcasts.change_feed(id, digest="", move_since=time.time() - 49 * HOUR)
    assert (await podcasts.get(id)).url == target
    # The old address still names it.
    assert await podcasts.add(server.url) == id
    assert await podcasts.add(target) == id


@pytest.mark.parametrize("status", [302, 303, 307])
async def test_a_move_that_is_for_now_is_never_believed(podcasts: Podcasts, server: Publisher, status: int) -> None:
    """AntennaPod 1393, 3733: 302 used as permanent."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/new.xml":
            return web.Response(body=weekly(4))
        return web.Response(status=status, headers={"Location": "/new.xml"})

    server.handler = answer
    id = await podcasts.add(server.url)
    for _ in range(4):
        assert (await podcasts.fetch(id, whole=True))[0] is Outcome.NEW
        await podcasts.change_feed(id, digest="", move_since=time.time() - 49 * HOUR)
    assert (await podcasts.get(id)).url == server.url
    assert (await podcasts.feed(id)).moves == 0


@pytest.mark.parametrize(
    ("statuses", "to", "where"),
    [
        ([301], "https://b.example/f", "https://b.example/f"),
        ([308], "https://b.example/f", "https://b.example/f"),
        ([301, 308], "https://b.example/f", "https://b.example/f"),
        ([301, 302], "https://b.example/f", ""),
        ([302, 301], "https://b.example/f", ""),
        ([301], "http://b.example/f", ""),
        ([301], "https://a.example/f", ""),
        ([], "https://a.example/f", ""),
    ],
)
def test_p14_only_permanent_moves_count_and_none_from_https_to_http(
    statuses: list[int], to: str, where: str, site_url: str
) -> None:
    hops = [Hop(status, to) for status in statuses]
    fetched = Fetched(200, to, b"", {}, tuple(hops))
    assert fetching._move("https://a.example/f", fetched) == where


async def test_a_portal_that_redirects_to_another_feed_changes_nothing(podcasts: Podcasts, server: Publisher) -> None:
    server.body = weekly(4)
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)

    async def portal(request: web.Request) -> web.StreamResponse:
        if request.path == "/portal.xml":
            return web.Response(body=feed(item("Welcome to the hotel"), title="Hotel"))
        return web.Response(status=301, headers={"Location": "/portal.xml"})

    server.handler = portal
    outcome, words = await podcasts.fetch(id)
    assert outcome is Outcome.NOT_FEED, words
    assert (await podcasts.get(id)).name == "A Show"
    assert (await podcasts.feed(id)).move == ""


async def test_a_feed_that_says_where_it_has_gone_is_followed_if_the_same_podcast_is_there(
    podcasts: Podcasts, server: Publisher
) -> None:
    """podcast-namespace 3, 82: new-feed-url on the new feed points at itself."""
    target = server.url.replace("feed.xml", "new.xml")
    said = f"<itunes:new-feed-url>{target}</itunes:new-feed-url>"
    every = episodes(4, datetime.now(UTC))
    there = feed(item("Somebody else"), title="Other")

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=there if request.path == "/new.xml" else feed(*every, more=said))

    server.handler = answer
    id = await podcasts.add(server.url)
    await podcasts.fetch(id, whole=True)
    assert (await podcasts.get(id)).url == server.url
    there = feed(*every, more=said)
    await podcasts.change_feed(id, digest="")
    await podcasts.fetch(id, whole=True)
    assert (await podcasts.get(id)).url == target
    await podcasts.fetch(id, whole=True)
    assert (await podcasts.get(id)).url == target


async def test_one_podcast_at_two_addresses_is_one(podcasts: Podcasts, server: Publisher) -> None:
    """The same podcast:guid, and episodes in common; a members' feed stays apart, and so does who only has the guid."""
    guid = '<p:guid xmlns:p="https://podcastindex.org/namespace/1.0">917393e3</p:guid>'
    every = episodes(3, datetime.now(UTC))
    server.body = feed(*every, more=guid)
    first = await podcasts.add(server.url)
    await podcasts.fetch(first)
    members = await podcasts.add(f"{server.url}?token=x")
    await podcasts.fetch(members)
    second = await podcasts.add(f"{server.url}?other")
    await podcasts.fetch(second)
    assert await podcasts.add(f"{server.url}?other") == first
    assert (await podcasts.get(members)).episodes == 3
    server.body = feed(item("Stolen"), more=guid)
    third = await podcasts.add(f"{server.url}?third")
    await podcasts.fetch(third)
    assert (await podcasts.get(third)).episodes == 1


async def test_private_feeds_are_not_listed_and_their_secrets_not_told(podcasts: Podcasts, server: Publisher) -> None:
    id = await podcasts.add(server.url.replace("http://", "http://ada:geheim@") + "?token=geheim")
    assert not (await podcasts.get(id)).is_listed
    server.status = 500
    _, words = await podcasts.fetch(id)
    assert server.asked[0].headers["Authorization"].startswith("Basic ")
    assert "geheim" not in words + "".join(each.words for each in await podcasts.fetches(id))
    server.status, server.body = 200, weekly(1)
    await podcasts.fetch(id)
    assert not (await podcasts.get(id)).is_listed
