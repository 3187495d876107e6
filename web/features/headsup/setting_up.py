"""Projects, rules and the addresses that are asked: written by pages, the API and commands alike."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...services.jobs.queue import Queue
from ...services.mail.addresses import Address, parse_address
from ...services.mail.jobs import send
from ...services.mail.messages import Mail
from .forms import RuleForm
from .jobs import is_same, new_notice, targets_like
from .limits import Day
from .models import (
    MAIL_KINDS,
    ROTATION_DAYS,
    HeadsupAddress,
    HeadsupMention,
    HeadsupNotice,
    HeadsupProject,
    HeadsupRefusal,
    HeadsupRule,
    HeadsupTarget,
)
from .names import key_of
from .recipients import key_of as address_key
from .secrets import new_secret
from .settings import HeadsupSettings
from .texts import confirmation

#: Days in which a heads-up that waited for a yes is still worth a mail.
LATE_DAYS = 3


class TooMany(Exception):
    """One more than an account may have. The text is for people."""


@dataclass(frozen=True, slots=True)
class By:
    """Who sets something up. user_id: None for the site itself. name: as mails call them. base: the site's address."""

    user_id: int | None
    name: str
    base: str


async def new_project(
    session: AsyncSession, settings: HeadsupSettings, by: By, name: str, *, origin: str = "", secret: str | None = None
) -> HeadsupProject:
    """A project without rules. Raises TooMany."""
    if by.user_id is not None:
        mine = select(func.count()).select_from(HeadsupProject).where(HeadsupProject.owner_id == by.user_id)
        if (await session.scalar(mine) or 0) >= settings.projects:
            raise TooMany(f"An account has at most {settings.projects} projects.")
    project = HeadsupProject(
        owner_id=by.user_id, name=name, name_key=key_of(name), secret=secret or new_secret(), origin=origin
    )
    session.add(project)
    await session.flush()
    # SQLite gives the id of a project that is gone once more.
    await session.execute(delete(HeadsupRefusal).where(HeadsupRefusal.project_id == project.id))
    return project


async def remove_project(session: AsyncSession, project: HeadsupProject) -> None:
    """Delete a project with all that is known of it."""
    # The counts of refused deliveries belong to no row: some are of no project.
    await session.execute(delete(HeadsupRefusal).where(HeadsupRefusal.project_id == project.id))
    await session.delete(project)


def rotate(project: HeadsupProject, secret: str | None = None) -> str:
    """Give a project another secret; the one before is valid for ROTATION_DAYS more."""
    project.old_secret, project.old_until = project.secret, now() + timedelta(days=ROTATION_DAYS)
    project.secret = secret or new_secret()
    return project.secret


async def save_rule(
    session: AsyncSession,
    queue: Queue,
    settings: HeadsupSettings,
    by: By,
    project: HeadsupProject,
    form: RuleForm,
    rule: HeadsupRule | None = None,
) -> tuple[HeadsupRule, dict[str, str]]:
    """A rule made or changed, and its addresses asked; the secrets of its new webhooks, by URL. Raises TooMany."""
    if rule is None:
        rule = HeadsupRule(project_id=project.id)
        session.add(rule)
    form.put(rule)
    await session.flush()
    if not rule.tags_only:
        # Nothing waits for a tag any more.
        mine = (HeadsupMention.rule_id == rule.id) & HeadsupMention.entry.is_not(None)
        await session.execute(delete(HeadsupMention).where(mine, HeadsupMention.told_by.is_(None)))
    shown = await _put_targets(session, rule, form)
    addresses = [address for some in form.addresses().values() for address in some]
    await ask(session, queue, settings, by, project, addresses)
    return rule, shown


async def _put_targets(session: AsyncSession, rule: HeadsupRule, form: RuleForm) -> dict[str, str]:
    asked = select(HeadsupTarget).where(HeadsupTarget.rule_id == rule.id)
    old = {(each.kind, each.address): each for each in await session.scalars(asked)}
    shown = {}
    for kind, addresses in form.addresses().items():
        for address in addresses:
            target = old.pop((kind, address.spec), None)
            if target is None:
                session.add(HeadsupTarget(rule_id=rule.id, kind=kind, address=address.spec, name=address.name))
            else:
                target.name = address.name
    for kind, urls in form.urls().items():
        for url in urls:
            if old.pop((kind, url), None) is None:
                secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}" if kind == "webhook" else ""
                session.add(HeadsupTarget(rule_id=rule.id, kind=kind, address=url, secret=secret))
                if secret:
                    shown[url] = secret
    for target in old.values():
        await session.delete(target)
    await session.flush()
    return shown


async def ask(
    session: AsyncSession,
    queue: Queue,
    settings: HeadsupSettings,
    by: By,
    project: HeadsupProject,
    addresses: Iterable[Address],
) -> int:
    """Ask addresses that were not asked yet whether they want mail; how many. Raises TooMany, and asks nobody then."""
    wanted = {address_key(each): each for each in addresses}
    mine = HeadsupAddress.project_id == project.id
    asked = select(HeadsupAddress.address).where(mine, HeadsupAddress.address.in_(list(wanted)))
    known = set(await session.scalars(asked)) if wanted else set()
    new = {key: address for key, address in wanted.items() if key not in known}
    if not new:
        return 0
    await _check_asks(session, settings, by, list(new))
    rows = [HeadsupAddress(project_id=project.id, address=key, asked_by=by.user_id, asked_at=now()) for key in new]
    session.add_all(rows)
    await session.flush()
    mails = [_asking(by, project, row, new[row.address]) for row in rows]
    await send(queue, session, mails)
    return len(rows)


async def _check_asks(session: AsyncSession, settings: HeadsupSettings, by: By, keys: list[str]) -> None:
    """Raises TooMany if these may not be asked today, as the account or other projects have asked too often."""
    recent = HeadsupAddress.asked_at > now() - timedelta(days=1)
    if settings.asks and by.user_id is not None:
        count = select(func.count()).select_from(HeadsupAddress).where(HeadsupAddress.asked_by == by.user_id, recent)
        if (await session.scalar(count) or 0) + len(keys) > settings.asks:
            raise TooMany(f"An account may ask at most {settings.asks} addresses a day. Try again tomorrow.")
    pestered = select(HeadsupAddress.address).where(HeadsupAddress.address.in_(keys), recent)
    pestered = pestered.group_by(HeadsupAddress.address).having(func.count() >= settings.address_asks)
    if settings.address_asks and (found := sorted(await session.scalars(pestered))):
        raise TooMany(f"{found[0]} was asked too often today. Try again tomorrow.")


async def ask_again(
    session: AsyncSession, queue: Queue, settings: HeadsupSettings, by: By, project: HeadsupProject, row: HeadsupAddress
) -> None:
    """Ask an address once more that has not answered; it counts as another. Raises TooMany."""
    if row.confirmed_at is not None or row.out_at is not None:
        return
    if row.asked_at is not None and row.asked_at > now() - timedelta(days=1):
        raise TooMany(f"{row.address} was asked today. Try again tomorrow.")
    await _check_asks(session, settings, by, [row.address])
    row.asked_at, row.asked_by = now(), by.user_id
    await send(queue, session, [_asking(by, project, row, parse_address(row.address))])


def _asking(by: By, project: HeadsupProject, row: HeadsupAddress, address: Address) -> Mail:
    page = f"{by.base}/headsup/confirm/{row.token}"
    return confirmation(to=address.spec, name=address.name, repository=project.name, owner=by.name, page=page)


async def confirm(session: AsyncSession, queue: Queue, settings: HeadsupSettings, address: HeadsupAddress) -> int:
    """An address says yes: it gets what waited for that in the last LATE_DAYS, as far as the day's limits go; how many.

    What a limit stops is in the log.
    """
    address.confirmed_at, address.out_at = now(), None
    # Who reads its mail is there, whatever a server said before.
    for target in await session.run_sync(targets_like, address.project_id, "to", address.address):
        target.refused_at, target.refusal = None, ""
    return await _let_in(session, queue, settings, address.project_id, "to", address.address, "asked")


async def try_again(
    session: AsyncSession, queue: Queue, settings: HeadsupSettings, project: HeadsupProject, target: HeadsupTarget
) -> int:
    """Send to a target again that has refused, and what it refused in the last LATE_DAYS; how many those are."""
    for each in await session.run_sync(targets_like, project.id, target.kind, target.address):
        each.refused_at, each.refusal = None, ""
    return await _let_in(session, queue, settings, project.id, target.kind, target.address, "refused")


async def _let_in(
    session: AsyncSession,
    queue: Queue,
    settings: HeadsupSettings,
    project_id: int,
    kind: str,
    address: str,
    state: str,
) -> int:
    """Send what is in this state for an address, as far as the day's limits go."""
    # A push that is looked at meanwhile counts the day's mails too.
    await session.get_one(HeadsupProject, project_id, with_for_update={"key_share": True})
    moment = now()
    is_mail = kind in MAIL_KINDS
    asked = select(HeadsupNotice).where(
        HeadsupNotice.project_id == project_id,
        HeadsupNotice.state == state,
        HeadsupNotice.created_at > moment - timedelta(days=LATE_DAYS),
        HeadsupNotice.kind.in_(MAIL_KINDS if is_mail else (kind,)),
    )
    found = await session.scalars(asked.order_by(HeadsupNotice.id))
    notices = [each for each in found if is_same(kind, each.address, address)]
    day = await Day.of(session, settings, project_id, moment)
    due = []
    for notice in notices:
        notice.changed_at = moment
        words = day.take(notice.address) if is_mail else ""
        if words:
            notice.state, notice.error = "limit", words
        else:
            notice.state, notice.error, notice.created_at = "waiting", "", moment
            due.append(new_notice(notice))
    await queue.add_many(session, due)
    return len(due)


def take_out(address: HeadsupAddress) -> None:
    """Note that an address wants no more mail, since now if it was not said before."""
    if address.out_at is None:
        address.out_at = now()
