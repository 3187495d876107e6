"""The accounts that may sign in: made, and given other passwords."""

from __future__ import annotations

from sqlalchemy import delete, select

from ...db.database import Database
from ...identity.passwords import Passwords
from ...identity.users import MAX_NAME, User, new_stamp
from ...pages.requests import clean_line
from .models import FailedLogin

#: Longer ones cost the server time and nobody types them.
MAX_PASSWORD = 200
MIN_PASSWORD = 10


async def create_user(database: Database, passwords: Passwords, name: str, password: str) -> User:
    """Make an account. Raises ValueError for a name or password that won't do, or a name that is taken."""
    name = clean_line(name, MAX_NAME)
    if not 1 <= len(name) <= MAX_NAME:
        raise ValueError(f"a name has 1 to {MAX_NAME} characters")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    hashed = await passwords.hash(password)
    async with database.saving() as session:
        if await session.scalar(select(User.id).where(User.name == name)) is not None:
            raise ValueError(f"there is a user {name!r} already")
        user = User(name=name, password_hash=hashed)
        session.add(user)
    return user


async def change_password(database: Database, passwords: Passwords, name: str, password: str) -> None:
    """Give a user another password, which also ends every sign-in. Raises ValueError; LookupError for no such user."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    hashed = await passwords.hash(password)
    async with database.saving() as session:
        user = await session.scalar(select(User).where(User.name == clean_line(name, MAX_NAME)))
        if user is None:
            raise LookupError(f"there is no user {name!r}")
        user.password_hash = hashed
        user.stamp = new_stamp()


async def note_success(database: Database, user: User, password: str, passwords: Passwords) -> None:
    """Forget the wrong passwords of who has shown the right one, and hash it anew if that is due."""
    outdated = passwords.is_outdated(user.password_hash)
    hashed = await passwords.hash(password) if outdated else None
    async with database.saving() as session:
        await session.execute(delete(FailedLogin).where(FailedLogin.name == user.name))
        if hashed is not None and (kept := await session.get(User, user.id)) is not None:
            kept.password_hash = hashed
