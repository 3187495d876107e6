"""Settings of the pages."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import FLAG, SECONDS, SIZE, proxies_setting, proxy_header_setting, setting, site_url_setting


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """The pages' settings. Times are seconds."""

    url: str | None = site_url_setting()
    proxies: int = proxies_setting()
    proxy_header: str = proxy_header_setting()
    poll: float = setting(
        "SITE_POLL", SECONDS, 10.0, "how often a page asks by itself while the hub is away", minimum=0.1, maximum=3600
    )
    calm_poll: float = setting(
        "SITE_CALM_POLL", SECONDS, 300.0, "the same while the hub is well", minimum=0.1, maximum=86400
    )

    keeps: bool = setting(
        "SITE_PAGES",
        FLAG,
        True,
        "give pages again that were made before, while nothing they show has changed; off to look for errors",
    )
    age: float = setting(
        "SITE_PAGES_AGE",
        SECONDS,
        60.0,
        "the longest that a page is given again: so old may be what nobody told of, such as a row changed by hand",
        minimum=0.1,
        maximum=3600,
    )
    bytes: int = setting("SITE_PAGES_BYTES", SIZE, 64 * 1024**2, "memory of a worker for pages", minimum=0)

    server_timing: bool | None = setting(
        "SITE_SERVER_TIMING",
        FLAG,
        None,
        "say in the header Server-Timing how many queries an answer took, and how long; without it only in development:"
        " it tells strangers what is kept and what is not",
    )

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the site by https, so that cookies may insist on it."""
        return self.url is not None and self.url.lower().startswith("https:")
