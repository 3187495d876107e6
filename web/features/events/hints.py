"""Which change of an event tells which channel.

A hint says that something changed; the page asks its own URL what, and is shown what its visitor
may see. Channels are Fanout names, as the templates and `fanout.js` use them.
"""

from __future__ import annotations

from hub.orm.sqlalchemy import AsyncNotifier

from .models import Event

#: Some event was made, changed or removed; its data is `true`.
EVENTS = "events"

_EVENT = "event-{id}"


def event_channel(event_id: int) -> str:
    """What one event's own page follows; its data is `true`."""
    return _EVENT.format(id=event_id)


def declare(notify: AsyncNotifier) -> None:
    """Say to a notifier what rows that are made, changed or removed tell."""
    notify.declare(Event, EVENTS)
    notify.declare(Event, _EVENT)
