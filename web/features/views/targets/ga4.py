"""Google Analytics 4, by its Measurement Protocol (developers.google.com/analytics/devguides/collection/protocol/ga4).

It answers 204 to whatever it is sent, rubbish too, and to a wrong secret. So what is sent is made to its written
rules, which `problems` has, and `/debug/mp/collect` can be asked about (`fanfare views check`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from ..records import View
from .target import Call, Taken, client_of, location, title

#: Of one request: events, bytes, and seconds that what it tells of may be in the past.
MAX_EVENTS = 25
MAX_BODY = 130_000
MAX_PAST = 72 * 3600
#: Of an event: parameters, characters of a name and of a value.
MAX_PARAMS = 25
MAX_NAME = 40
MAX_VALUE = 100

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_PREFIXES = ("_", "firebase_", "ga_", "google_", "gtag.")
#: Names of events that are its own.
_RESERVED = frozenset(
    [
        "ad_activeview",
        "ad_click",
        "ad_exposure",
        "ad_query",
        "ad_reward",
        "adunit_exposure",
        "app_clear_data",
        "app_exception",
        "app_install",
        "app_remove",
        "app_store_refund",
        "app_update",
        "app_upgrade",
        "dynamic_link_app_open",
        "dynamic_link_app_update",
        "dynamic_link_first_open",
        "error",
        "firebase_campaign",
        "firebase_in_app_message_action",
        "firebase_in_app_message_dismiss",
        "firebase_in_app_message_impression",
        "first_open",
        "first_visit",
        "in_app_purchase",
        "notification_dismiss",
        "notification_foreground",
        "notification_open",
        "notification_receive",
        "os_update",
        "screen_view",
        "session_start",
        "user_engagement",
    ]
)
_FIELDS = frozenset(
    {
        "client_id",
        "user_id",
        "timestamp_micros",
        "user_properties",
        "consent",
        "non_personalized_ads",
        "user_data",
        "events",
        "validation_behavior",
    }
)


@dataclass(frozen=True, slots=True)
class GoogleAnalytics:
    """A property. base: where this site is. server: Google's."""

    measurement: str
    secret: str
    base: str
    server: str = "https://www.google-analytics.com"
    name: str = "ga4"

    def url(self, *, debug: bool = False) -> str:
        """Where views are sent, or checked."""
        where = "/debug/mp/collect" if debug else "/mp/collect"
        return f"{self.server}{where}?{urlencode({'measurement_id': self.measurement, 'api_secret': self.secret})}"

    def calls(self, views: Sequence[View]) -> list[Call]:
        """One request a caller: a request is of one client."""
        by_client: dict[str, list[View]] = {}
        for view in views:
            by_client.setdefault(client_of(view), []).append(view)
        found = []
        for client, some in by_client.items():
            for at in range(0, len(some), MAX_EVENTS):
                part = some[at : at + MAX_EVENTS]
                body = orjson.dumps(self.body(client, part))
                found.append(Call(self.url(), {"Content-Type": "application/json"}, body, len(part)))
        return found

    def body(self, client: str, views: Sequence[View]) -> dict[str, Any]:
        """What one request says, of one client. 25 events of ours have 12 kB at the most."""
        return {
            # Two numbers, as its own script makes it.
            "client_id": f"{int(client[:8], 16)}.{int(client[8:16], 16)}",
            "timestamp_micros": int(min(view.at for view in views) * 1_000_000),
            "consent": {"ad_user_data": "DENIED", "ad_personalization": "DENIED"},
            "events": [{"name": "page_view", "params": self._params(client, view)} for view in views],
        }

    def _params(self, client: str, view: View) -> dict[str, Any]:
        return {
            "page_location": location(self.base, view)[:MAX_VALUE],
            "page_title": title(view)[:MAX_VALUE],
            # Without these two an event is seen in Realtime and in no report; none engaged for 0 ms.
            "session_id": str(int(client[:8], 16) or 1),
            "engagement_time_msec": max(1, view.micros // 1000),
            "caller_kind": str(view.kind),
            "response_status": view.status,
        }

    def taken(self, call: Call, headers: Mapping[str, str], body: bytes) -> Taken:
        """It says nothing of what it took."""
        return Taken()


def problems(body: bytes, now: float) -> list[str]:
    """What is wrong with a request's body by the written rules. now: seconds since 1970."""
    if len(body) >= MAX_BODY:
        return [f"has {len(body)} bytes; fewer than {MAX_BODY} are taken"]
    try:
        data: Any = orjson.loads(body)
    except ValueError:
        return ["is not JSON"]
    if not isinstance(data, dict):
        return ["is not an object"]
    found = [f"{name}: is no field" for name in data if name not in _FIELDS]
    if not isinstance(data.get("client_id"), str) or not data["client_id"]:
        found.append("client_id: is needed, as text")
    stamp = data.get("timestamp_micros")
    if stamp is not None:
        if not isinstance(stamp, int):
            found.append("timestamp_micros: is no whole number")
        elif not now - MAX_PAST <= stamp / 1e6 <= now + 900:
            found.append("timestamp_micros: is more than 72 hours ago, or to come")
    properties = data.get("user_properties", {})
    if not isinstance(properties, dict) or len(properties) > 25:
        found.append("user_properties: are more than 25")
    else:
        found += _properties(properties)
    events = data.get("events")
    if not isinstance(events, list) or not events:
        return [*found, "events: are needed"]
    if len(events) > MAX_EVENTS:
        found.append(f"events: are {len(events)}; {MAX_EVENTS} are taken")
    for number, event in enumerate(events):
        found += [f"events[{number}]{each}" for each in _event(event)]
    return found


def _properties(properties: Mapping[str, Any]) -> list[str]:
    found = []
    for name, given in properties.items():
        if len(name) > 24 or _NAME.fullmatch(name) is None or name.startswith(_PREFIXES):
            found.append(f"user_properties.{name}: is no name")
        value = given.get("value") if isinstance(given, dict) else None
        if value is None or len(str(value)) > 36:
            found.append(f"user_properties.{name}: has no value, or a long one")
    return found


def _event(event: Any) -> list[str]:
    if not isinstance(event, dict) or not isinstance(event.get("name"), str):
        return [": has no name"]
    found = []
    name = event["name"]
    if _NAME.fullmatch(name) is None:
        found.append(f".name: {name!r} is no name")
    if name in _RESERVED or name.startswith(_PREFIXES):
        found.append(f".name: {name!r} is reserved")
    params = event.get("params", {})
    if not isinstance(params, dict):
        return [*found, ".params: is no object"]
    if len(params) > MAX_PARAMS:
        found.append(f".params: are {len(params)}; {MAX_PARAMS} are taken")
    for key, value in params.items():
        if _NAME.fullmatch(key) is None or key.startswith(_PREFIXES):
            found.append(f".params.{key}: is no name")
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            found.append(f".params.{key}: is neither text nor a number")
        elif len(str(value)) > MAX_VALUE:
            found.append(f".params.{key}: has more than {MAX_VALUE} characters")
    if name == "page_view" and not str(params.get("page_location", "")).startswith(("https://", "http://")):
        found.append(".params.page_location: is no URL")
    if not str(params.get("session_id", "")).isdigit():
        found.append(".params.session_id: is needed for reports, in digits")
    time = params.get("engagement_time_msec")
    if not isinstance(time, int) or isinstance(time, bool) or time < 1:
        found.append(".params.engagement_time_msec: is needed for reports, 1 or more")
    return found
