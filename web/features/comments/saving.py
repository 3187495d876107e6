"""What is saved of comments: each function in the session of its caller, whose commit tells it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from .forms import CommentForm
from .models import Comment, Record, Status, Thread
from .spam import Reason, Verdict
from .text import VERSION, shown


class NotTaken(Exception):
    """A comment can't be taken. As a string: a sentence for its writer.

    NoThread         there is no such thread
    Closed           the thread takes none
    NothingToAnswer  what it answers is not to be read any more
    """


class NoThread(NotTaken):
    """There is no such thread."""


class Closed(NotTaken):
    """The thread takes none."""


class NothingToAnswer(NotTaken):
    """What it answers is not to be read any more."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent something, as keyed hashes."""

    visitor: str
    address: str


ACCEPTED = Verdict("publish", 0.0, ())
_STATUS = {"publish": Status.PUBLISHED, "hold": Status.HELD, "refuse": Status.REFUSED}


async def lock_thread(session: AsyncSession, thread_id: int, *, open_or_not: bool = False) -> None:
    """Have the thread for this transaction alone; raises NoThread, and Closed.

    One that is being removed or closed doesn't take a comment's row from under it, and comments of one thread are
    saved, and counted, one after the other.
    """
    is_open = await session.scalar(select(Thread.is_open).where(Thread.id == thread_id).with_for_update())
    if is_open is None:
        raise NoThread("There is no such discussion.")
    if not is_open and not open_or_not:
        raise Closed("This discussion is closed.")


async def find_sent(session: AsyncSession, key: str | None) -> Comment | None:
    """The comment that was made of what has this name, if it was sent before."""
    if key is None:
        return None
    return await session.scalar(select(Comment).join(Record).where(Record.key == key))


async def create(
    session: AsyncSession, thread_id: int, form: CommentForm, sender: Sender, verdict: Verdict, key: str | None
) -> tuple[Comment, Record]:
    """A new comment in a thread that is locked, and its record. Raises NothingToAnswer."""
    parent = await _answered(session, thread_id, form.parent) if form.parent else None
    root = None if parent is None else parent.parent_id or parent.id
    comment = Comment(
        thread_id=thread_id,
        parent_id=root,
        answers_id=None if parent is None or parent.id == root else parent.id,
        name=form.name,
        text=form.text,
        html=form.html or shown(form.text),
        status=_STATUS[verdict.decision],
        posted_at=now(),
        edition=1,
        replies=0,
    )
    session.add(comment)
    await session.flush()
    record = Record(
        comment_id=comment.id,
        key=key,
        visitor=sender.visitor,
        address=sender.address,
        at=comment.posted_at,
        decision=verdict.decision,
        weight=verdict.weight,
        reasons=json.dumps([[each.weight, each.words] for each in verdict.reasons], ensure_ascii=False),
    )
    session.add(record)
    if comment.status is Status.PUBLISHED:
        await _count_reply(session, comment, 1)
    await session.flush()
    return comment, record


async def _answered(session: AsyncSession, thread_id: int, parent_id: int) -> Comment:
    parent = await session.get(Comment, parent_id)
    if parent is None or parent.thread_id != thread_id or parent.status is not Status.PUBLISHED:
        raise NothingToAnswer("What you answer is not there any more. Your words can stand by themselves.")
    return parent


async def _count_reply(session: AsyncSession, comment: Comment, by: int) -> None:
    if comment.parent_id is not None:
        parent = await session.get_one(Comment, comment.parent_id)
        parent.replies = max(0, parent.replies + by)
        if parent.status is not Status.PUBLISHED:
            # Whether its place is shown may be another now.
            parent.edition += 1


def edit(comment: Comment, text: str, html: str, when: datetime) -> None:
    """Give a comment other words. html: what they become (`forms.rendered`)."""
    if comment.text != text:
        comment.text, comment.html, comment.html_version = text, html, VERSION
        comment.edited_at = when
        comment.edition += 1


async def change_status(session: AsyncSession, comment: Comment, status: Status) -> None:
    """Publish a comment, or take it away. Its thread is locked, open or not."""
    if comment.status is status:
        return
    by = (status is Status.PUBLISHED) - (comment.status is Status.PUBLISHED)
    comment.status = status
    comment.edition += 1
    if by:
        await _count_reply(session, comment, by)


def reasons_of(record: Record) -> list[Reason]:
    """Why a comment was judged as it was."""
    return [Reason(float(weight), str(words)) for weight, words in json.loads(record.reasons)]
