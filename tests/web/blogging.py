"""What tests of the blog share: posts, saved as the site does."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.db.tables import now
from web.features.blog.hints import DESK
from web.features.blog.models import Post
from web.features.blog.posts import Writing, create, publish, ready, unpublish, update
from web.features.pictures.forms import Shown, form_sizes
from web.features.pictures.geometry import Size
from web.services.jobs.queue import Queue


@dataclass
class Blog:
    """Saves posts the way the site does. What they tell is heard, and no more seen in the publisher."""

    database: Database
    publisher: RecordingPublisher
    jobs: Queue = field(default_factory=Queue)

    async def draft(self, title: str, **writing: Any) -> Post:
        new = await ready(Writing(title=title, **writing))
        async with self.database.saving() as session:
            return await create(session, self.jobs, new)

    async def post(self, title: str, *categories: str, at: datetime | None = None, **writing: Any) -> Post:
        """A post that is published, an hour ago if nothing else is said."""
        post = await self.draft(title, categories=categories, **writing)
        return await self.publish(post, at or now() - timedelta(hours=1))

    async def publish(self, post: Post, at: datetime | None = None) -> Post:
        async with self.database.saving() as session:
            return await publish(session, self.jobs, post.id, at)

    async def unpublish(self, post: Post) -> Post:
        async with self.database.saving() as session:
            return await unpublish(session, post.id)

    async def edit(self, post: Post, *, edition: int | None = None, **writing: Any) -> Post:
        """Save it again with other words; what is not said is as it is."""
        given = {"title": post.title, "text": post.text} | writing
        new = await ready(Writing(**given))
        async with self.database.saving() as session:
            return await update(session, self.jobs, post.id, new, post.edition if edition is None else edition)

    async def many(self, count: int, *categories: str) -> None:
        """So many posts, "Post 1." the oldest."""
        for number in range(1, count + 1):
            await self.post(f"Post {number}.", *categories, at=now() - timedelta(days=count - number, hours=1))

    async def show(self, post: Post, shown: Shown) -> None:
        """Give the post a picture."""
        async with self.database.saving() as session:
            (await session.get_one(Post, post.id)).picture = shown.as_row()

    def told(self) -> set[str]:
        """The channels that readers may hear and that were told since the last time."""
        found = {channel for channel, _ in self.publisher.published if channel != DESK}
        self.publisher.clear()
        return found


def picture(*, ready: bool = True) -> Shown:
    """A picture whose forms are there, or are being made."""
    size = Size(1200, 600)
    return Shown("a" * 32, size, ready=ready, sizes=form_sizes(size) if ready else (), alt='A "white" quay')
