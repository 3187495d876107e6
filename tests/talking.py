"""What tests of comments share: a thread, written to as visitors do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse
from sqlalchemy import select
from visiting import Browser

from web.app import read_settings
from web.db.database import Database
from web.features.comments.models import Comment, Record, Status
from web.features.events.models import Event
from web.settings import Settings

PAGE = "/events/brass-on-the-quay"
POST = PAGE + "/comments"
JSON = PAGE + "/comments.json"


@dataclass
class Writer:
    """Somebody who writes, without JavaScript."""

    browser: Browser
    name: str = "Ada"

    async def post(self, text: str, parent: int | None = None, **fields: str) -> ClientResponse:
        """Fill in the form of the page, or of a reply, and send it."""
        await self.browser.look(PAGE if parent is None else f"/comments/{parent}/reply")
        return await self.browser.submit(POST, {"name": self.name, "text": text} | fields)

    async def say(self, text: str, parent: int | None = None, **fields: str) -> int:
        """Post a comment that is accepted; its id."""
        response = await self.post(text, parent, **fields)
        assert response.status == 303, self.browser.page
        return int(response.headers["Location"].rpartition("-")[2])

    async def edit(self, comment: int, text: str) -> ClientResponse:
        await self.browser.look(f"/comments/{comment}/edit")
        return await self.browser.submit(f"/comments/{comment}/edit", {"text": text})

    async def delete(self, comment: int) -> ClientResponse:
        await self.browser.look(f"/comments/{comment}/edit")
        return await self.browser.submit(f"/comments/{comment}/delete", {})

    async def send(self, path: str, **fields: str) -> ClientResponse:
        """Send the comment as the page's script does."""
        return await self.browser.send(path, fields, headers={"Accept": "application/json"})


def working_settings(site_url: str, folder: Path, rounds: int) -> Settings:
    """Those of a site that judges comments and asks for work."""
    return read_settings(
        {
            "DATABASE_URL": site_url,
            "HUB_VAR": str(folder / "var"),
            "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "JOBS_SERVE": "false",
            "SITE_COMMENT_WORK": str(rounds),
        }
    )


async def comments(database: Database) -> list[Comment]:
    async with database.reading() as session:
        return list(await session.scalars(select(Comment).order_by(Comment.id)))


async def records(database: Database) -> list[Record]:
    async with database.reading() as session:
        return list(await session.scalars(select(Record).order_by(Record.comment_id)))


async def set_columns(database: Database, comment: int, **columns: Any) -> None:
    async with database.saving() as session:
        row = await session.get_one(Comment, comment)
        for name, value in columns.items():
            setattr(row, name, value)


async def listed(browser: Browser, query: str = "") -> list[tuple[int, int | None]]:
    """The ids of a page of comments, with what each is below."""
    answer = await (await browser.fetch(JSON + query)).json()
    return [(each["id"], each["parent"]) for each in answer["comments"]]


async def fill(database: Database, event: Event, count: int) -> None:
    """Every third one starts; the others answer it."""
    async with database.saving() as session:
        root: Comment | None = None
        for number in range(count):
            below = root.id if root is not None and number % 3 else None
            comment = Comment(thread_id=event.thread_id, name="Ada", text=str(number), parent_id=below)
            session.add(comment)
            await session.flush()
            if below is None:
                root = comment


__all__ = [
    "JSON",
    "PAGE",
    "POST",
    "Status",
    "Writer",
    "comments",
    "fill",
    "listed",
    "records",
    "set_columns",
    "working_settings",
]
