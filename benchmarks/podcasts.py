"""`python -m benchmarks.podcasts`: what 4,669 podcasts with 611,025 episodes cost, on SQLite and PostgreSQL.

4,669 podcasts with 611,025 episodes are generated. Answers are asked over one connection, each with another question
so that none is given from what is kept; a time is from the request to the last byte. CPU is that of this process, of
asking too: on a busy machine it says more than the time does. Feeds of 130 episodes are read in two processes and
written, as the jobs do it, without a network, while the site of the same process tells what has changed; what they
cost is said by process, of the reading ones and of PostgreSQL's too, as /proc has it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from sqlalchemy import insert, text
from visiting import Heard

from hub.publisher import RecordingPublisher
from web.app import create_app, hints_of, read_settings
from web.db.database import Database
from web.db.migrate import migrate
from web.db.tables import now
from web.features.comments.models import Thread
from web.features.podcasts import store
from web.features.podcasts.fetching import Result, read_bytes
from web.features.podcasts.models import Episode, Feed, Pick, PickList, Podcast
from web.features.podcasts.schedule import Answer, Outcome
from web.services.jobs.pools import Processes, Threads

from .databases import postgresql, process_of

PODCASTS, EPISODES, LISTS = 4669, 611_025, 2500

_WORDS = [
    "planet", "money", "tide", "harbour", "history", "science", "daily", "night", "talk", "python", "stories",
    "crime", "garden", "radio", "lab", "hidden", "brain", "world", "news", "music", "film", "kitchen", "ferry",
    "line", "quay", "small", "machines", "letters", "voices",
]  # fmt: skip


async def fill(database: Database, podcasts: int, episodes: int) -> None:
    """Podcasts with names of a few words, and episodes up to now: most have some, few have thousands."""
    dice, moment = random.Random(1), now()
    weights = [dice.paretovariate(1.2) for _ in range(podcasts)]
    counts = [max(1, int(weight / sum(weights) * episodes)) for weight in weights]
    counts[0] += episodes - sum(counts)
    async with database.saving() as session:
        connection = await session.connection()
        ids = range(1, podcasts + 1)
        await connection.execute(insert(Thread), [{"id": id, "is_open": True} for id in ids])
        rows, gaps = [], []
        for id, count in zip(ids, counts, strict=True):
            name = " ".join(dice.choices(_WORDS, k=dice.randint(1, 4))).title() + f" {id}"
            gap = dice.choice([86400.0, 3.5 * 86400, 7 * 86400, 14 * 86400])
            gaps.append(gap)
            rows.append(
                {
                    "id": id,
                    "thread_id": id,
                    "url": f"http://podcast-{id}.example/feed.xml",
                    "name": name,
                    "slug": f"podcast-{id}",
                    "episodes": count,
                    "known": count,
                    "seconds": count * 1800,
                    "gap": gap,
                    "first_at": moment - timedelta(seconds=gap * count),
                    "latest_at": moment,
                    "fetched_at": moment,
                    "times_picked": dice.randint(0, 30),
                }
            )
        await connection.execute(insert(Podcast), rows)
        await connection.execute(
            insert(Feed),
            [{"podcast_id": id, "host": f"podcast-{id}.example", "next": 4e9, "outcome": "new"} for id in ids],
        )
        batch = []
        for id, count, gap in zip(ids, counts, gaps, strict=True):
            for number in range(count):
                at = moment - timedelta(seconds=gap * number + 60)
                batch.append(
                    {
                        "podcast_id": id,
                        "at": at,
                        "published_at": at,
                        "seen_at": moment,
                        "seconds": dice.randint(600, 5400),
                        "source": "feed",
                        "title": f"Number {count - number}",
                        "guid": f"{id}-{count - number}",
                        "url": f"http://podcast-{id}.example/{count - number}.mp3",
                        "summary": "What it is about, in a few words.",
                    }
                )
                if len(batch) == 5000:
                    await connection.execute(insert(Episode), batch)
                    batch.clear()
        if batch:
            await connection.execute(insert(Episode), batch)
        await connection.execute(
            insert(PickList), [{"id": id, "key": f"{id:032}", "size": 8} for id in range(1, LISTS + 1)]
        )
        await connection.execute(
            insert(Pick),
            [
                {"list_id": id, "podcast_id": each, "place": place}
                for id in range(1, LISTS + 1)
                for place, each in enumerate(sorted({int(dice.paretovariate(0.6)) % podcasts + 1 for _ in range(8)}))
            ],
        )


async def go_on_counting(database: Database) -> None:
    """Let ids that are made go on behind those that were given."""
    async with database.engine.begin() as connection:
        for table in ("threads", "podcasts", "podcast_lists"):
            last = f"(select max(id) from {table})"
            await connection.execute(text(f"select setval(pg_get_serial_sequence('{table}', 'id'), {last})"))


async def timed(name: str, bound: float, turns: int, ask: Callable[[int], Awaitable[None]]) -> bool:
    """Print the median and p99 of something, and its CPU; whether the p99 is within its bound, in ms."""
    took, cost = [], []
    for turn in range(turns + 5):
        began, spent = time.perf_counter(), time.process_time()
        await ask(turn)
        if turn >= 5:
            took.append((time.perf_counter() - began) * 1000)
            cost.append((time.process_time() - spent) * 1000)
    took.sort()
    cost.sort()
    p99 = took[int(len(took) * 0.99)]
    print(f"| {name} | {cost[len(cost) // 2]:.1f} | {took[len(took) // 2]:.1f} | {p99:.1f} | {bound:g} |", flush=True)
    return p99 <= bound


def feed(number: int, episodes: int) -> bytes:
    """A feed as they are: 130 episodes with summaries."""
    end = datetime.now(UTC)
    items = "".join(
        f"<item><title>Number {each} of {number}</title><guid>{number}-{each}</guid>"
        f"<pubDate>{end - timedelta(days=each):%a, %d %b %Y %H:%M:%S} +0000</pubDate>"
        f"<description>{'What it is about, in some words of its own. ' * 8}</description>"
        f"<itunes:duration>{600 + each}</itunes:duration><itunes:episodeType>full</itunes:episodeType>"
        f'<enclosure url="http://a.example/{number}/{each}.mp3" type="audio/mpeg" length="1000"/></item>'
        for each in range(episodes)
    )
    head = '<?xml version="1.0"?><rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd">'
    return f"{head}<channel><title>Feed {number}</title>{items}</channel></rss>".encode()


def spent_by(pid: int) -> float:
    """Seconds of CPU of a process and of those that it has begun, ended ones too; of Linux alone."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        # It has just ended: what it took is its parent's now.
        return 0.0
    return sum(map(int, values[11:15])) / os.sysconf("SC_CLK_TCK") + sum(spent_by(int(each)) for each in children)


async def take_feeds(database: Database, feeds: int, episodes: int, server: int | None) -> float:
    """Feeds a second that are read in two processes and written. server: the database's process, if it has one."""
    bodies = [feed(number, episodes) for number in range(min(feeds, 50))]
    processes = Processes(2, Threads())
    ids = []
    async with database.saving() as session:
        for number in range(feeds):
            podcast, _ = await store.add(session, f"http://new-{number}.example/", f"New {number}")
            ids.append(podcast.id)
    turn = asyncio.Lock()

    async def work(queue: Iterator[int]) -> None:
        for number in queue:
            read, _, words = await processes.call(read_bytes, bodies[number % len(bodies)], "http://a.example/", "")
            assert read is not None, words
            result = Result(answer=Answer(outcome=Outcome.NEW, etag='"x"'), words="read", feed=read, digest="x")
            async with turn, database.saving() as session:
                await store.write(session, database.notifier, [store.Came(ids[number], result, 0.5)])

    # Both begin before it counts.
    await asyncio.gather(*(processes.call(read_bytes, bodies[0], "", "") for _ in range(2)))

    def spent() -> tuple[float, float, float]:
        own, all_of_them = time.process_time(), spent_by(os.getpid())
        serving = spent_by(server) if server else 0.0
        # The server may be one that this process has begun.
        return own, all_of_them - own - serving, serving

    rate = 0.0
    for name in ("first", "again, all as it was"):
        began, before = time.perf_counter(), spent()
        queue = iter(range(feeds))
        await asyncio.gather(*(work(queue) for _ in range(4)))
        took = time.perf_counter() - began
        own, reading, serving = ((end - start) / feeds * 1000 for start, end in zip(before, spent(), strict=True))
        parts = f"this process {own:.1f}, both that read {reading:.1f}, the database's {serving:.1f}"
        print(f"\n{name}: {feeds / took:.0f} feeds a second (load {os.getloadavg()[0]:.1f}); CPU ms a feed: {parts}")
        rate = rate or feeds / took
    processes.close()
    return rate


async def ask(server: TestServer, found: argparse.Namespace) -> bool:
    """Print a table of what answers cost; whether all is within its bounds."""
    dice = random.Random(2)
    fine = True
    print("\n| what | CPU ms | median ms | p99 ms | bound ms |\n|---|---:|---:|---:|---:|")
    async with ClientSession() as client:

        async def get(path: str) -> None:
            async with client.get(server.make_url(path), headers={"Accept": "text/html,application/json"}) as response:
                await response.read()
                assert response.status == 200, (path, response.status)

        def ids() -> str:
            return ",".join(str(dice.randint(1, found.podcasts)) for _ in range(20))

        def question() -> str:
            word = dice.choice(_WORDS)
            return dice.choice([word, word[:3], f"{word} {dice.choice(_WORDS)[:2]}", word[:2] + word[3:] + "x"])

        api = "/api/podcasttime"
        fine &= await timed("find?q=", 20, found.turns, lambda turn: get(f"{api}/find?q={question()}"))
        fine &= await timed("find?ids= of 20", 20, found.turns, lambda turn: get(f"{api}/find?ids={ids()}"))
        fine &= await timed("stats of 20", 30, found.turns, lambda turn: get(f"{api}/stats?ids={ids()}"))
        fine &= await timed(
            "stats/episodes of 20", 100, found.turns, lambda turn: get(f"{api}/stats/episodes?ids={ids()}")
        )
        fine &= await timed("first page", 30, found.turns, lambda turn: get(f"/podcasts?speed={1 + turn % 200 / 100}"))
        fine &= await timed("a podcast", 50, found.turns, lambda turn: get(f"/podcasts/{1 + turn}/podcast-{1 + turn}"))
        some = found.turns // 4
        fine &= await timed(
            "mine, of 5", 200, some, lambda turn: get("/podcasts/mine/" + "-".join(ids().split(",")[:5]))
        )
    return fine


async def measure(url: str, name: str, found: argparse.Namespace, pid: int | None = None) -> bool:
    """Print what is found; whether all is within its bounds. pid: of the database's server."""
    await migrate(url)
    environ = {"DATABASE_URL": url, "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==", "JOBS_SERVE": "false"}
    publisher = RecordingPublisher()
    database = Database(url, publisher, hints=hints_of())
    began = time.perf_counter()
    await fill(database, found.podcasts, found.episodes)
    if database.url.backend == "postgresql":
        await go_on_counting(database)
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("analyze"))
    print(
        f"\n{name}: {found.podcasts:,} podcasts and {found.episodes:,} episodes in {time.perf_counter() - began:.0f} s"
    )
    app = create_app(read_settings(environ), publisher, database=database, tops=Heard(publisher))
    server = TestServer(app)
    await server.start_server()
    fine = True
    if found.part != "feeds":
        fine &= await ask(server, found)
    if found.part != "answers":
        rate = await take_feeds(database, found.feeds, 130, pid)
        print(f"feeds of 130 episodes, read and written: {rate:.0f} a second (100 wanted)")
        fine &= rate >= 100
    await server.close()
    await database.close()
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.podcasts", description=__doc__)
    parser.add_argument("--podcasts", type=int, default=PODCASTS)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--feeds", type=int, default=500, help="feeds that are read and written")
    parser.add_argument("--turns", type=int, default=300, help="requests of each kind that are timed")
    parser.add_argument("--part", choices=("answers", "feeds"), help="only what is asked, or only the feeds")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    found = parser.parse_args()
    fine = True
    with tempfile.TemporaryDirectory(prefix="fanfare-podcasts-") as name:
        folder = Path(name)
        if found.only != "postgresql":
            fine &= asyncio.run(measure(f"sqlite:///{folder / 'site.db'}", "SQLite", found))
        if found.only != "sqlite":
            with postgresql(folder) as server:
                fine &= asyncio.run(measure(server.create("podcasts"), "PostgreSQL", found, process_of(server)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nmemory: {memory:.0f} MB at most (400 allowed), the generator's own among it")
    fine &= memory <= 400
    print("\nwithin all bounds" if fine else "\nNOT within all bounds")
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
