"""Static files: versions, integrity, caching."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from visiting import Browser
from yarl import URL

from web.features.events.models import Event
from web.pages.assets import PREFIX, Assets
from web.pages.seldom import SECONDS, seldom


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def client_of(folder: Path, clock: Callable[[], float] = time.monotonic) -> TestClient[web.Request, web.Application]:
    app = web.Application()
    app.router.add_get(PREFIX + "{name:.+}", Assets(folder, clock).serve)
    return TestClient(TestServer(app))


async def test_the_tag_of_the_client_has_the_hash_of_what_is_served(browser: Browser, concert: Event) -> None:
    await browser.look("/events/brass-on-the-quay")
    tag = re.search(r'<script src="([^"]*fanout\.js[^"]*)" integrity="([^"]*)" crossorigin="anonymous"', browser.page)
    assert tag is not None
    response = await browser.client.get(tag[1])
    digest = base64.b64encode(hashlib.sha384(await response.read()).digest()).decode()
    assert tag[2] == f"sha384-{digest}"
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_pages_without_live_parts_do_not_load_the_client(browser: Browser) -> None:
    await browser.look("/login")
    assert "<script" not in browser.page


async def test_a_file_asked_for_without_its_version_is_asked_about_again(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("let a = 1;")
    clock = Clock()
    async with client_of(tmp_path, clock) as client:
        first = await client.get("/static/a.js")
        assert first.headers["Cache-Control"] == "public, no-cache"
        assert first.content_type == "text/javascript"
        again = await client.get("/static/a.js", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status == 304
        (tmp_path / "a.js").write_text("let a = 22;")
        clock.now += SECONDS
        changed = await client.get("/static/a.js", headers={"If-None-Match": first.headers["ETag"]})
        assert (changed.status, await changed.text()) == (200, "let a = 22;")


async def test_text_is_packed_for_who_takes_it(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a { color: red }\n" * 100)
    async with client_of(tmp_path) as client:
        packed = await client.get("/static/a.css", headers={"Accept-Encoding": "gzip"})
        plain = await client.get("/static/a.css", headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["ETag"] != plain.headers["ETag"]
        assert await packed.text() == await plain.text()


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "%2fetc/passwd",
        ".hidden",
        "folder",
        "a%00b",
        "missing.js",
        "x" * 5000,
    ],
)
async def test_only_files_of_the_folder_are_served(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "static"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (folder / ".hidden").write_text("secret")
    async with client_of(folder) as client:
        response = await client.get(f"/static/{name}")
        assert response.status == 404
        assert "secret" not in await response.text()


@pytest.mark.parametrize("name", ["a.js/", "a.js//", "./a.js", "x/../a.js", ".//a.js", "/a.js", "a.js%2f", "%2e/a.js"])
async def test_file_has_one_name(tmp_path: Path, name: str) -> None:
    """Every spelling was served, and kept with a copy of the file for ever: 15,000 requests took a GB."""
    (tmp_path / "x").mkdir()
    (tmp_path / "a.js").write_text("1", encoding="utf-8")
    async with client_of(tmp_path) as client, ClientSession() as http:
        assert (await client.get("/static/a.js")).status == 200
        url = URL(str(client.make_url("/static/")) + name, encoded=True)
        async with http.get(url) as response:
            assert response.status == 404


def test_only_files_that_are_there_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1", encoding="utf-8")
    assets = Assets(tmp_path)
    for number in range(100):
        with suppress(LookupError):
            assets.get("a.js" + "/" * number)
        with suppress(LookupError):
            assets.get(f"b{number}.js")
    assert list(assets._read) == ["a.js"]


def test_file_is_looked_at_once_a_second_however_often_it_is_asked_for() -> None:
    clock, looks = Clock(), 0

    def is_same() -> bool:
        nonlocal looks
        looks += 1
        return False

    asked = seldom(is_same, clock)
    assert [asked() for _ in range(100)] == [True] * 100
    clock.now += SECONDS
    assert [asked(), asked(), looks] == [False, True, 1]
