"""The moderators' queue, and the pages of the links in their mails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiohttp import web
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...pages.requests import json_response, read_fields, redirect, wants_json
from ...pages.templating import read_positions, render
from . import moderation
from .hints import QUEUE
from .mails import LINKED, seals
from .models import Block, Comment, Record, Status, Thread
from .owners import Owner, find_owners
from .saving import NoThread, lock_thread, reasons_of
from .spam import Reason

#: Comments on a page of the queue; the newest.
SHOWN = 50

#: How long a link in a mail may be used.
LINK_DAYS = 30

TABS: tuple[tuple[str, str], ...] = (
    ("held", "Waiting"),
    ("published", "Published"),
    ("refused", "Refused"),
    ("spam", "Spam"),
    ("deleted", "Deleted"),
)

_GONE = "That comment is not there any more."


@dataclass(frozen=True, slots=True)
class Row:
    """A comment of the queue. record: None for one of before comments were judged."""

    comment: Comment
    record: Record | None
    reasons: Sequence[Reason]
    owner: Owner | None
    is_open: bool


async def show(request: web.Request) -> web.StreamResponse:
    """GET /manage/comments?show=held."""
    chosen = request.query.get("show", "held")
    if chosen not in dict(TABS):
        raise web.HTTPNotFound(text="There is no such page.")
    positions = await read_positions(request.app[keys.publisher], QUEUE)
    async with request.app[keys.database].reading() as session:
        counts = dict((await session.execute(select(Comment.status, func.count()).group_by(Comment.status))).all())
        context: dict[str, Any] = {
            "positions": positions,
            "chosen": chosen,
            "tabs": [(label, _path(name), counts.get(Status(name), 0)) for name, label in TABS],
            "source": _path(chosen),
            "rows": await _rows(request.app, session, Status(chosen)),
            "blocks": list(await session.scalars(select(Block).order_by(Block.at.desc()).limit(SHOWN))),
        }
    return render(request, "comments/queue.html", context)


async def post_act(request: web.Request) -> web.StreamResponse:
    """POST /manage/comments/{id}: do what the button says."""
    fields = await read_fields(request)
    await _act(request, int(request.match_info["id"]), fields.get("act", ""))
    if wants_json(request):
        return json_response({"done": fields["act"]})
    back = fields.get("show", "held")
    return redirect(_path(back if back in dict(TABS) else "held"))


async def post_unblock(request: web.Request) -> web.StreamResponse:
    """POST /manage/comments/unblock: take comments of somebody again."""
    who = (await read_fields(request)).get("who", "")[:64]
    async with request.app[keys.database].saving() as session:
        await session.execute(delete(Block).where(Block.who == who))
        await request.app[keys.database].notifier.tell(session, QUEUE)
    return json_response({"done": "unblock"}) if wants_json(request) else redirect(_path("held"))


async def show_link(request: web.Request) -> web.StreamResponse:
    """GET /comments/moderate/{link}: what a mail's link would do. Nothing is done: programs open links, too."""
    number, act = _linked(request)
    async with request.app[keys.database].reading() as session:
        comment = await _linked_comment(session, number)
        owner = (await find_owners(request.app, session, [comment.thread_id])).get(comment.thread_id)
    words = LINKED[act]
    context = {"comment": comment, "owner": owner, "words": words, "link": request.match_info["link"], "done": False}
    return render(request, "comments/moderate.html", context, cache="no-store")


async def post_link(request: web.Request) -> web.StreamResponse:
    """POST /comments/moderate/{link}: do it, whoever has the mail."""
    number, act = _linked(request)
    async with request.app[keys.database].reading() as session:
        await _linked_comment(session, number)
    comment = await _act(request, number, act)
    async with request.app[keys.database].reading() as session:
        owner = (await find_owners(request.app, session, [comment.thread_id])).get(comment.thread_id)
    words = LINKED[act]
    context = {"comment": comment, "owner": owner, "words": words, "link": request.match_info["link"], "done": True}
    return render(request, "comments/moderate.html", context, cache="no-store")


async def _act(request: web.Request, number: int, act: str) -> Comment:
    do = moderation.ACTS.get(act)
    if do is None:
        raise web.HTTPBadRequest(text="There is nothing of that name to do.")
    async with request.app[keys.database].saving() as session:
        comment = await session.get(Comment, number)
        if comment is None:
            raise web.HTTPNotFound(text=_GONE)
        try:
            await lock_thread(session, comment.thread_id, open_or_not=True)
        except NoThread:
            raise web.HTTPNotFound(text=_GONE) from None
        await session.refresh(comment)
        record = await session.get(Record, number)
        if record is None:
            record = Record(comment_id=number, decision="publish", learned="", visitor="", address="")
            session.add(record)
        await do(request.app, session, comment, record)
    return comment


def _linked(request: web.Request) -> tuple[int, str]:
    found = request.app[seals].linked("moderate", request.match_info["link"])
    if found is None or found[1] not in LINKED:
        raise web.HTTPNotFound(text="This link is not one of ours, or was cut short. The queue has all that waits.")
    return found


async def _linked_comment(session: AsyncSession, number: int) -> Comment:
    comment = await session.get(Comment, number)
    if comment is None or comment.posted_at < now() - timedelta(days=LINK_DAYS):
        raise web.HTTPNotFound(text=f"{_GONE} Or the link is older than {LINK_DAYS} days.")
    return comment


async def _rows(app: web.Application, session: AsyncSession, status: Status) -> list[Row]:
    asked = (
        select(Comment, Record, Thread.is_open)
        .join(Thread, Thread.id == Comment.thread_id)
        .outerjoin(Record, Record.comment_id == Comment.id)
        .where(Comment.status == status)
        .order_by(Comment.id.desc())
        .limit(SHOWN)
    )
    found: list[tuple[Comment, Record | None, bool]] = [
        (comment, record, is_open) for comment, record, is_open in await session.execute(asked)
    ]
    owners = await find_owners(app, session, {comment.thread_id for comment, _, _ in found})
    return [
        Row(
            comment,
            record,
            [] if record is None else reasons_of(record),
            owners.get(comment.thread_id),
            is_open,
        )
        for comment, record, is_open in found
    ]


def _path(name: str) -> str:
    return "/manage/comments" if name == "held" else f"/manage/comments?show={name}"
