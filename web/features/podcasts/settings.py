"""Settings of podcasts."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import COUNT, FLAG, SECONDS, SIZE, TEXT, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class PodcastSettings:
    """The podcasts' settings."""

    fetches: bool = setting(
        "PODCASTS_FETCH", FLAG, True, "fetch feeds when their time has come; off to leave them alone"
    )
    wire: int = setting(
        "PODCASTS_FEED_WIRE", SIZE, 20 * 1024**2, "bytes of a feed as it comes; a longer one fails", minimum=1024
    )
    body: int = setting(
        "PODCASTS_FEED_BYTES", SIZE, 40 * 1024**2, "bytes of a feed as it is unpacked; a longer one fails", minimum=1024
    )
    seconds: float = setting(
        "PODCASTS_FEED_SECONDS", SECONDS, 30.0, "the longest that one fetch may take", minimum=1, maximum=60
    )
    parse: float = setting(
        "PODCASTS_PARSE_SECONDS",
        SECONDS,
        20.0,
        "the longest that a feed may take to be read; its process is killed then",
        minimum=0.1,
        maximum=60,
    )
    pages: int = setting("PODCASTS_FEED_PAGES", COUNT, 50, "pages of a feed that has several", minimum=1, maximum=1000)
    probes: int = setting(
        "PODCASTS_PROBES", COUNT, 20, "sound files a feed and day that are looked at for their length", minimum=0
    )
    directory: str = setting(
        "PODCASTS_DIRECTORY",
        TEXT,
        "https://itunes.apple.com/search",
        "where podcasts are looked for that are not here, as iTunes has it; empty for nowhere",
    )
    directory_rate: int = setting(
        "PODCASTS_DIRECTORY_RATE", COUNT, 15, "questions a minute to the directory; iTunes takes about 20", minimum=1
    )
    adds: int = setting(
        "PODCASTS_ADD_RATE", COUNT, 60, "feeds and lists a minute from one address; 0 for no limit", minimum=0
    )
