"""Which change of a thread tells which channel."""

from __future__ import annotations

from hub.orm.sqlalchemy import AsyncNotifier

from .models import Comment, Thread

_COMMENTS = "comments-{thread_id}"


def comments_channel(thread_id: int) -> str:
    """What a thread's list of comments follows; its data is the comment's id, or `true` for the thread itself."""
    return _COMMENTS.format(thread_id=thread_id)


def declare(notify: AsyncNotifier) -> None:
    """Say to a notifier what rows that are made, changed or removed tell."""
    notify.declare(Comment, _COMMENTS, lambda comment: comment.id)
    # Whether it is open is on the page. When one is made or removed, its owner tells.
    notify.declare(Thread, "comments-{id}", on=["changed"])
