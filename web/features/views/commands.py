"""What `fanfare views …` does."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import orjson

from hub.cli import DONE, FAILED, Environ, Wrong, shown
from hub.publisher import RecordingPublisher
from hub.settings import read

from ...db.database import Database
from ...db.migrate import migrate
from ...db.settings import DatabaseSettings
from ...pages.settings import PageSettings
from ...services.addresses import Guard
from ...services.outbound import Outbound, OutboundError
from ...services.settings import ServiceSettings
from . import queries, sources
from .endpoints import Described, Matcher, described, routes_in
from .importing import Busy, Importer
from .kinds import NAMES, Kind
from .manage import MAX_DAYS, known_endpoints, to_json
from .queries import Report
from .records import View
from .service import targets_of
from .settings import ViewSettings
from .targets.ga4 import GoogleAnalytics, problems
from .targets.target import Target

T = TypeVar("T")


def report(found: argparse.Namespace, environ: Environ) -> int:
    """Who called what."""
    if not 1 <= found.days <= MAX_DAYS:
        raise Wrong(f"--days: is from 1 to {MAX_DAYS}")
    known, _ = known_endpoints(read(ViewSettings, environ))

    async def look(database: Database) -> tuple[Report, Any]:
        async with database.reading() as session:
            return await queries.report(session, found.days), await queries.unused_endpoints(session, known)

    seen, unused = _on_database(environ, look)
    if found.json:
        print(json.dumps(to_json(seen, unused, seen.since), indent=2))
        return DONE
    if not seen.rows:
        print("nothing was called in this time")
        return DONE
    width = max(len(row.name) + len(row.source) + 3 * bool(row.source) for row in seen.rows)
    width = min(60, max(width, len("endpoint")))
    print(f"{'endpoint':{width}} {'calls':>9} {'callers':>8} {'p50 ms':>8} {'p95 ms':>8}  {'4xx, 5xx':>9}  last called")
    for row in seen.rows:
        name = shown(f"{row.name} ({row.source})" if row.source else row.name)
        times = " ".join(f"{'–' if each is None else f'{each:.1f}':>8}" for each in (row.p50, row.p95))
        failed = f"{row.failed:.1%}"
        print(f"{name:{width}} {row.calls:>9} {row.callers:>8} {times}  {failed:>9}  {row.last:%Y-%m-%d %H:%M}")
    kinds = ", ".join(f"{NAMES[kind].lower()} {seen.kinds[kind]}" for kind in Kind if seen.kinds[kind])
    print(f"{seen.calls} calls: {kinds}")
    print(f"{len(unused)} endpoints that are described were not called for 90 days: `fanfare views unused`")
    return DONE


def unused(found: argparse.Namespace, environ: Environ) -> int:
    """What nobody calls."""
    if found.openapi is not None:
        known = _described(found.openapi)
    else:
        known, problem = known_endpoints(read(ViewSettings, environ))
        if problem:
            raise Wrong(problem)
    if not known:
        raise Wrong("there is no OpenAPI file: name one with --openapi, or VIEWS_OPENAPI")
    days = found.unused_days

    async def look(database: Database) -> Any:
        async with database.reading() as session:
            return await queries.unused_endpoints(session, known, days), await queries.since_when(session)

    rows, since = _on_database(environ, look)
    if found.json:
        said = [
            {"endpoint": each.name, "about": each.about, "last_seen": None if last is None else last.isoformat()}
            for each, last in rows
        ]
        print(json.dumps({"days": days, "described": len(known), "unused": said}, indent=2))
        return DONE
    for each, last in rows:
        print(shown(f"{each.name}: {'never called' if last is None else f'last called {last:%Y-%m-%d}'}"))
    print(f"{len(rows)} of {len(known)} endpoints were not called for {days} days")
    counted = 0.0 if since is None else time.time() - since.timestamp()
    if counted < days * 86400:
        print(f"note: counting began {counted / 86400:.0f} days ago; wait before you remove one", file=sys.stderr)
    return DONE


def bring(found: argparse.Namespace, environ: Environ) -> int:
    """Import logs."""
    try:
        source = sources.check_name(found.source)
    except sources.NoSource as error:
        raise Wrong(f"--source: {error}") from None
    known, _ = known_endpoints(read(ViewSettings, environ))
    if found.openapi is not None:
        known += _described(found.openapi)
    matcher = Matcher(routes_in(known))

    def progress(lines: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{lines:,} lines", end="", file=sys.stderr)

    async def work(database: Database) -> int:
        importer = Importer(database, source, matcher)
        result = DONE
        for name in found.files:
            try:
                imported = await importer.bring(Path(name), progress)
            except (OSError, EOFError) as error:
                print(shown(f"{name}: {getattr(error, 'strerror', None) or error}"), file=sys.stderr)
                result = FAILED
                continue
            except Busy as error:
                print(shown(str(error)), file=sys.stderr)
                result = FAILED
                continue
            again = f"; {imported.again:,} bytes were counted before" if imported.again else ""
            print(shown(f"{name}: {imported.counted:,} counted as {source}{again}"))
            for why, count in imported.ignored.most_common():
                example = f", first in line {imported.examples[why]}" if why in imported.examples else ""
                print(shown(f"  {count:,} ignored: {why}{example}"))
            if imported.unfinished:
                print("  the last line has no end yet: it is counted when it has one")
        return result

    return _on_database(environ, work)


def key(found: argparse.Namespace, environ: Environ) -> int:
    """A key for another server."""

    async def work(database: Database) -> str:
        try:
            return await sources.make(database, found.name)
        except sources.NoSource as error:
            raise Wrong(str(error)) from None

    made = _on_database(environ, work)
    base = read(PageSettings, environ).url or "http://localhost:8000"
    print(f"key of {found.name}, shown this once: {made}")
    print(f"send views to {base}/views, as `Authorization: Bearer {made[:9]}…`")
    return DONE


def check(found: argparse.Namespace, environ: Environ) -> int:
    """Ask the services."""
    services = read(ServiceSettings, environ)
    read_all: dict[type[Any], Any] = {each: read(each, environ) for each in (ViewSettings, PageSettings)}
    targets = targets_of(_Tables(read_all))
    if not targets:
        print("no service is told of views: set VIEWS_GA4, VIEWS_PLAUSIBLE or VIEWS_MATOMO_URL (docs/views.md)")
        return DONE
    return asyncio.run(_ask(targets, Guard(services.outbound_allow)))


class _Tables:
    """Settings by their dataclass, as the application has them."""

    def __init__(self, values: dict[type[Any], Any]) -> None:
        self._values = values

    def __getitem__(self, table: type[T]) -> T:
        found: T = self._values[table]
        return found


async def _ask(targets: list[Target], guard: Guard) -> int:
    outbound = Outbound(guard, "Fanfare")
    view = View(time.time(), "", "GET /fanfare-views-check", 200, 1000, "script", "~0123456789abcdef", "A check", "-")
    result = DONE
    try:
        for target in targets:
            wrong = await _ask_one(outbound, target, view)
            for line in wrong:
                print(shown(f"{target.name}: {line}"))
            result = FAILED if wrong else result
            if not wrong:
                print(f"{target.name}: takes it{_REMARKS.get(target.name, '')}")
    finally:
        await outbound.close()
    return result


_REMARKS = {
    "ga4": "; nothing was recorded. It does not check the secret: see Realtime there",
    "plausible": "; a view of /fanfare-views-check was recorded",
    "matomo": "; a view of /fanfare-views-check was recorded",
}


async def _ask_one(outbound: Outbound, target: Target, view: View) -> list[str]:
    """What is wrong, a line each."""
    call = target.calls([view])[0]
    url, body = call.url, call.body
    if isinstance(target, GoogleAnalytics):
        if ours := problems(body, time.time()):
            return ours
        url = target.url(debug=True)
        body = orjson.dumps(orjson.loads(body) | {"validation_behavior": "ENFORCE_RECOMMENDATIONS"})
    try:
        answer = await outbound.fetch(url, method="POST", headers=call.headers, data=body)
    except OutboundError as error:
        return [str(error)]
    if not answer.ok:
        return [f"it answers {answer.status}"]
    if isinstance(target, GoogleAnalytics):
        try:
            messages = orjson.loads(answer.body)["validationMessages"]
            return [f"{each.get('fieldPath', '')}: {each.get('description', '')}" for each in messages]
        except (ValueError, KeyError, TypeError, AttributeError):
            return ["its answer is not that of /debug/mp/collect"]
    taken = target.taken(call, answer.headers, answer.body)
    return [taken.why] if taken.ignored else []


def _described(name: str) -> list[Described]:
    try:
        return described(orjson.loads(Path(name).read_bytes()))
    except OSError as error:
        raise Wrong(f"{name}: {error.strerror}") from None
    except ValueError as error:
        raise Wrong(f"{name}: {'is not JSON' if isinstance(error, orjson.JSONDecodeError) else error}") from None


def _on_database(environ: Environ, work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        url = read(DatabaseSettings, environ).url
        await migrate(url)
        database = Database(url, RecordingPublisher())
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())
