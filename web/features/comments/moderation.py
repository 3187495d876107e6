"""What moderators do with comments: one function a click, each in the session of its caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from .judging import learn
from .mails import plan_digests
from .models import Block, Comment, Record, Status, Thread
from .saving import change_status

Act = Callable[[web.Application, AsyncSession, Comment, Record], Awaitable[None]]


async def approve(app: web.Application, session: AsyncSession, comment: Comment, record: Record) -> None:
    """Publish it, and learn its words as good."""
    if comment.status is not Status.PUBLISHED:
        await change_status(session, comment, Status.PUBLISHED)
        # Who waits for answers is told of it as of a new one.
        record.at = now()
        await plan_digests(app, session, comment)
    await learn(app, session, comment, record, "good")


async def hold(app: web.Application, session: AsyncSession, comment: Comment, record: Record) -> None:
    """Take it away until somebody has looked at it."""
    await change_status(session, comment, Status.HELD)


async def spam(app: web.Application, session: AsyncSession, comment: Comment, record: Record) -> None:
    """Take it away, and learn its words as spam."""
    await change_status(session, comment, Status.SPAM)
    await learn(app, session, comment, record, "spam")


async def delete(app: web.Application, session: AsyncSession, comment: Comment, record: Record) -> None:
    """Take it away; nothing is wrong with its words."""
    await change_status(session, comment, Status.DELETED)


async def block_visitor(app: web.Application, session: AsyncSession, comment: Comment, record: Record) -> None:
    """Take it away as spam, and nothing more from this browser."""
    await _block(session, "visitor", record.visitor, comment)
    await spam(app, session, comment, record)


async def block_address(app: web.Application, session: AsyncSession, comment: Comment, record: Record) -> None:
    """Take it away as spam, and nothing more from this address."""
    await _block(session, "address", record.address, comment)
    await spam(app, session, comment, record)


async def close(app: web.Application, session: AsyncSession, comment: Comment, record: Record) -> None:
    """Take no more comments in its thread."""
    (await session.get_one(Thread, comment.thread_id)).is_open = False


async def reopen(app: web.Application, session: AsyncSession, comment: Comment, record: Record) -> None:
    """Take comments in its thread again."""
    (await session.get_one(Thread, comment.thread_id)).is_open = True


async def _block(session: AsyncSession, kind: str, who: str, comment: Comment) -> None:
    if who and await session.get(Block, who) is None:
        session.add(Block(who=who, kind=kind, name=comment.name))


#: By the word of a form or a link.
ACTS: Mapping[str, Act] = {
    "approve": approve,
    "hold": hold,
    "spam": spam,
    "delete": delete,
    "block-visitor": block_visitor,
    "block-address": block_address,
    "close": close,
    "reopen": reopen,
}
