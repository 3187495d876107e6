"""Where the application keeps its parts: typed keys, so that a reader and mypy know what is there."""

from __future__ import annotations

from aiohttp import web

from hub.publisher import Publisher

from .assets import Assets
from .db import Database
from .settings import Settings
from .shared import Shared
from .visitors import Passwords, Signer

settings = web.AppKey("settings", Settings)
database = web.AppKey("database", Database)
publisher = web.AppKey("publisher", Publisher)
assets = web.AppKey("assets", Assets)
signer = web.AppKey("signer", Signer)
passwords = web.AppKey("passwords", Passwords)
#: Bodies that are the same for everyone who isn't signed in, by path.
answers: web.AppKey[Shared[bytes]] = web.AppKey("answers", Shared)
#: Ids of events by slug.
event_ids: web.AppKey[Shared[int]] = web.AppKey("event ids", Shared)
