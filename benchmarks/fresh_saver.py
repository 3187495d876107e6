"""Saves comments as code that has nothing to do with the site's forms does: `make fresh ARGS="--savers 1"`.

    python -m benchmarks.fresh_saver DATABASE_URL REDIS_URL THREAD RATE

One row a commit, by the site's own models and what they tell, RATE times a second or as fast as it goes. The ids that
are committed are printed, a line each. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import sys

import uvloop
from aiohttp import web

from hub.app import Hub
from hub.settings import Settings
from web.app import hints_of
from web.db.database import Database
from web.features.comments.models import Comment

#: Commits that are under way at once: PostgreSQL's work for one is done beside ours for another.
AT_ONCE = 6


async def run(database_url: str, redis_url: str, thread: int, rate: float) -> None:
    hub = Hub(Settings(redis_url=redis_url, key=base64.b64decode(os.environ["FANOUT_KEY"])))
    # Started as an application's part, but nobody can connect: it only publishes.
    app = web.Application()
    hub.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    database = Database(database_url, hub.publisher, hints=hints_of())
    await database.start()
    loop = asyncio.get_running_loop()
    began, numbers = loop.time(), itertools.count()

    async def save() -> None:
        while True:
            await asyncio.sleep(began + next(numbers) / rate - loop.time())
            async with database.saving() as session:
                comment = Comment(thread_id=thread, name="Ada", text="Hello", html="<p>Hello</p>")
                session.add(comment)
            sys.stdout.write(f"{comment.id}\n")
            sys.stdout.flush()

    tasks = [asyncio.create_task(save()) for _ in range(AT_ONCE)]
    # Not a thread that reads: a saver that failed waited for its end, and nobody heard of it.
    ended = asyncio.create_task(_ended())
    done, _ = await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, ended):
        task.cancel()
    await asyncio.gather(*tasks, ended, return_exceptions=True)
    await database.close()
    await runner.cleanup()
    for task in done - {ended}:
        task.result()


async def _ended() -> None:
    """Return once standard input has ended."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


if __name__ == "__main__":
    # As the site's own processes do.
    uvloop.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
