"""Signing in with a password, and out."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import hdrs, web
from sqlalchemy import select

from ...identity import signins
from ...identity.passwords import TooBusy
from ...identity.roles import Permission, may, role_of
from ...identity.users import MAX_NAME, User
from ...identity.visitors import Visitor
from ...pages import keys
from ...pages.requests import (
    SIGN_IN,
    USER,
    VISITOR,
    address_of,
    clean_line,
    read_fields,
    redirect,
    require_user,
    where_of,
)
from ...pages.templating import render
from . import attempts
from .people import MAX_PASSWORD, sign_in_by_password
from .settings import AccountSettings

#: Where the account's own page is.
ACCOUNT = "/account"
_MANAGE = "/manage/events"


@dataclass(frozen=True, slots=True)
class LoginForm:
    """What was typed (never the password), where to go next, and what is wrong."""

    name: str = ""
    next: str = ""
    error: str | None = None


def setup(app: web.Application) -> None:
    """Say where one signs in."""
    app[keys.login] = "/login"


async def login(request: web.Request) -> web.StreamResponse:
    """GET /login, with ?next=path."""
    form = LoginForm(next=local(request.query.get("next")))
    if USER in request:
        return redirect(form.next or home_of(request[USER]))
    return _form(request, form)


async def post_login(request: web.Request) -> web.StreamResponse:
    """POST /login: name, password, next."""
    fields = await read_fields(request)
    name, target = clean_line(fields.get("name", ""), MAX_NAME)[:MAX_NAME], local(fields.get("next"))
    password = fields.get("password", "")
    database, signer, passwords = request.app[keys.database], request.app[keys.signer], request.app[keys.passwords]
    async with database.reading() as session:
        user = await session.scalar(select(User).where(User.name == name))
    device = None if user is None else signer.device_of(request, user)
    attempt = await attempts.take(database, name, attempts.place_of(address_of(request), device))
    if attempt is None:
        error = "Too many attempts. Wait a quarter of an hour, then try again."
        response = _form(request, LoginForm(name, target, error), status=429)
        response.headers[hdrs.RETRY_AFTER] = str(int(attempts.WINDOW.total_seconds()))
        return response
    # Who has no password signs in with GitHub.
    kept = None if user is None or len(password) > MAX_PASSWORD else user.password_hash or None
    try:
        matches = await passwords.verify(kept, password[:MAX_PASSWORD])
    except TooBusy:
        await attempts.give_back(database, attempt)
        error = "Many people are signing in. Try again in a few seconds."
        response = _form(request, LoginForm(name, target, error), status=503)
        response.headers[hdrs.RETRY_AFTER] = "5"
        return response
    if not matches or user is None:
        return _form(request, LoginForm(name, target, "That name and password don’t go together."), status=403)
    await attempts.give_back(database, attempt)
    visitor = await sign_in_by_password(
        database, signer, passwords, user, password, where_of(request), request.get(VISITOR)
    )
    response = signed_in(request, user, visitor, target)
    signer.write_device(response, user, device)
    return response


async def post_logout(request: web.Request) -> web.StreamResponse:
    """POST /logout: ends this browser's sign-in, so that a copied cookie ends too."""
    user = require_user(request)
    async with request.app[keys.database].saving() as session:
        await signins.end(session, user.id, request[SIGN_IN].id)
    response = redirect("/")
    request.app[keys.signer].forget(response)
    return response


def signed_in(request: web.Request, user: User, visitor: Visitor, target: str) -> web.Response:
    """The way on for who has just signed in, with the cookie."""
    response = redirect(target or home_of(user))
    request.app[keys.signer].write(response, visitor)
    return response


def home_of(user: User) -> str:
    """Where a user goes who wanted nothing in particular."""
    return _MANAGE if may(role_of(user.role), Permission.MANAGE_EVENTS) else ACCOUNT


def local(target: str | None) -> str:
    """Where to go after signing in: a path of ours, never another site; "" for nowhere in particular."""
    if target is None or not target.startswith("/") or target.startswith(("//", "/\\")) or len(target) > _MAX_TARGET:
        return ""
    # Browsers drop tabs and line ends from a URL, and whatever writes it anew (a proxy) may drop `/.` or `/..`: either
    # could bring a second slash to the front.
    is_plain = target.isprintable() and target.isascii() and "\\" not in target
    return target if is_plain and "//" not in target.partition("?")[0] else ""


#: Characters of a path to go on to; it is kept in a cookie while somebody is at GitHub, and those have 4 KB.
_MAX_TARGET = 1000


def _form(request: web.Request, form: LoginForm, status: int = 200) -> web.Response:
    has_github = request.app[keys.settings][AccountSettings].client_id is not None
    context = {"form": form, "has_github": has_github}
    return render(request, "accounts/login.html", context, status=status, cache="no-store")
