"""What a change of a comment tells.

What everybody may read travels whole: a page that knows the position before it shows it and asks for nothing. Of what
is held, refused or spam nothing is told but that the queue has changed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import object_session

from hub.orm.declarations import Change, Unknown
from hub.orm.sqlalchemy import AsyncNotifier

from ...db.tables import columns_of
from ...pages.templating import machine_time
from .models import Comment, Status, Thread

#: How many comments threads have, for pages that say so of many: `{"thread": 17, "count": 3}`.
COUNTS = "comment-counts"

#: What waits for a moderator has changed; its data is `true`.
QUEUE = "comment-queue"

#: Bytes of a comment as it travels; 2,000 letters of any script, and their markup. A longer one is fetched.
MAX_BYTES = 64 * 1024

_COMMENTS = "comments-{thread_id}"

#: Where a session keeps what it has counted in a flush, by thread.
_TOTALS = "comments of threads"

# Built once and asked past the session, it takes a quarter of the time.
_COLUMNS = columns_of(Comment)
_OTHERS = select(func.count(_COLUMNS.id)).where(
    _COLUMNS.thread_id == bindparam("thread"),
    _COLUMNS.status == Status.PUBLISHED,
    _COLUMNS.id != bindparam("comment"),
)


def comments_channel(thread_id: int) -> str:
    """What a thread's list of comments follows.

    Its data is `{"comment": …, "count": n}`, as `as_data` has it, for one that was published or changed;
    `{"gone": id, "edition": e, "replies": n, "count": n}` for one that is no more to be read, and keeps its place if it
    has replies; `{"open": false}` for a thread that was closed; or anything else, to fetch.
    """
    return _COMMENTS.format(thread_id=thread_id)


def as_data(comment: Any) -> dict[str, object]:
    """A published comment as scripts get it, live and in lists. comment: a row of it."""
    data: dict[str, object] = {
        "id": comment.id,
        "parent": comment.parent_id,
        "answers": comment.answers_id,
        "edition": comment.edition,
        "name": comment.name,
        "html": comment.html,
        "posted_at": machine_time(comment.posted_at),
    }
    if comment.edited_at is not None:
        data["edited_at"] = machine_time(comment.edited_at)
    return data


def _told(comment: Comment) -> dict[str, object]:
    if comment.status is Status.PUBLISHED:
        return {"comment": as_data(comment), "count": _count(comment)}
    return {
        "gone": comment.id,
        "edition": comment.edition,
        "replies": comment.replies,
        "count": _count(comment),
    }


def _counted(comment: Comment) -> dict[str, object]:
    return {"thread": comment.thread_id, "count": _count(comment)}


def _count(comment: Comment) -> int:
    session = object_session(comment)
    if session is None:
        # A row changed by a statement.
        raise Unknown
    # Each flush has a transaction of its own; all its rows are written before the first of them tells. A comment tells
    # the count twice, and in a thread of ten thousand counting takes longer than all else of its save.
    flush = session._transaction if session._flushing else None
    known: tuple[object, dict[int, int]] = session.info.get(_TOTALS, (None, {}))
    if flush is None or known[0] is not flush:
        known = session.info[_TOTALS] = flush, {}
    total = known[1].get(comment.thread_id)
    if total is None:
        others = session.connection().scalar(_OTHERS, {"thread": comment.thread_id, "comment": comment.id})
        total = known[1][comment.thread_id] = (others or 0) + (comment.status is Status.PUBLISHED)
    return total


def _was_published(comment: Comment, change: Change) -> bool:
    if change.kind == "created":
        return False
    if change.kind == "changed" and "status" in change.fields:
        return change.before.get("status", Status.PUBLISHED) is Status.PUBLISHED
    return comment.status is Status.PUBLISHED


#: What a reader sees of a comment. A published one's number of replies is for when it is gone.
_SEEN = frozenset({"name", "html", "status", "edition", "parent_id"})


def _concerns_readers(comment: Comment, change: Change) -> bool:
    if change.kind == "changed" and "replies" in change.fields and comment.status is not Status.PUBLISHED:
        # A place without words is there as long as something answers it.
        return _was_published(comment, change) or bool(comment.replies) != bool(change.before.get("replies"))
    if change.kind == "changed" and not change.fields & _SEEN:
        return False
    return comment.status is Status.PUBLISHED or _was_published(comment, change)


def _concerns_counts(comment: Comment, change: Change) -> bool:
    is_published = comment.status is Status.PUBLISHED and change.kind != "deleted"
    return is_published != _was_published(comment, change)


def _concerns_moderators(comment: Comment, change: Change) -> bool:
    return comment.status is not Status.PUBLISHED or (change.kind == "changed" and "status" in change.fields)


def declare(notify: AsyncNotifier) -> None:
    """Say to a notifier what rows that are made, changed or removed tell."""
    # None may be skipped for a newer one: each says something of its own.
    notify.declare(
        Comment, _COMMENTS, _told, on=["created", "changed"], when=_concerns_readers, max_bytes=MAX_BYTES, hint=False
    )
    notify.declare(Comment, _COMMENTS, True, on=["deleted"], when=_concerns_readers)
    notify.declare(Comment, COUNTS, _counted, on=["created", "changed"], when=_concerns_counts, hint=False)
    notify.declare(Comment, QUEUE, when=_concerns_moderators)
    # When one is made or removed, its owner tells.
    notify.declare(
        Thread, "comments-{id}", lambda thread: {"open": thread.is_open}, on=["changed"], watch=["is_open"], hint=False
    )
