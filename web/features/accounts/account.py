"""A user's own page: the role, the password, GitHub, and where they are signed in."""

from __future__ import annotations

from aiohttp import hdrs, web
from sqlalchemy import select

from ...identity import signins
from ...identity.passwords import TooBusy
from ...pages import keys
from ...pages.requests import SIGN_IN, VISITOR, NotAllowed, read_fields, redirect, require_user, role_of
from ...pages.templating import render
from . import attempts
from .models import GithubAccount
from .people import MAX_PASSWORD, change_password, check_password, unlink_github
from .settings import AccountSettings
from .views import ACCOUNT

#: What the paths of managers' pages begin with, by itself the way to the first of them.
MANAGE = "/manage"

#: What the page says that was done, by a word in its address.
_DONE = {
    "password": "Your password is changed, and every other browser is signed out.",
    "ended": "That browser is signed out.",
    "others": "Every other browser is signed out.",
    "github": "GitHub is disconnected.",
}


async def show(request: web.Request) -> web.StreamResponse:
    """GET /account."""
    return await _page(request, {})


async def manage(request: web.Request) -> web.StreamResponse:
    """GET /manage: to the first page of those that the user may manage."""
    links = (link for link in request.app[keys.links] if link.path.startswith(f"{MANAGE}/"))
    first = next((link for link in links if link.is_for(role_of(request))), None)
    if first is None:
        raise NotAllowed(text="Your account manages nothing here.")
    return redirect(first.path)


async def post_password(request: web.Request) -> web.StreamResponse:
    """POST /account/password: current, new. Ends every sign-in but this one."""
    user = require_user(request)
    fields = await read_fields(request)
    current, new = fields.get("current", ""), fields.get("new", "")
    database, passwords = request.app[keys.database], request.app[keys.passwords]
    if not user.password_hash:
        # A cookie that was stolen must not become a password.
        raise web.HTTPForbidden(text="This account signs in with GitHub and has no password.")
    try:
        check_password(new)
    except ValueError as error:
        return await _page(request, {"new": f"{str(error).capitalize()}."}, status=422)
    # Counted by themselves, whatever the address: these guesses take a sign-in, and lock nobody else out.
    place = attempts.place_of("", f"sign-in {request[SIGN_IN].id}")
    attempt = await attempts.take(database, user.name, place)
    if attempt is None:
        response = await _page(request, {"current": "Too many attempts. Wait a quarter of an hour."}, status=429)
        response.headers[hdrs.RETRY_AFTER] = str(int(attempts.WINDOW.total_seconds()))
        return response
    try:
        matches = len(current) <= MAX_PASSWORD and await passwords.verify(user.password_hash, current)
    except TooBusy:
        await attempts.give_back(database, attempt)
        response = await _page(request, {"current": "Many people are signing in. Try again shortly."}, status=503)
        response.headers[hdrs.RETRY_AFTER] = "5"
        return response
    if not matches:
        return await _page(request, {"current": "That is not your password."}, status=403)
    await attempts.give_back(database, attempt)
    await change_password(database, passwords, user.name, new, but=request[VISITOR])
    return _done("password")


async def post_end(request: web.Request) -> web.StreamResponse:
    """POST /account/sign-ins/{id}/end."""
    user = require_user(request)
    number = int(request.match_info["id"])
    async with request.app[keys.database].saving() as session:
        await signins.end(session, user.id, number)
    if number == request[SIGN_IN].id:
        response = redirect("/")
        request.app[keys.signer].forget(response)
        return response
    return _done("ended")


async def post_end_others(request: web.Request) -> web.StreamResponse:
    """POST /account/sign-ins/end-others."""
    user = require_user(request)
    async with request.app[keys.database].saving() as session:
        await signins.end_all(session, user.id, but=request[VISITOR])
    return _done("others")


async def post_unlink(request: web.Request) -> web.StreamResponse:
    """POST /account/github/disconnect."""
    user = require_user(request)
    if not user.password_hash:
        raise web.HTTPConflict(text="This account has no password, and could not sign in any more.")
    await unlink_github(request.app[keys.database], user.id)
    return _done("github")


def _done(word: str) -> web.Response:
    return redirect(f"{ACCOUNT}?done={word}")


async def _page(request: web.Request, errors: dict[str, str], status: int = 200) -> web.Response:
    user = require_user(request)
    async with request.app[keys.database].reading() as session:
        rows = await signins.of_user(session, user.id)
        github = await session.scalar(select(GithubAccount).where(GithubAccount.user_id == user.id))
    context = {
        "errors": errors,
        "done": _DONE.get(request.query.get("done", "")),
        "sign_ins": rows,
        "here": request[SIGN_IN].id,
        "github": github,
        "has_github": request.app[keys.settings][AccountSettings].client_id is not None,
        "most": signins.MOST,
    }
    return render(request, "accounts/account.html", context, status=status, cache="no-store")
