"""The browser client as the hub serves it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from aiohttp import ClientSession
from listening import serving

CLIENT = Path(__file__).resolve().parents[2] / "static" / "fanout.js"


@pytest.mark.parametrize("path", ["/bayeux/static/fanout.js", "/bayeux/client.js", "/bayeux.js"])
async def test_client_is_served_to_every_origin_with_its_hash_and_an_etag(path: str) -> None:
    body = CLIENT.read_bytes()
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
