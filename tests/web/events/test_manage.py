"""The manager's table: making, editing, changing the status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from visiting import Browser, Calendar, Forms

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.features.events.manage import _SLUG, slug_of
from web.features.events.models import MAX_SLUG, Category, Event, Status


@pytest.fixture
def form(music: Category) -> dict[str, str]:
    """A form that will do."""
    return {
        "title": "Jazz Night",
        "slug": "",
        "starts_at": "2030-05-17T18:30",
        "category": str(music.id),
        "description": "Until late.",
    }


async def events(database: Database) -> list[Event]:
    async with database.reading() as session:
        return list(await session.scalars(select(Event).order_by(Event.id)))


async def create(manager: Browser, form: dict[str, str], **fields: str) -> Any:
    await manager.look("/manage/events/new")
    return await manager.submit("/manage/events", form | fields)


async def test_every_event_has_a_row_that_the_script_can_follow(
    manager: Browser, calendar: Calendar, concert: Event, publisher: RecordingPublisher
) -> None:
    position = await publisher.publish("events", True)
    assert (await manager.look("/manage/events")).headers["Cache-Control"] == "no-store"
    assert f'data-follow="events" data-position="{position}"' in manager.page
    assert f'data-event-id="{concert.id}"' in manager.page


async def test_live_events_stand_first_then_the_next_ones_then_what_was(
    manager: Browser, calendar: Calendar, music: Category
) -> None:
    """The next event was the last of those to come."""
    for title, day, status in (
        ("In May", 5, Status.SCHEDULED),
        ("In March", 3, Status.SCHEDULED),
        ("Long ago", 1, Status.ENDED),
        ("Lately", 2, Status.ENDED),
        ("Now", 4, Status.LIVE),
    ):
        await calendar.event(title, music, starts_at=datetime(2030, day, 1, tzinfo=UTC), status=status)
    await manager.look("/manage/events")
    places = [manager.page.index(f">{title}</a>") for title in ("Now", "In March", "In May", "Lately", "Long ago")]
    assert places == sorted(places)


async def test_a_new_event_is_saved_and_told(
    manager: Browser, form: dict[str, str], database: Database, publisher: RecordingPublisher
) -> None:
    response = await create(manager, form)
    assert (response.status, response.headers["Location"]) == (303, "/manage/events")
    (event,) = await events(database)
    assert (event.title, event.slug, event.status) == ("Jazz Night", "jazz-night", Status.SCHEDULED)
    assert event.starts_at.isoformat() == "2030-05-17T18:30:00+00:00"
    assert publisher.published == [("events", True), (f"event-{event.id}", True)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", "x" * 121),
        ("slug", "Not a slug!"),
        ("slug", "x" * 81),
        ("slug", "-a"),
        ("starts_at", "soon"),
        ("starts_at", ""),
        ("starts_at", "0001-01-01T00:00"),
        ("category", ""),
        ("category", "999999999"),
        ("category", "1; drop table events"),
        ("description", "x" * 10_001),
    ],
)
async def test_an_event_that_will_not_do_comes_back_with_the_reason(
    manager: Browser, form: dict[str, str], database: Database, publisher: RecordingPublisher, field: str, value: str
) -> None:
    assert (await create(manager, form, **{field: value})).status == 422
    assert f'id="{field}-error"' in manager.page
    assert await events(database) == []
    assert publisher.published == []


async def test_two_events_have_two_addresses(manager: Browser, form: dict[str, str], concert: Event) -> None:
    assert (await create(manager, form, slug=concert.slug)).status == 422
    assert "Another event has this address already." in manager.page


async def test_an_edit_is_saved_and_told(
    manager: Browser, concert: Event, database: Database, publisher: RecordingPublisher
) -> None:
    action = f"/manage/events/{concert.id}/edit"
    await manager.look(action)
    response = await manager.submit(action, {"title": "Brass & Wind", "description": ""})
    assert response.status == 303
    (event,) = await events(database)
    assert (event.title, event.slug, event.description) == ("Brass & Wind", concert.slug, "")
    assert publisher.published == [("events", True), (f"event-{concert.id}", True)]


async def test_of_two_edits_of_the_same_form_the_second_is_told(
    manager: Browser, concert: Event, database: Database
) -> None:
    action = f"/manage/events/{concert.id}/edit"
    await manager.look(action)
    form = manager.page
    assert (await manager.submit(action, {"title": "First"})).status == 303
    manager.page = form
    assert (await manager.submit(action, {"title": "Second"})).status == 409
    assert "Someone else has edited this event meanwhile. It now says: “First”" in manager.page
    assert [event.title for event in await events(database)] == ["First"]
    # The form that comes back knows of the first edit, so sending it again is a decision.
    assert (await manager.submit(action, {"title": "Second"})).status == 303
    assert [event.title for event in await events(database)] == ["Second"]


async def test_a_change_of_status_does_not_make_an_open_form_too_old(manager: Browser, concert: Event) -> None:
    action = f"/manage/events/{concert.id}/edit"
    await manager.look(action)
    form = manager.page
    await manager.look("/manage/events")
    assert (await manager.submit(f"/manage/events/{concert.id}/status", {"status": "live"})).status == 303
    manager.page = form
    assert (await manager.submit(action, {"title": "Still fine"})).status == 303


async def test_the_status_is_changed_in_place_and_told(
    manager: Browser, concert: Event, database: Database, publisher: RecordingPublisher
) -> None:
    await manager.look("/manage/events")
    response = await manager.submit(
        f"/manage/events/{concert.id}/status", {"status": "live"}, headers={"Accept": "application/json"}
    )
    assert (response.status, await response.json()) == (200, {"id": concert.id, "status": "live"})
    assert [event.status for event in await events(database)] == [Status.LIVE]
    assert publisher.published == [("events", True), (f"event-{concert.id}", True)]


@pytest.mark.parametrize("status", ["", "LIVE", "gone"])
async def test_a_status_that_is_none_is_refused(manager: Browser, concert: Event, status: str) -> None:
    await manager.look("/manage/events")
    response = await manager.submit(f"/manage/events/{concert.id}/status", {"status": status})
    assert response.status == 400
    assert "A status is scheduled, live or ended." in manager.page


async def test_only_managers_change_anything(
    browser: Browser, concert: Event, database: Database, form: dict[str, str], publisher: RecordingPublisher
) -> None:
    for path in ("/manage/events", f"/manage/events/{concert.id}/edit", f"/manage/events/{concert.id}/status"):
        response = await browser.send(path, form | {"status": "live", "edition": "1"})
        assert response.status == 401
    (event,) = await events(database)
    assert (event.title, event.status) == (concert.title, Status.SCHEDULED)
    assert publisher.published == []


async def test_an_event_that_is_gone_is_404(manager: Browser) -> None:
    assert (await manager.look("/manage/events/12345/edit")).status == 404
    await manager.look("/manage/events/new")
    token = Forms.of(manager.page)["/manage/events"]["csrf_token"]
    assert (await manager.send("/manage/events/12345/status", {"csrf_token": token, "status": "live"})).status == 404


@given(st.text())
def test_a_slug_made_of_any_title_is_a_slug_or_nothing(title: str) -> None:
    slug = slug_of(title)
    assert slug == "" or (_SLUG.fullmatch(slug) and len(slug) <= MAX_SLUG)


def test_slugs_keep_the_letters_and_lose_the_accents() -> None:
    assert slug_of("  Été à l’Opéra — 2030! ") == "ete-a-lopera-2030"
