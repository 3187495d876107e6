"""The commands of `fanfare`: the hub's, and the site's."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import socket
import sys
from collections.abc import Callable

from hub.app import Hub, serve
from hub.cli import (
    COMMON,
    DONE,
    Command,
    Environ,
    Finding,
    Wrong,
    check_command,
    run,
    serve_arguments,
    serve_with,
    settings_command,
    with_arguments,
)
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings

from . import demo
from .accounts import change_password, create_user
from .app import create_app
from .commands import OUTBOX, WATCH
from .db import Database, DatabaseUnavailable, PublishingTeller, migrate
from .settings import Settings
from .visitors import Passwords


def main() -> int:
    """`fanfare`: parse the command line, do it, return the exit code."""
    description = "A real-time hub with a site on it. `fanfare serve` starts both."
    return run("fanfare", description, COMMANDS, sys.argv[1:], failures=(DatabaseUnavailable,))


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    serve_arguments(parser)
    parser.add_argument(
        "--no-demo", action="store_true", help="leave an empty database empty; on a loopback HOST it gets demo content"
    )


def _serve(found: argparse.Namespace, environ: Environ) -> int:
    hub_settings = HubSettings.from_environ(with_arguments(found, environ)).with_key()
    settings = Settings.from_environ(environ).with_secret(development=hub_settings.development)
    asyncio.run(_prepare(settings, with_demo=hub_settings.development and not found.no_demo))

    async def work(sock: socket.socket | None, announce: Callable[[str], None] | None) -> None:
        hub = Hub(hub_settings)
        app = create_app(settings, hub.publisher, max_body=hub_settings.body_bytes)
        hub.setup(app)
        await serve(app, hub, announce, sock)

    def announce(url: str) -> None:
        shown = url.replace("//127.0.0.1:", "//localhost:")
        # As it was called, so that the line can be copied: `make run` calls it in its virtual environment.
        name = sys.argv[0] if sys.argv[0].endswith("/fanfare") and not sys.argv[0].startswith("/") else "fanfare"
        print(f"Fanfare on {shown}, with the hub at {shown}/bayeux")
        print(
            f"publish with `{name} publish comments-1 17`, or POST {shown}/realm/{hub_settings.realm}/publish/",
            flush=True,
        )

    return serve_with(hub_settings, work, announce, failures=(DatabaseUnavailable,))


async def _prepare(settings: Settings, *, with_demo: bool) -> None:
    """Bring the database up to date, and give an empty one its content."""
    await migrate(settings.database_url)
    if with_demo:
        await _load_demo(settings)


async def _load_demo(settings: Settings) -> None:
    # Nobody can listen yet.
    database = Database(settings.database_url, PublishingTeller(RecordingPublisher()))
    try:
        loaded = await demo.load(database)
    finally:
        await database.close()
    if loaded.events:
        print(f"demo content: {loaded.events} events")
    if loaded.manager_password is not None:
        print(f"account for /manage/events: {demo.MANAGER}, password {loaded.manager_password} (shown this once)")


def _demo(found: argparse.Namespace, environ: Environ) -> int:
    asyncio.run(_prepare(Settings.from_environ(environ), with_demo=True))
    return DONE


def _manager_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the account's name")
    parser.add_argument("--change", action="store_true", help="give an account another password, and end its sign-ins")


def _manager(found: argparse.Namespace, environ: Environ) -> int:
    settings = Settings.from_environ(environ)
    # Asked for or piped in: an argument would be seen by everyone on the machine.
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")

    async def make() -> None:
        await migrate(settings.database_url)
        database = Database(settings.database_url, PublishingTeller(RecordingPublisher()))
        try:
            put = change_password if found.change else create_user
            await put(database, Passwords(), found.name, password)
        except LookupError:
            raise Wrong(f"there is no account {found.name!r}") from None
        except ValueError as error:
            raise Wrong(str(error)) from None
        finally:
            await database.close()

    asyncio.run(make())
    print(f"{found.name} may sign in")
    return DONE


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def _migrate(found: argparse.Namespace, environ: Environ) -> int:
    settings = Settings.from_environ(environ)
    asyncio.run(migrate(settings.database_url))
    print(f"{settings.database_url.render_as_string(hide_password=True)} is up to date")
    return DONE


def _check_database(environ: Environ) -> list[Finding]:
    settings = Settings.from_environ(environ)

    async def look() -> Finding:
        # Nobody is told anything: it is only looked at.
        database = Database(settings.database_url, PublishingTeller(RecordingPublisher()))
        try:
            await database.check()
        except DatabaseUnavailable as error:
            return "database", False, str(error)
        finally:
            await database.close()
        return "database", True, f"{settings.database_url.render_as_string(hide_password=True)} answers"

    return [asyncio.run(look())]


COMMANDS = (
    Command("serve", "serve the site and the hub, after bringing the database up to date", _serve_arguments, _serve),
    Command("migrate", "bring the database's tables up to date", _no_arguments, _migrate),
    Command("demo", "fill an empty database with demo content", _no_arguments, _demo),
    Command("manager", "make an account that may manage events; asks for its password", _manager_arguments, _manager),
    *COMMON,
    WATCH,
    OUTBOX,
    check_command(_check_database),
    settings_command([("Hub", HubSettings), ("Site", Settings)]),
)
