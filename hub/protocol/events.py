"""The words of `text/event-stream` that both event streams share. Pure.

An EventSource that gets any status but 200 is closed for good (HTML §9.2.3, "fail the connection"), so
whatever passes by itself is said on a stream that opens, gives a delay and ends: then it comes back.
"""

from __future__ import annotations

from collections.abc import Iterable

#: What a stream's head says. no-transform: a proxy that compresses would keep events until its buffer is full.
#: X-Accel-Buffering: so would nginx.
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}

#: Some proxies and old browsers wait for 2 KiB before they show anything.
PADDING = b":" + b" " * 2048 + b"\n"

#: Streams that may come back in a second: a process opens 1,500 on a core, and has other work then.
RETURNS = 500

#: Seconds before a stream comes back: so many at least, and up to as many more with nobody else there.
SOON = 0.5
SPREAD = 1.0

#: The same after a refusal for there being too many.
LATER = 5.0

#: Fields of a query in which polyfills say what the Last-Event-ID header would, in lower case: event-source-polyfill
#: (`lastEventId`), amvtek's (`evs_last_event_id`), Mercure's clients (`lastEventID`, once `Last-Event-ID`).
_LAST_IDS = ("lasteventid", "evs_last_event_id", "last-event-id", "last_event_id")


def last_id(header: str | None, query: Iterable[tuple[str, str]]) -> str:
    """The id of the event that a client saw last, empty if it says none. The header wins."""
    if header:
        return header
    # Scripts without CORS can't send the header, so polyfills put it into the URL.
    return next((value for name, value in query if value and name.lower() in _LAST_IDS), "")


def delay(clients: int, luck: float, least: float = SOON) -> int:
    """Milliseconds before a stream comes back.

    clients: of this process, all of which come back when it is restarted. luck: from 0 up to 1.
    """
    return round(1000 * (least + luck * max(SPREAD, least, clients / RETURNS)))


def retry(milliseconds: int) -> bytes:
    """The field that tells an EventSource how long to wait before it comes back; it is no event."""
    return b"retry: %d\n\n" % milliseconds


def comment(words: str) -> bytes:
    """A line for people."""
    return b": %b\n\n" % words.replace("\n", " ").encode("utf-8", "replace")


def event(data: bytes, identity: str) -> bytes:
    """An event with its id."""
    return b"id: %b\ndata: %b\n\n" % (identity.encode(), data)
