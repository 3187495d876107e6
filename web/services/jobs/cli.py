"""`fanfare jobs`: what waits, what was given up, and to try it again."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from hub.cli import DONE, FAILED, Command, Environ, Wrong, shown

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from .rows import Shown

T = TypeVar("T")

#: Rows that are listed of each sort.
_LISTED = 20


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", metavar="URL", help="another database than the site's (DATABASE_URL)")
    parser.add_argument(
        "action",
        choices=("list", "show", "again", "drop"),
        nargs="?",
        default="list",
        help="list them (without any word); show some with their data and errors; try some again now (without numbers"
        " all that were given up); drop some that don't run",
    )
    parser.add_argument("ids", metavar="ID", type=int, nargs="*", help="jobs, by their numbers")


def _jobs(found: argparse.Namespace, environ: Environ) -> int:
    from . import rows

    ids: list[int] = found.ids
    if found.action in {"show", "drop"} and not ids:
        raise Wrong(f"which? say jobs {found.action} ID …")
    if found.action == "list" and ids:
        raise Wrong("list takes no numbers; say jobs show ID …")
    now = time.time()
    if found.action == "show":
        shown = _on_database(found, environ, lambda connection: [rows.get(connection, id) for id in ids])
        for id, each in zip(ids, shown, strict=True):
            print(f"{id}: there is no such job (any more)" if each is None else _whole(each, now), end="\n\n")
        return FAILED if None in shown else DONE
    if found.action == "again":
        count = _on_database(found, environ, lambda connection: rows.again(connection, now, ids or None))
        print(f"{count} to be tried again")
        return FAILED if count < len(ids) else DONE
    if found.action == "drop":
        count = _on_database(found, environ, lambda connection: rows.drop(connection, ids))
        print(f"{count} dropped")
        return FAILED if count < len(ids) else DONE
    return _list(found, environ, now)


def _list(found: argparse.Namespace, environ: Environ, now: float) -> int:
    from . import rows

    counts, waiting, given_up = _on_database(
        found,
        environ,
        lambda connection: (
            rows.counts(connection, now),
            rows.listed(connection, limit=_LISTED),
            rows.listed(connection, outcome=rows.GIVEN_UP, limit=_LISTED),
        ),
    )
    if not counts:
        print("no jobs")
    for kind, count in sorted(counts.items()):
        age = "" if count.oldest is None else f", the oldest for {max(now - count.oldest, 0):.0f} s"
        due = f"{count.due} due{age}"
        print(f"{shown(kind)}: {count.waiting} waiting ({due}), {count.running} running, {count.given_up} given up")
    for each in waiting:
        print(_line(each, now))
    for each in given_up:
        print(_line(each, now))
    return FAILED if given_up else DONE


def _line(job: Shown, now: float) -> str:
    if job.finished is not None:
        state = f"given up {_age(now - job.finished)} ago"
    elif job.owner is not None:
        state = f"running (attempt {job.attempts})"
    elif job.due > now:
        state = f"due in {_age(job.due - now)}"
    else:
        state = f"due for {_age(now - job.due)}"
    tried = f", {job.attempts} attempts" if job.attempts and job.owner is None else ""
    key = "" if job.key is None else f" [{job.key}]"
    error = "" if not job.error else f": {job.error.splitlines()[0][:200]}"
    return shown(f"{job.id}: {job.kind}{key}: {state}{tried}{error}")


def _whole(job: Shown, now: float) -> str:
    return "\n".join([_line(job, now), f"data: {job.data}", *map(shown, (job.error or "").rstrip().splitlines())])


def _age(seconds: float) -> str:
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _on_database(found: argparse.Namespace, environ: Environ, look: Callable[[Connection], T]) -> T:
    from sqlalchemy import inspect
    from sqlalchemy.exc import SQLAlchemyError

    from hub.errors import BrokerUnavailable
    from hub.orm.database_url import parse
    from hub.settings import read

    from ...db.engine import new_engine
    from ...db.settings import DatabaseSettings
    from . import rows

    try:
        url = read(DatabaseSettings, environ).url if found.database is None else parse(found.database)
    except ValueError as error:
        raise Wrong(f"--database: {error}") from None

    async def run() -> T:
        engine = new_engine(url)
        try:
            async with engine.execution_options(writing=True).begin() as connection:
                if not await connection.run_sync(lambda plain: inspect(plain).has_table(rows.table.name)):
                    raise Wrong(f"{url.shown} has no jobs yet; `fanfare migrate` makes their table")
                return await connection.run_sync(look)
        except (SQLAlchemyError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
            raise BrokerUnavailable(f"{url.shown}: {reason}") from None
        finally:
            await engine.dispose()

    return asyncio.run(run())


COMMANDS = (
    Command(
        "jobs",
        "show the jobs that wait and those that were given up, or try some again",
        _arguments,
        _jobs,
        epilog="example: jobs again 17 18",
    ),
)
