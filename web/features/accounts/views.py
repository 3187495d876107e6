"""Signing in and out."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import hdrs, web
from sqlalchemy import select

from ...identity.passwords import TooBusy
from ...identity.users import MAX_NAME, User, new_stamp
from ...pages import keys
from ...pages.requests import USER, address_of, clean_line, read_fields, redirect, require_user
from ...pages.templating import render
from . import attempts
from .people import MAX_PASSWORD, note_success

AFTER_LOGIN = "/manage/events"


@dataclass(frozen=True, slots=True)
class LoginForm:
    """What was typed (never the password), where to go next, and what is wrong."""

    name: str = ""
    next: str = AFTER_LOGIN
    error: str | None = None


def setup(app: web.Application) -> None:
    """Say where one signs in."""
    app[keys.login] = "/login"


async def login(request: web.Request) -> web.StreamResponse:
    """GET /login, with ?next=path."""
    form = LoginForm(next=_local(request.query.get("next")))
    if USER in request:
        return redirect(form.next)
    return _form(request, form)


async def post_login(request: web.Request) -> web.StreamResponse:
    """POST /login: name, password, next."""
    fields = await read_fields(request)
    name, target = clean_line(fields.get("name", ""), MAX_NAME)[:MAX_NAME], _local(fields.get("next"))
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
    kept = None if user is None or len(password) > MAX_PASSWORD else user.password_hash
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
    await note_success(database, user, password, passwords)
    # Another visitor from here on: whoever knew the old cookie knows nothing of this one.
    response = redirect(target)
    signer.write(response, signer.new(user))
    signer.write_device(response, user, device)
    return response


async def post_logout(request: web.Request) -> web.StreamResponse:
    """POST /logout: ends every sign-in of this user, so that a copied cookie ends too."""
    user = require_user(request)
    async with request.app[keys.database].saving() as session:
        kept = await session.get(User, user.id)
        if kept is not None:
            kept.stamp = new_stamp()
    response = redirect("/")
    request.app[keys.signer].forget(response)
    return response


def _form(request: web.Request, form: LoginForm, status: int = 200) -> web.Response:
    return render(request, "accounts/login.html", {"form": form}, status=status, cache="no-store")


def _local(target: str | None) -> str:
    """Where to go after signing in: a path of ours, never another site."""
    if target is None or not target.startswith("/") or target.startswith(("//", "/\\")):
        return AFTER_LOGIN
    # Browsers drop tabs and line ends from a URL, and whatever writes it anew (a proxy) may drop `/.` or `/..`: either
    # could bring a second slash to the front.
    is_plain = target.isprintable() and target.isascii() and "\\" not in target
    return target if is_plain and "//" not in target.partition("?")[0] else AFTER_LOGIN
