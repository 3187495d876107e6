"""The pages on which projects and their rules are set up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from aiohttp import web
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...identity.roles import Role
from ...pages import keys
from ...pages.requests import USER, clean_line, read_fields, redirect, require_user, role_of
from ...pages.settings import PageSettings
from ...pages.templating import read_positions, render
from .access import project_of, visible_to
from .api import ApiAway, find_repository, last_commits, with_paths
from .checking import MOST, Checked, Trial, branch_to_try, check, commits_in, try_commits, try_rule
from .forges import FORGES
from .forms import RuleForm, is_ticked
from .hints import project_channel
from .models import (
    HeadsupAddress,
    HeadsupDelivery,
    HeadsupProject,
    HeadsupRefusal,
    HeadsupRule,
    HeadsupTarget,
)
from .names import MAX_NAME, parse_name
from .payloads import BadPayload
from .projects import label_of
from .recipients import key_of
from .rules import Rule
from .secrets import EXAMPLE, check_secret, sign_example
from .setting_up import By, TooMany, ask_again, new_project, remove_project, rotate, save_rule, try_again
from .settings import HeadsupSettings

#: Days of refused deliveries that are shown.
_REFUSED_DAYS = 30

#: Characters of a history that is pasted; the form has no room for more.
_MAX_HISTORY = 100_000


async def home(request: web.Request) -> web.StreamResponse:
    """GET /headsup: what it is, and the projects of who is signed in."""
    projects: list[HeadsupProject] = []
    told: dict[int, int] = {}
    unknown: Sequence[HeadsupRefusal] = ()
    user = request.get(USER)
    if user is not None:
        async with request.app[keys.database].reading() as session:
            asked = select(HeadsupProject).where(visible_to(user, role_of(request)))
            projects = list(await session.scalars(asked.order_by(HeadsupProject.name_key, HeadsupProject.id)))
            counts = select(HeadsupDelivery.project_id, func.count()).group_by(HeadsupDelivery.project_id)
            mine = HeadsupDelivery.project_id.in_([project.id for project in projects])
            told = {row[0]: row[1] for row in await session.execute(counts.where(mine))}
            if role_of(request) is Role.MANAGER:
                unknown = await _refusals(session, 0)
    context = {"projects": projects, "told": told, "unknown": unknown}
    return render(request, "headsup/home.html", context, cache="no-store")


@dataclass(frozen=True, slots=True)
class ProjectForm:
    """The fields of a new project: of its rule, its name, and a history to try it on."""

    rule: RuleForm
    name: str = ""
    history: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> ProjectForm:
        """A form as it came in, checked. The secret is looked at by itself: it is never shown again."""
        rule = RuleForm.read(fields)
        name = clean_line(fields.get("name", ""), MAX_NAME)
        try:
            name = parse_name(name)
        except ValueError as error:
            rule.errors["name"] = str(error)
        if secret := fields.get("secret", ""):
            try:
                check_secret(secret)
            except ValueError as error:
                rule.errors["secret"] = str(error)
        return cls(rule, name, fields.get("history", "")[:_MAX_HISTORY])


@dataclass(frozen=True, slots=True)
class Tried:
    """A rule on a history: what each commit tells. problem: why there is nothing. branch: whose history it is, if that
    was chosen here; note: why a part of it is not for the rule."""

    commits: tuple[Checked, ...] = ()
    total: int = 0
    problem: str = ""
    branch: str = ""
    note: str = ""

    @property
    def told(self) -> int:
        """How many tell something."""
        return sum(each.text is not None for each in self.commits)


async def new(request: web.Request) -> web.StreamResponse:
    """GET /headsup/new."""
    return _new(request, ProjectForm(RuleForm()))


async def post_new(request: web.Request) -> web.StreamResponse:
    """POST /headsup/new: saves it, or tries the rule on a history (`act` is save, try or fetch)."""
    fields = await read_fields(request)
    form = ProjectForm.read(fields)
    if fields.get("act") in {"try", "fetch"}:
        return _new(
            request,
            replace(form, rule=replace(form.rule, errors={})),
            tried=await _try(request, form.rule, form.name, fields),
        )
    if form.rule.errors:
        return _new(request, form, status=422)
    settings = request.app[keys.settings][HeadsupSettings]
    by = by_of(request)
    try:
        async with request.app[keys.database].saving() as session:
            project = await new_project(
                session, settings, by, form.name, origin=by.base, secret=fields.get("secret") or None
            )
            _, secrets = await save_rule(session, request.app[keys.jobs], settings, by, project, form.rule)
    except TooMany as error:
        form.rule.errors["name"] = str(error)
        return _new(request, form, status=422)
    given = bool(fields.get("secret"))
    return await _project(request, project.id, secret="" if given else project.secret, secrets=secrets, is_new=True)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /headsup/{project}."""
    return await _project(request, int(request.match_info["project"]))


async def post_secret(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/secret: another one, which is shown this once."""
    async with request.app[keys.database].saving() as session:
        project = await project_of(session, request)
        secret = rotate(project)
    return await _project(request, project.id, secret=secret)


async def post_end_secret(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/secret/end: the secret before is no longer valid."""
    async with request.app[keys.database].saving() as session:
        project = await project_of(session, request)
        project.old_secret = project.old_until = None
    return redirect(f"/headsup/{project.id}")


async def post_example(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/secret/example: an example signed, to compare a secret that is not shown again."""
    async with request.app[keys.database].reading() as session:
        project = await project_of(session, request)
        signed = [sign_example(secret) for secret in project.secrets_at(now()) if secret]
    return await _project(request, project.id, signed=signed)


async def post_sha1(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/sha1: whether SHA-1 will do for a signature."""
    allows = is_ticked((await read_fields(request)).get("allows_sha1"))
    async with request.app[keys.database].saving() as session:
        project = await project_of(session, request)
        project.allows_sha1 = allows
    return redirect(f"/headsup/{project.id}")


async def post_delete(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/delete."""
    async with request.app[keys.database].saving() as session:
        project = await project_of(session, request)
        await remove_project(session, project)
    return redirect("/headsup")


async def new_rule(request: web.Request) -> web.StreamResponse:
    """GET /headsup/{project}/rules/new."""
    async with request.app[keys.database].reading() as session:
        project = await project_of(session, request)
    return _rule(request, project, None, RuleForm())


async def edit_rule(request: web.Request) -> web.StreamResponse:
    """GET /headsup/{project}/rules/{rule}."""
    async with request.app[keys.database].reading() as session:
        project = await project_of(session, request)
        rule = await _rule_of(session, request, project)
        asked = select(HeadsupTarget).where(HeadsupTarget.rule_id == rule.id).order_by(HeadsupTarget.id)
        form = RuleForm.of(rule, list(await session.scalars(asked)))
    return _rule(request, project, rule, form)


async def post_rule(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/rules/new, and …/rules/{rule}: saves it, or tries it on a history."""
    fields = await read_fields(request)
    form = RuleForm.read(fields)
    async with request.app[keys.database].reading() as session:
        project = await project_of(session, request)
        rule = await _rule_of(session, request, project) if "rule" in request.match_info else None
    if fields.get("act") in {"try", "fetch"}:
        tried = await _try(request, form, project.name, fields, project.default_branch)
        history = fields.get("history", "")[:_MAX_HISTORY]
        return _rule(request, project, rule, replace(form, errors={}), tried=tried, history=history)
    if form.errors:
        return _rule(request, project, rule, form, status=422)
    settings = request.app[keys.settings][HeadsupSettings]
    try:
        async with request.app[keys.database].saving() as session:
            project = await project_of(session, request)
            rule = await _rule_of(session, request, project) if "rule" in request.match_info else None
            _, secrets = await save_rule(session, request.app[keys.jobs], settings, by_of(request), project, form, rule)
    except TooMany as error:
        form.errors["send_to"] = str(error)
        return _rule(request, project, rule, form, status=422)
    if secrets:
        return await _project(request, project.id, secrets=secrets)
    return redirect(f"/headsup/{project.id}")


async def post_delete_rule(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/rules/{rule}/delete."""
    async with request.app[keys.database].saving() as session:
        project = await project_of(session, request)
        await session.delete(await _rule_of(session, request, project))
    return redirect(f"/headsup/{project.id}")


async def post_ask(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/addresses/{address}/ask: an address that has not said yes is asked once more."""
    settings = request.app[keys.settings][HeadsupSettings]
    try:
        async with request.app[keys.database].saving() as session:
            project = await project_of(session, request)
            address = await session.get(HeadsupAddress, int(request.match_info["address"]))
            if address is None or address.project_id != project.id:
                raise web.HTTPNotFound(text="There is no such address.")
            await ask_again(session, request.app[keys.jobs], settings, by_of(request), project, address)
    except TooMany as error:
        raise web.HTTPTooManyRequests(text=str(error)) from None
    return redirect(f"/headsup/{project.id}")


async def post_try_again(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/targets/{target}/again: what has refused for good is sent to once more."""
    settings = request.app[keys.settings][HeadsupSettings]
    async with request.app[keys.database].saving() as session:
        project = await project_of(session, request)
        target = await session.get(HeadsupTarget, int(request.match_info["target"]))
        rule = None if target is None else await session.get(HeadsupRule, target.rule_id)
        if target is None or rule is None or rule.project_id != project.id:
            raise web.HTTPNotFound(text="There is no such target.")
        await try_again(session, request.app[keys.jobs], settings, project, target)
    return redirect(f"/headsup/{project.id}")


async def trial(request: web.Request) -> web.StreamResponse:
    """GET /headsup/try."""
    return render(request, "headsup/try.html", {"form": RuleForm(), "message": "", "tried": None})


async def post_trial(request: web.Request) -> web.StreamResponse:
    """POST /headsup/try: what a message would tell, by the reader of the hook."""
    fields = await read_fields(request)
    form = RuleForm.read(fields)
    message = fields.get("message", "")[:_MAX_HISTORY]
    context = {"form": form, "message": message, "tried": _tried(form, message)}
    return render(request, "headsup/try.html", context, cache="no-store")


def by_of(request: web.Request) -> By:
    """Who is signed in, and where the site is."""
    user = require_user(request)
    return By(user.id, user.name, _base_of_mails(request))


def base_of(request: web.Request) -> str:
    """The site's own address, as the setting has it; without one, as the browser has it."""
    return request.app[keys.settings][PageSettings].url or f"{request.scheme}://{request.host}"


def _base_of_mails(request: web.Request) -> str:
    """As base_of, for links that others are sent: a Host that somebody made up must not get there.

    Without SITE_URL it is believed where it names this machine.
    """
    here = request.get_extra_info("sockname") or ("localhost", 80)
    if request.app[keys.settings][PageSettings].url or request.url.host in {"localhost", "127.0.0.1", "::1", here[0]}:
        return base_of(request)
    return f"http://localhost:{here[1]}"


def _new(
    request: web.Request, form: ProjectForm, *, status: int = 200, tried: Tried | None = None
) -> web.StreamResponse:
    context = {"form": form, "rule": form.rule, "history": form.history, "tried": tried, "asks_api": _asks_api(request)}
    return render(request, "headsup/new.html", context, status=status, cache="no-store")


def _rule(
    request: web.Request,
    project: HeadsupProject,
    row: HeadsupRule | None,
    form: RuleForm,
    *,
    status: int = 200,
    tried: Tried | None = None,
    history: str = "",
) -> web.StreamResponse:
    context = {
        "project": project,
        "row": row,
        "rule": form,
        "tried": tried,
        "history": history,
        "asks_api": _asks_api(request),
    }
    return render(request, "headsup/rule.html", context, status=status, cache="no-store")


async def _project(
    request: web.Request,
    project_id: int,
    *,
    secret: str = "",
    secrets: Mapping[str, str] | None = None,
    is_new: bool = False,
    signed: Sequence[str] = (),
) -> web.StreamResponse:
    channel = project_channel(project_id)
    positions = await read_positions(request.app[keys.publisher], channel)
    user, role = require_user(request), role_of(request)
    async with request.app[keys.database].reading() as session:
        wanted = select(HeadsupProject).where(HeadsupProject.id == project_id, visible_to(user, role))
        project = await session.scalar(wanted)
        if project is None:
            raise web.HTTPNotFound(text="There is no such project of yours.")
        asked = select(HeadsupRule).where(HeadsupRule.project_id == project_id).order_by(HeadsupRule.id)
        rules = list(await session.scalars(asked))
        of_rules = HeadsupTarget.rule_id.in_([rule.id for rule in rules])
        targets = list(await session.scalars(select(HeadsupTarget).where(of_rules).order_by(HeadsupTarget.id)))
        known = select(HeadsupAddress).where(HeadsupAddress.project_id == project_id)
        addresses = {each.address: each for each in await session.scalars(known)}
        refused = await _refusals(session, project_id)
    shown: list[dict[str, Any]] = [
        {
            "row": rule,
            "label": label_of(rule),
            "targets": [(each, addresses.get(key_of(each.address))) for each in targets if each.rule_id == rule.id],
        }
        for rule in rules
    ]
    is_rotating = bool(project.old_secret and project.old_until is not None and project.old_until > now())
    context = {
        "positions": positions,
        "channel": channel,
        "project": project,
        "rules": shown,
        "refused": refused,
        "secret": secret,
        "secrets": secrets or {},
        "is_new": is_new,
        "signed": signed,
        "example": EXAMPLE,
        "is_rotating": is_rotating,
        "hook": f"{base_of(request)}/headsup/hook/{project_id}",
        "source": f"/headsup/{project_id}",
        "forges": FORGES,
    }
    return render(request, "headsup/project.html", context, cache="no-store")


async def _refusals(session: AsyncSession, project_id: int) -> list[HeadsupRefusal]:
    since = f"{now() - timedelta(days=_REFUSED_DAYS):%Y-%m-%d}"
    asked = select(HeadsupRefusal).where(HeadsupRefusal.project_id == project_id, HeadsupRefusal.day >= since)
    asked = asked.order_by(HeadsupRefusal.day.desc(), HeadsupRefusal.reason).limit(100)
    return list(await session.scalars(asked))


async def _rule_of(session: AsyncSession, request: web.Request, project: HeadsupProject) -> HeadsupRule:
    rule = await session.get(HeadsupRule, int(request.match_info["rule"]))
    if rule is None or rule.project_id != project.id:
        raise web.HTTPNotFound(text="There is no such rule.")
    return rule


async def _try(
    request: web.Request, form: RuleForm, name: str, fields: Mapping[str, str], default_branch: str = ""
) -> Tried:
    """The rule on the history that was pasted, or on the last commits that GitHub shows to everybody."""
    rule = form.rule()
    try:
        if fields.get("act") == "try":
            text = fields.get("history", "")[:_MAX_HISTORY]
            body = text.encode("utf-8", "replace")
            # Fifty patterns take 7 ms for a long path.
            return _shown(await asyncio.to_thread(try_rule, rule, body, default_branch))
        trial, branch = await _fetch(request, rule, name)
    except BadPayload as error:
        return Tried(problem=str(error))
    except ApiAway as error:
        return Tried(problem=f"The history could not be fetched: {error} Paste it instead.")
    return _shown(trial, branch)


async def _fetch(request: web.Request, rule: Rule, name: str) -> tuple[Trial, str]:
    """The rule on the last commits of a branch that it is about, and which that is. Raises ApiAway."""
    outbound, api = request.app[keys.outbound], request.app[keys.settings][HeadsupSettings].api
    repository = await find_repository(outbound, api, name)
    if repository is None:
        raise ApiAway("GitHub shows no such repository to everybody.")
    branch = branch_to_try(rule, repository["default_branch"])
    commits = await last_commits(outbound, api, name, branch)
    if rule.paths:
        # Only of those that would tell something is it worth to know.
        told = {each.id for each in try_commits(replace(rule, paths=()), commits, branch).commits if each.text}
        asked = await with_paths(outbound, api, name, [each for each in reversed(commits) if each.id in told])
        known = {each.id: each for each in asked}
        commits = [known.get(each.id, each) for each in commits]
    # Without the default branch as the rule's own, this would be another one.
    is_default = branch == repository["default_branch"] and not rule.branches
    return await asyncio.to_thread(try_commits, rule, commits, "" if is_default else branch), branch


def _shown(trial: Trial, branch: str = "") -> Tried:
    if not trial.commits:
        return Tried(problem=f"Nothing: {trial.why}." if trial.why else "Paste some messages first.")
    return Tried(trial.commits, trial.total, branch=branch, note=trial.why)


def _tried(form: RuleForm, text: str) -> Tried:
    try:
        commits = commits_in(text.encode("utf-8", "replace"))
    except BadPayload as error:
        return Tried(problem=str(error))
    if not commits:
        return Tried(problem="Paste some messages first.")
    return Tried(tuple(check(commits[:MOST], form.rule().words)), len(commits))


def _asks_api(request: web.Request) -> bool:
    return request.app[keys.settings][HeadsupSettings].asks_api
