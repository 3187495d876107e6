"""The comments of a thread, as pages show them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from markupsafe import Markup
from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import columns_of
from .models import Comment, Status, Thread, root_id
from .text import plain

#: Comments on a page and in a JSON answer.
SHOWN = 100

#: The newest of the first level first, or the oldest. Replies stand below theirs, the oldest first.
Order = Literal["newest", "oldest"]
ORDERS: tuple[Order, ...] = ("newest", "oldest")

_MOST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of a thread begins: with a comment, or where the next after it stands. root: what it is sorted by.

    It stays there, whatever comes before it.
    """

    root: int
    id: int

    def __str__(self) -> str:
        return f"{self.root}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """From a query, as `str` makes it. Raises ValueError."""
        match = re.fullmatch(r"([1-9][0-9]{0,9})-([1-9][0-9]{0,9})", text)
        if match is None or max(int(match[1]), int(match[2])) > _MOST_ID:
            raise ValueError(text)
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of a thread. start: None for the first."""

    order: Order = "newest"
    start: Place | None = None

    @property
    def query(self) -> str:
        """The query of the page's address, with its question mark; empty for the first page."""
        parts = ["order=oldest"] if self.order == "oldest" else []
        if self.start is not None:
            parts.append(f"start={self.start}")
        return f"?{'&'.join(parts)}" if parts else ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A comment as it is shown. is_gone: it is not to be read any more, but its replies are.

    status: of others than the writer's own only PUBLISHED, and what is gone.
    """

    id: int
    parent_id: int | None
    answers_id: int | None
    edition: int
    status: Status
    name: str
    html: str
    text: str
    posted_at: datetime
    edited_at: datetime | None
    is_own: bool = False

    @property
    def root(self) -> int:
        """The comment of the first level that it is, or is below."""
        return self.parent_id or self.id

    @property
    def is_gone(self) -> bool:
        """Whether only its place is left."""
        return not self.is_own and self.status is not Status.PUBLISHED

    @property
    def body(self) -> Markup:
        """The HTML for a template: the renderer has made it safe."""
        return Markup(self.html)


@dataclass(frozen=True, slots=True)
class Group:
    """A comment of the first level and its replies. first: None if it is on the page before."""

    root: int
    first: Shown | None
    replies: Sequence[Shown]


@dataclass(frozen=True, slots=True)
class Discussion:
    """A page of a thread. total: comments that everybody may read, of all pages; next: where the next page begins."""

    thread_id: int
    page: Page
    comments: Sequence[Shown]
    total: int
    next: Place | None
    is_open: bool
    names: dict[int, str] = field(default_factory=dict)

    @property
    def groups(self) -> list[Group]:
        """The comments as they stand below each other."""
        found: list[tuple[int, Shown | None, list[Shown]]] = []
        for each in self.comments:
            if each.parent_id is None:
                found.append((each.id, each, []))
                continue
            if not found or found[-1][0] != each.root:
                found.append((each.root, None, []))
            found[-1][2].append(each)
        return [Group(*each) for each in found]

    @property
    def next_page(self) -> Page | None:
        """The page after this."""
        return None if self.next is None else Page(self.page.order, self.next)

    @property
    def other_order(self) -> Page:
        """The first page in the other order."""
        return Page("oldest" if self.page.order == "newest" else "newest")


# Columns and no objects, in statements that are built once: this is most of what making a page costs.
_TABLE, _THREADS = columns_of(Comment), columns_of(Thread)
_COLUMNS = (
    _TABLE.id,
    _TABLE.parent_id,
    _TABLE.answers_id,
    _TABLE.edition,
    _TABLE.status,
    _TABLE.name,
    _TABLE.html,
    _TABLE.text,
    _TABLE.posted_at,
    _TABLE.edited_at,
)
_ROOT = func.coalesce(_TABLE.parent_id, _TABLE.id)
_IS_SHOWN = or_(_TABLE.status == Status.PUBLISHED, _TABLE.replies > 0)


def _pieces(order: Order) -> Any:
    root: ColumnElement[int] = bindparam("root")
    id: ColumnElement[int] = bindparam("id")
    begun = or_(root != _ROOT, _TABLE.id >= id)
    is_after = root >= _ROOT if order == "newest" else root <= _ROOT
    return (
        select(*_COLUMNS)
        .where(_TABLE.thread_id == bindparam("thread"), _IS_SHOWN, is_after, begun)
        .order_by(_ROOT.desc() if order == "newest" else _ROOT, _TABLE.id)
        .limit(bindparam("most"))
    )


_PIECES: dict[Order, Any] = {order: _pieces(order) for order in ORDERS}
_IS_OPEN = select(_THREADS.is_open).where(_THREADS.id == bindparam("thread"))
_TOTAL = select(func.count(_TABLE.id)).where(_TABLE.thread_id == bindparam("thread"), _TABLE.status == Status.PUBLISHED)
_FIRST: dict[Order, Place] = {"newest": Place(_MOST_ID, 0), "oldest": Place(0, 0)}


def read_discussion(
    connection: Connection,
    thread_id: int,
    page: Page = Page(),
    *,
    own: Collection[int] = (),
    is_open: bool | None = None,
) -> Discussion:
    """A page of a thread, for `Database.look`. A thread that is gone has no comments, and is closed.

    own: comments of who asks that only they see; those that belong on this page are among its comments. is_open:
    whether the thread is, if that is known.
    """
    start = page.start or _FIRST[page.order]
    which = {"thread": thread_id, "root": start.root, "id": start.id, "most": SHOWN + 1}
    found = [_shown(row) for row in connection.execute(_PIECES[page.order], which)]
    following = found[SHOWN] if len(found) > SHOWN else None
    found = found[:SHOWN]
    if own:
        found = _with_own(connection, thread_id, page, found, following, own)
    total = sum(each.status is Status.PUBLISHED for each in found)
    if page.start is not None or following is not None:
        total = connection.scalar(_TOTAL, {"thread": thread_id}) or 0
    if is_open is None:
        is_open = bool(connection.scalar(_IS_OPEN, {"thread": thread_id}))
    return Discussion(
        thread_id,
        page,
        found,
        total,
        None if following is None else Place(following.root, following.id),
        is_open,
        {each.id: each.name for each in found if not each.is_gone},
    )


def _with_own(
    connection: Connection,
    thread_id: int,
    page: Page,
    found: Sequence[Shown],
    following: Shown | None,
    own: Collection[int],
) -> list[Shown]:
    mine = select(*_COLUMNS).where(_TABLE.id.in_(own), _TABLE.thread_id == thread_id)
    together = {each.id: each for each in found}
    for row in connection.execute(mine):
        one = replace(_shown(row), is_own=True)
        if one.status in (Status.PUBLISHED, Status.HELD) and _is_between(one, page, following):
            together[one.id] = one
    sign = -1 if page.order == "newest" else 1
    return sorted(together.values(), key=lambda each: (sign * each.root, each.id))


def _is_between(one: Shown, page: Page, following: Shown | None) -> bool:
    def key(root: int, id: int) -> tuple[int, int]:
        return (-root if page.order == "newest" else root, id)

    at = key(one.root, one.id)
    begins = page.start is None or at >= key(page.start.root, page.start.id)
    return begins and (following is None or at < key(following.root, following.id))


def _shown(row: Any) -> Shown:
    # Its fields are in the order of the columns.
    shown = Shown(*row)
    # Of before there was a renderer.
    return shown if shown.html else replace(shown, html=plain(shown.text))


async def place_of(session: AsyncSession, comment_id: int) -> tuple[int, Page] | None:
    """The thread of a comment that is to be seen, and the page that has it; None if there is none."""
    row = (
        await session.execute(select(Comment.thread_id, Comment.parent_id).where(Comment.id == comment_id, _IS_SHOWN))
    ).one_or_none()
    if row is None:
        return None
    root = row.parent_id or comment_id
    newer = select(Comment.id).where(
        Comment.thread_id == row.thread_id,
        _IS_SHOWN,
        root_id >= root,
        or_(root_id != root, Comment.id < comment_id),
    )
    # Not all of them are to be counted: only whether it is beyond the first page.
    before = len((await session.execute(newer.limit(SHOWN))).all())
    if before < SHOWN:
        return row.thread_id, Page()
    above = select(Comment.id).where(root_id == root, Comment.thread_id == row.thread_id, _IS_SHOWN)
    above = above.where(Comment.id < comment_id).limit(SHOWN)
    # With all that it answers, if that fits.
    start = root if len((await session.execute(above)).all()) < SHOWN else comment_id
    return row.thread_id, Page("newest", Place(root, start))


async def count_comments(session: AsyncSession, thread_ids: Collection[int]) -> dict[int, int]:
    """How many comments each of these threads has; one that has none is not in it."""
    if not thread_ids:
        return {}
    counts = select(Comment.thread_id, func.count()).where(
        Comment.thread_id.in_(thread_ids), Comment.status == Status.PUBLISHED
    )
    found = await session.execute(counts.group_by(Comment.thread_id))
    return dict(found.all())


def published(comments: Iterable[Shown]) -> list[Shown]:
    """Those that everybody may read."""
    return [each for each in comments if each.status is Status.PUBLISHED]
