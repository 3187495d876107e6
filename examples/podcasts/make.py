"""Makes the feeds of the demo, and their sound: a second or two of silence each, as MP3.

    python examples/podcasts/make.py        writes *.xml and *.mp3 beside itself

Each feed has something that real ones have: lengths in every form, trailers, a bonus, a day without a zone, a file that
isn't well-formed, a length that nobody knows. To see them fetched, serve this folder and let the site reach it:

    python -m http.server 9000 --directory examples/podcasts
    OUTBOUND_ALLOW=127.0.0.1 fanfare podcasts add http://127.0.0.1:9000/night-ferry.xml
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

HERE = Path(__file__).resolve().parent

#: The newest episode of all; the demo moves all of them to now.
NEWEST = datetime(2026, 11, 27, 6, 0, tzinfo=UTC)

#: A frame of MPEG-1 layer III, 128 kbit/s, 44.1 kHz, with nothing in it: 26 ms of silence.
FRAME = bytes.fromhex("fffb9064") + bytes(413)

ITUNES = "http://www.itunes.com/dtds/podcast-1.0.dtd"


@dataclass(frozen=True)
class Show:
    """A podcast. days: between two episodes; minutes: least and most; form: how its lengths are written."""

    name: str
    title: str
    about: str
    days: float
    hour: int
    minutes: tuple[int, int]
    count: int
    form: str
    topics: tuple[str, ...]


SHOWS = (
    Show("night-ferry", "The Night Ferry", "Stories told between two harbours, once a week.", 7, 21, (38, 66), 60,
         "h:m:s", ("The Captain’s Cat", "Fog", "Last Crossing", "A Bag Left Behind", "The Lighthouse Sends a Letter")),
    Show("bread-and-butter", "Bread & Butter", "What the bakers of the town talk about at four in the morning.", 1, 4,
         (9, 16), 150, "m:s", ("Rye", "Salt", "A Broken Oven", "Crumbs", "The Queue", "Butter, Mostly")),
    Show("small-machines", "Small Machines", "Things with gears, taken apart. Every second week.", 14, 17, (55, 95), 40,
         "seconds", ("The Tide Clock", "A Music Box", "Typewriters", "The Lock on Gate 4")),
    Show("line-four", "Line 4", "The tram, its drivers, and who rides it.", 3.5, 7, (20, 34), 90, "fraction",
         ("Depot", "The Bell", "Rush Hour", "Night Shift", "Ticket, Please")),
    Show("unknown-lengths", "Nobody Knows How Long", "A show that never says how long it is.", 10, 12, (25, 50), 30,
         "none", ("Approximately", "Give or Take", "Until It Ends")),
    Show("quay-choir", "Quay Choir Practice", "Rehearsals, in full, with all mistakes.", 7, 19, (80, 125), 44, "h:m:s",
         ("Basses Late Again", "The Difficult Bar", "Alto Day", "From the Top")),
)  # fmt: skip


def length(form: str, seconds: int) -> str:
    """A length as this publisher writes it."""
    hours, rest = divmod(seconds, 3600)
    text = {
        "h:m:s": f"{hours:02}:{rest // 60:02}:{rest % 60:02}",
        "m:s": f"{seconds // 60}:{seconds % 60:02}",
        "seconds": str(seconds),
        "fraction": f"{seconds}.5 ",
        "none": "",
    }[form]
    return f"<itunes:duration>{text}</itunes:duration>" if text else ""


def feed(show: Show) -> str:
    """A feed as RSS."""
    dice = random.Random(show.name)
    start = NEWEST.replace(hour=show.hour) - timedelta(days=dice.uniform(0, 2))
    items = []
    for number in range(show.count):
        when = start - timedelta(days=show.days * number, minutes=dice.randrange(40))
        seconds = dice.randrange(show.minutes[0] * 60, show.minutes[1] * 60)
        kind, title = "full", f"{show.topics[number % len(show.topics)]} ({show.count - number})"
        if number == show.count - 1:
            kind, title, seconds = "trailer", "Coming soon", 95
        elif number % 17 == 5:
            kind, title = "bonus", f"Bonus: letters ({show.count - number})"
        date = f"{when:%a, %d %b %Y %H:%M:%S}" + ("" if show.name == "line-four" else " +0000")
        items.append(
            f'<item><title>{escape(title)}</title><guid isPermaLink="false">{show.name}-{show.count - number}</guid>'
            f"<pubDate>{date}</pubDate>{length(show.form, seconds)}<itunes:episodeType>{kind}</itunes:episodeType>"
            f'<enclosure url={quoteattr(f"{show.name}.mp3?n={show.count - number}")} type="audio/mpeg" length="32000"/>'
            "</item>"
        )
    about = show.about
    if show.name == "quay-choir":
        # As some real feeds have it: an entity that XML doesn't know.
        about += " Every&nbsp;Thursday."
    else:
        about = escape(about)
    return "\n".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<rss version="2.0" xmlns:itunes="{ITUNES}"><channel>',
            f"<title>{escape(show.title)}</title><link>http://podcasts.example/{show.name}</link>",
            f"<description>{about}</description><language>en</language><itunes:author>Fanfare demo</itunes:author>",
            *items,
            "</channel></rss>",
            "",
        )
    )


def main() -> None:
    for number, show in enumerate(SHOWS):
        (HERE / f"{show.name}.xml").write_text(feed(show), encoding="utf-8")
        (HERE / f"{show.name}.mp3").write_bytes(FRAME * (40 + 8 * number))


if __name__ == "__main__":
    main()
