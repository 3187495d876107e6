"""What tests of the site share: rows put into its database, and browsers without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from hub.protocol.publications import Position
from hub.publisher import RecordingPublisher
from web.app import hints_of
from web.db.database import Database
from web.features.comments.models import Comment
from web.features.events.models import Category, Event, Status

PASSWORD = "correct horse battery"
#: What the site's rows tell.
HINTS = hints_of()
STARTS = datetime(2030, 5, 17, 18, 30, tzinfo=UTC)


@dataclass
class Calendar:
    """Puts rows into the database the way another process would: nobody is told."""

    database: Database
    publisher: RecordingPublisher

    async def category(self, name: str) -> Category:
        async with self.database.saving() as session:
            category = Category(name=name, slug=name.lower())
            session.add(category)
        return category

    async def event(self, title: str, category: Category, **columns: Any) -> Event:
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        values = {"slug": slug, "description": "", "starts_at": STARTS, "status": Status.SCHEDULED} | columns
        async with self.database.saving() as session:
            event = Event(title=title, category_id=category.id, edition=1, **values)
            session.add(event)
        self.publisher.clear()
        return event

    async def comments(self, event: Event, count: int) -> None:
        async with self.database.saving() as session:
            for number in range(1, count + 1):
                posted = STARTS + timedelta(minutes=number)
                session.add(Comment(thread_id=event.thread_id, name="Ada", text=f"Number {number}.", posted_at=posted))
                await session.flush()
        self.publisher.clear()


class Heard:
    """How far a process has heard of a RecordingPublisher's log: all of it, unless a test says otherwise."""

    def __init__(self, publisher: RecordingPublisher) -> None:
        self._publisher = publisher
        #: Positions that stay where they are, by channel: this process has not heard further.
        self.behind: dict[str, str] = {}
        self.deaf = False

    @property
    def hears(self) -> bool:
        return not self.deaf and self._publisher.error is None

    def _top(self, channel: str) -> str:
        return self.behind.get(channel) or str(self._publisher._top(f"/{channel}"))

    def positions(self, channels: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(self._top, channels))

    async def reached(self, channel: str, position: str, timeout: float = 0.0) -> bool:
        wanted, top = Position.parse(position), Position.parse(self._top(channel))
        return wanted.epoch == top.epoch and wanted.offset <= top.offset

    def wait(self, channel: str) -> None:
        """Stay behind on a channel from now on: what comes later is not heard."""
        self.behind[channel] = self._top(channel)


class Browser:
    """What a browser without JavaScript does: pages, forms with their hidden fields, cookies."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client
        self.origin = str(client.make_url("/")).rstrip("/")
        self.page = ""

    async def look(self, path: str, **options: Any) -> ClientResponse:
        """GET a page as a browser does; its text is kept in `page`."""
        headers = {"Accept": "text/html,*/*;q=0.8"} | options.pop("headers", {})
        response = await self.client.get(path, headers=headers, **options)
        self.page = await response.text()
        return response

    async def fetch(self, path: str, **options: Any) -> ClientResponse:
        """Send a GET request as the page's script does."""
        return await self.client.get(
            path, headers={"Accept": "application/json"} | options.pop("headers", {}), **options
        )

    async def submit(self, action: str, fields: dict[str, str], **options: Any) -> ClientResponse:
        """Send the form with this action that is on the page last looked at; redirects aren't followed."""
        hidden = Forms.of(self.page)[action]
        return await self.send(action, hidden | fields, **options)

    async def send(self, path: str, fields: dict[str, str], **options: Any) -> ClientResponse:
        """POST as a browser does, whatever the page says."""
        headers = {"Accept": "text/html,*/*;q=0.8", "Origin": self.origin} | options.pop("headers", {})
        response = await self.client.post(path, data=fields, headers=headers, allow_redirects=False, **options)
        self.page = await response.text()
        return response

    async def token(self) -> str:
        """The form token of the user who is signed in here; "" for nobody, whose pages have none."""
        await self.look("/")
        return Forms.of(self.page).get("/logout", {}).get("csrf_token", "")

    async def sign_in(self, name: str = "ada", password: str = PASSWORD) -> ClientResponse:
        await self.look("/login")
        return await self.submit("/login", {"name": name, "password": password})


class Forms(HTMLParser):
    """The forms of a page: by action, the fields with the values they have."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self._form: dict[str, str] = {}

    @classmethod
    def of(cls, page: str) -> dict[str, dict[str, str]]:
        parser = cls()
        parser.feed(page)
        return parser.forms

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "form":
            self._form = self.forms.setdefault(attributes["action"] or "", {})
        elif tag == "input" and "name" in attributes:
            self._form[attributes["name"] or ""] = attributes.get("value") or ""
        elif tag == "option" and "selected" in attributes:
            self._form["category"] = attributes["value"] or ""
