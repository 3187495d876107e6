"""Settings of the joins."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import COUNT, SECONDS, setting

#: Songs that there can be: more would take minutes to make, and tell nothing more.
MOST_SONGS = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinsSettings:
    """How much is made and measured on /lab/joins."""

    songs: int = setting(
        "SITE_JOINS_SONGS", COUNT, 200_000, "songs that are made to be read", minimum=100, maximum=MOST_SONGS
    )
    most: int = setting(
        "SITE_JOINS_MOST", COUNT, 1_000_000, "songs that may be asked for on the page", minimum=100, maximum=MOST_SONGS
    )
    seconds: float = setting(
        "SITE_JOINS_SECONDS", SECONDS, 20.0, "the longest that a run measures", minimum=1, maximum=600
    )
    looks: int = setting("SITE_JOINS_LOOKS", COUNT, 3000, "songs after which a run ends", minimum=10, maximum=1_000_000)
    kept: int = setting("SITE_JOINS_KEPT", COUNT, 50, "runs that are kept", minimum=1, maximum=10_000)
