"""What the site's commands do. `cli` has their names and arguments, and imports this when one is run."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from hub import banner, logs, workers
from hub.app import Hub, serve
from hub.cli import (
    DONE,
    FAILED,
    Environ,
    Finding,
    Place,
    Wrong,
    serve_with,
    with_arguments,
    with_kept_key,
)
from hub.errors import BrokerUnavailable, HubError, ProtocolError, SettingsError
from hub.orm import outbox as boxes
from hub.orm import postgres
from hub.orm.database_url import DatabaseUrl, parse
from hub.orm.declarations import KINDS
from hub.orm.metrics import of_outbox
from hub.orm.teller import Teller
from hub.publisher import HttpPublisher, RecordingPublisher
from hub.remote import RemoteHub
from hub.settings import Settings as HubSettings
from hub.settings import is_loopback

from .app import all_hints_of, check_files, create_app, metrics_of_features, read_settings
from .db.database import Database
from .db.engine import DatabaseUnavailable, new_engine
from .db.migrate import migrate, waiting
from .db.settings import DatabaseSettings
from .features.pictures.again import make_again
from .features.pictures.settings import PictureSettings
from .features.pictures.store import Store
from .features.search.metrics import check as search_check
from .features.search.service import search
from .features.views.service import views
from .keeping import Keeper, handed_over, one_for_each, tell_ready
from .pages import keys
from .pages.page import metrics_of, pages
from .pages.settings import PageSettings
from .services.cache.metrics import of_cache
from .services.jobs.hints import CHANNEL, wake_by
from .services.jobs.kinds import JobError
from .services.jobs.metrics import of_jobs
from .services.mail.postmen import SmtpPostman
from .services.mail.settings import MailSettings
from .settings import Settings

T = TypeVar("T")

_KINDS = [kind for kind in KINDS if kind != "related"]


def serve_site(found: argparse.Namespace, environ: Environ) -> int:
    """The site and the hub, in this process or in several."""
    given = HubSettings.from_environ(with_arguments(found, environ))
    hub_settings = given.with_key()
    settings = read_settings(environ).with_secret(development=hub_settings.development)
    settings = with_timing(settings, development=hub_settings.development)
    check_files()
    # Behind a proxy HOST is this machine's in production too: only a database that was made here is ours to fill.
    demo_wanted = (
        hub_settings.development
        and settings[DatabaseSettings].given is None
        and settings[PageSettings].url is None
        and not found.no_demo
    )
    asyncio.run(_prepare(settings, with_demo=demo_wanted))

    async def work(place: Place) -> None:
        counted = [each for feature in settings.features for each in feature.counted]
        hub = Hub(hub_settings, siblings=place.siblings, counted=counted, keep=True)
        app = create_app(
            settings,
            hub.publisher,
            tops=hub.followers,
            following=hub.followers,
            max_body=hub_settings.body_bytes,
            body_timeout=hub_settings.body_timeout,
            when_late=lambda: hub.door.count("bodies"),
            listening=hub.token,
            inside=hub.inside,
        )
        if views in app:
            hub.door.watch = lambda answered: app[views].note_answered(*answered)
        hub.setup(app)
        database = app[keys.database]
        hub.checks.append(database.check)
        if hub.inside is not None:
            hub.inside.probes["database"] = database.check
        hub.metrics.append(lambda: of_outbox(database.notifier))
        hub.metrics.append(lambda: metrics_of(app[pages]))
        hub.metrics.append(lambda: of_cache(app[keys.cache]))
        hub.metrics.append(lambda: of_jobs(app[keys.runner]))
        hub.metrics.append(lambda: metrics_of_features(app, settings.features))
        if search in app:
            hub.checks.append(lambda: search_check(app[search]))
        await serve(app, hub, place.announce, place.sock)

    def announce(url: str) -> None:
        shown = url.replace("//127.0.0.1:", "//localhost:")
        known = banner.facts(hub_settings, shown, kept_key=given.key is None)
        known["database"] = _shown_database(settings)
        known["cookies"] = "sent over https only" if settings[PageSettings].is_https else _OVER_HTTP
        known["publish"] = (
            f"`{banner.publishing(hub_settings, shown, kept_key=given.key is None)}`, or POST "
            f"{shown}/realm/{hub_settings.realm}/publish/"
        )
        title = f"Fanfare on {shown}, with the hub at {shown}/bayeux"
        print(*banner.lines(title, known, hub_settings.log_format), sep="\n", flush=True)

        tell_ready(environ)

    sockets = handed_over(environ)
    if not sockets:
        return serve_with(hub_settings, work, announce, environ)
    try:
        sockets = one_for_each(sockets, hub_settings.workers)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return serve_with(hub_settings, work, announce, environ, sockets)


def keep(found: argparse.Namespace, environ: Environ) -> int:
    """Keep a server running, and replace it by what is installed at SIGHUP."""
    environ = with_arguments(found, environ)
    hub_settings = HubSettings.from_environ(environ)
    logs.configure(hub_settings.log_level, hub_settings.log_format)
    host, port = hub_settings.host, hub_settings.port
    try:
        sockets = handed_over(environ) or workers.listen(host, port, hub_settings.workers)
    except OSError as error:
        raise SettingsError(f"PORT: can't listen on {host}:{port}: {error.strerror}") from None
    # As this was called: with a link in its path that is another installation by then.
    program = [sys.executable, "-m", "web"] if sys.argv[0].endswith("__main__.py") else [sys.argv[0]]
    command = [*program, "serve", *(["--no-demo"] if found.no_demo else [])]
    keeper = Keeper(command, sockets, environ, hub_settings.drain_timeout + 5)
    return asyncio.run(keeper.run())


def with_timing(settings: Settings, *, development: bool) -> Settings:
    """These settings with answers that say how long they took, or not: as it is set, else in development alone.

    Behind a proxy HOST is this machine's in production too: a site with an address of its own is no development.
    """
    if settings[PageSettings].server_timing is not None:
        return settings
    return settings.with_(PageSettings, server_timing=development and settings[PageSettings].url is None)


def work(found: argparse.Namespace, environ: Environ) -> int:
    """Do jobs, until a signal says stop."""
    hub_settings = with_kept_key(HubSettings.from_environ(environ))
    settings = read_settings(environ).with_secret(development=hub_settings.development)
    check_files()
    logs.configure(hub_settings.log_level, hub_settings.log_format)
    asyncio.run(_work(hub_settings, settings))
    return DONE


async def _work(hub_settings: HubSettings, settings: Settings) -> None:
    assert hub_settings.key is not None
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await _prepare(settings, with_demo=False)
    publisher = HttpPublisher(hub_settings.hub_url, hub_settings.realm, hub_settings.key)
    # The site as it is served, with all that jobs use; nobody listens on a port.
    app = create_app(settings, publisher, with_jobs=True)
    runner = web.AppRunner(app)
    await runner.setup()
    kinds = ", ".join(app[keys.runner].kinds)
    print(f"doing jobs of {_shown_database(settings)}: {kinds}; the hub is {hub_settings.hub_url}", flush=True)
    # A commit in another process is heard of at once; without the hub it is found a little later.
    async with RemoteHub(hub_settings.hub_url, [CHANNEL], realm=hub_settings.realm, key=hub_settings.key) as hub:
        waking = asyncio.create_task(wake_by(hub.follow, app[keys.runner].wake))
        await stop.wait()
        waking.cancel()
        await asyncio.wait([waking])
    await runner.cleanup()
    await publisher.close()


def _shown_database(settings: Settings) -> str:
    url = settings[DatabaseSettings].url
    shown = url.shown
    if settings[DatabaseSettings].given is None:
        return f"SQLite at {Path(url.path or '').absolute()} (DATABASE_URL is not set)"
    return shown


def _database(settings: Settings) -> Database:
    """The database for a command. It is not started: what is saved waits in the outbox for who serves the site."""
    return Database(settings[DatabaseSettings].url, RecordingPublisher(), hints=all_hints_of(settings.features))


async def _prepare(settings: Settings, *, with_demo: bool) -> None:
    """Bring the database up to date, and give an empty one its content."""
    await migrate(settings[DatabaseSettings].url)
    for each in await _unwatched(settings[DatabaseSettings].url):
        print(f"fanfare: {each}", file=sys.stderr)
    if with_demo:
        await _load_demo(settings)


async def _unwatched(url: DatabaseUrl) -> list[str]:
    """What watched tables tell nobody, a line each; what can't be looked at is no reason not to start."""
    if url.backend != "postgresql":
        return []
    try:
        found = await postgres.look(url)
    except HubError as error:
        return [f"watched tables: {error}"]
    return [f"watched table {postgres.plain(each.table)}: {text}" for each in found for text in each.problems]


async def _load_demo(settings: Settings) -> None:
    database = _database(settings)
    try:
        for feature in settings.features:
            if feature.demo is not None:
                for line in await feature.demo(database):
                    print(line)
    finally:
        await database.close()


def fill(found: argparse.Namespace, environ: Environ) -> int:
    """Fill an empty database."""
    asyncio.run(_prepare(read_settings(environ), with_demo=True))
    return DONE


def migrate_tables(found: argparse.Namespace, environ: Environ) -> int:
    """Bring the tables up to date."""
    settings = read_settings(environ)
    asyncio.run(migrate(settings[DatabaseSettings].url))
    print(f"{settings[DatabaseSettings].url.shown} is up to date")
    return DONE


def make_pictures(found: argparse.Namespace, environ: Environ) -> int:
    """Make the forms of all pictures again."""
    settings = read_settings(environ)
    store = Store(settings[DatabaseSettings].var / "pictures")

    def bar(done: int, total: int, words: str) -> None:
        if sys.stderr.isatty():
            filled = "#" * (30 * done // total)
            print(f"\r[{filled:30}] {done}/{total} {words[:40]:40}", end="\n" if done == total else "", file=sys.stderr)
        elif ": " in words:
            print(words, file=sys.stderr)

    async def make() -> tuple[int, int]:
        database = _database(settings)
        try:
            return await make_again(database, store, settings[PictureSettings].engine, bar)
        finally:
            await database.close()

    count, failed = asyncio.run(make())
    print(f"{count - failed} of {count} pictures made")
    return FAILED if failed else DONE


def check_database(environ: Environ) -> list[Finding]:
    """Whether the site's settings parse and its database answers."""
    settings = read_settings(environ)
    shown = settings[DatabaseSettings].url.shown
    found: list[Finding] = []
    try:
        check_files()
    except SettingsError as error:
        found.append(("files", False, str(error)))
    if settings[DatabaseSettings].given is None and not Path(settings[DatabaseSettings].url.path or "").exists():
        return [*found, ("database", True, f"{shown} is not there yet; `fanfare serve` makes it")]

    async def look() -> list[Finding]:
        database = _database(settings)
        try:
            await database.check()
            missing = await waiting(database.engine)
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            return [("database", False, str(error))]
        finally:
            await database.close()
        if missing:
            return [("database", False, f"{shown}: {missing} migrations are missing; `fanfare migrate` makes them")]
        untold = await _unwatched(settings[DatabaseSettings].url)
        return [
            ("database", True, f"{shown} answers, its tables are up to date"),
            *(("database", False, text) for text in untold),
        ]

    return [*found, *asyncio.run(look())]


def check_mail(environ: Environ) -> list[Finding]:
    """Whether the mail server answers and lets us in; sends nothing."""
    settings = read_settings(environ)
    mail = settings[MailSettings]
    if mail.server is None or mail.sender is None:
        return [("mail", True, f"MAIL_URL is not set: mails are files in {settings[DatabaseSettings].var / 'mail'}")]
    try:
        return [("mail", True, asyncio.run(SmtpPostman(mail.server, mail.sender.domain).check()))]
    except JobError as error:
        return [("mail", False, str(error))]


def check_cookies(environ: Environ) -> list[Finding]:
    """Whether the cookies of who signs in are kept from those who listen on the way."""
    site = read_settings(environ)[PageSettings]
    if site.is_https:
        return [("cookies", True, "sent over https only")]
    # Such an address leads here only from this machine, and HOST lets in nobody else.
    here = site.url is None or _is_local(urlsplit(site.url).hostname or "")
    if here and HubSettings.from_environ(environ).development:
        return [("cookies", True, f"{_OVER_HTTP}: for a trial on this machine")]
    return [("cookies", False, f"{_OVER_HTTP}: set SITE_URL to the https address that browsers see")]


def _is_local(name: str) -> bool:
    return is_loopback(name) or name.endswith(".localhost")


#: What is said of cookies without an address with https.
_OVER_HTTP = "sent over http too, as SITE_URL has no https"


def _url(found: argparse.Namespace, environ: Environ) -> DatabaseUrl:
    if found.database is None:
        return read_settings(environ)[DatabaseSettings].url
    try:
        return parse(found.database)
    except ValueError as error:
        raise Wrong(f"--database: {error}") from None


# The outbox, and triggers that fill it


def watch(found: argparse.Namespace, environ: Environ) -> int:
    """Install, list or remove triggers."""
    url = _url(found, environ)
    if url.backend != "postgresql":
        raise Wrong("only PostgreSQL has triggers that the hub can hear of; declare the model in hub.orm instead")
    if found.check:
        return _check_watched(asyncio.run(postgres.look(url)), found.table)
    if found.remove:
        count = asyncio.run(postgres.remove(url, *([found.table] if found.table else [])))
        print(f"{count} {'watch' if count == 1 else 'watches'} removed")
    elif found.table is None:
        for each in asyncio.run(postgres.look(url)):
            print(_shown(each))
    elif found.channel is None:
        raise Wrong("which channel? say watch TABLE CHANNEL, such as: watch comments 'comments-{event_id}'")
    else:
        asyncio.run(postgres.install(url, _watch_of(found)))
        print(f"{found.table} tells {found.channel}; a site of hub.orm on this database publishes it,")
        print("and so does `fanfare outbox --sweep`")
    return DONE


def _shown(each: postgres.Watched) -> str:
    """A watched table in a line, and a line for all that is wrong with it."""
    lines = [f"{postgres.plain(each.table)}: {'unknown' if each.watch is None else postgres.as_arguments(each.watch)}"]
    lines += [f"  WRONG: {text}" for text in each.problems]
    lines += [f"  note: {text}" for text in each.notes]
    return "\n".join(lines)


def _check_watched(found: list[postgres.Watched], table: str | None) -> int:
    """Print what is watched, or one table; fail if some changes are told to nobody."""
    wanted = [each for each in found if table is None or table in each.names]
    if table is not None and not wanted:
        raise Wrong(f"{table} is not watched")
    for each in wanted:
        print(_shown(each) if each.problems or each.notes else f"{_shown(each)}: ok")
    return FAILED if any(each.problems for each in wanted) else DONE


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


def outbox(found: argparse.Namespace, environ: Environ) -> int:
    """Show the outbox, or do something about what is left in it."""
    url = _url(found, environ)
    if found.sweep:
        return asyncio.run(_sweep(url, environ))
    if found.retry:
        count = asyncio.run(_on_outbox(url, lambda connection: boxes.retry(connection, time.time())))
        print(f"{count} to be tried again")
    elif found.drop:
        count = asyncio.run(_on_outbox(url, lambda connection: boxes.drop(connection, found.drop)))
        print(f"{count} dropped")
    else:
        counts, parked = asyncio.run(
            _on_outbox(url, lambda connection: (boxes.counts(connection), boxes.parked(connection)))
        )
        age = "" if counts.oldest is None else f", the oldest for {max(time.time() - counts.oldest, 0):.0f} s"
        print(f"{counts.waiting} waiting{age}; {counts.parked} refused by the hub")
        for each in parked:
            print(f"{each.row.id}: {each.row.channel}: {each.error}")
        return FAILED if counts.parked else DONE
    return DONE


async def _on_outbox(url: DatabaseUrl, look: Callable[[Connection], T]) -> T:
    async with _outbox_of(url) as engine, engine.begin() as connection:
        return await connection.run_sync(look)


@asynccontextmanager
async def _outbox_of(url: DatabaseUrl) -> AsyncIterator[AsyncEngine]:
    engine = new_engine(url)
    try:
        async with engine.connect() as connection:
            if not await connection.run_sync(lambda plain: inspect(plain).has_table(boxes.table.name)):
                raise Wrong(f"{url.shown} has no outbox yet")
        yield engine
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise BrokerUnavailable(f"{url.shown}: {reason}") from None
    finally:
        await engine.dispose()


async def _sweep(url: DatabaseUrl, environ: Environ) -> int:
    settings = with_kept_key(HubSettings.from_environ(environ))
    assert settings.key is not None
    logs.configure(settings.log_level, settings.log_format)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    publisher = HttpPublisher(settings.hub_url, settings.realm, settings.key)
    async with _outbox_of(url) as engine:
        direct = read_settings(environ)[DatabaseSettings].direct
        listening = None if direct is None else new_engine(direct)
        teller = Teller(boxes.AsyncEngineStore(engine, listening), publisher)
        await teller.start()
        print(
            f"publishing what {url.shown} leaves behind, at {settings.hub_url}",
            flush=True,
        )
        await stop.wait()
        await teller.close()
        if listening is not None:
            await listening.dispose()
    await publisher.close()
    return DONE
