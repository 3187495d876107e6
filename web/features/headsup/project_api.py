"""The JSON of the service that this one follows, with its shapes: /api/signedin, /api/csrf, /api/projects and so on.

Its clients send the form's token in the body, as `csrfmiddlewaretoken`. A secret that was given is never shown again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web
from sqlalchemy import case, func, select

from ... import heads
from ...pages import keys
from ...pages.requests import MAX_FORM, USER, form_token, json_response, read_body, role_of, visitor_of
from .access import visible_to
from .api import ApiAway, find_names, find_repository
from .forms import ADDRESSES, RuleForm
from .models import HeadsupDelivery, HeadsupMessage, HeadsupProject, HeadsupRule, HeadsupTarget
from .names import parse_name
from .pages import by_of
from .recipients import parse_recipients
from .remark import DEFAULT_WORD
from .secrets import check_secret
from .setting_up import TooMany, new_project, remove_project, save_rule
from .settings import HeadsupSettings

_NOT_PUBLIC = "Not found as a publically available GitHub project"


async def signed_in(request: web.Request) -> web.StreamResponse:
    """GET /api/signedin."""
    user = request.get(USER)
    if user is None:
        return json_response({"username": None})
    return json_response({"username": user.name, "email": "", "first_name": user.name, "last_name": ""})


async def csrf(request: web.Request) -> web.StreamResponse:
    """GET /api/csrf."""
    return json_response({"csrf_token": form_token(request)})


async def projects(request: web.Request) -> web.StreamResponse:
    """GET /api/projects."""
    user = request.get(USER)
    if user is None:
        return _signed_out()
    async with request.app[keys.database].reading() as session:
        asked = select(HeadsupProject).where(visible_to(user, role_of(request)))
        rows = list(await session.scalars(asked.order_by(HeadsupProject.created_at, HeadsupProject.id)))
        ids = [row.id for row in rows]
        by_rule = select(HeadsupRule).where(HeadsupRule.project_id.in_(ids)).order_by(HeadsupRule.id)
        rules: dict[int, HeadsupRule] = {}
        for rule in await session.scalars(by_rule):
            rules.setdefault(rule.project_id, rule)
        of_rules = HeadsupTarget.rule_id.in_([rule.id for rule in rules.values()])
        targets = list(await session.scalars(select(HeadsupTarget).where(of_rules).order_by(HeadsupTarget.id)))
        used = await _counts(session, HeadsupDelivery.project_id, ids)
        sent = await _counts(session, HeadsupMessage.project_id, ids)
    return json_response(
        {
            "projects": [
                _as_json(row, rules.get(row.id), targets, used.get(row.id, 0), sent.get(row.id, 0)) for row in rows
            ]
        }
    )


async def add(request: web.Request) -> web.StreamResponse:
    """POST /api/projects/add."""
    body = await _body(request)
    if isinstance(body, web.StreamResponse):
        return body
    errors: dict[str, list[str]] = {}
    settings = request.app[keys.settings][HeadsupSettings]
    name = await _check_name(request, settings, body, errors)
    secret = _text(body, "github_webhook_secret")
    try:
        check_secret(secret)
    except ValueError as error:
        errors["github_webhook_secret"] = [str(error) if secret else "This field is required."]
    for field in ADDRESSES.values():
        found = parse_recipients(_text(body, field))
        if found.bad:
            errors[field] = [f"'{each}' not a valid email address" for each in found.bad]
    if "send_to" not in errors and not parse_recipients(_text(body, "send_to")).addresses:
        errors["send_to"] = ["No valid email address(es)"]
    form = _rule_form(body)
    for field, problem in form.errors.items():
        shown = {"words": "trigger_word", "branches": "on_branch"}.get(field, field)
        errors.setdefault(shown, [problem])
    if errors:
        return json_response({"_errors": errors})
    by = by_of(request)
    try:
        async with request.app[keys.database].saving() as session:
            row = await new_project(session, settings, by, name, origin=by.base, secret=secret)
            rule, _ = await save_rule(session, request.app[keys.jobs], settings, by, row, form)
            asked = select(HeadsupTarget).where(HeadsupTarget.rule_id == rule.id).order_by(HeadsupTarget.id)
            targets = list(await session.scalars(asked))
    except TooMany as error:
        return json_response({"_errors": {"github_full_name": [str(error)]}})
    return json_response({"project": _as_json(row, rule, targets, 0, 0)})


async def delete(request: web.Request) -> web.StreamResponse:
    """POST /api/projects/delete/{project}."""
    body = await _body(request)
    if isinstance(body, web.StreamResponse):
        return body
    async with request.app[keys.database].saving() as session:
        wanted = HeadsupProject.id == int(request.match_info["project"])
        mine = visible_to(request[USER], role_of(request))
        row = await session.scalar(select(HeadsupProject).where(wanted, mine))
        if row is None:
            return json_response({"error": "No such project"}, status=404)
        await remove_project(session, row)
    return json_response({"ok": True})


async def preview(request: web.Request) -> web.StreamResponse:
    """GET /api/preview-github-project?full_name=…"""
    if USER not in request:
        return _signed_out()
    name = request.query.get("full_name", "").strip()
    if not name:
        return json_response({"error": "Missing full_name"}, status=400)
    settings = request.app[keys.settings][HeadsupSettings]
    if not settings.asks_api:
        return json_response({"project": None})
    try:
        return json_response({"project": await find_repository(request.app[keys.outbound], settings.api, name[:300])})
    except ApiAway as error:
        return json_response({"error": str(error)}, status=503)


async def names(request: web.Request) -> web.StreamResponse:
    """GET /headsup/names?begins=ada/en: what may be meant, as one types."""
    settings = request.app[keys.settings][HeadsupSettings]
    begins = request.query.get("begins", "")[:200]
    if not settings.asks_api:
        return json_response({"names": []})
    try:
        return json_response({"names": await find_names(request.app[keys.outbound], settings.api, begins)})
    except ApiAway:
        # It is a help, and no more.
        return json_response({"names": []})


async def _check_name(
    request: web.Request, settings: HeadsupSettings, body: Mapping[str, Any], errors: dict[str, list[str]]
) -> str:
    try:
        name = parse_name(_text(body, "github_full_name"))
    except ValueError as error:
        errors["github_full_name"] = [str(error) if _text(body, "github_full_name") else "This field is required."]
        return ""
    if settings.asks_api:
        try:
            if await find_repository(request.app[keys.outbound], settings.api, name) is None:
                errors["github_full_name"] = [_NOT_PUBLIC]
        except ApiAway:
            # Whether it is there, its first delivery will tell.
            pass
    return name


def _rule_form(body: Mapping[str, Any]) -> RuleForm:
    fields = {
        "words": _text(body, "trigger_word"),
        "branches": _text(body, "on_branch"),
        **{field: _text(body, field) for field in ADDRESSES.values()},
        "case_sensitive": _flag(body, "case_sensitive_trigger_word"),
        "tags_only": _flag(body, "on_tag_only"),
    }
    return RuleForm.read(fields)


def _as_json(
    row: HeadsupProject, rule: HeadsupRule | None, targets: list[HeadsupTarget], used: int, sent: int
) -> dict[str, Any]:
    def those(kind: str) -> str | None:
        mine = [each.address for each in targets if rule is not None and each.rule_id == rule.id and each.kind == kind]
        return "\n".join(mine) or None

    return {
        "id": row.id,
        "github_full_name": row.name,
        # Never again in clear.
        "github_webhook_secret": None,
        "trigger_word": rule.words if rule is not None and rule.words else DEFAULT_WORD,
        "case_sensitive_trigger_word": rule is not None and rule.case_sensitive,
        "on_tag_only": rule is not None and rule.tags_only,
        "on_branch": "" if rule is None else rule.branches,
        "send_to": those("to"),
        "send_cc": those("cc"),
        "send_bcc": those("bcc"),
        "payloads": {"times_used": used, "times_messages_sent": sent},
    }


async def _counts(session: Any, column: Any, ids: list[int]) -> dict[int, int]:
    asked = select(column, func.count(case((column.is_not(None), 1)))).where(column.in_(ids)).group_by(column)
    return {row[0]: row[1] for row in await session.execute(asked)}


async def _body(request: web.Request) -> Mapping[str, Any] | web.StreamResponse:
    """The body of who is signed in and repeats the form's token; else the answer that refuses it."""
    if heads.content_type(request) != "application/json":
        return json_response({"error": "Invalid request body"}, status=400)
    try:
        body = orjson.loads(await read_body(request, MAX_FORM))
    except ValueError:
        return json_response({"error": "Invalid request body"}, status=400)
    if not isinstance(body, dict):
        return json_response({"error": "Invalid request body"}, status=400)
    token = body.get("csrfmiddlewaretoken") or request.headers.get("X-CSRF-Token", "")
    if not isinstance(token, str) or not token:
        return json_response({"error": "Missing csrfmiddlewaretoken"}, status=403)
    if not request.app[keys.signer].is_form_token(visitor_of(request), token):
        return json_response({"error": "Invalid csrfmiddlewaretoken"}, status=403)
    return body if USER in request else _signed_out()


def _signed_out() -> web.Response:
    return json_response({"error": "You must be logged in"}, status=403)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value.strip() if isinstance(value, str) else ""


def _flag(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return "true" if value is True or value == "true" or value == "on" else ""
