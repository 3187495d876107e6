"""Sign-ins: a row for each browser in which a user is signed in. Without its row, a cookie is worth nothing.

The row has a hash of the id in the cookie: who reads the table can't sign in with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, ForeignKey, String, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from ..db.tables import Base, Moment, now
from .users import User
from .visitors import LIFE, LONGEST, Visitor

#: Sign-ins of one user; one more ends that which was not seen for longest.
MOST = 20

#: How exactly the last visit is kept: a row is written this often at most.
COARSE = timedelta(minutes=15)


class SignIn(Base):
    """A browser in which a user is signed in. network and browser: as `browsers` names them."""

    __tablename__ = "sign_ins"

    id: Mapped[int] = mapped_column(primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    #: password, github
    way: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    seen_at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
    network: Mapped[str] = mapped_column(String(50), default="")
    browser: Mapped[str] = mapped_column(String(60), default="")


@dataclass(frozen=True, slots=True)
class Where:
    """Where a browser is, and what it is called."""

    network: str
    browser: str


def key_of(visitor: Visitor) -> str:
    """What a sign-in's row has of the visitor's id."""
    return hashlib.sha256(visitor.id.encode()).hexdigest()


async def begin(
    session: AsyncSession, user_id: int, visitor: Visitor, where: Where, way: str, *, instead: Visitor | None = None
) -> SignIn:
    """Sign a user in with a visitor that nobody has met: in the caller's transaction.

    instead: whom the browser was until now; if that was signed in, it no longer is. Sign-ins that are over are pruned,
    everybody's, and this user's beyond MOST.
    """
    moment = now()
    await session.execute(delete(SignIn).where(_is_over(moment)))
    if instead is not None:
        await session.execute(delete(SignIn).where(SignIn.key_hash == key_of(instead)))
    kept = select(SignIn.id).where(SignIn.user_id == user_id).order_by(SignIn.seen_at.desc(), SignIn.id.desc())
    older = list(await session.scalars(kept.offset(MOST - 1)))
    if older:
        await session.execute(delete(SignIn).where(SignIn.id.in_(older)))
    made = SignIn(
        key_hash=key_of(visitor),
        user_id=user_id,
        way=way,
        created_at=moment,
        seen_at=moment,
        network=where.network,
        browser=where.browser,
    )
    session.add(made)
    await session.flush()
    return made


async def find(session: AsyncSession, visitor: Visitor) -> tuple[SignIn, User] | None:
    """The sign-in of a visitor and its user; None if it is over."""
    statement = (
        select(SignIn, User)
        .join(User, User.id == SignIn.user_id)
        .where(SignIn.key_hash == key_of(visitor), SignIn.user_id == visitor.user_id, ~_is_over(now()))
    )
    found = (await session.execute(statement)).one_or_none()
    return None if found is None else (found[0], found[1])


def is_stale(sign_in: SignIn, where: Where) -> bool:
    """Whether it is time to write down that it was seen."""
    age = now() - sign_in.seen_at
    return age > COARSE or (age > COARSE / 5 and sign_in.network != where.network)


async def see(session: AsyncSession, sign_in: SignIn, where: Where) -> None:
    """Write down that a sign-in was seen just now."""
    statement = update(SignIn).where(SignIn.id == sign_in.id)
    await session.execute(statement.values(seen_at=now(), network=where.network, browser=where.browser))


async def of_user(session: AsyncSession, user_id: int) -> Sequence[SignIn]:
    """A user's sign-ins, the last seen first."""
    statement = select(SignIn).where(SignIn.user_id == user_id, ~_is_over(now()))
    return list(await session.scalars(statement.order_by(SignIn.seen_at.desc(), SignIn.id.desc())))


async def end(session: AsyncSession, user_id: int, sign_in_id: int) -> None:
    """End one of a user's sign-ins; nothing if it is none of theirs."""
    await session.execute(delete(SignIn).where(SignIn.id == sign_in_id, SignIn.user_id == user_id))


async def end_all(session: AsyncSession, user_id: int, *, but: Visitor | None = None) -> None:
    """End all of a user's sign-ins, but this visitor's."""
    statement = delete(SignIn).where(SignIn.user_id == user_id)
    if but is not None:
        statement = statement.where(SignIn.key_hash != key_of(but))
    await session.execute(statement)


def _is_over(moment: datetime) -> ColumnElement[bool]:
    # Seen coarsely: a cookie may live as much longer as the row may be behind.
    idle = moment - timedelta(seconds=LIFE) - COARSE
    return or_(SignIn.seen_at < idle, SignIn.created_at < moment - timedelta(seconds=LONGEST))
