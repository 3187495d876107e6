"""What the accounts hand in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature
from ...identity.users import MAX_NAME
from ...pages.links import Link
from . import demo, models, views

FEATURE = Feature(
    name="accounts",
    routes=(
        web.get("/login", views.login),
        web.post("/login", views.post_login),
        web.post("/logout", views.post_logout),
    ),
    tables=(models.FailedLogin,),
    setup=views.setup,
    links=(Link("Sign in", "/login", to="visitors", order=90, within="/login"),),
    corner="accounts/_corner.html",
    globals={"MAX_USER_NAME": MAX_NAME},
    demo=demo.fill,
)
