"""Pictures of podcasts: fetched when a feed names another, and what their servers may do."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from feeding import feed, item
from PIL import Image
from serving import Podcasts, Publisher
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from visiting import Browser

from web.features.pictures.jobs import MAKING, Work
from web.features.pictures.keys import engine_name, store
from web.features.pictures.settings import PictureSettings
from web.features.pictures.store import Store
from web.features.podcasts import artwork
from web.pages import keys
from web.services.jobs.kinds import TryAgain

pytestmark = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)


def picture(color: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (400, 400), color).save(out, "PNG")
    return out.getvalue()


@dataclass
class Doing:
    """A job as its handler is given it, done here."""

    podcasts: Podcasts
    data: Any

    @property
    def app(self) -> Any:
        return self.podcasts.app

    async def in_process(self, function: Callable[..., Any], *args: Any, limit: float | None = None) -> Any:
        return await asyncio.to_thread(function, *args)

    def saving(self) -> AbstractAsyncContextManager[AsyncSession]:
        return self.podcasts.database.saving()


class Show:
    """A podcast whose feed and picture a server has. art: what is at its picture's address."""

    def __init__(self, podcasts: Podcasts, server: Publisher, id: int) -> None:
        self.podcasts, self.server, self.id = podcasts, server, id
        self.art: bytes | web.Response | Callable[[], web.Response] = picture()
        self.asked: list[str] = []
        self.named = '<itunes:image href="/art.png"/>'
        server.handler = self._answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/feed.xml":
            more = self.named.replace("/art", str(request.url.with_path("/art")))
            return web.Response(body=feed(item("One"), title="A Show", more=more))
        self.asked.append(request.path)
        if isinstance(self.art, bytes):
            return web.Response(body=self.art, content_type="image/jpeg")
        return self.art() if callable(self.art) else self.art

    async def fetch(self) -> bool:
        """Fetch its feed; whether its picture is to be fetched then."""
        await self.podcasts.fetch(self.id)
        async with self.podcasts.database.saving() as session:
            found = list(await session.scalars(text("SELECT kind FROM jobs")))
            await session.execute(text("DELETE FROM jobs"))
        return artwork.ARTWORK in found

    async def take(self) -> None:
        """Do the job that fetches its picture."""
        await artwork.KIND.run(Doing(self.podcasts, self.id))  # type: ignore[misc]  # it is awaitable

    async def make(self) -> None:
        """Do the job that makes its forms."""
        shown = (await self.podcasts.get(self.id)).shown_picture
        assert shown is not None
        await MAKING.run(Doing(self.podcasts, Work("podcasts", self.id, shown.hash)))  # type: ignore[misc]  # as above


@pytest.fixture
async def show(podcasts: Podcasts, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Show:
    monkeypatch.setattr("web.features.pictures.making._bound", lambda: None)
    podcasts.app[store], podcasts.app[engine_name] = Store(tmp_path / "pictures"), "noop"
    podcasts.app[keys.settings][PictureSettings] = PictureSettings()
    return Show(podcasts, server, await podcasts.add(server.url))


@pytest.mark.parametrize(
    "named", ['<itunes:image href="/art.png"/>', "<image><url>/art.png</url></image>"], ids=["itunes", "rss"]
)
async def test_picture_comes_with_the_feed_that_names_it(show: Show, browser: Browser, named: str) -> None:
    show.named = named
    assert await show.fetch()
    await show.take()
    shown = (await show.podcasts.get(show.id)).shown_picture
    assert shown is not None
    assert (shown.size.width, shown.ready) == (400, False)
    await show.make()
    await browser.look(f"/podcasts/{show.id}/a-show")
    assert f'srcset="/pictures/{shown.hash}/348.avif 348w, ' in browser.page
    await browser.look(f"/podcasts/mine/{show.id}")
    assert f"/pictures/{shown.hash}/174x174-50-50.webp 174w" in browser.page
    await browser.look(f"/podcasts/{show.id}/a-show/feed")
    assert "its picture came" in browser.page
    # It is there: neither the feed nor a job that comes twice asks for it again.
    assert not await show.fetch()
    await show.take()
    assert show.asked == ["/art.png"]


async def test_another_address_is_asked_and_the_same_file_is_not_made_again(show: Show) -> None:
    await show.fetch()
    await show.take()
    await show.make()
    before = (await show.podcasts.get(show.id)).shown_picture
    show.named = '<itunes:image href="/art2.png"/>'
    assert await show.fetch()
    await show.take()
    assert (await show.podcasts.get(show.id)).shown_picture == before
    show.named, show.art = '<itunes:image href="/art3.png"/>', picture("blue")
    assert await show.fetch()
    await show.take()
    after = (await show.podcasts.get(show.id)).shown_picture
    assert before is not None
    assert after is not None
    assert (after.hash != before.hash, after.ready) == (True, False)
    assert show.asked == ["/art.png", "/art2.png", "/art3.png"]
    async with show.podcasts.database.reading() as session:
        assert "picture unused" in list(await session.scalars(text("SELECT kind FROM jobs")))


def moved(to: str) -> web.Response:
    return web.Response(status=302, headers={"Location": to})


@pytest.mark.parametrize(
    ("art", "words"),
    [
        (b"<!doctype html><p>Log in first", "This is a web page, not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG may carry scripts"),
        (b"", "The file is empty"),
        (picture()[:20], "The file ends in the middle of its header"),
        (lambda: web.Response(status=404), "its server says 404"),
        (lambda: web.Response(status=403), "its server says 403"),
        (picture() + b"\0" * (64 * 1024), "is longer than 65536 bytes"),
        (lambda: moved("http://10.0.0.1/x.png"), "is at an address that is not public"),
        (lambda: moved("http://169.254.169.254/latest"), "is at an address that is not public"),
        (lambda: moved("file:///etc/passwd"), "only http:// and https:// can be fetched"),
        (lambda: moved("/art.png"), "redirects in a circle"),
    ],
    ids=["html", "svg", "empty", "cut", "404", "403", "long", "private", "metadata", "file", "circle"],
)
async def test_what_is_no_picture_is_told_on_the_page_of_the_feed(
    show: Show, browser: Browser, monkeypatch: pytest.MonkeyPatch, art: Any, words: str
) -> None:
    """It is not asked for again until the feed names another, and what there was stays."""
    monkeypatch.setattr(artwork, "MOST", 64 * 1024)
    await show.fetch()
    await show.take()
    before = (await show.podcasts.get(show.id)).shown_picture
    show.named, show.art = '<itunes:image href="/art.png?2"/>', art
    assert await show.fetch()
    await show.take()
    await browser.look(f"/podcasts/{show.id}/a-show/feed")
    assert "It can’t be had: " in browser.page
    assert words in browser.page
    assert (await show.podcasts.get(show.id)).shown_picture == before
    asked = len(show.asked)
    assert not await show.fetch()
    await show.take()
    assert len(show.asked) == asked
    show.named, show.art = '<itunes:image href="/art.png?3"/>', picture("blue")
    assert await show.fetch()
    await show.take()
    await browser.look(f"/podcasts/{show.id}/a-show/feed")
    assert "It can’t be had" not in browser.page


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_what_may_come_yet_is_tried_again(show: Show, status: int) -> None:
    await show.fetch()
    show.art = lambda: web.Response(status=status)
    with pytest.raises(TryAgain, match=f"its server says {status}"):
        await show.take()
    assert (await show.podcasts.feed(show.id)).image_error == f"its server says {status}"
    show.art = picture()
    await show.take()
    assert (await show.podcasts.feed(show.id)).image_error == ""
    assert (await show.podcasts.get(show.id)).picture is not None


async def test_full_disk_is_tried_again(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    await show.fetch()
    monkeypatch.setattr("web.features.pictures.making.put", full)
    with pytest.raises(TryAgain, match="No space left on device"):
        await show.take()
    assert (await show.podcasts.get(show.id)).picture is None


async def test_address_that_changes_while_a_picture_comes_has_a_job_of_its_own(show: Show) -> None:
    await show.fetch()
    came = await artwork.fetch(show.podcasts.app, show.server.url.replace("feed.xml", "art.png"))
    async with show.podcasts.database.saving() as session:
        await artwork._write(session, show.podcasts.app, show.id, "http://elsewhere.example/old.png", came, 0.1)
    assert (await show.podcasts.get(show.id)).picture is None
    assert (await show.podcasts.feed(show.id)).image == ""


async def test_podcast_that_is_gone_has_no_picture(show: Show) -> None:
    await artwork.KIND.run(Doing(show.podcasts, 999))  # type: ignore[misc]  # it is awaitable
    assert show.asked == []
