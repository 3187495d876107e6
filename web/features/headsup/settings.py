"""Settings of heads-ups."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import COUNT, FLAG, HTTP_URL, SECONDS, SIZE, setting

#: GitHub sends 25 MB at most, and doesn't say of which kind: 24 MiB get in, 26 MB don't.
MAX_BODY = 25_000 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsupSettings:
    """The heads-ups' settings."""

    max_body: int = setting(
        "SITE_HEADSUP_MAX_BODY",
        SIZE,
        MAX_BODY,
        "longest delivery that the hook takes; longer is answered 413",
        minimum=1024,
    )
    body_timeout: float = setting(
        "SITE_HEADSUP_BODY_TIMEOUT",
        SECONDS,
        30.0,
        "for a delivery to arrive; later is answered 408",
        minimum=1,
        maximum=600,
    )
    bodies: int = setting(
        "SITE_HEADSUP_BODIES",
        SIZE,
        128 * 1024**2,
        "bytes of deliveries of more than 32 KiB that are in memory at once; one that finds no room is answered 503",
        minimum=MAX_BODY,
    )
    keep: float = setting(
        "SITE_HEADSUP_KEEP",
        SECONDS,
        30 * 86400.0,
        "how long deliveries are kept in the log; what was told is remembered, so that nothing is told twice",
        minimum=86400,
    )
    kept_bytes: int = setting(
        "SITE_HEADSUP_KEPT_BYTES",
        SIZE,
        200 * 1024**2,
        "payloads kept of one project, packed; of older deliveries what was found is kept, and none can be replayed",
        minimum=0,
    )
    mails: int = setting(
        "SITE_HEADSUP_MAILS",
        COUNT,
        500,
        "mails a day of one project; what is beyond is in its log only; 0 for no limit",
        minimum=0,
    )
    address_mails: int = setting(
        "SITE_HEADSUP_ADDRESS_MAILS", COUNT, 50, "mails a day of one project to one address; 0 for no limit", minimum=0
    )
    asks: int = setting(
        "SITE_HEADSUP_ASKS",
        COUNT,
        50,
        "addresses that one account may ask a day whether they want mail; 0 for no limit",
        minimum=0,
    )
    address_asks: int = setting(
        "SITE_HEADSUP_ADDRESS_ASKS",
        COUNT,
        5,
        "how often one address may be asked a day, by all projects; 0 for no limit",
        minimum=0,
    )
    projects: int = setting("SITE_HEADSUP_PROJECTS", COUNT, 100, "projects of one account", minimum=1)
    asks_api: bool = setting(
        "SITE_HEADSUP_API", FLAG, True, "whether GitHub's API may be asked: for names of repositories, commits and tags"
    )
    github: str = setting("GITHUB_URL", HTTP_URL, "https://github.com", "GitHub, or your GitHub Enterprise Server")
    given_api: str | None = setting(
        "GITHUB_API_URL",
        HTTP_URL,
        None,
        "its API; without it https://api.github.com, or GITHUB_URL/api/v3 of an Enterprise Server",
    )

    @property
    def api(self) -> str:
        """Where GitHub's API is."""
        if self.given_api is not None:
            return self.given_api
        return "https://api.github.com" if self.github == "https://github.com" else f"{self.github}/api/v3"
