"""What feeds say in the columns of both databases: the longest, the largest, and what is no number at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from feeding import feed, item
from serving import Podcasts, Publisher
from sqlalchemy import event, select

from web.features.podcasts import rows, store
from web.features.podcasts.models import Episode, Podcast
from web.features.podcasts.reading import read_feed
from web.features.podcasts.schedule import Outcome

LONG = "\U0001f3ba" * 60_000


async def test_p24_columns_take_whatever_feeds_say(podcasts: Podcasts, server: Publisher) -> None:
    """ampache 2740: a value out of range cost 15 of 84 episodes; gpodder 847: a constraint that decides in silence."""
    numbers = "<itunes:season>{0}</itunes:season><itunes:episode>{0}</itunes:episode>"
    lengths = [str(2**63 - 1), str(2**63), "-1", "1e9", "", "9" * 5000, "\u0663"]
    items = [
        item(
            f"{number} {LONG}",
            guid=f"{number}{LONG}",
            url=f"http://a.example/{number}.mp3?{'x' * 1900}",
            date="1895-05-05" if number % 2 else "Fri, 31 Dec 9999 23:59:59 GMT",
            duration="24:00:00",
            length=length,
            type="audio/" + "x" * 5000,
            more=numbers.format(length) + f"<description>{LONG}</description>",
        )
        for number, length in enumerate(lengths)
    ]
    more = "".join(
        f"<{name}>{LONG}</{name}>"
        for name in ("description", "language", "itunes:author", "itunes:subtitle", "link", "itunes:new-feed-url")
    )
    more += f'<p:guid xmlns:p="https://podcastindex.org/namespace/1.0">{LONG}</p:guid><ttl>{"9" * 30}</ttl>'
    more += f'<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="hub" href="http://h.example/{LONG}"/>'
    more += f'<itunes:image href="http://a.example/{LONG}"/>'
    server.body = feed(*items, title=f"Show {LONG}", more=more)
    server.headers = {"ETag": '"' + "e" * 8000 + '"', "Last-Modified": "m" * 8000}
    id = await podcasts.add(server.url)
    outcome, words = await podcasts.fetch(id)
    assert outcome is Outcome.NEW, words
    found = await podcasts.episodes(id)
    assert [each.length for each in found] == [2**63 - 1, None, None, None, None, None, None]
    assert {each.season for each in found} == {None}
    podcast = await podcasts.get(id)
    assert (podcast.episodes, podcast.known, podcast.seconds) == (7, 7, 7 * 86400)
    assert podcast.first_at == datetime(1895, 5, 5, tzinfo=UTC)
    assert len(podcast.name) == 300
    # Read again they are the same.
    await podcasts.fetch(id, whole=True)
    assert len(await podcasts.episodes(id)) == 7


async def test_a_feed_of_thousands_is_written_and_changed_whole(podcasts: Podcasts, server: Publisher) -> None:
    def of(count: int, minutes: int) -> bytes:
        return feed(
            *(
                item(f"{number}", url=f"http://a.example/{number}.mp3", duration=f"{minutes}:00")
                for number in range(count)
            )
        )

    id = await podcasts.add(server.url)
    for body, counts in (
        (of(3001, 10), "3001 new, 0 changed, 0 gone"),
        (of(3001, 11), "0 new, 3001 changed, 0 gone"),
        (of(1, 11), "0 new, 0 changed, 3000 gone"),
    ):
        server.body = body
        outcome, words = await podcasts.fetch(id)
        assert (outcome, words.partition("; ")[2]) == (Outcome.NEW, counts)
    podcast = await podcasts.get(id)
    assert (podcast.episodes, podcast.seconds) == (3001, 3001 * 660)


async def test_sums_go_beyond_32_bits(podcasts: Podcasts, server: Publisher) -> None:
    id = await podcasts.add(server.url)
    server.body = feed(item("One", duration="86400"))
    await podcasts.fetch(id)
    async with podcasts.database.saving() as session:
        podcast = await session.get_one(type(await podcasts.get(id)), id)
        podcast.seconds = 86400 * 611_025
    assert (await podcasts.get(id)).seconds == 86400 * 611_025


async def test_rows_are_what_the_model_says_they_are(podcasts: Podcasts) -> None:
    """`rows` goes by SQLAlchemy's types: what it writes they read, what they write it reads, times and all."""
    moments = [
        None,
        datetime(1895, 5, 5, tzinfo=UTC),
        datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(987, 1, 1, tzinfo=timezone(timedelta(hours=5))),
    ]
    seen = datetime(2026, 4, 1, tzinfo=UTC)
    made = [
        rows.Values(
            at=None if when is None else min(when, seen), published_at=when, seconds=number or None, source="feed",
            kind="bonus", season=None, number=3, length=2**63 - 1, is_gone=False, type="audio/mpeg",
            title=f"Number {number}: \U0001f3ba '%s'", guid=str(number), url="http://a.example/", summary="ü",
        )
        for number, when in enumerate(moments)
    ]  # fmt: skip
    id = await podcasts.add("http://a.example/feed")
    async with podcasts.database.saving() as session:
        await rows.make(session, id, seen, made)
    by_model = await podcasts.episodes(id)
    async with podcasts.database.saving() as session:
        by_row = [row async for some in rows.read(session, id, 2) for row in some]
    assert len(by_model) == len(by_row) == len(made)
    for each in by_model:
        values = made[int(each.guid)]
        assert tuple(getattr(each, name) for name in rows.UPDATED) == values
        assert (each.seen_at, each.probed_at) == (seen, None)
        assert next(row for row in by_row if row.id == each.id) == (each.id, seen, *values)


def test_what_is_made_and_changed_is_every_column_but_the_episodes_own() -> None:
    """A column more of the model is to be written as well, or named here."""
    columns = {column.name for column in Episode.__table__.columns}
    assert columns - set(rows.UPDATED) == {"id", "podcast_id", "seen_at", "probed_at"}
    assert rows.Row._fields == ("id", "seen_at", *rows.Values._fields)


async def test_what_a_feed_costs_does_not_grow_by_its_episodes(podcasts: Podcasts) -> None:
    """A statement an episode would be 130 a feed; a feed that is as it was writes no episode."""
    items = [item(f"Number {number}", url=f"http://a.example/{number}.mp3") for number in range(130)]
    read = read_feed(feed(*items))
    id = await podcasts.add("http://a.example/feed")
    asked: list[str] = []
    engine = podcasts.database.engine.sync_engine

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        asked.append(" ".join(statement.split()[:3]).lower())

    event.listen(engine, "before_cursor_execute", note)
    for of_feed, episodes in (
        (read, ["insert into podcast_episodes"]),
        (read, []),
        (
            replace(read, episodes=tuple(replace(each, summary="other") for each in read.episodes)),
            ["update podcast_episodes set"],
        ),
    ):
        asked.clear()
        async with podcasts.database.saving() as session:
            podcast = await session.get_one(Podcast, id)
            await store.put(session, podcast, of_feed)
        assert [each for each in asked if "podcast_episodes" in each] == episodes
        assert len(asked) < 10
    async with podcasts.database.reading() as session:
        assert set(await session.scalars(select(Episode.summary))) == {"other"}
    event.remove(engine, "before_cursor_execute", note)
