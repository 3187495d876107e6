"""What the commands of accounts do."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable

from hub.cli import DONE, Environ, Wrong
from hub.publisher import RecordingPublisher
from hub.settings import read

from ...db.database import Database
from ...db.migrate import migrate
from ...db.settings import DatabaseSettings
from ...identity.passwords import Passwords
from ...identity.roles import Role
from .people import change_password, change_role, create_user


def manager(found: argparse.Namespace, environ: Environ) -> int:
    """Make an account, or give it another password."""
    # Asked for or piped in: an argument would be seen by everyone on the machine.
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")

    async def make(database: Database) -> None:
        if found.change:
            await change_password(database, Passwords(), found.name, password)
        else:
            await create_user(database, Passwords(), found.name, password, Role(found.role))

    where = _run(make, found.name, environ)
    print(f"{found.name} may sign in, by {where}")
    return DONE


def role(found: argparse.Namespace, environ: Environ) -> int:
    """Give an account another role, at once."""

    async def change(database: Database) -> None:
        await change_role(database, found.name, Role(found.role))

    where = _run(change, found.name, environ)
    print(f"{found.name} has the role {found.role}, by {where}")
    return DONE


def _run(change: Callable[[Database], Awaitable[None]], name: str, environ: Environ) -> str:
    """Change something about a user; the database, as the server's environment may name another. Raises Wrong."""
    url = read(DatabaseSettings, environ).url

    async def run() -> None:
        await migrate(url)
        # A user tells nobody.
        database = Database(url, RecordingPublisher())
        try:
            await change(database)
        except LookupError:
            raise Wrong(f"there is no account {name!r}") from None
        except ValueError as error:
            raise Wrong(str(error)) from None
        finally:
            await database.close()

    asyncio.run(run())
    return url.shown
