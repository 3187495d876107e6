"""What is known of who sent a comment, gathered for `spam`; and what moderators' clicks have taught."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from aiohttp import web
from sqlalchemy import case, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...pages.kept import Kept, Reading
from . import spam
from .forms import CommentForm
from .models import Block, Comment, Record, Status, Word
from .saving import ACCEPTED, Sender
from .settings import CommentSettings

#: Texts that a new one is compared with.
_RECENT = 50

#: Told when words were learned.
WORDS = "comment-words"

#: What was learned, as long as nothing new is.
learned: web.AppKey[Kept[spam.Learned]] = web.AppKey("learned words", Kept)


async def judge(
    app: web.Application, session: AsyncSession, form: CommentForm, sender: Sender, age: float | None, work: str
) -> spam.Verdict:
    """The verdict on a comment that came in. age: of its form, in seconds. work: what is wrong with that, or ""."""
    settings = app[keys.settings][CommentSettings]
    blocked = await _block(session, sender)
    if blocked is not None:
        return spam.Verdict("refuse", spam.REFUSE, (spam.Reason(spam.REFUSE, f"A moderator has blocked {blocked}."),))
    if not settings.judges:
        return ACCEPTED
    sent = spam.Sent(
        name=form.name,
        text=form.text,
        hidden=form.hidden,
        age=age,
        work=work,
        recent=list(await session.scalars(select(Comment.text).order_by(Comment.id.desc()).limit(_RECENT))),
        **await _counts(session, sender, by_address=settings.rate > 0),
    )
    # 3 to 40 ms, for texts that are made for it: others have their turn meanwhile.
    verdict = await asyncio.to_thread(spam.judge, sent, await read_learned(app))
    if settings.holds_new and verdict.decision == "publish" and not await _is_known(session, form.name, sender):
        said = spam.Reason(0.0, "It is the first comment of this name from this browser.")
        return replace(verdict, decision="hold", reasons=(*verdict.reasons, said))
    return verdict


async def _is_known(session: AsyncSession, name: str, sender: Sender) -> bool:
    stood = Comment.status == Status.PUBLISHED
    asked = select(Comment.id).join(Record).where(Record.visitor == sender.visitor, Comment.name == name, stood)
    return await session.scalar(asked.limit(1)) is not None


async def _block(session: AsyncSession, sender: Sender) -> str | None:
    found = await session.scalar(select(Block.kind).where(Block.who.in_([sender.visitor, sender.address])).limit(1))
    return None if found is None else f"this {found}"


async def _counts(session: AsyncSession, sender: Sender, *, by_address: bool) -> Mapping[str, Any]:
    hour, day = now() - timedelta(hours=1), now() - timedelta(days=1)
    of_address, of_visitor = Record.address == sender.address, Record.visitor == sender.visitor
    stood = of_visitor & (Comment.status == Status.PUBLISHED) & ((Record.learned == "good") | (Record.at < day))
    columns = [
        func.coalesce(func.sum(case((each, 1), else_=0)), 0)
        for each in (of_address & (Record.at > hour), of_visitor & (Record.at > hour), stood)
    ]
    asked = select(*columns).join(Comment, Comment.id == Record.comment_id)
    row = (await session.execute(asked.where(or_(of_address & (Record.at > hour), of_visitor)))).one()
    return {"by_address": int(row[0]) if by_address else 0, "by_visitor": int(row[1]), "good": int(row[2])}


async def read_learned(app: web.Application) -> spam.Learned:
    """The words that were learned."""

    async def make(reading: Reading) -> spam.Learned:
        reading.follow(WORDS)
        async with app[keys.database].reading() as session:
            rows = await session.execute(select(Word.word, Word.spam, Word.good))
            return spam.restored({word: (bad, good) for word, bad, good in rows})

    found, _ = await app[learned].get("words", make)
    return found


async def learn(app: web.Application, session: AsyncSession, comment: Comment, record: Record, what: str) -> None:
    """Take a moderator's click: a comment's words are "spam" or "good". What it was learned as before is taken back."""
    if record.learned == what:
        return
    words = sorted({"", *(word[:100] for word in spam.words_of(f"{comment.name} {comment.text}"))})
    if record.learned:
        await _add(session, words, record.learned, -1)
    await _add(session, words, what, 1)
    record.learned = what
    count = await session.scalar(select(func.count()).select_from(Word)) or 0
    if count > spam.MOST_WORDS:
        # The rarest, a tenth at once.
        rarest = select(Word.word).order_by(Word.spam + Word.good, Word.word).limit(spam.MOST_WORDS // 10)
        await session.execute(delete(Word).where(Word.word.in_(rarest.scalar_subquery())))
    await app[keys.database].notifier.tell(session, WORDS)


async def _add(session: AsyncSession, words: list[str], what: str, by: int) -> None:
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    column = Word.spam if what == "spam" else Word.good
    rows = [{"word": word, "spam": 0, "good": 0, what: max(0, by)} for word in words]
    statement: Any = insert(Word).values(rows)
    least = case((column + by < 0, 0), else_=column + by)
    await session.execute(statement.on_conflict_do_update(index_elements=[Word.word], set_={what: least}))
