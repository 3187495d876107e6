"""What `fanfare headsup …` does."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from hub.cli import DONE, FAILED, Environ, Wrong, shown
from hub.publisher import RecordingPublisher
from hub.settings import read

from ...db.database import Database
from ...db.migrate import migrate
from ...db.settings import DatabaseSettings
from ...identity.users import User
from ...pages.settings import PageSettings
from ...services.jobs.queue import Queue
from . import hints
from .checking import check as check_commits
from .checking import commits_in
from .forms import RuleForm
from .jobs import PUSH
from .models import HeadsupDelivery, HeadsupMessage, HeadsupNotice, HeadsupProject, HeadsupRule, HeadsupTarget
from .names import key_of, parse_name
from .payloads import BadPayload
from .projects import label_of
from .remark import DEFAULT_WORD, Words
from .setting_up import By, TooMany, new_project, save_rule
from .settings import HeadsupSettings

T = TypeVar("T")

#: Where the site is when SITE_URL does not say.
_LOCAL = "http://localhost:8000"


def check(found: argparse.Namespace, environ: Environ) -> int:
    """Say what commits would tell."""
    try:
        body = sys.stdin.buffer.read() if found.file == "-" else Path(found.file).read_bytes()
    except OSError as error:
        raise Wrong(f"{found.file}: {error.strerror}") from None
    default = () if found.breaking else (DEFAULT_WORD,)
    words = Words(tuple(found.word) or default, found.case_sensitive, found.strict, found.breaking)
    try:
        checked = check_commits(commits_in(body), words)
    except BadPayload as error:
        raise Wrong(f"{found.file}: {error}") from None
    if found.json:
        print(json.dumps({"commits": [each.as_data() for each in checked]}, indent=2))
        return DONE
    for each in checked:
        name = each.id[:12] or "-"
        if each.text is None:
            print(shown(f"{name}: nothing: {each.why}"))
        else:
            print(shown(f"{name}: {each.why}:"))
            print(*(f"    {shown(line)}" for line in each.text.split("\n")), sep="\n")
    if not checked:
        print("there are no commits in it")
    return DONE


def add(found: argparse.Namespace, environ: Environ) -> int:
    """Watch a repository."""
    try:
        name = parse_name(found.name)
    except ValueError as error:
        raise Wrong(f"{found.name}: {error}") from None
    fields = {
        "words": "\n".join(found.word),
        "send_to": "\n".join(found.to),
        "send_cc": "\n".join(found.cc),
        "send_bcc": "\n".join(found.bcc),
        "slack": "\n".join(found.slack),
        "webhook": "\n".join(found.webhook),
        "branches": "\n".join(found.branch),
        "paths": "\n".join(found.path),
    }
    ticks = {name: "true" for name in ("case_sensitive", "strict", "breaking", "tags_only") if getattr(found, name)}
    form = RuleForm.read({**fields, **ticks})
    if form.errors:
        field, problem = next(iter(form.errors.items()))
        raise Wrong(f"{field}: {problem}")
    base = read(PageSettings, environ).url or _LOCAL
    settings = read(HeadsupSettings, environ)

    async def make(session: AsyncSession) -> tuple[HeadsupProject, dict[str, str]]:
        owner = None
        if found.owner is not None:
            owner = await session.scalar(select(User).where(User.name == found.owner))
            if owner is None:
                raise Wrong(f"there is no account {found.owner!r}")
        by = By(None if owner is None else owner.id, "Fanfare" if owner is None else owner.name, base)
        try:
            project = await new_project(session, settings, by, name, origin=base)
            _, secrets = await save_rule(session, Queue(), settings, by, project, form)
        except TooMany as error:
            raise Wrong(str(error)) from None
        return project, secrets

    project, secrets = _saving(environ, make)
    print(f"project {project.id}: {shown(project.name)}")
    print(f"webhook: {base}/headsup/hook/{project.id} (content type application/json, only the push event)")
    print(f"secret, shown this once: {project.secret}")
    for url, secret in secrets.items():
        print(f"what is sent to {shown(url)} is signed with, shown this once: {secret}")
    print("each address is asked once whether it wants the mails")
    return DONE


def listed(found: argparse.Namespace, environ: Environ) -> int:
    """What is watched."""

    async def look(session: AsyncSession) -> list[str]:
        projects = list(await session.scalars(_named(found.name).order_by(HeadsupProject.id)))
        ids = [project.id for project in projects]
        rules = list(await session.scalars(select(HeadsupRule).where(HeadsupRule.project_id.in_(ids))))
        asked = select(HeadsupTarget).where(HeadsupTarget.rule_id.in_([rule.id for rule in rules]))
        targets = list(await session.scalars(asked.order_by(HeadsupTarget.id)))
        lines = []
        for project in projects:
            heard = "heard of" if project.heard_at else "not heard of yet"
            lines.append(f"{project.id}: {project.name}, {heard}")
            for rule in rules:
                if rule.project_id == project.id:
                    to = ", ".join(f"{each.kind} {each.address}" for each in targets if each.rule_id == rule.id)
                    when = ", when a tag is created" if rule.tags_only else ""
                    lines.append(f"    {label_of(rule)}{when}: {to or 'nobody'}")
        return lines

    lines = _reading(environ, look)
    print(*(map(shown, lines) if lines else ["nothing is watched"]), sep="\n")
    return DONE


def log(found: argparse.Namespace, environ: Environ) -> int:
    """The last deliveries."""

    async def look(session: AsyncSession) -> list[str]:
        asked = select(HeadsupDelivery, HeadsupProject.name).join(
            HeadsupProject, HeadsupProject.id == HeadsupDelivery.project_id
        )
        if found.name is not None:
            asked = asked.where(HeadsupProject.name_key == key_of(found.name))
        asked = asked.order_by(HeadsupDelivery.id.desc()).limit(max(1, min(found.count, 1000)))
        rows = [(delivery, name) for delivery, name in await session.execute(asked)]
        states = (
            select(HeadsupMessage.delivery_id, HeadsupNotice.address, HeadsupNotice.state, HeadsupNotice.error)
            .join(HeadsupNotice, HeadsupNotice.message_id == HeadsupMessage.id)
            .where(HeadsupMessage.delivery_id.in_([delivery.id for delivery, _ in rows]))
            .order_by(HeadsupNotice.id)
        )
        told: dict[int, list[str]] = {}
        for delivery_id, address, state, error in await session.execute(states):
            told.setdefault(delivery_id, []).append(f"    {address}: {state}{f', {error}' if error else ''}")
        lines = []
        for delivery, name in reversed(rows):
            outcome = delivery.outcome or delivery.state
            lines.append(f"{delivery.id}: {delivery.received_at:%Y-%m-%d %H:%M} {name} {delivery.event}: {outcome}")
            lines += told.get(delivery.id, [])
        return lines

    lines = _reading(environ, look)
    print(*(map(shown, lines) if lines else ["no deliveries"]), sep="\n")
    return DONE


def replay(found: argparse.Namespace, environ: Environ) -> int:
    """Look at a delivery again."""

    async def again(session: AsyncSession) -> str:
        delivery = await session.get(HeadsupDelivery, found.id)
        if delivery is None:
            return "there is no such delivery (any more)"
        if not delivery.kept:
            return "its payload is not kept"
        if delivery.state == "unreadable":
            return "it can't be read, however often it is tried"
        if delivery.state == "queued":
            return "it waits to be looked at"
        await Queue().add(session, PUSH, {"delivery": delivery.id, "replay": True})
        delivery.state = "queued"
        return ""

    problem = _saving(environ, again)
    print(f"{found.id}: {problem or 'is looked at again, and told whatever was told before'}")
    return FAILED if problem else DONE


def _named(name: str | None):  # type: ignore[no-untyped-def]  # SQLAlchemy's own
    asked = select(HeadsupProject)
    return asked if name is None else asked.where(HeadsupProject.name_key == key_of(name))


def _saving(environ: Environ, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    async def run() -> T:
        url = read(DatabaseSettings, environ).url
        await migrate(url)
        # What is told waits in the outbox for a process that has the hub.
        database = Database(url, RecordingPublisher(), hints=[hints.declare])
        try:
            async with database.saving() as session:
                return await work(session)
        finally:
            await database.close()

    return asyncio.run(run())


def _reading(environ: Environ, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    async def run() -> T:
        url = read(DatabaseSettings, environ).url
        await migrate(url)
        database = Database(url, RecordingPublisher())
        try:
            async with database.reading() as session:
                return await work(session)
        finally:
            await database.close()

    return asyncio.run(run())
