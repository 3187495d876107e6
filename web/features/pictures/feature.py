"""What pictures hand in."""

from __future__ import annotations

from aiohttp import web

from ...db.settings import DatabaseSettings
from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages import keys
from .jobs import MAKING
from .keys import engine_name, store
from .models import picture_of
from .placeholder import blurred
from .settings import PictureSettings
from .store import Store
from .sweeping import LOOKING, PERIODIC, SWEEPING
from .views import show


def _setup(app: web.Application) -> None:
    settings = app[keys.settings]
    app[store] = Store(settings[DatabaseSettings].var / "pictures")
    app[engine_name] = settings[PictureSettings].engine


FEATURE = Feature(
    name="pictures",
    routes=allow(Permission.READ, web.get("/pictures/{hash}/{form}", show)),
    settings=PictureSettings,
    setup=_setup,
    globals={"blurred": blurred, "picture_of": picture_of},
    jobs=(MAKING, SWEEPING, LOOKING),
    periodic=PERIODIC,
    statics=("pictures.js",),
)
