"""What the accounts hand in."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from ...feature import Feature, Route, allow
from ...identity.roles import Permission
from ...identity.users import MAX_NAME
from ...pages.keys import Tables
from ...pages.links import Link
from . import account, demo, github_views, models, views
from .people import MAX_PASSWORD, MIN_PASSWORD
from .settings import AccountSettings


def _setup(app: web.Application) -> None:
    views.setup(app)
    github_views.setup(app)


def _github(settings: Tables) -> Sequence[Route]:
    """The routes of who has an app at GitHub."""
    if settings[AccountSettings].client_id is None:
        return ()
    return (
        *allow(
            Permission.SIGN_IN,
            web.post("/login/github", github_views.post_start),
            # A HEAD must not use up the code.
            web.get(github_views.BACK, github_views.back, allow_head=False),
        ),
        *allow(
            Permission.OWN_ACCOUNT,
            web.post("/account/github", github_views.post_link),
            web.post("/account/github/disconnect", account.post_unlink),
        ),
    )


FEATURE = Feature(
    name="accounts",
    routes=(
        *allow(Permission.SIGN_IN, web.get("/login", views.login), web.post("/login", views.post_login)),
        *allow(
            Permission.OWN_ACCOUNT,
            web.post("/logout", views.post_logout),
            web.get("/account", account.show),
            web.get(account.MANAGE, account.manage),
            web.post("/account/password", account.post_password),
            web.post("/account/sign-ins/end-others", account.post_end_others),
            web.post(r"/account/sign-ins/{id:\d{1,9}}/end", account.post_end),
        ),
    ),
    routes_by=_github,
    tables=(models.FailedLogin, models.GithubAccount),
    settings=AccountSettings,
    setup=_setup,
    links=(
        Link("Sign in", "/login", to="visitors", order=90, within="/login"),
        Link("Account", "/account", to="users", order=90, within="/account"),
    ),
    corner="accounts/_corner.html",
    globals={"MAX_USER_NAME": MAX_NAME, "MIN_PASSWORD": MIN_PASSWORD, "MAX_PASSWORD": MAX_PASSWORD},
    demo=demo.fill,
)
