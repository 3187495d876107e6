"""`python -m benchmarks.imports`: how long ten thousand posts of Markdown take to come in, on SQLite and PostgreSQL.

The posts are made by a seed: front matter of Jekyll, ten paragraphs, some with lists, links and code, 3 kB each.
Import again and export are timed too. With `--folder` a folder of one's own is imported instead.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hub.publisher import RecordingPublisher
from web.app import hints_of
from web.db.database import Database
from web.db.migrate import migrate
from web.features.blog.moving import export_posts, import_posts
from web.services.jobs.queue import Queue

from .databases import postgresql

_WORDS = [
    *("snow", "harbour", "tide", "bench", "clock", "ferry", "lantern", "gear", "wall", "river", "paper"),
    *("engine", "night", "the", "a", "of", "and", "to", "in", "that"),
]
#: Seconds.
TARGET = 60.0


def write(folder: Path, count: int) -> int:
    """Write so many posts; return their bytes."""
    dice, begin, size = random.Random(1), datetime(2006, 1, 1, tzinfo=UTC), 0
    for number in range(count):
        when = begin + timedelta(hours=17 * number)
        parts = [_paragraph(dice, number, place) for place in range(10)]
        names = ", ".join(dict.fromkeys(dice.choices(["Web development", "Python", "Town", "Weather", "Life"], k=2)))
        front = (
            f"---\ntitle: Post {number}\ndate: {when:%Y-%m-%d %H:%M:%S}\ncategories: [{names}]\ntags: [a, b]\n---\n\n"
        )
        path = folder / f"{when:%Y}" / f"{when:%Y-%m-%d}-post-{number}.md"
        path.parent.mkdir(exist_ok=True)
        size += path.write_text(front + "\n\n".join(parts) + "\n", encoding="utf-8")
    return size


def _paragraph(dice: random.Random, number: int, place: int) -> str:
    words = " ".join(dice.choices(_WORDS, k=50))
    if place == 3:
        return f"## About {words[:20]}"
    if place == 5:
        return "\n".join(
            f"- *{each}* and [a link](https://site.example/{number})" for each in dice.choices(_WORDS, k=5)
        )
    if place == 7:
        return f"```python\ndef snow(depth: int) -> str:\n    return {number} * depth  # {words[:30]}\n```"
    return words.capitalize() + ("." if place % 2 else f", says `{words[:9]}`.")


async def measure(url: str, name: str, folder: Path, rst: Collection[str]) -> float:
    """Import, import again, export; the seconds of the first."""
    await migrate(url)
    database = Database(url, RecordingPublisher(), hints=hints_of())
    times = []
    try:
        for _ in range(2):
            begun = time.monotonic()
            moved = await import_posts(database, Queue(), folder, rst=rst)
            times.append(time.monotonic() - begun)
            words = f"{moved.made:,} new, {moved.changed:,} changed, {moved.same:,} as they were"
            print(f"{name}: {words}, {len(moved.skipped):,} skipped: {times[-1]:.1f} s", flush=True)
        for each in moved.skipped[:20]:
            print(f"  {each.path}: {each.reason}")
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as out:
            count = await export_posts(database, Path(out))
        print(f"{name}: {count:,} exported: {time.monotonic() - begun:.1f} s", flush=True)
    finally:
        await database.close()
    return times[0]


def main() -> int:
    """Measure both databases; 1 if one took longer than the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="import this one")
    parser.add_argument("--rst", action="append", default=[], help="a suffix of reStructuredText besides its own")
    parser.add_argument("--sqlite", action="store_true", help="on SQLite alone")
    found = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        folder = found.folder
        if folder is None:
            folder = here / "posts"
            folder.mkdir()
            print(f"{found.posts:,} posts, {write(folder, found.posts) / 1e6:.1f} MB")
        times = [asyncio.run(measure(f"sqlite:///{here / 'site.db'}", "SQLite", folder, found.rst))]
        if not found.sqlite:
            with postgresql(here) as server:
                times.append(asyncio.run(measure(server.create("posts"), "PostgreSQL", folder, found.rst)))
    fine = max(times) < TARGET
    print(f"{'within' if fine else 'NOT within'} {TARGET:.0f} s")
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
