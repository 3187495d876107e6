"""Where a notice goes: a mail, a channel of Slack's shape, or a webhook of anybody's, signed.

Each is a function of what is told: it returns once somebody else is responsible, or raises GiveUp or TryAgain.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import hdrs
from sqlalchemy import bindparam, select

from ...db.tables import columns_of
from ...pages import keys
from ...pages.settings import PageSettings
from ...services.jobs.kinds import GiveUp, Job, TryAgain
from ...services.mail.addresses import parse_address
from ...services.mail.jobs import POST_OFFICE, PostOffice
from ...services.mail.messages import Mail, compose
from ...services.outbound import Forbidden, Limits, OutboundError
from .cutting import cut
from .forges.signatures import sign_standard
from .headsups import HeadsUp, Reader, facts_of, html_of, reply_to, shown_text, subject_of, text_of
from .models import (
    MAX_ERROR,
    HeadsupAddress,
    HeadsupMessage,
    HeadsupNotice,
    HeadsupProject,
    HeadsupTarget,
)
from .recipients import key_of

#: Characters of a mail's body: 50 remarks of 4,000, each letter of which may be five in HTML.
_MAX_MAIL = 2_000_000

#: Of a message for a chat, and what of it is for how many more there are.
_MAX_CHAT = 3_000
_MORE = 60

_LIMITS = Limits(connect=10.0, gap=15.0, total=30.0, wire=64 * 1024, body=64 * 1024, redirects=0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice with all that sending it needs. refused: that its target refuses for good, in words, or ""."""

    row: HeadsupNotice
    message: HeadsupMessage
    project: HeadsupProject
    headsup: HeadsUp
    secret: str
    out_token: str
    is_out: bool
    refused: str
    others: tuple[str, ...]
    base: str


class Gone(GiveUp):
    """A webhook that says it is no more: Standard Webhooks asks senders to send it nothing then."""


async def deliver(job: Job, notice: Waiting) -> str:
    """Send a notice, and say what it is now: sent, out, or refused.

    Raises GiveUp, of which AddressRefused and Gone are for good, or TryAgain.
    """
    if notice.is_out:
        return "out"
    if notice.refused:
        return "refused"
    await _WAYS[notice.row.kind](job, notice)
    return "sent"


# Made once: for each of some mails a second it took as long to put them together as to have them answered.
_NOTICE = (
    select(HeadsupNotice, HeadsupMessage, HeadsupProject, HeadsupTarget)
    .join(HeadsupMessage, HeadsupMessage.id == HeadsupNotice.message_id)
    .join(HeadsupProject, HeadsupProject.id == HeadsupNotice.project_id)
    .outerjoin(HeadsupTarget, HeadsupTarget.id == HeadsupNotice.target_id)
    .where(HeadsupNotice.id == bindparam("notice"))
)
_NOTICES, _ADDRESSES = columns_of(HeadsupNotice), columns_of(HeadsupAddress)
# Who got it, or will: not who is out, has not confirmed, was refused or has had enough today.
_TOLD = (
    select(_NOTICES.kind, _NOTICES.address)
    .where(_NOTICES.message_id == bindparam("message"), _NOTICES.state.in_(["waiting", "sent"]))
    .order_by(_NOTICES.id)
)
_ADDRESS = select(_ADDRESSES.token, _ADDRESSES.out_at).where(
    _ADDRESSES.project_id == bindparam("project"), _ADDRESSES.address == bindparam("address")
)


async def load(job: Job, notice_id: int, message_id: int | None = None) -> Waiting | None:
    """A notice, if it still waits. message_id: of whose message it must be, if that is known."""
    async with job.app[keys.database].reading() as session:
        row = (await session.execute(_NOTICE, {"notice": notice_id})).one_or_none()
        if row is None or row[0].state != "waiting":
            return None
        notice, message, project, target = row
        if message_id is not None and message.id != message_id:
            return None
        told = (await session.execute(_TOLD, {"message": message.id})).all()
        whose = {"project": project.id, "address": key_of(notice.address)}
        address = (await session.execute(_ADDRESS, whose)).one_or_none()
    others = tuple(other for kind, other in told if kind in {"to", "cc"} and key_of(other) != key_of(notice.address))
    is_out = address is not None and address.out_at is not None
    base = job.app[keys.settings][PageSettings].url or project.origin
    token = "" if address is None else address.token
    headsup = HeadsUp.from_data(json.loads(message.data))
    secret = "" if target is None else target.secret
    refused = "" if target is None or target.refused_at is None else refused_words(target)
    return Waiting(notice, message, project, headsup, secret, token, is_out, refused, others, base)


def refused_words(target: HeadsupTarget) -> str:
    """That nothing is sent to a target which has refused, and why."""
    since = "" if target.refused_at is None else f"{target.refused_at:%Y-%m-%d}"
    return f"not sent, as it has refused since {since}: {target.refusal}"[:MAX_ERROR]


async def _mail(job: Job, notice: Waiting) -> None:
    office: PostOffice = job.app[POST_OFFICE]
    row, message, headsup = notice.row, notice.message, notice.headsup
    out = f"{notice.base}/headsup/out/{notice.out_token}" if notice.base and notice.out_token else ""
    log = f"{notice.base}/headsup/{notice.project.id}/log/{message.delivery_id}" if notice.base else ""
    reader = Reader(others=notice.others, log=log, out=out)
    mail = Mail(
        to=row.address,
        to_name=row.name,
        subject=subject_of(headsup),
        text=text_of(headsup, reader),
        html=html_of(headsup, reader),
        reply_to=reply_to(headsup),
        list_id=f"headsup-{message.rule_id}",
        list_name=f"Heads-ups of {notice.project.name}",
        unsubscribe=out if out.startswith("https:") else None,
    )
    # Of the rule and the push: a mail that comes twice is the same one, to whomever it goes.
    id = f"headsup-{message.id}.{int(message.created_at.timestamp() * 1000)}"
    raw = compose(mail, office.sender, id, message.created_at.timestamp(), longest=_MAX_MAIL)
    await office.postman.bring(raw, office.sender, parse_address(row.address), f"{id}.{row.id}")


async def _slack(job: Job, notice: Waiting) -> None:
    """What Slack's incoming webhooks take, and Mattermost's, Rocket.Chat's and Discord's (`…/slack`)."""
    await _post(job, notice.row.address, {"text": chat_text(notice.headsup)}, {})


def chat_text(headsup: HeadsUp) -> str:
    """A heads-up for a chat: whole remarks as far as there is room, and how many there are beyond."""
    head = "\n".join([f"*{_chat(subject_of(headsup))}*", *(f"_{_chat(each)}_" for each in facts_of(headsup))])
    parts, room, shown = [head], _MAX_CHAT - len(head) - _MORE, 0
    for each in headsup.entries:
        by = f"\n_{_chat(each.author or 'somebody')}, {each.sha[:10]}_"
        part = _chat(shown_text(each)) + by
        if len(part) > room:
            if shown:
                break
            # The first of all is cut, before its signs are written as more than one.
            part = _chat(cut(shown_text(each), max(1, (room - len(by)) // 5))) + by
        parts.append(part)
        room -= len(part) + 2
        shown += 1
    if rest := headsup.count - shown:
        parts.append(f"_{rest} more {'heads-up is' if rest == 1 else 'heads-ups are'} not shown here._")
    return "\n\n".join(parts)


def _chat(text: str) -> str:
    # Slack's own three: what is written in a commit must not call everybody by <!channel>.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def _webhook(job: Job, notice: Waiting) -> None:
    """As Standard Webhooks has it: the id is the same each time it is tried."""
    moment = int(time.time())
    id = f"headsup-{notice.message.id}-{notice.row.id}"
    data = {
        "type": "headsup",
        "timestamp": notice.message.created_at.isoformat(),
        "data": notice.headsup.as_data(),
    }
    body = orjson.dumps(data)
    headers = {"webhook-id": id, "webhook-timestamp": str(moment)}
    if notice.secret:
        headers["webhook-signature"] = sign_standard(notice.secret, id, moment, body)
    await _send(job, notice.row.address, body, headers)


async def _post(job: Job, url: str, data: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    await _send(job, url, orjson.dumps(data), headers)


async def _send(job: Job, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    sent = {hdrs.CONTENT_TYPE: "application/json", **headers}
    try:
        answer = await job.app[keys.outbound].fetch(url, method=hdrs.METH_POST, headers=sent, data=body, limits=_LIMITS)
    except Forbidden as error:
        raise GiveUp(str(error)) from None
    except OutboundError as error:
        raise TryAgain(str(error)) from None
    if answer.ok:
        return
    if answer.status in {408, 425, 429} or answer.status >= 500:
        raise TryAgain(f"answers {answer.status}", after=answer.retry_after)
    raise (Gone if answer.status == 410 else GiveUp)(f"answers {answer.status}")


_WAYS: Mapping[str, Callable[[Job, Waiting], Awaitable[None]]] = {
    "to": _mail,
    "cc": _mail,
    "bcc": _mail,
    "slack": _slack,
    "webhook": _webhook,
}
