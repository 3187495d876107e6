"""Which change tells which channel: all of it is here.

A hint says that something changed; the page asks its own URL what, and is shown what its visitor
may see. Channels are Fanout names, as the templates and `fanout.js` use them.
"""

from __future__ import annotations

from dataclasses import dataclass

from .models import Base, Comment, Event

#: Some event was made, changed or removed; its data is `true`.
EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Hint:
    """What to tell a channel. data: any JSON value, small."""

    channel: str
    data: object


def event_channel(event_id: int) -> str:
    """What one event's own page follows; its data is `true`."""
    return f"event-{event_id}"


def comments_channel(event_id: int) -> str:
    """What an event's list of comments follows; its data is the comment's id."""
    return f"comments-{event_id}"


def hints_of(row: Base) -> tuple[Hint, ...]:
    """What a row that was made, changed or removed tells; it must have its id."""
    match row:
        case Comment():
            return (Hint(comments_channel(row.event_id), row.id),)
        case Event():
            return (Hint(EVENTS, True), Hint(event_channel(row.id), True))
    return ()
