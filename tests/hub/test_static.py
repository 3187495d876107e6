"""The browser client as the hub serves it."""

from __future__ import annotations

import base64
import gzip
import hashlib
from pathlib import Path

import pytest
from aiohttp import ClientSession
from listening import serving

STATIC = Path(__file__).resolve().parents[2] / "static"
SERVED = {
    "/bayeux/static/fanout.js": "fanout.js",
    "/bayeux/static/fanout.js.map": "fanout.js.map",
    "/bayeux/static/faye.js": "faye.js",
    "/bayeux/static/faye.js.map": "faye.js.map",
    # Where pages that were written for Faye's server look for it.
    "/bayeux/static/faye-browser.js": "faye.js",
    "/bayeux/static/faye-browser-min.js": "faye.js",
    "/bayeux/static/client.js": "faye.js",
    "/bayeux/client.js": "faye.js",
    "/bayeux.js": "faye.js",
}


@pytest.mark.parametrize("path", SERVED)
async def test_client_is_served_to_every_origin_with_its_hash_and_an_etag(path: str) -> None:
    body = (STATIC / SERVED[path]).read_bytes()
    async with serving() as (url, _), ClientSession() as http:
        async with http.get(url + path, headers={"Origin": "https://elsewhere.example"}) as response:
            assert response.status == 200
            assert await response.read() == body
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            digest = base64.b64encode(hashlib.sha384(body).digest()).decode()
            assert response.headers["X-Integrity"] == f"sha384-{digest}"
            etag = response.headers["ETag"]
        async with http.get(url + path, headers={"If-None-Match": etag}) as response:
            assert response.status == 304


@pytest.mark.parametrize("path", ["/bayeux/static/fanout.js", "/bayeux.js"])
async def test_client_is_packed_for_whoever_takes_that(path: str) -> None:
    """8 KB is what a page pays for Fanout; its hash is of what the browser unpacks."""
    body = (STATIC / SERVED[path]).read_bytes()
    tags = set()
    async with serving() as (url, _), ClientSession(auto_decompress=False) as http:
        for coding in ("gzip", "identity"):
            async with http.get(url + path, headers={"Accept-Encoding": coding}) as response:
                sent = await response.read()
                assert response.headers["Vary"] == "Accept-Encoding"
                digest = base64.b64encode(hashlib.sha384(body).digest()).decode()
                assert response.headers["X-Integrity"] == f"sha384-{digest}"
                tags.add(response.headers["ETag"])
                if coding == "gzip":
                    assert response.headers["Content-Encoding"] == "gzip"
                    assert gzip.decompress(sent) == body
                    assert SERVED[path] != "fanout.js" or len(sent) <= 8192
                else:
                    assert "Content-Encoding" not in response.headers
                    assert sent == body
    assert len(tags) == 2


async def test_operator_s_own_files_are_served_and_nothing_else(tmp_path: Path) -> None:
    """A page that pins the hash of the hosted service's file keeps it."""
    (tmp_path / "faye-browser-1.1.2-fanout1-min.js").write_text("theirs")
    (tmp_path / "secret.txt").write_text("no")
    async with serving(static=tmp_path) as (url, _), ClientSession() as http:
        async with http.get(url + "/bayeux/static/faye-browser-1.1.2-fanout1-min.js") as response:
            assert await response.text() == "theirs"
            assert "immutable" in response.headers["Cache-Control"]
        for name in ("secret.txt", "nothing.js", "..%2Fsecret.txt"):
            async with http.get(url + "/bayeux/static/" + name) as response:
                assert response.status == 404
