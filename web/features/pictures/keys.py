"""Where the application keeps what pictures need."""

from __future__ import annotations

from aiohttp import web

from .store import Store

store = web.AppKey("pictures", Store)
#: An engine is opened where it works: in another process, by its name.
engine_name = web.AppKey("picture engine", str)
