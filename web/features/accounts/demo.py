"""The manager's account, for the first run."""

from __future__ import annotations

from sqlalchemy import func, select

from ...db.database import Database
from ...identity.passwords import Passwords, new_password
from ...identity.users import User
from .people import create_user

#: The account that is made on the first run.
MANAGER = "manager"


async def fill(database: Database) -> list[str]:
    """An account where there is none, and what to say of it."""
    password = await make_manager(database, Passwords())
    if password is None:
        return []
    return [f"account for /manage/events: {MANAGER}, password {password} (shown this once)"]


async def make_manager(database: Database, passwords: Passwords) -> str | None:
    """Make the account if there is none; its password, which is kept nowhere, or None if there are users already."""
    async with database.reading() as session:
        if await session.scalar(select(func.count()).select_from(User)):
            return None
    password = new_password()
    try:
        await create_user(database, passwords, MANAGER, password)
    except ValueError:
        # Another process was faster, and shows its own.
        return None
    return password
