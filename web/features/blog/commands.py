"""What the commands of the blog do."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from hub.cli import DONE, FAILED, Environ, Wrong
from hub.publisher import RecordingPublisher
from hub.settings import read

from ...db.database import Database
from ...db.migrate import migrate
from ...db.settings import DatabaseSettings
from ...services.jobs.queue import Queue
from ..comments import hints as comments
from . import hints
from .imported import Skipped
from .moving import export_posts, import_posts
from .moving_comments import READERS, import_comments, tool_of

T = TypeVar("T")


def import_folder(found: argparse.Namespace, environ: Environ) -> int:
    """Import a folder of posts; fails if there was something in it and nothing of it is here."""
    folder = Path(found.folder)
    if not folder.is_dir():
        raise Wrong(f"{folder} is no folder")
    rst = tuple(suffix if suffix.startswith(".") else f".{suffix}" for suffix in found.rst)
    begun = time.monotonic()

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done:,} of {total:,} files", end="\n" if done == total else "", file=sys.stderr, flush=True)

    moved = _run(
        lambda database: import_posts(database, Queue(), folder, rst=rst, processes=found.processes, progress=progress),
        environ,
    )
    _print_skipped(moved.skipped)
    taken = moved.made + moved.changed + moved.same
    print(
        f"{moved.made:,} new, {moved.changed:,} changed, {moved.same:,} as they were, {len(moved.skipped):,} skipped;"
        f" in {time.monotonic() - begun:.1f} s"
    )
    return DONE if taken or not moved.skipped else FAILED


def export_folder(found: argparse.Namespace, environ: Environ) -> int:
    """Write all posts to a folder."""
    folder = Path(found.folder)
    if folder.exists() and not folder.is_dir():
        raise Wrong(f"{folder} is no folder")
    count = _run(lambda database: export_posts(database, folder), environ)
    print(f"{count:,} posts are in {folder}")
    return DONE


def import_file(found: argparse.Namespace, environ: Environ) -> int:
    """Import the comments of a file; fails if there was something in it and nothing of it is here."""
    file = Path(found.file)
    if not file.is_file():
        raise Wrong(f"{file} is no file")
    tool = found.tool or tool_of(file)
    if tool is None:
        raise Wrong(f"{file} is none of {', '.join(READERS)}; say whose it is by --from")
    moved = _run(lambda database: import_comments(database, file, tool), environ)
    _print_skipped(moved.skipped)
    print(f"{moved.made:,} new, {moved.same:,} as they were, {len(moved.skipped):,} skipped")
    return DONE if moved.made or moved.same or not moved.skipped else FAILED


def _print_skipped(skipped: list[Skipped]) -> None:
    for each in skipped:
        # Names of files are strangers' words, too.
        path = "".join(char if char.isprintable() else "?" for char in each.path)
        print(f"skipped {path}: {each.reason}")


def _run(work: Callable[[Database], Awaitable[T]], environ: Environ) -> T:
    url = read(DatabaseSettings, environ).url

    async def run() -> T:
        await migrate(url)
        # It is not started: what is saved waits in the outbox for who serves the site.
        database = Database(url, RecordingPublisher(), hints=(hints.declare, comments.declare))
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())
