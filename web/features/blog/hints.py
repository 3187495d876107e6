"""Which change of a post tells which channel.

A hint says that something changed, and pages ask their own address what: how a post looks in a list depends on the
list. What nobody may read yet (a draft, a post that is planned) tells nobody but the desk; when its time comes, a job
tells it.
"""

from __future__ import annotations

from datetime import datetime

from hub.orm.declarations import Change
from hub.orm.sqlalchemy import AsyncNotifier

from ...db.tables import now
from .models import Post, PostCategory, State

#: Lists of posts follow it: one that is public was made, changed or removed, or has become public. Its data is `true`.
POSTS = "posts"

#: A category was renamed; pages of posts show its name.
CATEGORIES = "post-categories"

#: The desk follows it: any post was made, changed or removed. It takes a token, which writers have (`Hub.token`).
DESK = "private-desk"

_POST = "post-{id}"


def post_channel(post_id: int) -> str:
    """What a post's own page follows; its data is `true`."""
    return _POST.format(id=post_id)


def is_public(post: Post) -> bool:
    """Whether a post may be read by everybody now."""
    return post.state is State.PUBLISHED and post.published_at is not None and post.published_at <= now()


def concerns_readers(post: Post, change: Change) -> bool:
    """Whether a change of a post is one that readers can see: it is public, or was."""
    if is_public(post):
        return True
    changed = change.fields & {"state", "published_at"}
    if not changed:
        return False
    if not changed <= change.before.keys():
        # It may have been.
        return True
    state, since = (change.before.get(name, getattr(post, name)) for name in ("state", "published_at"))
    return state is State.PUBLISHED and isinstance(since, datetime) and since <= now()


def declare(notify: AsyncNotifier) -> None:
    """Say to a notifier what rows that are made, changed or removed tell."""
    notify.declare(Post, POSTS, when=concerns_readers)
    notify.declare(Post, _POST, when=concerns_readers)
    notify.declare(Post, DESK)
    for channel in (POSTS, CATEGORIES):
        notify.declare(PostCategory, channel, on=["changed", "deleted"])
