"""POST /headsup/hook and /headsup/hook/{project}: what forges send.

The order never changes: the size, the raw bytes, the signature, the delivery's id, the row, 202; then a job. Of what is
not signed nothing is stored, logged or parsed, and no answer says more than that it is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web
from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ... import heads
from ...db.tables import now
from ...pages import keys
from . import judging, keeping
from .forges import forge_of
from .forges.signatures import BadSignature, Forge, Unsigned
from .jobs import PUSH
from .models import HeadsupDelivery, HeadsupProject
from .payloads import BadPayload, claims_of, text_of
from .projects import recognise
from .pushes import Delivery
from .refusals import BAD_SIGNATURE, BAD_TYPE, NO_ROOM, TOO_LONG, TOO_SLOW, UNKNOWN, UNSIGNED, refusals
from .room import Held, room
from .rules import why_ignored
from .settings import HeadsupSettings

logger = logging.getLogger(__name__)

#: Projects whose secrets are tried for one delivery.
_CANDIDATES = 20

#: Bytes of a form whose claims are looked for at once.
_SHORT_FORM = 8 * 1024

#: Seconds that a forge's clock may differ before its owner is told.
_CLOCK = 300

#: Seconds after which a delivery may be sent again that found no room.
_AGAIN = 30

_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What is answered at once. queued: a job does the rest."""

    words: str
    queued: bool = False
    state: str = "done"
    status: int = 200

    @property
    def is_kept(self) -> bool:
        """Whether the body is kept, to be looked at once more."""
        # No rule is ever asked about the others: pings, other events, what was deleted.
        return self.queued or self.state == "unreadable"


class _Refused(Exception):
    """wait: seconds after which it is worth another try, if it is."""

    def __init__(self, status: int, words: str, wait: int = 0) -> None:
        super().__init__(words)
        self.status = status
        self.wait = wait


async def about(request: web.Request) -> web.StreamResponse:
    """GET /headsup/hook: for who looks whether it is there."""
    return _answer(200, "OK: this is where forges post their deliveries.")


async def post(request: web.Request) -> web.StreamResponse:
    """POST /headsup/hook: of any project."""
    return await _post(request, None)


async def post_of_project(request: web.Request) -> web.StreamResponse:
    """POST /headsup/hook/{project}: of this one, whatever the repository is called meanwhile."""
    return await _post(request, int(request.match_info["project"]))


async def _post(request: web.Request, project_id: int | None) -> web.StreamResponse:
    with request.app[room].hold() as held:
        return await _hear(request, project_id, held)


async def _hear(request: web.Request, project_id: int | None, held: Held) -> web.StreamResponse:
    count = request.app[refusals].count
    forge = forge_of(request.headers)
    project = None
    if project_id is not None:
        project = await _project(request, project_id)
    whose = 0 if project is None else project.id
    try:
        if forge is None or not forge.is_signed(request.headers):
            # What is not signed is not read.
            count(UNSIGNED, whose)
            raise _Refused(401, "This delivery has no signature of a forge that is known here.")
        is_form = _is_form(request)
        if is_form is None:
            count(BAD_TYPE, whose)
            raise _Refused(415, "Send JSON, or a form with the JSON in its field payload.")
        body = await _read(request, whose, held)
    except _Refused as refused:
        return _answer(refused.status, str(refused), close=True, wait=refused.wait)
    candidates = [project] if project is not None else []
    if project_id is None:
        candidates = await _candidates(request, forge, body, is_form=is_form)
    verified = await _verified(request, forge, body, candidates)
    if not verified:
        if candidates:
            for each in candidates:
                count(BAD_SIGNATURE, each.id)
        else:
            count(UNKNOWN)
        return _answer(403, "The signature is of no project here.")
    return await _take(request, forge, body, verified, is_form=is_form)


async def _take(
    request: web.Request, forge: Forge, body: bytes, projects: Sequence[HeadsupProject], *, is_form: bool
) -> web.StreamResponse:
    """Store a delivery whose signature was right, and answer."""
    event = text_of(request.headers[forge.event], 60)
    delivery, unreadable = None, ""
    if len(body) <= judging.PROMPT:
        try:
            if judging.is_small(body):
                delivery = judging.read(body, is_form=is_form, forge=forge.name, event=event)
            else:
                delivery = await asyncio.to_thread(judging.read, body, is_form=is_form, forge=forge.name, event=event)
        except BadPayload as error:
            unreadable = str(error)
    if len(body) <= judging.SMALL:
        packed = judging.pack(body)
    else:
        packed = await asyncio.to_thread(judging.pack, body)
    made = HeadsupDelivery(
        delivery_id=_delivery_id(request, forge, body),
        forge=forge.name,
        event=event,
        is_form=is_form,
        size=len(body),
        kept=len(packed),
        body=packed,
        note=_clock_note(request),
    )
    for attempt in range(3):
        try:
            outcomes = await _store(request, made, projects, delivery, unreadable)
            break
        except IntegrityError:
            # The same delivery came twice at once.
            if attempt == 2:
                raise
    status = max(outcome.status for outcome in outcomes)
    return _answer(status, "; ".join(dict.fromkeys(outcome.words for outcome in outcomes)))


async def _store(
    request: web.Request,
    made: HeadsupDelivery,
    projects: Sequence[HeadsupProject],
    delivery: Delivery | None,
    unreadable: str,
) -> list[_Outcome]:
    outcomes = []
    settings = request.app[keys.settings][HeadsupSettings]
    async with request.app[keys.database].saving() as session:
        for project in projects:
            repeated = await _repeated(session, project, made)
            if repeated is not None:
                outcomes.append(repeated)
                continue
            row = await session.get(HeadsupProject, project.id)
            if row is None:
                continue
            if row.heard_at is None:
                row.heard_at = now()
            outcome = _outcome(row, delivery, unreadable)
            one = HeadsupDelivery(
                project_id=project.id,
                delivery_id=made.delivery_id,
                forge=made.forge,
                event=made.event,
                is_form=made.is_form,
                size=made.size,
                kept=made.kept if outcome.is_kept else 0,
                body=made.body if outcome.is_kept else None,
                note=made.note,
                state="queued" if outcome.queued else outcome.state,
                outcome="" if outcome.queued else outcome.words[:300],
            )
            session.add(one)
            await session.flush()
            if one.kept:
                await keeping.add(session, project.id, one.kept, settings.kept_bytes)
            if outcome.queued:
                await request.app[keys.jobs].add(session, PUSH, {"delivery": one.id})
            outcomes.append(outcome)
    return outcomes or [_Outcome("nothing to do")]


async def _repeated(session: AsyncSession, project: HeadsupProject, made: HeadsupDelivery) -> _Outcome | None:
    """The first outcome of a delivery that came before."""
    same = (HeadsupDelivery.project_id == project.id) & (HeadsupDelivery.delivery_id == made.delivery_id)
    row = (await session.execute(select(HeadsupDelivery.id, HeadsupDelivery.outcome).where(same))).one_or_none()
    if row is None:
        return None
    await session.execute(
        update(HeadsupDelivery).where(HeadsupDelivery.id == row.id).values(repeats=HeadsupDelivery.repeats + 1)
    )
    return _Outcome(f"had this delivery before: {row.outcome or 'queued'}")


def _outcome(project: HeadsupProject, delivery: Delivery | None, unreadable: str) -> _Outcome:
    if unreadable:
        return _Outcome(unreadable, state="unreadable", status=400)
    if delivery is None:
        # Too long to be looked at while the forge waits.
        return _Outcome("queued", queued=True, status=202)
    if elsewhere := recognise(project, delivery.repository):
        return _Outcome(elsewhere)
    if delivery.kind == "ping":
        return _Outcome("pong")
    if delivery.kind == "other":
        return _Outcome(f"nothing is done for the event {delivery.event}")
    ignored = [why_ignored(push) for push in delivery.pushes]
    if all(ignored):
        return _Outcome(f"nothing: {'; '.join(dict.fromkeys(ignored))}" if ignored else "nothing: no ref was pushed")
    return _Outcome("queued", queued=True, status=202)


async def _project(request: web.Request, project_id: int) -> HeadsupProject | None:
    async with request.app[keys.database].reading() as session:
        return await session.get(HeadsupProject, project_id)


async def _candidates(request: web.Request, forge: Forge, body: bytes, *, is_form: bool) -> list[HeadsupProject]:
    """The projects that a body may be of, by what it claims. Their secrets decide."""
    # Of a form up to 256 KiB are decoded for a stranger, 50 ns a byte: others go on meanwhile.
    names, ids, owners = (
        claims_of(body, is_form=is_form)
        if len(body) <= (_SHORT_FORM if is_form else judging.SMALL)
        else await asyncio.to_thread(claims_of, body, is_form=is_form)
    )
    target = request.headers.get("X-GitHub-Hook-Installation-Target-ID", "")
    if request.headers.get("X-GitHub-Hook-Installation-Target-Type") == "repository" and target.isdigit():
        ids.add(target[:18])
    known = [f"{forge.name}:{id}" for id in sorted(ids)[:100]]
    claimed = or_(HeadsupProject.name_key.in_(sorted(names)[:100]), HeadsupProject.repository_id.in_(known))
    async with request.app[keys.database].reading() as session:
        found = list(
            await session.scalars(select(HeadsupProject).where(claimed).order_by(HeadsupProject.id).limit(_CANDIDATES))
        )
        if not found and not names and owners:
            # An organization's ping names no repository.
            begins = [HeadsupProject.name_key.startswith(f"{owner}/", autoescape=True) for owner in sorted(owners)[:5]]
            found = list(await session.scalars(select(HeadsupProject).where(or_(*begins)).limit(_CANDIDATES)))
    return found


async def _verified(
    request: web.Request, forge: Forge, body: bytes, projects: Sequence[HeadsupProject]
) -> list[HeadsupProject]:
    """The projects of whose secrets the signature is."""
    moment = now()

    def verify() -> list[HeadsupProject]:
        found = []
        for project in projects:
            try:
                forge.verify(request.headers, body, project.secrets_at(moment), project.allows_sha1)
            except (BadSignature, Unsigned):
                continue
            found.append(project)
        return found

    # Hashing lets others go on, in a thread.
    return verify() if len(body) <= judging.SMALL else await asyncio.to_thread(verify)


def _is_form(request: web.Request) -> bool | None:
    """Whether a delivery is a form; None for what is neither that nor JSON."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in {"", "identity"}:
        return None
    kind = heads.content_type(request)
    if kind == _JSON or kind.endswith("+json"):
        return False
    return True if kind == _FORM else None


async def _read(request: web.Request, project_id: int, held: Held) -> bytes:
    settings = request.app[keys.settings][HeadsupSettings]
    count = request.app[refusals].count
    too_long = f"The delivery is longer than {settings.max_body} bytes."
    if (request.content_length or 0) > settings.max_body:
        count(TOO_LONG, project_id)
        raise _Refused(413, too_long)
    parts, size = [], 0
    try:
        async with asyncio.timeout(settings.body_timeout):
            async for part in request.content.iter_any():
                size += len(part)
                if size > settings.max_body:
                    count(TOO_LONG, project_id)
                    raise _Refused(413, too_long)
                # The usual ones always get in: how many of these there are, the connections bound.
                if size > judging.SMALL and not held.grow(size):
                    count(NO_ROOM, project_id)
                    raise _Refused(503, "Too many long deliveries arrive at once: send it again.", _AGAIN)
                parts.append(part)
    except TimeoutError:
        count(TOO_SLOW, project_id)
        # Told that there is no more, aiohttp does not wait for it before it closes the connection.
        request.content.feed_eof()
        raise _Refused(408, "The delivery did not arrive in time.") from None
    return b"".join(parts)


def _delivery_id(request: web.Request, forge: Forge, body: bytes) -> str:
    """What a delivery is known by: its own id, or a hash of its body where the forge gives none."""
    for name in forge.delivery:
        text = request.headers.get(name, "")
        if text:
            if len(text) <= 100 and text.isascii() and text.isprintable():
                return text
            return "hash-" + hashlib.sha256(text.encode(errors="replace")).hexdigest()
    return "body-" + hashlib.sha256(body).hexdigest()


def _clock_note(request: web.Request) -> str:
    """What to tell of a forge whose clock is off, if it says the time. Its deliveries are good all the same."""
    text = request.headers.get("webhook-timestamp", "")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        return ""
    off = abs(time.time() - int(text))
    if off <= _CLOCK:
        return ""
    days = off / 86400
    return f"The forge’s clock is {f'{days:.0f} days' if days >= 2 else f'{off / 60:.0f} minutes'} off."


def _answer(status: int, words: str, *, close: bool = False, wait: int = 0) -> web.Response:
    response = web.Response(status=status, text=f"{words}\n", headers={hdrs.CACHE_CONTROL: "no-store"})
    if wait:
        response.headers[hdrs.RETRY_AFTER] = str(wait)
    if close:
        response.force_close()
    return response
