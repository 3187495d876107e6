"""Where the application keeps its parts: typed keys, so that a reader and mypy know what is there."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from hub.forwarded import Proxies
from hub.publisher import Publisher

from .assets import Assets
from .db import Database
from .services.outbound import Outbound
from .settings import Settings
from .shared import Shared
from .visitors import Passwords, Signer

settings = web.AppKey("settings", Settings)
database = web.AppKey("database", Database)
publisher = web.AppKey("publisher", Publisher)
#: What is in front of the site, for whose a request is.
proxies = web.AppKey("proxies", Proxies)
assets = web.AppKey("assets", Assets)
signer = web.AppKey("signer", Signer)
passwords = web.AppKey("passwords", Passwords)
#: The only client for what is fetched from others.
outbound = web.AppKey("outbound", Outbound)
#: Bodies that are the same for everyone who isn't signed in, by path.
answers: web.AppKey[Shared[bytes]] = web.AppKey("answers", Shared)
#: Ids of events by slug.
event_ids: web.AppKey[Shared[int]] = web.AppKey("event ids", Shared)
#: Seconds a form may take to arrive, and whom to tell of one that did not.
body_timeout = web.AppKey("body timeout", float)
when_late: web.AppKey[Callable[[], None]] = web.AppKey("when late")
