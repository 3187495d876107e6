"""Signing in with GitHub: there and back.

POST /login/github       a form of ours → the page that leads on to GitHub
POST /account/github     the same for who is signed in and wants to join a GitHub account to the user
GET  /login/github/back  GitHub sends the browser here, with a code and the state, or with an error
"""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from ...identity.settings import IdentitySettings
from ...identity.signins import key_of
from ...pages import keys
from ...pages.limits import Limiter
from ...pages.requests import USER, VISITOR, address_of, read_fields, redirect, require_user, where_of
from ...pages.settings import PageSettings
from ...pages.templating import render
from ...services.domains import may_be_split
from .flow import Flow, Flows
from .github import CodeRefused, GitHub, GithubAway, GithubError, Person
from .people import LinkTaken, NotListed, link_github, sign_in_by_github
from .settings import AccountSettings
from .views import ACCOUNT, local, signed_in

logger = logging.getLogger(__name__)

BACK = "/login/github/back"

#: Ways back from GitHub in a minute from one address: each costs it and us some requests.
RATE = 30

flows: web.AppKey[Flows] = web.AppKey("github flows", Flows)
limiter: web.AppKey[Limiter] = web.AppKey("github limiter", Limiter)


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    pages, secret = app[keys.settings][PageSettings], app[keys.settings][IdentitySettings].secret
    assert secret is not None
    app[flows] = Flows(secret, secure=pages.is_https)
    app[limiter] = Limiter(RATE, 60)


async def post_start(request: web.Request) -> web.StreamResponse:
    """POST /login/github: next."""
    return _leave(request, request.app[flows].new(local((await read_fields(request)).get("next"))))


async def post_link(request: web.Request) -> web.StreamResponse:
    """POST /account/github."""
    require_user(request)
    return _leave(request, request.app[flows].new(ACCOUNT, link=key_of(request[VISITOR])))


async def back(request: web.Request) -> web.StreamResponse:
    """GET /login/github/back: code and state, or error and state."""
    response = await _back(request)
    request.app[flows].forget(response)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    return response


async def _back(request: web.Request) -> web.StreamResponse:
    query = request.query
    flow = request.app[flows].read(request, query.get("state", ""))
    if flow is None or not _is_from_here(request):
        # Another browser's, somebody else's, too old, or the second of two.
        return _failed(
            request, 403, "That sign-in did not begin here", "Or it took more than ten minutes. Nothing has changed."
        )
    if flow.link is not None and (USER not in request or key_of(request[VISITOR]) != flow.link):
        return _failed(request, 403, "You are no longer signed in", "Sign in again before you connect GitHub.")
    if "error" in query:
        if query["error"] == "access_denied":
            return _failed(request, 403, "You said no at GitHub", "That is fine: nothing has changed.", flow)
        logger.warning("github refuses", extra={"error": _known(query["error"])})
        return _failed(request, 502, "GitHub refused", "The site’s settings at GitHub may be wrong.", flow)
    if wait := request.app[limiter].take(address_of(request)):
        response = _failed(request, 429, "That was a lot at once", "Wait a minute, then try again.", flow)
        response.headers[hdrs.RETRY_AFTER] = str(int(wait) + 1)
        return response
    try:
        person = await _github(request).who(query.get("code", ""), request.app[flows].verifier(flow))
    except CodeRefused:
        return _failed(
            request, 403, "That sign-in is used up", "A code of GitHub’s is good once, for ten minutes.", flow
        )
    except GithubError as error:
        logger.warning("github sign-in failed", extra={"error": str(error)})
        if isinstance(error, GithubAway):
            response = _failed(
                request, 503, "GitHub can’t be reached", "Nothing has changed. Try again in a minute.", flow
            )
            response.headers[hdrs.RETRY_AFTER] = "60"
            return response
        return _failed(
            request, 502, "GitHub’s answer makes no sense here", "Nothing has changed. It has been noted.", flow
        )
    return await _join(request, flow, person)


async def _join(request: web.Request, flow: Flow, person: Person) -> web.StreamResponse:
    database, signer = request.app[keys.database], request.app[keys.signer]
    if flow.link is not None:
        try:
            await link_github(database, request[USER].id, person)
        except LinkTaken:
            words = "It, or another, is connected already. Disconnect that first."
            return _failed(request, 409, "That GitHub account can’t be connected", words, flow)
        logger.info("github account linked", extra={"user": request[USER].id, "github": person.id})
        return redirect(ACCOUNT)
    settings = request.app[keys.settings][AccountSettings]
    try:
        joined = await sign_in_by_github(database, signer, settings, person, where_of(request), request.get(VISITOR))
    except NotListed:
        logger.info("github account not listed", extra={"github": person.id})
        words = f"GitHub says that you are {person.login}, who has no account here. Ask whoever runs the site."
        return _failed(request, 403, "You have no account here", words, flow)
    logger.info("signed in with github", extra={"user": joined.user.id, "github": person.id})
    return signed_in(request, joined.user, joined.visitor, flow.next)


def _leave(request: web.Request, flow: Flow) -> web.Response:
    """The page that leads to GitHub by itself. A redirect would be the form's, which our policy keeps on the site."""
    url = _github(request).authorize_url(flow.state, request.app[flows].challenge(flow))
    response = render(request, "accounts/github_leave.html", {"url": url}, cache="no-store")
    request.app[flows].write(response, flow)
    return response


def _github(request: web.Request) -> GitHub:
    settings, site = request.app[keys.settings][AccountSettings], request.app[keys.settings][PageSettings].url
    # Never of the Host header: without SITE_URL GitHub sends browsers to the address that it has registered.
    return GitHub(settings, request.app[keys.outbound], None if site is None else site + BACK)


def _is_from_here(request: web.Request) -> bool:
    """Whether the answer is of the GitHub that was asked, if it says whose it is (RFC 9207)."""
    issuer = request.query.get("iss")
    if issuer is None:
        return True
    if not may_be_split(issuer):
        return False
    try:
        said = urlsplit(issuer)
    except ValueError:
        return False
    ours = urlsplit(request.app[keys.settings][AccountSettings].github)
    return (said.scheme, said.netloc) == (ours.scheme, ours.netloc)


def _known(error: str) -> str:
    return error if error in {"application_suspended", "redirect_uri_mismatch", "unverified_user_email"} else "another"


def _failed(request: web.Request, status: int, title: str, words: str, flow: Flow | None = None) -> web.Response:
    linking = flow is not None and flow.link is not None
    context = {
        "title": title,
        "words": words,
        "path_on": ACCOUNT if linking else "/login",
        "name_on": "Back to your account" if linking else "To the sign-in",
    }
    return render(request, "accounts/github_failed.html", context, status=status, cache="no-store")
