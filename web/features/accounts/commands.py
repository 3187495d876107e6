"""What the command of accounts does."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys

from hub.cli import DONE, Environ, Wrong
from hub.publisher import RecordingPublisher
from hub.settings import read

from ...db.database import Database
from ...db.migrate import migrate
from ...db.settings import DatabaseSettings
from ...identity.passwords import Passwords
from .people import change_password, create_user


def manager(found: argparse.Namespace, environ: Environ) -> int:
    """Make an account, or give it another password."""
    url = read(DatabaseSettings, environ).url
    # Asked for or piped in: an argument would be seen by everyone on the machine.
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")

    async def make() -> None:
        await migrate(url)
        # A user tells nobody.
        database = Database(url, RecordingPublisher())
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
