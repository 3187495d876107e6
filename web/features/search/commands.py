"""What `fanfare search` does: on an index made for it of what the database has, so that no server need be there."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hub.cli import DONE, FAILED, Environ, Wrong, with_kept_key
from hub.follower import Heard
from hub.publisher import HttpPublisher, RecordingPublisher
from hub.remote import RemoteHub
from hub.settings import Settings as HubSettings
from hub.settings import read as read_settings

from ...db.database import Database
from ...db.settings import DatabaseSettings
from ...pages.documents import CHANGED, Documents
from . import verdicts
from .asked import TooLong, parse
from .embedded import Embedded
from .finder import Finder, Results
from .indexer import BUILDING, REBUILD, Indexer

T = TypeVar("T")

#: Seconds without a word about new indexes after which there is nothing more to come.
_SILENCE = 3.0


def ask(found: argparse.Namespace, environ: Environ, documents: Sequence[Documents]) -> int:
    """Print what a query finds."""
    try:
        asked = parse(" ".join(found.words))
    except TooLong as error:
        raise Wrong(str(error)) from None

    async def find(finder: Finder) -> Results:
        return await finder.find(asked, page=max(1, found.page), exactly=found.exactly)

    results = _with_index(find, environ, documents)
    if found.why:
        for spelling, boost in zip(results.spellings, results.boosts, strict=True):
            print(f"{' '.join(spelling.words)}: score {spelling.score:g}, title {2 * boost:.1f}, text {boost:.1f}")
    print(f"{results.title} in {results.took * 1000:.1f} ms")
    if results.instead:
        print(f"showing results for: {results.instead}")
    for each in results.results:
        print(f"{each.score:8.2f}  {each.url}  {each.title.text}")
        if found.why:
            print(f"          {'; '.join(each.why)}")
        for part in each.parts:
            print(f"{part.score:8.2f}    {part.url}")
    return DONE if results.total else FAILED


def check(file: str, environ: Environ, documents: Sequence[Documents]) -> int:
    """Try the verdicts of a file; print those that don't hold."""
    try:
        some = verdicts.read(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Wrong(f"{file}: {error}") from None

    async def judged(finder: Finder) -> list[str]:
        wrong = []
        for verdict in some:
            results = await finder.find(parse(verdict.query))
            if words := verdicts.judge(verdict, [each.url for each in results.results]):
                wrong.append(words)
        return wrong

    wrong = _with_index(judged, environ, documents)
    for words in wrong:
        print(words)
    print(f"{len(some) - len(wrong)} of {len(some)} verdicts hold")
    return FAILED if wrong else DONE


def reindex(environ: Environ) -> int:
    """Have all workers that serve the site build their indexes anew, behind those that answer; show the way."""
    settings = with_kept_key(HubSettings.from_environ(environ))
    assert settings.key is not None
    return asyncio.run(_reindex(settings.hub_url, settings.realm, settings.key))


async def _reindex(url: str, realm: str, key: bytes) -> int:
    publisher = HttpPublisher(url, realm, key)
    workers: dict[str, Mapping[str, Any]] = {}
    try:
        async with RemoteHub(url, [BUILDING], realm=realm, key=key) as hub, hub.follow(BUILDING) as follower:
            await publisher.publish(CHANGED, {REBUILD: True})
            async with asyncio.timeout(_SILENCE) as patience:
                async for entry in follower:
                    if not isinstance(entry, Heard):
                        continue
                    patience.reschedule(asyncio.get_running_loop().time() + _SILENCE)
                    workers[entry.data["worker"]] = entry.data
                    print(f"\r{_bar(workers.values())}", end="", flush=True)
    except TimeoutError:
        # Whoever has something to say says it several times a second.
        pass
    finally:
        await publisher.close()
    print()
    left = [each for each in workers.values() if each["state"] != "done"]
    if not workers or left:
        print(
            "nobody who serves the site answered" if not workers else f"{len(left)} workers did not end",
            file=sys.stderr,
        )
        return FAILED
    count = max(each["done"] for each in workers.values())
    print(f"{count:,} documents in the index of {len(workers)} worker{'' if len(workers) == 1 else 's'}")
    return DONE


def _bar(workers: Iterable[Mapping[str, Any]], width: int = 40) -> str:
    """How far all are."""
    some = list(workers)
    done, total = (sum(each[name] for each in some) for name in ("done", "total"))
    share = 1.0 if all(each["state"] == "done" for each in some) else min(0.99, done / total if total else 0.0)
    return f"[{'#' * int(share * width):<{width}}] {100 * share:3.0f} %, {done:,} documents"


def _with_index(use: Callable[[Finder], Awaitable[T]], environ: Environ, documents: Sequence[Documents]) -> T:
    url = read_settings(DatabaseSettings, environ).url

    async def run() -> T:
        database = Database(url, RecordingPublisher())
        engine = Embedded(None, {each.kind for each in documents if each.parts_of is not None})

        async def nowhere() -> str | None:
            return None

        try:
            await engine.open()
            await Indexer(engine, documents, database, nowhere).build()
            return await use(Finder(engine, documents, database))
        finally:
            await engine.close()
            await database.close()

    return asyncio.run(run())
