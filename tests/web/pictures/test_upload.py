"""A picture is sent, made ready by a job, and shown; no request touches an engine."""

from __future__ import annotations

import io
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData
from doing import Doing
from drawing import file_of
from PIL import Image
from sqlalchemy import text
from visiting import Browser, Calendar

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.db.settings import DatabaseSettings
from web.features.events.models import Category, Event
from web.features.pictures import engines, sweeping
from web.features.pictures.forms import Shown
from web.features.pictures.jobs import MAKING, Work
from web.features.pictures.keys import store
from web.features.pictures.making import hash_of, make_forms
from web.features.pictures.models import HasPicture, owner_of
from web.features.pictures.settings import PictureSettings
from web.services.jobs.kinds import GiveUp
from web.settings import Settings

EVENT = "/events/brass-on-the-quay"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.with_(DatabaseSettings, var=tmp_path / "var")


def page_of(event: Event) -> str:
    return f"/manage/events/{event.id}/picture"


async def send(manager: Browser, event: Event, data: bytes, name: str = "x.png", **fields: str) -> Any:
    await manager.look(page_of(event))
    form = FormData()
    token = re.search(r'name="csrf_token" value="([^"]*)"', manager.page)
    form.add_field("csrf_token", token[1] if token else "")
    for field, value in fields.items():
        form.add_field(field, value)
    form.add_field("file", io.BytesIO(data), filename=name, content_type="image/png")
    return await manager.client.post(page_of(event), data=form, headers={"Accept": "text/html"}, allow_redirects=False)


async def make(manager: Browser, event: Event, database: Database, hash: str) -> None:
    job = Doing(manager.client.server.app, Work("events", event.id, hash), database)  # type: ignore[union-attr]  # a TestServer
    await MAKING.run(job)  # type: ignore[misc]  # it is awaitable


async def row_of(database: Database, event: Event) -> Event:
    async with database.reading() as session:
        return await session.get_one(Event, event.id)


@pytest.fixture(autouse=True)
def no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.features.pictures.making._bound", lambda: None)


async def test_picture_is_sent_made_and_shown(
    manager: Browser, concert: Event, database: Database, new_browser: Any, publisher: RecordingPublisher
) -> None:
    response = await send(manager, concert, file_of((800, 600), "PNG"), alt=" The quay ")
    assert (response.status, response.headers["Location"]) == (303, EVENT)
    shown = (await row_of(database, concert)).shown_picture
    assert shown is not None
    assert (shown.size.width, shown.size.height, shown.ready, shown.alt) == (800, 600, False, "The quay")
    visitor = await new_browser()
    await visitor.look(EVENT)
    # Its room is kept from the first paint on.
    assert 'class="picture-blur" width="800" height="600"' in visitor.page
    assert "<img" not in visitor.page
    publisher.clear()
    await make(manager, concert, database, shown.hash)
    assert any(f"event-{concert.id}" in str(each) for each in publisher.published)
    await visitor.look(EVENT)
    assert f'srcset="/pictures/{shown.hash}/348.avif 348w, ' in visitor.page
    assert 'width="800" height="600" alt="The quay"' in visitor.page
    form = await visitor.client.get(f"/pictures/{shown.hash}/348.webp")
    assert form.status == 200
    assert form.headers["Content-Type"] == "image/webp"
    assert form.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert form.headers["X-Content-Type-Options"] == "nosniff"
    assert (await form.read()).startswith(b"noop webp 348x261")
    part = await visitor.client.get(f"/pictures/{shown.hash}/348.webp", headers={"Range": "bytes=0-3"})
    assert (part.status, await part.read()) == (206, b"noop")
    again = await visitor.client.get(
        f"/pictures/{shown.hash}/348.webp", headers={"If-None-Match": form.headers["ETag"]}
    )
    assert again.status == 304


async def test_no_request_touches_an_engine(
    manager: Browser, concert: Event, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(name: str) -> None:
        raise AssertionError(f"a request opened {name}")

    monkeypatch.setattr(engines, "ENGINES", {"noop": lambda: touched("noop"), "pillow": lambda: touched("pillow")})
    assert (await send(manager, concert, file_of((80, 60), "PNG"))).status == 303
    for path in (EVENT, f"{EVENT}/about", "/events", "/", page_of(concert)):
        assert (await manager.look(path)).status == 200
    assert (await row_of(database, concert)).picture is not None


async def test_old_picture_is_not_made_for_the_new_one(manager: Browser, concert: Event, database: Database) -> None:
    await send(manager, concert, file_of((80, 60), "PNG"))
    first = (await row_of(database, concert)).shown_picture
    await send(manager, concert, file_of((90, 60), "PNG"))
    assert first is not None
    await make(manager, concert, database, first.hash)
    shown = (await row_of(database, concert)).shown_picture
    assert shown is not None
    assert (shown.size.width, shown.ready) == (90, False)


async def waiting(database: Database) -> list[str]:
    """The hashes whose files are to go."""
    async with database.reading() as session:
        found = await session.execute(text("SELECT data, due FROM jobs WHERE kind = 'picture unused' ORDER BY id"))
        rows = found.all()
    assert all(due > time.time() + sweeping.AFTER - 60 for _, due in rows)
    return [data if len(data) == 32 else json.loads(data) for data, _ in rows]


async def test_files_of_a_picture_that_nobody_has_go_a_day_later(
    manager: Browser, concert: Event, database: Database, calendar: Calendar, music: Category
) -> None:
    first = await sent(manager, concert, database)
    app = manager.client.server.app  # type: ignore[union-attr]  # a TestServer
    original, forms = app[store].original(first.hash), app[store].forms(first.hash)
    other = await calendar.event("Another", music)
    await send(manager, other, file_of((800, 600), "PNG"))
    assert await waiting(database) == []
    await send(manager, concert, file_of((90, 60), "PNG"))
    await send(manager, concert, file_of((90, 60), "PNG"))
    assert await waiting(database) == [first.hash]

    async def sweep() -> None:
        await sweeping.SWEEPING.run(Doing(app, sweeping.SWEEPING.parse(first.hash), database))  # type: ignore[misc]  # it is awaitable

    os.utime(original, (0, 0))
    await sweep()
    # Another row has it.
    assert original.exists()
    await send(manager, other, b"", name="", remove="1")
    os.utime(original)
    await sweep()
    # It has come again, and its row may be on its way.
    assert original.exists()
    os.utime(original, (0, 0))
    await sweep()
    assert not original.exists()
    assert not forms.exists()
    await sweep()


@pytest.mark.parametrize("data", ["../x", "A" * 32, "", None, 5, "0" * 33])
def test_only_a_hash_names_files_that_go(data: Any) -> None:
    with pytest.raises(ValueError, match="named by its hash"):
        sweeping.SWEEPING.parse(data)


async def test_alt_is_changed_alone_and_a_picture_is_taken_away(
    manager: Browser, concert: Event, database: Database
) -> None:
    await send(manager, concert, file_of((80, 60), "PNG"))
    await send(manager, concert, b"", name="", alt="Words")
    shown = (await row_of(database, concert)).shown_picture
    assert shown is not None
    assert (shown.alt, shown.size.width) == ("Words", 80)
    await send(manager, concert, b"", name="", remove="1")
    assert (await row_of(database, concert)).picture is None


async def sent(manager: Browser, event: Event, database: Database) -> Shown:
    """The picture of an event, made ready."""
    await send(manager, event, file_of((800, 600), "PNG"))
    shown = (await row_of(database, event)).shown_picture
    assert shown is not None
    await make(manager, event, database, shown.hash)
    ready = (await row_of(database, event)).shown_picture
    assert ready is not None
    return ready


@pytest.mark.parametrize(("count", "moves"), [(3, True), (101, False)])
async def test_animation_moves_for_who_wants_that(
    manager: Browser, concert: Event, database: Database, count: int, moves: bool
) -> None:
    """The still forms stand first, for who prefers reduced motion."""
    frames = [Image.new("RGB", (400, 300), (number, 0, 0)) for number in range(count)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    assert (await send(manager, concert, out.getvalue())).status == 303
    shown = (await row_of(database, concert)).shown_picture
    assert shown is not None
    await make(manager, concert, database, shown.hash)
    await manager.look(EVENT)
    moving = f'<source type="image/webp" srcset="/pictures/{shown.hash}/348-moving.webp 348w, '
    assert (moving in manager.page) is moves
    still = (
        f'<source media="(prefers-reduced-motion: reduce)" type="image/avif" srcset="/pictures/{shown.hash}/348.avif'
    )
    assert (still in manager.page) is moves
    if moves:
        assert manager.page.index(still) < manager.page.index(moving)
    answer = await manager.client.get(f"/pictures/{shown.hash}/348-moving.webp")
    assert (answer.status, answer.content_type) == ((200, "image/webp") if moves else (404, "text/plain"))


@pytest.mark.parametrize(
    ("fields", "focus"),
    [
        ({"across": "30", "down": "100"}, (30, 100)),
        ({"across": "29.6", "down": "0"}, (30, 0)),
        # The picture that is clicked on is 240 × 180.
        ({"at.x": "239", "at.y": "0", "across": "1", "down": "1"}, (100, 0)),
        ({"at.x": "120", "at.y": "45"}, (50, 25)),
    ],
)
async def test_focus_is_saved_cropped_and_told(
    manager: Browser,
    concert: Event,
    database: Database,
    publisher: RecordingPublisher,
    fields: dict[str, str],
    focus: tuple[int, int],
) -> None:
    shown = await sent(manager, concert, database)
    await manager.look("/events")
    assert f"/pictures/{shown.hash}/348x348-50-50.webp 348w" in manager.page
    await manager.look(page_of(concert))
    response = await manager.send(page_of(concert), {"csrf_token": await manager.token(), "of": shown.hash, **fields})
    assert (response.status, response.headers["Location"]) == (303, f"{page_of(concert)}#focus")
    after = (await row_of(database, concert)).shown_picture
    # Pages show the old squares until the new ones are there.
    assert after == replace(shown, focus=focus)
    publisher.clear()
    await make(manager, concert, database, shown.hash)
    assert (await row_of(database, concert)).shown_picture == replace(shown, focus=focus, cropped=focus)
    assert any("events" in str(each) for each in publisher.published)
    # The old ones go a day later.
    assert await waiting(database) == [shown.hash]
    await manager.look("/events")
    crop = f"/pictures/{shown.hash}/348x348-{focus[0]}-{focus[1]}.webp"
    assert f"{crop} 348w" in manager.page
    assert (await manager.client.get(crop)).status == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"across": "101", "down": "5"}, "both numbers from 0 to 100"),
        ({"across": "-1", "down": "5"}, "both numbers from 0 to 100"),
        ({"across": "50"}, "Say in two numbers"),
        ({"across": "", "down": ""}, "Say in two numbers"),
        ({"across": "nan", "down": "inf"}, "Say in two numbers"),
        ({"across": "1e999", "down": "5"}, "Say in two numbers"),
        ({"across": "٣", "down": "1_0"}, "Say in two numbers"),
        ({"across": "<b>", "down": "5"}, "Say in two numbers"),
        ({"at.x": "9999", "at.y": "5"}, "both numbers from 0 to 100"),
        ({"at.x": "5"}, "Say in two numbers"),
        ({"at.x": "0", "at.y": "0"}, "Click on the picture, or say in numbers"),
    ],
)
async def test_focus_that_is_none_is_refused(
    manager: Browser, concert: Event, database: Database, fields: dict[str, str], words: str
) -> None:
    shown = await sent(manager, concert, database)
    await manager.look(page_of(concert))
    response = await manager.send(page_of(concert), {"csrf_token": await manager.token(), **fields})
    assert response.status == 422
    assert words in manager.page
    assert (await row_of(database, concert)).shown_picture == shown


async def test_focus_of_a_picture_that_is_gone_is_not_that_of_the_next(
    manager: Browser, concert: Event, database: Database
) -> None:
    shown = await sent(manager, concert, database)
    await manager.look(page_of(concert))
    form = {"csrf_token": await manager.token(), "of": shown.hash, "across": "5", "down": "5"}
    await send(manager, concert, file_of((90, 60), "PNG"))
    assert (await manager.send(page_of(concert), form)).status == 409
    assert "This is another picture by now." in manager.page
    await send(manager, concert, b"", name="", remove="1")
    assert (await manager.send(page_of(concert), form)).status == 409
    assert "The picture is gone" in manager.page
    assert (await row_of(database, concert)).picture is None
    assert (await manager.send("/manage/events/99999/picture", form)).status == 404


async def test_focus_that_is_said_while_forms_are_made_gets_its_own_crops(
    manager: Browser, concert: Event, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first job ends last, and must not say that its crops are those of the new focus."""
    await send(manager, concert, file_of((800, 600), "PNG"))
    shown = (await row_of(database, concert)).shown_picture
    assert shown is not None
    in_process, begun = Doing.in_process, []

    async def slow(self: Doing, function: Any, *args: Any, limit: float | None = None) -> Any:
        made = await in_process(self, function, *args)
        if function is make_forms and not begun:
            begun.append(1)
            async with database.saving() as session:
                row = await session.get_one(Event, concert.id)
                row.picture = replace(shown, focus=(9, 9)).as_row()
            await make(manager, concert, database, shown.hash)
        return made

    monkeypatch.setattr(Doing, "in_process", slow)
    await make(manager, concert, database, shown.hash)
    after = (await row_of(database, concert)).shown_picture
    assert after is not None
    assert (after.ready, after.focus, after.cropped) == (True, (9, 9), (9, 9))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!doctype html><p>x", "This is a web page, not a picture."),
        (b"<svg onload=alert(1)>", "SVG may carry scripts"),
        (file_of((30, 30))[:15], "The file ends in the middle of its header."),
    ],
    ids=["html", "svg", "cut"],
)
async def test_what_is_no_picture_is_refused_with_a_word(
    manager: Browser, concert: Event, database: Database, data: bytes, words: str
) -> None:
    response = await send(manager, concert, data, "photo.jpg")
    assert response.status == 422
    assert words in await response.text()
    assert (await row_of(database, concert)).picture is None


@pytest.mark.parametrize("name", ["../../x.html", "é %20.png", "a" * 255 + ".png", "photo.svg"])
async def test_names_do_not_count(manager: Browser, concert: Event, database: Database, name: str) -> None:
    """Files and addresses are named by what is in them."""
    data = file_of((30, 20), "PNG")
    assert (await send(manager, concert, data, name)).status == 303
    shown = (await row_of(database, concert)).shown_picture
    assert shown is not None
    assert shown.hash == hash_of(data)
    app = manager.client.server.app  # type: ignore[union-attr]  # a TestServer
    assert app[store].original(shown.hash).read_bytes() == data


async def test_what_is_too_long_is_refused(manager: Browser, concert: Event, database: Database) -> None:
    response = await send(manager, concert, file_of((30, 30), "PNG") + b"\0" * (32 * 1024**2))
    assert response.status == 413
    assert (await row_of(database, concert)).picture is None


async def test_picture_that_breaks_later_says_so_to_who_sent_it(
    manager: Browser, concert: Event, database: Database
) -> None:
    await send(manager, concert, file_of((80, 60), "PNG"))
    shown = (await row_of(database, concert)).shown_picture
    assert shown is not None
    app = manager.client.server.app  # type: ignore[union-attr]  # a TestServer
    app[store].original(shown.hash).write_bytes(b"rubbish")
    with pytest.raises(GiveUp):
        await make(manager, concert, database, shown.hash)
    await manager.look(page_of(concert))
    assert "This is not a picture that we know." in manager.page
    await manager.look(EVENT)
    assert "data-picture" not in manager.page


async def test_only_who_may_change_an_owner_sends_it_pictures(browser: Browser, concert: Event) -> None:
    assert (await browser.client.get(page_of(concert), allow_redirects=False)).status == 303
    form = FormData()
    form.add_field("file", b"x", filename="x.png")
    response = await browser.client.post(page_of(concert), data=form, headers={"Origin": "https://evil.example"})
    assert response.status == 403
    assert (await browser.client.get("/pictures/" + "0" * 32 + "/348.png")).status == 404
    assert (await browser.client.get("/pictures/..%2f..%2fx/348.png")).status == 404


async def test_forms_with_files_are_for_who_takes_them(browser: Browser, concert: Event) -> None:
    form = FormData()
    form.add_field("text", b"x", filename="x.txt")
    response = await browser.client.post(f"{EVENT}/comments", data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert response.status == 415


def test_owners_are_known_by_their_tables() -> None:
    assert {model.__tablename__ for model in HasPicture.__subclasses__()} == {"events", "podcasts", "posts"}  # type: ignore[attr-defined]
    with pytest.raises(LookupError):
        owner_of("users")
    assert PictureSettings().engine == "pillow"
