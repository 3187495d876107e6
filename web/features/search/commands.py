"""What `fanfare search` does: in Elasticsearch if that is configured, else on an index made for it of what the database
has, so that no server need be there. Indexes of workers are theirs alone: those are asked through the hub."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
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
from . import verdicts, words
from .asked import TooLong, parse
from .engine import EngineAway
from .finder import Finder, Results
from .indexer import BUILDING, COMPARE, REBUILD, Indexer
from .service import engine_of
from .settings import SearchSettings
from .words import Words

T = TypeVar("T")

#: Seconds without a word about new indexes after which there is nothing more to come.
_SILENCE = 3.0

#: Seconds within which the hub has to be there.
_CONNECT = 10.0


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
    if results.pinned:
        print(f"  pinned  {results.pinned[0]}  {results.pinned[1]}")
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
            if fault := verdicts.judge(verdict, [each.url for each in results.results]):
                wrong.append(fault)
        return wrong

    wrong = _with_index(judged, environ, documents)
    for fault in wrong:
        print(fault)
    print(f"{len(some) - len(wrong)} of {len(some)} verdicts hold")
    return FAILED if wrong else DONE


def reindex(environ: Environ) -> int:
    """Have all workers that serve the site build their indexes anew, behind those that answer; show the way."""
    workers = _asked_of_workers(environ, {REBUILD: True}, lambda said: "check" not in said)
    if workers is None:
        return FAILED
    count = max(each["done"] for each in workers)
    print(f"{count:,} documents in the index of {len(workers)} worker{'' if len(workers) == 1 else 's'}")
    return DONE


def compare(environ: Environ) -> int:
    """Have who keeps an index compare it with the database; print what they do not agree about. 0 if they do."""
    name = token_hex(8)
    workers = _asked_of_workers(environ, {COMPARE: name}, lambda said: name in said.get("check", ()))
    if workers is None:
        return FAILED
    agree = True
    for worker in sorted(workers, key=lambda each: str(each["worker"])):
        differ = worker["differ"]
        print(f"worker {worker['worker']}: {worker['done']:,} documents; {_differences(differ)}")
        agree &= not any(each["count"] for each in differ.values())
    if not agree:
        print("`fanfare search reindex` builds the indexes anew", file=sys.stderr)
    return DONE if agree else FAILED


def _differences(differ: Mapping[str, Mapping[str, Any]]) -> str:
    said = []
    for name, called in (("missing", "missing"), ("ghosts", "ghosts"), ("outdated", "out of date")):
        count, some = differ[name]["count"], differ[name]["some"]
        if count:
            more = f" and {count - len(some):,} more" if count > len(some) else ""
            said.append(f"{count:,} {called}: {', '.join(some)}{more}")
    return "; ".join(said) or "none missing, no ghosts, none out of date"


def _asked_of_workers(
    environ: Environ, request: Mapping[str, object], is_answer: Callable[[Mapping[str, Any]], bool]
) -> list[Mapping[str, Any]] | None:
    """What all workers that serve the site answer to a request, once they have done it; None if any did not."""
    settings = with_kept_key(HubSettings.from_environ(environ))
    assert settings.key is not None
    return asyncio.run(_ask_workers(settings.hub_url, settings.realm, settings.key, request, is_answer))


async def _ask_workers(
    url: str,
    realm: str,
    key: bytes,
    request: Mapping[str, object],
    is_answer: Callable[[Mapping[str, Any]], bool],
) -> list[Mapping[str, Any]] | None:
    publisher = HttpPublisher(url, realm, key)
    workers: dict[str, Mapping[str, Any]] = {}
    try:
        # A hub that is away is tried again and again.
        async with asyncio.timeout(_CONNECT) as patience:
            async with RemoteHub(url, [BUILDING], realm=realm, key=key) as hub, hub.follow(BUILDING) as follower:
                await publisher.publish(CHANGED, request)
                patience.reschedule(asyncio.get_running_loop().time() + _SILENCE)
                async for entry in follower:
                    if not isinstance(entry, Heard) or not is_answer(entry.data):
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
    for each in left:
        print(each.get("reason", f"worker {each['worker']} did not end"), file=sys.stderr)
    if not workers:
        print("nobody who serves the site answered", file=sys.stderr)
    return None if left or not workers else list(workers.values())


def _bar(workers: Iterable[Mapping[str, Any]], width: int = 40) -> str:
    """How far all are."""
    some = list(workers)
    done, total = (sum(each[name] for each in some) for name in ("done", "total"))
    share = 1.0 if all(each["state"] == "done" for each in some) else min(0.99, done / total if total else 0.0)
    return f"[{'#' * int(share * width):<{width}}] {100 * share:3.0f} %, {done:,} documents"


def _with_index(use: Callable[[Finder], Awaitable[T]], environ: Environ, documents: Sequence[Documents]) -> T:
    url = read_settings(DatabaseSettings, environ).url
    settings = read_settings(SearchSettings, environ)

    async def run() -> T:
        database = Database(url, RecordingPublisher())
        engine = engine_of(settings, None, documents)

        async def nowhere() -> str | None:
            return None

        async def said() -> Words:
            async with database.reading() as session:
                return await words.read(session)

        try:
            cursor = await engine.open()
            if not engine.shared:
                await Indexer(engine, documents, database, nowhere).build()
            elif cursor is None:
                raise EngineAway("Elasticsearch has no index of this version: a worker that serves the site makes it")
            return await use(Finder(engine, documents, database, said))
        except EngineAway as error:
            raise Wrong(str(error)) from None
        finally:
            await engine.close()
            await database.close()

    return asyncio.run(run())
