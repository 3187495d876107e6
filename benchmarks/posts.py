"""`python -m benchmarks.posts`: what pages of ten thousand posts cost, each made anew, on SQLite and PostgreSQL.

Asked over one connection, with SITE_PAGES off; the time is a page's whole, from the request to its last byte, of which
the client takes about half a millisecond. CPU is that of this process, client and SQLite in it, without PostgreSQL's.
Queries are counted by the engine. Where others work on the machine, look at the fastest and at the CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from sqlalchemy import event, insert, text

from hub.publisher import RecordingPublisher
from web.app import create_app, hints_of, read_settings
from web.db.database import Database
from web.db.migrate import migrate
from web.db.tables import now
from web.features.blog.models import Filing, Post, PostCategory, State
from web.features.blog.text import VERSION, render
from web.features.comments.models import Comment, Thread

from .databases import postgresql

#: Categories, the first of which has half of all posts.
CATEGORIES = 30

PATHS = (
    "/",
    "/p500",
    "/p900",
    "/oc-Category+0",
    "/oc-Category+0/p400",
    "/oc-Category+7",
    "/oc-Category+0/oc-Category+7/oc-Category+9/p300",
    "/oc-Category+29/p5",
    "/posts/post-2000",
    "/posts/post-5000",
    "/rss.xml",
    "/oc-Category+0/atom.xml",
    "/sitemap.xml",
    "/sitemap-posts-19.xml",
)


async def fill(database: Database, posts: int, comments: int) -> None:
    """Posts with comments, most of which are on few; one has 2,000."""
    dice, moment = random.Random(1), now()
    words = ["snow", "harbour", "tide", "bench", "clock", "ferry", "lantern", "gear", "wall", "the", "a", "and"]
    html = render("\n\n".join(" ".join(dice.choices(words, k=60)) for _ in range(8)))
    async with database.saving() as session:
        connection = await session.connection()
        rows = [{"id": number, "is_open": True} for number in range(1, posts + 1)]
        await connection.execute(insert(Thread), rows)
        await connection.execute(
            insert(PostCategory), [{"id": n + 1, "name": f"Category {n}"} for n in range(CATEGORIES)]
        )
        for begin in range(1, posts + 1, 1000):
            await connection.execute(
                insert(Post),
                [
                    {
                        "id": number,
                        "uid": str(uuid4()),
                        "thread_id": number,
                        "title": f"Post {number}: {' '.join(dice.choices(words, k=4))}",
                        "slug": f"post-{number}",
                        "state": State.PUBLISHED,
                        "published_at": moment - timedelta(hours=9 * (posts - number), minutes=1),
                        "created_at": moment,
                        "changed_at": moment - timedelta(days=4000),
                        "edition": 1,
                        "html_version": VERSION,
                        "keywords": "",
                        "summary": "",
                        "excerpt": html.summary,
                        "text": "…",
                        "html": html.html,
                    }
                    for number in range(begin, min(begin + 1000, posts + 1))
                ],
            )
        filed = []
        for number in range(1, posts + 1):
            chosen = {1} if number % 2 else set()
            chosen |= {dice.randint(2, CATEGORIES) for _ in range(dice.randint(1, 2))}
            filed += [{"post_id": number, "category_id": each, "place": at} for at, each in enumerate(chosen)]
        await connection.execute(insert(Filing), filed)
        # One has 2,000; the others by chance.
        threads = [min(2000, posts)] * 2000 + [dice.randint(1, posts) for _ in range(comments - 2000)]
        for begin in range(0, len(threads), 5000):
            await connection.execute(
                insert(Comment),
                [
                    {"thread_id": each, "name": "Ada", "text": " ".join(dice.choices(words, k=20)), "posted_at": moment}
                    for each in threads[begin : begin + 5000]
                ],
            )


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    found: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        # On PostgreSQL the driver begins a transaction by itself.
        if statement != "begin":
            found.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield found
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


@asynccontextmanager
async def site(url: str, posts: int, comments: int) -> AsyncIterator[tuple[ClientSession, TestServer, Database]]:
    """The site on a database of so many posts."""
    await migrate(url)
    environ = {"DATABASE_URL": url, "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==", "SITE_PAGES": "off"}
    settings = read_settings(environ | {"JOBS_SERVE": "false", "SITE_URL": "https://site.example"})
    publisher = RecordingPublisher()
    database = Database(url, publisher, hints=hints_of())
    await fill(database, posts, comments)
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("analyze"))
    server = TestServer(create_app(settings, publisher, database=database))
    await server.start_server()
    async with ClientSession() as client:
        yield client, server, database
    await server.close()
    await database.close()


async def measure(url: str, name: str, found: argparse.Namespace) -> bool:
    """Print a table; whether every page of a list and of a post is within the bounds."""
    fine = True
    async with site(url, found.posts, found.comments) as (client, server, database):
        print(
            f"\n| {name} | median ms | p95 | fastest | CPU ms | queries | bytes |\n|---|---:|---:|---:|---:|---:|---:|"
        )
        for path in PATHS:
            took, cpu, counts, size = [], [], [], 0
            for turn in range(found.turns + 3):
                with counted(database) as statements:
                    began, used = time.perf_counter(), time.process_time()
                    async with client.get(server.make_url(path), headers={"Accept": "text/html"}) as response:
                        body = await response.read()
                    if turn >= 3:
                        took.append((time.perf_counter() - began) * 1000)
                        cpu.append((time.process_time() - used) * 1000)
                assert response.status == 200, (path, response.status)
                size = len(body)
                counts.append(len(statements))
            took.sort()
            # The site's own tasks, such as counting views, now and then ask the database in the same moment.
            queries = statistics.mode(counts)
            times = f"{statistics.median(took):.1f} | {took[int(len(took) * 0.95)]:.1f} | {took[0]:.1f}"
            print(f"| {path} | {times} | {statistics.median(cpu):.1f} | {queries} | {size} |", flush=True)
            fine &= queries <= 8 and statistics.median(took) <= 25
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.posts", description=__doc__)
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument("--comments", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=40, help="requests of each page that are timed")
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fanfare-posts-") as name:
        folder = Path(name)
        fine = asyncio.run(measure(f"sqlite:///{folder / 'site.db'}", "SQLite", found))
        with postgresql(folder) as server:
            fine &= asyncio.run(measure(server.create("posts"), "PostgreSQL", found))
    print("\nwithin 25 ms and 8 queries" if fine else "\nNOT within 25 ms and 8 queries")
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
