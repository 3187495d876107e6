"""Content for the first run: three posts in two categories, and what people say about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from ...db.database import Database
from ...db.tables import now
from ...services.jobs.queue import Queue
from ..comments.models import Comment
from .models import Post
from .posts import Writing, create, publish, ready


async def fill(database: Database) -> Sequence[str]:
    """Demo content for a blog without posts, and what to say of it."""
    count = await load(database)
    return [f"demo content: {count} posts"] if count else []


async def load(database: Database) -> int:
    """Fill a blog that has no posts; how many were made. Of two processes doing so at once one does the work."""
    made = [(entry, await ready(entry.writing)) for entry in POSTS]
    jobs, moment = Queue(), now()
    async with database.saving() as session:
        if await session.scalar(select(func.count()).select_from(Post)):
            return 0
        for entry, new in made:
            post = await create(session, jobs, new)
            since = moment - timedelta(days=entry.days, hours=3)
            post.created_at = post.changed_at = since
            await publish(session, jobs, post.id, since)
            for number, (name, text) in enumerate(entry.comments, 1):
                posted = since + timedelta(minutes=17 * number)
                session.add(Comment(thread_id=post.thread_id, name=name, text=text, posted_at=posted))
                await session.flush()
    return len(POSTS)


@dataclass(frozen=True, slots=True)
class Entry:
    """A post of the demo. days: since it was published."""

    days: int
    writing: Writing
    comments: tuple[tuple[str, str], ...] = ()


POSTS = (
    Entry(
        9,
        Writing(
            title="Why the Tide Clock Was Wrong",
            categories=("Behind the Scenes",),
            keywords=("tide clock", "harbour"),
            text="""For eleven years the clock on the harbour wall told the tide, and for eleven years it was
*nearly* right. Last week we found out why.

## A gear with one tooth too many

The tide comes every **12 hours and 25 minutes**. The clock's makers had built it for 12 hours and 26:

| | a day | a month |
|---|---|---|
| the moon | 50 min | 25 h 20 min |
| our clock | 52 min | 26 h 20 min |

A minute is not much. After a month it is an hour, and somebody with a ladder and a long finger put it back.

> I always wondered why they paid me in fish. It was for the clock.

Since Tuesday it has a new gear. Whoever wants the old one may have it, on condition that it is hung where
nobody tells the time by it.
""",
        ),
        (
            ("Ladder", "Eleven years! And nobody said a word when I retired."),
            ("Agnes", "I would like the gear, for the kitchen. Nothing is on time there anyway."),
        ),
    ),
    Entry(
        4,
        Writing(
            title="How This Page Knows",
            categories=("Behind the Scenes", "Town Notes"),
            keywords=("live pages", "hub"),
            text="""Leave this page open, ask somebody else to write a comment below, and watch.
Nobody reloads anything.

## What happens

1. The comment is saved.
2. Right after that the server says one thing: *comments changed*.
3. Every browser that looks at this page hears it within milliseconds, and fetches what is new.

```python
async with database.saving() as session:
    session.add(comment)        # what is told is told after the commit
```

The same is true of this text. If we find a mistake in it while you read, it is mended under your eyes.
""",
        ),
        (
            ("Pelle", "I asked my sister to comment. She is in the next room."),
            ("Pelle’s sister", "It works. Come to dinner."),
            ("Kim", "So if I stop reading, will you stop mending?"),
        ),
    ),
    Entry(
        1,
        Writing(
            title="A Bench for the Ferry Queue",
            categories=("Town Notes",),
            keywords=("bench", "ferry"),
            summary="Somebody has put a bench where the queue for the ferry is longest. Nobody knows who.",
            text="""On Monday there was no bench. On Tuesday there was one: oak, three seats wide,
with a place for a cup.

The town hall says that it has ordered none. The ferry's people say that it is not
theirs. It carries a small brass plate:

> For those who wait. You were going to stand.

- It stands level, which the quay does not.
- It faces the ferry and not the timetable, which is kinder.
- It has been there for a week now, and **nobody has carved a name into it**.

If it was you: thank you.
""",
        ),
        (("Line 4 regular", "It was not me, but I have sat on it for all of you."),),
    ),
)
