"""Files that no row shows go: of rows that were deleted, of squares with another focus, of widths that there were."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doing import Doing
from sqlalchemy import delete, text, update
from visiting import Browser, Calendar

from web.db.database import Database
from web.db.settings import DatabaseSettings
from web.features.events.models import Category, Event
from web.features.pictures import sweeping
from web.features.pictures.forms import Shown, form_sizes
from web.features.pictures.geometry import Size
from web.features.pictures.keys import store
from web.settings import Settings


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.with_(DatabaseSettings, var=tmp_path / "var")


def picture(number: int = 0, **said: Any) -> Shown:
    size = Size(800, 600)
    ready = Shown(f"{number:032x}", size, ready=True, sizes=form_sizes(size), cropped=(50, 50))
    return replace(ready, **said)


class Site:
    """Events with pictures, whose files were all made long ago."""

    def __init__(self, browser: Browser, database: Database, calendar: Calendar, music: Category) -> None:
        self.app: Any = browser.client.server.app  # type: ignore[union-attr]  # a TestServer
        self.database, self.calendar, self.music = database, calendar, music

    async def event(self, shown: Shown, *more: str) -> Event:
        names = (shown.files or frozenset()) | set(more)
        for path in (
            self.app[store].original(shown.hash),
            *(self.app[store].forms(shown.hash) / each for each in names),
        ):
            self.put(path)
        title = f"Event {time.perf_counter_ns()}"
        return await self.calendar.event(title, self.music, picture=shown.as_row())

    def put(self, path: Path, at: float = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (at, at))
        return path

    def files(self, shown: Shown) -> set[str]:
        folder = self.app[store].forms(shown.hash)
        return set(os.listdir(folder)) if folder.exists() else set()

    async def look(self) -> list[str]:
        """Look at all files; the pictures whose sweep is planned then, a day from now."""
        await sweeping.LOOKING.run(Doing(self.app, None, self.database))  # type: ignore[misc]  # it is awaitable
        async with self.database.saving() as session:
            rows = (await session.execute(text("SELECT key, due FROM jobs WHERE kind = 'picture unused'"))).all()
            await session.execute(text("DELETE FROM jobs"))
        assert all(time.time() + sweeping.AFTER - 60 < due < time.time() + sweeping.AFTER + 60 for _, due in rows)
        return sorted(key.removeprefix("picture unused:") for key, _ in rows)

    async def sweep(self, shown: Shown) -> None:
        data = sweeping.SWEEPING.parse(shown.hash)
        await sweeping.SWEEPING.run(Doing(self.app, data, self.database))  # type: ignore[misc]  # it is awaitable


@pytest.fixture
def site(browser: Browser, database: Database, calendar: Calendar, music: Category) -> Site:
    return Site(browser, database, calendar, music)


async def test_files_of_a_row_that_was_deleted_go(site: Site) -> None:
    """By a statement that no hook sees, as podcasts that are united are."""
    stays, goes = picture(1), picture(2)
    await site.event(stays)
    event = await site.event(goes)
    assert await site.look() == []
    async with site.database.saving() as session:
        await session.execute(delete(Event).where(Event.id == event.id))
    assert await site.look() == [goes.hash]
    await site.sweep(goes)
    assert not site.app[store].original(goes.hash).exists()
    assert site.files(goes) == set()
    await site.sweep(stays)
    assert site.files(stays) == stays.files
    assert await site.look() == []


async def test_squares_of_another_focus_go_and_those_that_are_shown_stay(site: Site) -> None:
    """Those shown now, and those that are being made; of two rows with one picture, both rows'."""
    shown = picture(focus=(10, 10), cropped=(20, 20))
    old = {f"{side}x{side}-50-50.{format}" for side in (174, 348) for format in ("avif", "webp", "jpeg")}
    event = await site.event(shown, *old)
    assert await site.look() == [shown.hash]
    await site.sweep(shown)
    assert site.files(shown) == shown.files
    assert {"348x348-10-10.avif", "348x348-20-20.avif"} <= site.files(shown)
    other = replace(shown, focus=(20, 20), cropped=(20, 20))
    await site.event(other)
    async with site.database.saving() as session:
        row = await session.get_one(Event, event.id)
        row.picture = replace(shown, cropped=(10, 10)).as_row()
    await site.sweep(shown)
    assert {"348x348-10-10.avif", "348x348-20-20.avif"} <= site.files(shown)
    async with site.database.saving() as session:
        await session.execute(delete(Event).where(Event.id == event.id))
    assert await site.look() == [shown.hash]
    await site.sweep(shown)
    assert site.files(shown) == other.files


async def test_widths_formats_and_animations_that_there_were_go(site: Site) -> None:
    shown = picture(moving=(Size(348, 261),))
    await site.event(shown, "500.avif", "348.png", "696-moving.webp", ".new-piece")
    assert await site.look() == [shown.hash]
    await site.sweep(shown)
    assert site.files(shown) == shown.files
    assert "348-moving.webp" in site.files(shown)


async def test_what_is_being_made_stays(site: Site) -> None:
    making, ready = picture(1, ready=False, sizes=()), picture(2)
    await site.event(making, "348.avif", "348x348-1-1.avif", ".new-piece")
    await site.event(ready)
    fresh = site.put(site.app[store].forms(ready.hash) / "348x348-1-1.avif", time.time())
    new = site.put(site.app[store].original(picture(3).hash), time.time())
    assert making.hash not in await site.look()
    for shown in (making, ready, picture(3)):
        await site.sweep(shown)
    assert site.files(making) == {"348.avif", "348x348-1-1.avif", ".new-piece"}
    assert fresh.exists()
    assert new.exists()


async def test_pieces_that_a_killed_process_left_go_at_once_and_strangers_stay(site: Site) -> None:
    originals = site.app[store].original("x").parent
    piece, fresh = site.put(originals / ".new-a"), site.put(originals / ".new-b", time.time())
    stranger, other = site.put(originals / "readme"), site.put(originals.parent / "forms" / "xx" / "y" / "z.webp")
    assert await site.look() == []
    assert not piece.exists()
    assert fresh.exists()
    assert stranger.exists()
    assert other.exists()


async def test_rows_are_looked_at_some_at_a_time_and_all_of_them(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "_BATCH", 2)
    pictures = [picture(number) for number in range(1, 6)]
    events = [await site.event(each) for each in pictures]
    assert await site.look() == []
    async with site.database.saving() as session:
        await session.execute(update(Event).where(Event.id.in_([each.id for each in events[1:]])).values(picture=None))
    assert await site.look() == [each.hash for each in pictures[1:]]


async def test_there_may_be_no_pictures_yet(site: Site) -> None:
    assert await site.look() == []
