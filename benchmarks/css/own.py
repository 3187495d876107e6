"""The site's own pages: the HTML of every route for a signed-in manager, with sample rows in the database."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher

from hub.files import ROOT
from hub.publisher import RecordingPublisher
from web.app import create_app, read_settings
from web.db.database import Database
from web.db.migrate import migrate
from web.features.accounts.people import create_user
from web.features.css.site import SiteStyles
from web.identity.passwords import Passwords
from web.pages.assets import Assets

ORIGIN = "https://site.example"
HTML = "text/html; charset=utf-8"

#: A URL to its body and type.
Table = dict[str, tuple[bytes, str]]


async def pages(database: Database, passwords: Passwords, url: str) -> dict[str, str]:
    """HTML by path, with `<link>` elements for sheets. Creates a manager and rows: the database must be empty."""
    for folder in ("tests", "tests/web/guards"):
        if str(ROOT / folder) not in sys.path:
            sys.path.insert(0, str(ROOT / folder))
    from routes import fill, pages_of
    from visiting import PASSWORD, Browser

    await create_user(database, passwords, "ada", PASSWORD)
    await fill(database, 0, 3)
    environ = {"DATABASE_URL": url, "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==", "JOBS_SERVE": "false"}
    settings = read_settings(environ | {"GITHUB_CLIENT_ID": "x", "GITHUB_CLIENT_SECRET": "y", "GITHUB_ANYBODY": "true"})
    app = create_app(settings, RecordingPublisher(), database=database, hasher=_hasher())
    paths = pages_of(app)
    found = {}
    async with TestClient(TestServer(app)) as client:
        await Browser(client).sign_in()
        for path in paths:
            response = await client.get(path, headers={"Accept": "text/html"})
            if response.content_type == "text/html":
                # Of addresses that lead to one page, as /posts does to the home page, that page once.
                found[response.url.path_qs] = await response.text()
    return found


async def pages_of_a_new_site() -> dict[str, str]:
    """The same, with a new SQLite database in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/site.db"
        await migrate(url)
        publisher = RecordingPublisher()
        database = Database(url, publisher)
        try:
            return await pages(database, Passwords(_hasher()), url)
        finally:
            await database.close()


def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def styles() -> SiteStyles:
    """The site's styles, with a plan for each page."""
    made = SiteStyles(Assets(ROOT / "static"))
    made.prepare(ROOT / "static")
    return made


@dataclass(frozen=True, slots=True)
class Own:
    """A page before (`html`) and after (`styled`) pruning. sheets: text by the address that the page uses."""

    path: str
    html: str
    styled: str
    sheets: Mapping[str, str]

    @property
    def before(self) -> Table:
        """The page with its sheets linked as files."""
        files = {ORIGIN + href: (text.encode(), "text/css; charset=utf-8") for href, text in self.sheets.items()}
        return {ORIGIN + self.path: (self.html.encode(), HTML), **files}

    @property
    def after(self) -> Table:
        """URL and body of the page with inlined CSS."""
        return {ORIGIN + self.path: (self.styled.encode(), HTML)}


def own(path: str, html: str, made: SiteStyles) -> Own | None:
    """The page before and after pruning; None if it has no sheets."""
    styled = made.styled(html.encode(), path.partition("?")[0])
    if styled.body is None:
        assert "no style sheets" in styled.said, styled.said
        return None
    hrefs = re.findall(r'<link rel="stylesheet" href="([^"]*)"', html)
    sheets = {href: (ROOT / "static" / href.partition("?")[0][8:]).read_text("utf-8") for href in hrefs}
    return Own(path, html, styled.body.decode(), sheets)
