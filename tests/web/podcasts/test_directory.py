"""The directory: what it says, what is kept of it, how often it is asked; by a server that speaks as iTunes does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from aiohttp import web
from serving import Podcasts, Publisher
from sqlalchemy import update

from web.db.tables import now
from web.features.podcasts.directory import DirectoryError, Found, Itunes, Nowhere, read_answer
from web.features.podcasts.models import Lookup
from web.pages import keys

pytestmark = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)


def answer(*results: Any) -> bytes:
    return orjson.dumps({"resultCount": len(results), "results": results})


def of(podcasts: Podcasts, server: Publisher, rate: int = 15) -> Itunes:
    return Itunes(server.url, lambda: podcasts.app[keys.outbound], podcasts.database, rate)


def test_what_has_no_feed_or_no_name_is_left_out(site_url: str) -> None:
    """AntennaPod 3394: an answer without feedUrl; the seed's ⑪ KeyError. And private feeds."""
    found = read_answer(
        answer(
            {"collectionName": "No feed"},
            {"collectionName": "Null", "feedUrl": None},
            {"collectionName": "Bad", "feedUrl": "nonsense"},
            {"feedUrl": "http://a.example/unnamed"},
            {"collectionName": "Mine", "feedUrl": "http://a.example/?token=x"},
            {"collectionName": "A &amp; <b>B</b>", "feedUrl": "Http://A.example/x", "artworkUrl600": "http://a/i.jpg"},
            {"trackName": "Again", "feedUrl": "http://a.example/x"},
            "nonsense",
        )
    )
    assert found == [Found("http://a.example/x", "A & B", "http://a/i.jpg")]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"results": 1}'])
def test_what_is_no_answer_is_told(body: bytes, site_url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # what it says is the JSON library's
        read_answer(body)


async def test_it_is_asked_as_itunes_is_and_answers_are_kept(podcasts: Podcasts, server: Publisher) -> None:
    server.body = answer({"collectionName": "One", "feedUrl": "http://a.example/x"})
    directory = of(podcasts, server)
    for question in ("Planet Money", "planet  MONEY!"):
        assert [each.name for each in await directory.search(question)] == ["One"]
    assert [dict(request.query) for request in server.asked] == [
        {"term": "Planet Money", "entity": "podcast", "attribute": "titleTerm"}
    ]
    async with podcasts.database.saving() as session:
        await session.execute(update(Lookup).values(asked_at=now() - timedelta(days=2)))
    await directory.search("planet money")
    assert len(server.asked) == 2


async def test_that_nothing_was_found_is_kept_too(podcasts: Podcasts, server: Publisher) -> None:
    server.body = answer()
    directory = of(podcasts, server)
    for _ in range(3):
        assert await directory.search("nothing") == []
    assert len(server.asked) == 1
    assert await directory.search("!!!") == []
    assert await Nowhere().search("nothing") == []


async def test_it_is_asked_so_often_a_minute(podcasts: Podcasts, server: Publisher) -> None:
    """iTunes takes about 20 calls a minute."""
    server.body = answer()
    directory = of(podcasts, server, rate=2)
    for word in ("one", "two"):
        await directory.search(word)
    with pytest.raises(DirectoryError, match="too often"):
        await directory.search("three")
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [200, 403, 500])
async def test_one_that_fails_is_told_and_not_kept(podcasts: Podcasts, server: Publisher, status: int) -> None:
    server.status, server.body = status, b"<html>busy</html>"
    directory = of(podcasts, server)
    with pytest.raises(DirectoryError):
        await directory.search("one")
    server.status, server.body = 200, answer({"collectionName": "One", "feedUrl": "http://a.example/x"})
    assert len(await directory.search("one")) == 1


async def test_one_that_leads_inside_is_not_followed(podcasts: Podcasts, server: Publisher) -> None:
    async def inside(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})

    server.handler = inside
    with pytest.raises(DirectoryError):
        await of(podcasts, server).search("one")
