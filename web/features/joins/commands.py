"""What `fanfare lab joins` does: the same as the page, in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError

from hub.cli import DONE, FAILED, Wrong
from hub.orm.database_url import DatabaseUrl, parse
from hub.settings import read as read_settings

from ...db.settings import DatabaseSettings
from .figures import words_of
from .measuring import Options, Result, WrongCount, measure
from .settings import MOST_SONGS, JoinsSettings
from .store import Refused, Store, place_of


def joins(found: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Measure, print, and return the exit code."""
    settings = read_settings(JoinsSettings, environ)
    url = _url(found.database, environ)
    songs = settings.songs if found.songs is None else found.songs
    options = Options(
        settings.seconds if found.seconds is None else found.seconds,
        settings.looks if found.looks is None else found.looks,
    )
    if not 100 <= songs <= MOST_SONGS:
        raise Wrong(f"--songs: {songs} is not between 100 and {MOST_SONGS:,}")
    if not 0 < options.seconds <= 3600:
        raise Wrong(f"--seconds: {options.seconds:g} is not between 0 and 3600")
    if options.looks < 1:
        raise Wrong(f"--looks: {options.looks} is less than 1")
    try:
        if found.drop:
            there = asyncio.run(_drop(url))
            print(f"{place_of(url)} is gone" if there else f"{place_of(url)} was not there")
            return DONE
        result = asyncio.run(_measure(url, songs, options))
    except (Refused, WrongCount, SQLAlchemyError, OSError) as error:
        print(f"fanfare lab joins: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        return FAILED
    print(json.dumps(result.as_json(), indent=2) if found.json else as_text(result, with_plans=found.plans))
    return DONE


def as_text(result: Result, *, with_plans: bool = False) -> str:
    """A table, and what it says."""
    with_what = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    lines = [
        f"{result.songs:,} songs of {result.artists:,} artists, {result.bytes / 1e6:.0f} MB; {with_what}",
        "",
        f"{'':20}{'QUERIES':>10}{'READS':>10}{'MEDIAN':>12}{'AVERAGE':>12}{'SD':>12}{'P95':>12}",
    ]
    for way in result.ways:
        if way.figures is None:
            lines.append(f"Nothing for {way.title}")
            continue
        times = (way.figures.median, way.figures.average, way.figures.deviation, way.figures.p95)
        numbers = "".join(f"{f'{each:.3f} ms':>12}" for each in times)
        lines.append(f"{way.title:20}{way.queries:>10}{way.figures.count:>10,}{numbers}")
    lines.append("")
    first = f"a {result.ways[0].title.lower()}"
    lines += [
        f"{way.title}: {words_of(way.change, first)} ({way.change.low:+.0%} to {way.change.high:+.0%})"
        for way in result.ways
        if way.change is not None
    ]
    if result.missing:
        lines.append(f"{result.missing:,} ids were of no song")
    if with_plans:
        for way in result.ways:
            lines += ["", f"{way.title}: {way.queries} {'query' if way.queries == 1 else 'queries'}"]
            for each in way.statements:
                lines += ["", *each.sql.splitlines(), *(f"    {row}" for row in each.plan.splitlines())]
    return "\n".join(lines)


async def _measure(url: DatabaseUrl, songs: int, options: Options) -> Result:
    store = Store(url)
    try:
        size = await store.make(songs, _say)
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return await measure(
            store, size, options, lambda done, total, so_far: _say(done, total, f"{done:,} of {total:,} songs read")
        )
    finally:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        await store.close()


def _say(done: int, total: int, words: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


async def _drop(url: DatabaseUrl) -> bool:
    store = Store(url)
    try:
        return await store.drop()
    finally:
        await store.close()


def _url(given: str | None, environ: Mapping[str, str]) -> DatabaseUrl:
    if given is None:
        return read_settings(DatabaseSettings, environ).url
    try:
        return parse(given)
    except ValueError as error:
        raise Wrong(f"--database: {error}") from None
