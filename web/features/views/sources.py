"""Whom else we count for: sources, each with a key. The key is shown once, and kept as its hash."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.database import Database
from ...db.tables import now
from .models import ViewKey
from .records import MAX_SOURCE

#: Keys that there may be.
MOST = 100

#: Seconds between two notes of when a key was used.
_NOTED = timedelta(minutes=5)

_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MAX_SOURCE - 1}}}")


class NoSource(Exception):
    """A source can't be made, in words for who wants it."""


def check_name(name: str) -> str:
    """A source's name. Raises NoSource for one that won't do."""
    if _NAME.fullmatch(name) is None:
        raise NoSource(f"A source's name has up to {MAX_SOURCE} small letters, digits, . _ and -, such as shop.")
    return name


def new_key() -> str:
    """A key. What it begins with says to whoever finds it what it is."""
    return f"views_{secrets.token_urlsafe(24)}"


def hash_of(key: str) -> str:
    """A key as it is kept. It is long and of chance, so it needs no salt."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


async def make(database: Database, name: str) -> str:
    """Make a source; its key. Raises NoSource."""
    check_name(name)
    key = new_key()
    try:
        async with database.saving() as session:
            if (await session.scalar(select(func.count()).select_from(ViewKey)) or 0) >= MOST:
                raise NoSource(f"There are {MOST} sources already. Remove one first.")
            session.add(ViewKey(name=name, key_hash=hash_of(key)))
    except IntegrityError:
        raise NoSource(f"There is a source {name} already. Remove it first, or take another name.") from None
    return key


async def remove(session: AsyncSession, id: int) -> None:
    """Let a key be none any more. What it counted stays."""
    await session.execute(delete(ViewKey).where(ViewKey.id == id))


async def find(session: AsyncSession, key: str) -> ViewKey | None:
    """The source that a key belongs to; None if nobody has it."""
    found: ViewKey | None = await session.scalar(select(ViewKey).where(ViewKey.key_hash == hash_of(key)))
    return found


async def note(session: AsyncSession, source: ViewKey) -> None:
    """Note that it was used."""
    if source.used_at is None or now() - source.used_at > _NOTED:
        await session.execute(update(ViewKey).where(ViewKey.id == source.id).values(used_at=now()))
