"""Where the application keeps its parts: typed keys, so that a reader and mypy know what is there."""

from __future__ import annotations

from aiohttp import web

from hub.publisher import Publisher

from .assets import Assets
from .db import Database
from .settings import Settings
from .visitors import Passwords, Signer

settings = web.AppKey("settings", Settings)
database = web.AppKey("database", Database)
publisher = web.AppKey("publisher", Publisher)
assets = web.AppKey("assets", Assets)
signer = web.AppKey("signer", Signer)
passwords = web.AppKey("passwords", Passwords)
