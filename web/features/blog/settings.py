"""Settings of the blog: of its WebSub hub."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import COUNT, SECONDS, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class BlogSettings:
    """The blog's settings."""

    websub_subscribers: int = setting(
        "SITE_WEBSUB_SUBSCRIBERS",
        COUNT,
        10_000,
        "subscribers of feeds that are told of new posts (WebSub); 0 for no hub of our own",
        minimum=0,
    )
    websub_rate: int = setting(
        "SITE_WEBSUB_RATE",
        COUNT,
        # A reader that follows all categories asks once for each.
        60,
        "requests a minute from one address to subscribe to a feed; each makes us fetch an address. 0 for no limit",
        minimum=0,
    )
    websub_lease: float = setting(
        "SITE_WEBSUB_LEASE",
        SECONDS,
        10 * 86400.0,
        "how long a subscriber of a feed is told without asking again, and a third of the longest that it may ask for",
        minimum=3600.0,
    )
