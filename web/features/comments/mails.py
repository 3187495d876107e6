"""Mail about comments: to moderators of what waits, and to who asked for answers and confirmed it.

Links are made of SITE_URL, never of what a request says of its host; without it no mail is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from html import unescape

from aiohttp import web
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...pages.limits import Limiter
from ...pages.settings import PageSettings
from ...services.jobs.kinds import Job, Kind
from ...services.jobs.rows import New
from ...services.mail.addresses import parse_address
from ...services.mail.jobs import send
from ...services.mail.messages import Mail
from .models import Comment, Record, Status, Subscription
from .owners import Owner, find_owners
from .saving import reasons_of
from .seals import Seals
from .settings import CommentSettings

#: Seconds between two digests of one thread to one person.
DIGEST_SECONDS = 3600.0

#: Answers that a digest has; of more it says so.
_MOST = 20

#: Mails about what waits in an hour; the queue has all of it.
_MODERATORS_AN_HOUR = 30

#: Questions whether an address is theirs that one address asks for in an hour.
_ASKED_AN_HOUR = 5

#: What a link in a moderator's mail may do, and what its page says.
LINKED: Mapping[str, str] = {
    "approve": "Publish this comment",
    "spam": "Take it away as spam",
    "delete": "Delete it",
}

seals = web.AppKey("comment seals", Seals)
told_moderators = web.AppKey("mails to moderators", Limiter)
asked_people = web.AppKey("mails to confirm an address", Limiter)


def setup(app: web.Application) -> None:
    """Put what mails need into the application."""
    app[told_moderators] = Limiter(_MODERATORS_AN_HOUR, 3600.0)
    app[asked_people] = Limiter(_ASKED_AN_HOUR, 3600.0)


def origin(app: web.Application) -> str | None:
    """Where links of mails lead; None if there can be none."""
    url = app[keys.settings][PageSettings].url
    return None if url is None else url.rstrip("/")


async def tell_moderators(app: web.Application, session: AsyncSession, comment: Comment, record: Record) -> None:
    """Mail what waits, with links that decide, if and when the session commits."""
    people, base = app[keys.settings][CommentSettings].moderators, origin(app)
    if not people or base is None or app[told_moderators].take(""):
        return
    owner = (await find_owners(app, session, [comment.thread_id])).get(comment.thread_id)
    why = [f"- {each.words}" for each in reasons_of(record)] or ["- Nothing spoke for spam."]
    links = [
        f"{words}:\n{base}/comments/moderate/{app[seals].link('moderate', comment.id, act)}"
        for act, words in LINKED.items()
    ]
    lines = [
        f"{comment.name} wrote on “{_title(owner)}”:",
        _quoted(comment),
        "It waits, because:\n" + "\n".join(why),
        *links,
        f"All that waits:\n{base}/manage/comments",
    ]
    subject = f"A comment waits: {comment.name} on “{_title(owner)}”"
    text = "\n\n".join(lines)
    mails = [Mail(to=each.spec, subject=subject, text=text, list_id="comments-waiting") for each in people]
    await send(app[keys.jobs], session, mails)


async def subscribe(
    app: web.Application, session: AsyncSession, comment: Comment, record: Record, address: str, sender: str
) -> None:
    """Send answers to a comment to an address, once a mail's link has said that it is theirs.

    sender: who asks, for the limit of questions.
    """
    spec = parse_address(address).spec
    thread = comment.thread_id
    asked = select(Subscription).where(Subscription.thread_id == thread, Subscription.address == spec)
    found = await session.scalar(asked)
    if found is None:
        found = Subscription(thread_id=thread, address=spec, asked_at=now())
        session.add(found)
        await session.flush()
    elif found.confirmed_at is None and found.asked_at < now() - timedelta(days=1):
        found.asked_at = now()
    else:
        record.subscription_id = found.id
        return
    record.subscription_id = found.id
    base = origin(app)
    if base is None or app[asked_people].take(sender):
        return
    owner = (await find_owners(app, session, [thread])).get(thread)
    lines = [
        f"Somebody, you perhaps, wants answers to a comment on “{_title(owner)}” to be sent here.",
        f"If that was you, say so here:\n{base}/comments/mail/{app[seals].link('mail', found.id, 'confirm')}",
        "If not, do nothing: no other mail comes.",
    ]
    mail = Mail(to=spec, subject=f"Is this you? Answers on “{_title(owner)}”", text="\n\n".join(lines))
    await send(app[keys.jobs], session, [mail])


async def plan_digests(app: web.Application, session: AsyncSession, comment: Comment) -> None:
    """Plan to tell of a reply that was published, to whom it answers; an hour after the last time at the soonest."""
    answered = {each for each in (comment.parent_id, comment.answers_id) if each is not None}
    if not answered:
        return
    own = await session.scalar(select(Record.subscription_id).where(Record.comment_id == comment.id))
    people = (
        select(Subscription)
        .join(Record, Record.subscription_id == Subscription.id)
        .where(Record.comment_id.in_(answered), Subscription.confirmed_at.is_not(None), Subscription.id != (own or 0))
        .distinct()
    )
    jobs = []
    for each in await session.scalars(people):
        due = now().timestamp()
        if each.sent_at is not None:
            due = max(due, each.sent_at.timestamp() + DIGEST_SECONDS)
        jobs.append(New(DIGEST.name, each.id, key=f"{DIGEST.name}:{each.id}", due=due))
    await app[keys.jobs].add_many(session, jobs)


async def _digest(job: Job) -> None:
    app: web.Application = job.app
    base = origin(app)
    async with job.saving() as session:
        to = await session.get(Subscription, job.data)
        if to is None or to.confirmed_at is None or base is None:
            return
        mine = select(Record.comment_id).where(Record.subscription_id == to.id)
        answers = (
            select(Comment)
            .join(Record)
            .where(
                Comment.thread_id == to.thread_id,
                Comment.status == Status.PUBLISHED,
                Record.at > (to.sent_at or to.asked_at),
                or_(Comment.parent_id.in_(mine), Comment.answers_id.in_(mine)),
                or_(Record.subscription_id.is_(None), Record.subscription_id != to.id),
            )
            .order_by(Comment.id)
            .limit(_MOST + 1)
        )
        found = list(await session.scalars(answers))
        owner = (await find_owners(app, session, [to.thread_id])).get(to.thread_id)
        if not found or owner is None:
            return
        to.sent_at = now()
        await send(app[keys.jobs], session, [_digest_mail(app, to, owner, found, base)])


def _digest_mail(app: web.Application, to: Subscription, owner: Owner, found: list[Comment], base: str) -> Mail:
    stop = f"{base}/comments/mail/{app[seals].link('mail', to.id, 'stop')}"
    lines = [
        f"{each.name} wrote:\n{_quoted(each)}\n{base}/comments/{each.id}\nAnswer: {base}/comments/{each.id}/reply"
        for each in found[:_MOST]
    ]
    if len(found) > _MOST:
        lines.append(f"And more: {base}{owner.path}#comments-title")
    count = f"{len(found)} answers" if len(found) > 1 else f"{found[0].name} answered you"
    return Mail(
        to=to.address,
        subject=f"{count} on “{owner.title}”",
        text="\n\n".join([*lines, f"No more mail about this discussion:\n{stop}"]),
        list_id="comments",
        list_name="Answers to your comments",
        # One click takes https only (RFC 8058).
        unsubscribe=stop if stop.startswith("https:") else None,
    )


def _quoted(comment: Comment) -> str:
    return "\n".join(f"> {line}" for line in _plain(comment.text).split("\n"))


def _plain(text: str) -> str:
    return unescape(re.sub(r"\n{3,}", "\n\n", text.strip()))


def _title(owner: Owner | None) -> str:
    return "a page that is not to be read" if owner is None else owner.title


def _id(data: object) -> int:
    if not isinstance(data, int):
        raise TypeError("a digest's job has the subscription's id")
    return data


DIGEST = Kind(name="comment digest", run=_digest, parse=_id)
