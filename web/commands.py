"""`fanfare watch` and `fanfare outbox`: what tells of changes that no code of ours made.

They work on any database that has the outbox, the site's own by default.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, inspect
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from hub import logs
from hub.cli import DONE, FAILED, Command, Environ, Wrong, with_kept_key
from hub.errors import BrokerUnavailable, ProtocolError
from hub.orm import outbox, postgres
from hub.orm.declarations import KINDS
from hub.orm.teller import Teller
from hub.publisher import HttpPublisher
from hub.settings import Settings as HubSettings

from .db import new_engine
from .settings import Settings, parse_database_url

T = TypeVar("T")

_KINDS = tuple(kind for kind in KINDS if kind != "related")


def _database_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", metavar="URL", help="another database than the site's (DATABASE_URL)")


def _url(found: argparse.Namespace, environ: Environ) -> URL:
    if found.database is None:
        return Settings.from_environ(environ).database_url
    try:
        return parse_database_url(found.database)
    except ValueError as error:
        raise Wrong(f"--database: {error}") from None


# watch


def _watch_arguments(parser: argparse.ArgumentParser) -> None:
    _database_argument(parser)
    parser.add_argument("table", metavar="TABLE", nargs="?", help="without one, what is watched is listed")
    parser.add_argument("channel", metavar="CHANNEL", nargs="?", help="{column} in it stands for the row's value")
    parser.add_argument(
        "--data", metavar="JSON", default="true", help='the payload; "{column}" is that column\'s value'
    )
    parser.add_argument(
        "--on", metavar="KINDS", default=",".join(_KINDS), help=f"of {', '.join(_KINDS)}; all by default"
    )
    parser.add_argument("--fields", metavar="COLUMNS", default="", help="publish these columns instead of --data")
    parser.add_argument("--when", metavar="COLUMNS", default="", help="only when one of these has changed")
    parser.add_argument("--remove", action="store_true", help="remove our triggers from TABLE, or from all tables")


def _watch(found: argparse.Namespace, environ: Environ) -> int:
    url = _url(found, environ)
    if url.get_backend_name() != "postgresql":
        raise Wrong("only PostgreSQL has triggers that the hub can hear of; declare the model in hub.orm instead")
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    if found.remove:
        count = asyncio.run(postgres.remove(dsn, *([found.table] if found.table else [])))
        print(f"{count} {'trigger' if count == 1 else 'triggers'} removed")
    elif found.table is None:
        for table, definition in asyncio.run(postgres.installed(dsn)):
            print(f"{table}: {definition}")
    elif found.channel is None:
        raise Wrong("which channel? say watch TABLE CHANNEL, such as: watch comments 'comments-{event_id}'")
    else:
        asyncio.run(postgres.install(dsn, _watch_of(found)))
        print(f"{found.table} tells {found.channel}; a site of hub.orm on this database publishes it,")
        print("and so does `fanfare outbox --sweep`")
    return DONE


def _watch_of(found: argparse.Namespace) -> postgres.Watch:
    on = _words(found.on)
    if unknown := [kind for kind in on if kind not in _KINDS]:
        raise Wrong(f"--on: {unknown[0]!r} is not one of {', '.join(_KINDS)}")
    try:
        data = json.loads(found.data)
    except ValueError:
        raise Wrong(f"--data: not JSON: {found.data[:40]!r}") from None
    try:
        return postgres.Watch(
            found.table, found.channel, data, on=on, fields=_words(found.fields), watch=_words(found.when)
        )
    except (ValueError, ProtocolError) as error:
        raise Wrong(str(error)) from None


def _words(text: str) -> tuple[Any, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


# outbox


def _outbox_arguments(parser: argparse.ArgumentParser) -> None:
    _database_argument(parser)
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--retry", action="store_true", help="put what the hub refused back into the queue")
    act.add_argument("--drop", metavar="ID", type=int, nargs="+", help="forget these rows")
    act.add_argument("--sweep", action="store_true", help="publish what is left behind, until interrupted")


def _outbox(found: argparse.Namespace, environ: Environ) -> int:
    url = _url(found, environ)
    if found.sweep:
        return asyncio.run(_sweep(url, environ))
    if found.retry:
        count = asyncio.run(_on_outbox(url, lambda connection: outbox.retry(connection, time.time())))
        print(f"{count} to be tried again")
    elif found.drop:
        count = asyncio.run(_on_outbox(url, lambda connection: outbox.drop(connection, found.drop)))
        print(f"{count} dropped")
    else:
        counts, parked = asyncio.run(
            _on_outbox(url, lambda connection: (outbox.counts(connection), outbox.parked(connection)))
        )
        age = "" if counts.oldest is None else f", the oldest for {max(time.time() - counts.oldest, 0):.0f} s"
        print(f"{counts.waiting} waiting{age}; {counts.parked} refused by the hub")
        for each in parked:
            print(f"{each.row.id}: {each.row.channel}: {each.error}")
        return FAILED if counts.parked else DONE
    return DONE


async def _on_outbox(url: URL, look: Callable[[Connection], T]) -> T:
    async with _outbox_of(url) as engine, engine.begin() as connection:
        return await connection.run_sync(look)


@asynccontextmanager
async def _outbox_of(url: URL) -> AsyncIterator[AsyncEngine]:
    engine = new_engine(url)
    try:
        async with engine.connect() as connection:
            if not await connection.run_sync(lambda plain: inspect(plain).has_table(outbox.table.name)):
                raise Wrong(f"{url.render_as_string(hide_password=True)} has no outbox yet")
        yield engine
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise BrokerUnavailable(f"{url.render_as_string(hide_password=True)}: {reason}") from None
    finally:
        await engine.dispose()


async def _sweep(url: URL, environ: Environ) -> int:
    settings = with_kept_key(HubSettings.from_environ(environ))
    assert settings.key is not None
    logs.configure(settings.log_level, settings.log_format)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    publisher = HttpPublisher(settings.hub_url, settings.realm, settings.key)
    async with _outbox_of(url) as engine:
        teller = Teller(outbox.AsyncEngineStore(engine), publisher)
        await teller.start()
        print(
            f"publishing what {url.render_as_string(hide_password=True)} leaves behind, at {settings.hub_url}",
            flush=True,
        )
        await stop.wait()
        await teller.close()
    await publisher.close()
    return DONE


WATCH = Command(
    "watch",
    "let a PostgreSQL table tell of its changes, whoever makes them",
    _watch_arguments,
    _watch,
    epilog="example: watch comments 'comments-{event_id}' --data '\"{id}\"'",
)
OUTBOX = Command("outbox", "show what waits to be told, and what the hub refused", _outbox_arguments, _outbox)
