"""How many feeds one address may have fetched, and lists changed."""

from __future__ import annotations

from aiohttp import hdrs, web

from ...pages import keys
from ...pages.limits import Limiter
from ...pages.requests import address_of
from .settings import PodcastSettings

limiter: web.AppKey[Limiter] = web.AppKey("podcast limiter", Limiter)


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    app[limiter] = Limiter(app[keys.settings][PodcastSettings].adds, 60.0)


def check_adds(request: web.Request, count: int = 1) -> None:
    """Raise HTTPTooManyRequests if this address has had enough for now."""
    for _ in range(min(count, 200)):
        wait = request.app[limiter].take(address_of(request))
        if wait:
            raise web.HTTPTooManyRequests(
                text="Too many podcasts or picks from your address.", headers={hdrs.RETRY_AFTER: str(int(wait) + 1)}
            )
