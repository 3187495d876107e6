"""The guard of the pages' HTML finds what is planted, and names the template's line."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import ignored
import markup
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from ignored import Ignored
from markup import Answer, Pages
from planting import plant
from services import ROOT
from visiting import Browser

from hub.publisher import RecordingPublisher
from web.app import FEATURES, create_app
from web.db.database import Database
from web.feature import Feature, allow
from web.features.events.models import Event
from web.identity.roles import Permission
from web.settings import Settings


@pytest.fixture
def site_url(tmp_path: Path, migrated_file: Path) -> str:
    """Pages look the same from either database."""
    shutil.copyfile(migrated_file, tmp_path / "site.db")
    return f"sqlite:///{tmp_path / 'site.db'}"


def page(inner: str) -> str:
    return f'<!doctype html>\n<html lang="en">\n<head><title>A page</title></head>\n<body>\n{inner}\n</body>\n</html>\n'


async def by_hand(request: web.Request) -> web.Response:
    return web.Response(text=page("<p>\n<bogus>"), content_type="text/html")


@pytest.fixture
def pages(validator: list[str], site_pages: Pages) -> Pages:
    """Those of the whole run; what is planted here is taken out again by `check`."""
    return site_pages


@pytest.fixture
async def site(
    pages: Pages, settings: Settings, publisher: RecordingPublisher, database: Database
) -> AsyncIterator[Browser]:
    feature = Feature(name="planted", routes=allow(Permission.READ, web.get("/by-hand", by_hand)))
    app = create_app(Settings((*FEATURES, feature), settings.values), publisher, database=database)
    async with TestClient(TestServer(app)) as client:
        yield Browser(client)


def planted(browser: Browser, name: str, before: str, fault: str) -> str:
    """Put a line into one of the site's templates, before the first with these words; its name and number."""
    lines = (ROOT / "templates" / name).read_text(encoding="utf-8").split("\n")
    at = next(number for number, line in enumerate(lines) if before in line)
    lines.insert(at, fault)
    plant(browser.client.server.app, name, "\n".join(lines))  # type: ignore[attr-defined]  # TestServer's
    return f"templates/{name}:{at + 1}"


def faults(pages: Pages) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        pages.check()
    return str(caught.value).split("\n")


async def test_doubled_id_is_found(site: Browser, pages: Pages) -> None:
    place = planted(site, "accounts/login.html", "<h1>", '  <p id="name">Twice</p>')
    await site.look("/login?next=/account")
    found = faults(pages)
    assert any(line.startswith("GET /login?next=/account: ") and "Duplicate ID “name”" in line for line in found), found
    # Of two, the second is the fault; the first is named beside it.
    assert any(f": {place}: The first occurrence of ID “name”" in line for line in found), found
    assert (await site.look("/")).status == 200
    pages.check()


async def test_fault_of_a_part_is_named_by_the_parts_line(site: Browser, pages: Pages, concert: Event) -> None:
    place = planted(site, "events/_about.html", "<h1>", '  <p aria-hidden="perhaps">{{ event.title }}</p>')
    await site.look("/events/brass-on-the-quay")
    found = faults(pages)
    # The answer as it is sent, with its styles put in, has the same fault.
    assert [line.split(": ")[1] for line in found if " of the answer: " not in line] == [place]
    assert all("perhaps" in line for line in found)


async def test_fault_of_a_macro_is_named_by_the_macros_line(site: Browser, pages: Pages, concert: Event) -> None:
    text = (ROOT / "templates" / "_macros.html").read_text(encoding="utf-8")
    plant(site.client.server.app, "_macros.html", text.replace("<time datetime=", "<time date="))  # type: ignore[attr-defined]
    line = text[: text.index("<time")].count("\n") + 1
    await site.look("/events")
    # As above, of the answer as it is sent.
    places = {each.split(": ")[1] for each in faults(pages) if " of the answer: " not in each}
    assert places == {f"templates/_macros.html:{line}"}


async def test_answer_without_a_template_is_checked_too(site: Browser, pages: Pages) -> None:
    assert (await site.look("/by-hand")).status == 200
    assert any(line.startswith("GET /by-hand: line 6 of the answer: ") for line in faults(pages))


def test_packed_answer_is_checked_too(pages: Pages) -> None:
    pages.take_bytes("GET /x", gzip.compress(page("<bogus>").encode()), "gzip")
    assert any("GET /x: line 5 of the answer" in line for line in faults(pages))


def test_same_bytes_are_looked_at_once(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    check = pages.server.check
    monkeypatch.setattr(pages.server, "check", lambda body, kind: asked.append(body) or check(body, kind))
    text = page("<p>The same bytes</p>")
    for _ in range(3):
        pages.take(Answer("GET /x", text))
        pages.take_bytes("GET /x", text.encode(), "")
        pages.check()
    assert asked == [text.encode()]


def test_what_is_let_pass_is_named_whole(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Answer("GET /x", page('<p bogus="1">Let pass</p>'))
    message = "Attribute “bogus” not allowed on element “p” at this point."
    pages.take(bad)
    (line,) = faults(pages)
    assert line.startswith(f"GET /x: line 5 of the answer: {message} ")
    monkeypatch.setattr(markup, "MARKUP", (Ignored("Attribute “bogus”", "only the beginning of it"),))
    pages.take(bad)
    faults(pages)
    monkeypatch.setattr(markup, "MARKUP", (Ignored("Attribute “bogus” not allowed on element .*", "a test"),))
    pages.take(bad)
    pages.check()


def test_nothing_is_let_pass_without_a_reason() -> None:
    assert all(each.reason for each in (*ignored.MARKUP, *ignored.AXE))
