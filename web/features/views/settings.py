"""Settings of views: how long they are kept, and who else is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hub.settings import COUNT, HTTP_URL, PATH, SECONDS, SIZE, TEXT, Kind, setting

from .kinds import Kind as Caller

_KINDS = tuple(each.value for each in Caller)


def _parse_kinds(text: str) -> tuple[str, ...]:
    found = tuple(text.replace(",", " ").split())
    for word in found:
        if word not in _KINDS:
            raise ValueError(f"{word!r} is not one of {', '.join(_KINDS)}")
    return found


def _parse_measurement(text: str) -> str:
    if not re.fullmatch(r"G-[A-Z0-9]{4,20}", text):
        raise ValueError("is not a measurement ID such as G-A1B2C3D4E5")
    return text


KINDS = Kind("kinds of callers", _parse_kinds, ", ".join)
MEASUREMENT = Kind("measurement ID", _parse_measurement)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSettings:
    """The views' settings."""

    flush: float = setting(
        "VIEWS_FLUSH",
        SECONDS,
        2.0,
        "how often what was counted is written: a machine that stops loses so much; a process that is killed nothing",
        minimum=0.05,
        maximum=60,
    )
    waiting: int = setting(
        "VIEWS_WAITING",
        COUNT,
        100_000,
        "views of a process that may wait to be added up; more are dropped, and counted as that",
        minimum=100,
    )
    hours: float = setting("VIEWS_HOURS", SECONDS, 14 * 86400.0, "how long sums of hours are kept", minimum=2 * 86400)
    days: float = setting("VIEWS_DAYS", SECONDS, 400 * 86400.0, "how long sums of days are kept", minimum=86400)
    body: int = setting("VIEWS_BODY", SIZE, 256 * 1024, "longest body that POST /views takes", minimum=1024)
    events: int = setting("VIEWS_EVENTS", COUNT, 500, "events that one POST /views may have", minimum=1, maximum=5000)
    rate: int = setting(
        "VIEWS_RATE", COUNT, 600, "requests a minute that one key may send to POST /views; 0 for no limit", minimum=0
    )
    endpoints: int = setting(
        "VIEWS_ENDPOINTS",
        COUNT,
        2000,
        "endpoints that one other source may have; events of more are ignored, and told so",
        minimum=1,
    )
    openapi: Path | None = setting(
        "VIEWS_OPENAPI",
        PATH,
        None,
        "an OpenAPI file of yours in JSON, whose endpoints are looked for among those that nobody calls, beside"
        " the site's own",
    )
    sends: tuple[str, ...] = setting(
        "VIEWS_SENDS",
        KINDS,
        ("browser", "reader", "script"),
        "of which callers the services below are told: browser, bot, reader, script, monitor",
    )
    queue: int = setting(
        "VIEWS_QUEUE",
        COUNT,
        10_000,
        "views that may wait for each of these services; the oldest are dropped, and counted as that",
        minimum=25,
    )
    timeout: float = setting("VIEWS_TIMEOUT", SECONDS, 5.0, "for one request to them", minimum=0.1, maximum=60)
    linger: float = setting(
        "VIEWS_LINGER", SECONDS, 5.0, "how long the end of a process waits for what they are not told yet", minimum=0
    )
    ga4: str | None = setting(
        "VIEWS_GA4", MEASUREMENT, None, "measurement ID of a Google Analytics property that is told of views"
    )
    ga4_secret: str | None = setting(
        "VIEWS_GA4_SECRET", TEXT, None, "its API secret for the Measurement Protocol", secret=True
    )
    ga4_url: str = setting(
        "VIEWS_GA4_URL", HTTP_URL, "https://www.google-analytics.com", "its server; region1.… keeps to the EU"
    )
    plausible: str | None = setting(
        "VIEWS_PLAUSIBLE", TEXT, None, "domain of a site at Plausible that is told of views"
    )
    plausible_url: str = setting("VIEWS_PLAUSIBLE_URL", HTTP_URL, "https://plausible.io", "its server, or yours")
    matomo_url: str | None = setting("VIEWS_MATOMO_URL", HTTP_URL, None, "a Matomo that is told of views")
    matomo_site: int = setting("VIEWS_MATOMO_SITE", COUNT, 1, "the site's number there", minimum=1)
    matomo_token: str | None = setting(
        "VIEWS_MATOMO_TOKEN",
        TEXT,
        None,
        "token_auth of a user there who may write; without it times are of arrival",
        secret=True,
    )
