"""Feeds that tests make."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

ITUNES = "http://www.itunes.com/dtds/podcast-1.0.dtd"
HEAD = f'<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" xmlns:itunes="{ITUNES}">'


def item(
    title: str = "One",
    *,
    guid: str | None = None,
    url: str = "http://sound.example/1.mp3",
    date: str | datetime | None = None,
    duration: str | None = "10:00",
    type: str | None = "audio/mpeg",
    length: str = "1000",
    more: str = "",
) -> str:
    """An item with an enclosure; the guid is its title unless it is said."""
    if isinstance(date, datetime):
        date = f"{date:%a, %d %b %Y %H:%M:%S} +0000"
    parts = [f"<title>{escape(title)}</title>"]
    if guid != "":
        parts.append(f"<guid>{escape(title if guid is None else guid)}</guid>")
    if date is not None:
        parts.append(f"<pubDate>{escape(date)}</pubDate>")
    if duration is not None:
        parts.append(f"<itunes:duration>{escape(duration)}</itunes:duration>")
    kind = "" if type is None else f" type={quoteattr(type)}"
    parts.append(f"<enclosure url={quoteattr(url)}{kind} length={quoteattr(length)}/>")
    return f"<item>{''.join(parts)}{more}</item>"


def feed(*items: str, title: str = "A Show", more: str = "", head: str = HEAD) -> bytes:
    """A feed of these items."""
    body = "".join(items)
    return f"{head}<channel><title>{escape(title)}</title>{more}{body}</channel></rss>".encode()


def weekly(count: int, *, until: datetime | None = None, minutes: int = 30, title: str = "A Show") -> bytes:
    """A feed with so many episodes, a week between each two."""
    end = until or datetime.now(UTC) - timedelta(hours=1)
    return feed(*episodes(count, end, minutes), title=title)


def episodes(count: int, end: datetime, minutes: int = 30) -> Sequence[str]:
    """Items a week apart, the newest first."""
    return [
        item(
            f"Number {count - place}",
            url=f"http://sound.example/{count - place}.mp3",
            date=end - timedelta(days=7 * place),
            duration=str(minutes * 60),
        )
        for place in range(count)
    ]
