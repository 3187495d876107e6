"""The commands of `fanfare`: the hub's, and the site's."""

from __future__ import annotations

import argparse
import asyncio
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
    check_command,
    run,
    serve_arguments,
    serve_with,
    settings_command,
    with_arguments,
)
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings

from .app import create_app
from .db import Database, DatabaseUnavailable, PublishingTeller, migrate
from .settings import Settings


def main() -> int:
    """`fanfare`: parse the command line, do it, return the exit code."""
    description = "A real-time hub with a site on it. `fanfare serve` starts both."
    return run("fanfare", description, COMMANDS, sys.argv[1:], failures=(DatabaseUnavailable,))


def _serve(found: argparse.Namespace, environ: Environ) -> int:
    hub_settings = HubSettings.from_environ(with_arguments(found, environ)).with_key()
    settings = Settings.from_environ(environ).with_secret(development=hub_settings.development)
    asyncio.run(migrate(settings.database_url))

    async def work(sock: socket.socket | None, announce: Callable[[str], None] | None) -> None:
        hub = Hub(hub_settings)
        app = create_app(settings, hub.publisher, max_body=hub_settings.body_bytes)
        hub.setup(app)
        await serve(app, hub, announce, sock)

    def announce(url: str) -> None:
        shown = url.replace("//127.0.0.1:", "//localhost:")
        print(f"Fanfare on {shown}, with the hub at {shown}/bayeux", flush=True)
        print(
            f"publish with `fanfare publish comments-1 17`, or POST {shown}/realm/{hub_settings.realm}/publish/",
            flush=True,
        )

    return serve_with(hub_settings, work, announce, failures=(DatabaseUnavailable,))


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
    Command("serve", "serve the site and the hub, after bringing the database up to date", serve_arguments, _serve),
    Command("migrate", "bring the database's tables up to date", _no_arguments, _migrate),
    *COMMON,
    check_command(_check_database),
    settings_command([("Hub", HubSettings), ("Site", Settings)]),
)
