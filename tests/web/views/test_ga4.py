"""What Google Analytics is sent, by its written rules."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.features.views.kinds import Kind
from web.features.views.records import View
from web.features.views.targets.ga4 import MAX_BODY, GoogleAnalytics, problems

NOW = 1_800_000_000.0
GOOGLE = GoogleAnalytics("G-TEST", "secret&x", "https://site.example")

GOOD: dict[str, Any] = {
    "client_id": "1.2",
    "events": [
        {
            "name": "page_view",
            "params": {"page_location": "https://x.example/", "session_id": "1", "engagement_time_msec": 1},
        }
    ],
}


def said(**more: Any) -> list[str]:
    return problems(orjson.dumps(GOOD | more), NOW)


def event(name: str = "page_view", **params: Any) -> list[dict[str, Any]]:
    return [{"name": name, "params": GOOD["events"][0]["params"] | params}]


def test_what_is_right_is_taken() -> None:
    assert said() == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": 5}, "client_id"),
        ({"nonsense": 1}, "nonsense"),
        ({"events": []}, "events: are needed"),
        ({"events": GOOD["events"] * 26}, "events: are 26"),
        ({"events": event("session_start")}, "reserved"),
        ({"events": event("firebase_x")}, "reserved"),
        ({"events": event("1st")}, "no name"),
        ({"events": event("x" * 41)}, "no name"),
        ({"events": event(page_title="x" * 101)}, "more than 100"),
        ({"events": event(ga_x=1)}, "no name"),
        ({"events": event(x=[1])}, "neither text"),
        ({"events": event(session_id="a")}, "session_id"),
        ({"events": event(engagement_time_msec=0)}, "engagement_time_msec"),
        ({"events": event(page_location="/x")}, "page_location"),
        ({"events": event(**{f"p{number}": 1 for number in range(23)})}, "params: are 26"),
        ({"timestamp_micros": (NOW - 73 * 3600) * 1e6 // 1}, "timestamp_micros"),
        ({"timestamp_micros": int((NOW - 73 * 3600) * 1e6)}, "72 hours"),
        ({"user_properties": {"x" * 25: {"value": "1"}}}, "user_properties"),
        ({"user_properties": {"x": {"value": "1" * 37}}}, "user_properties"),
    ],
)
def test_what_is_wrong_is_found(more: dict[str, Any], words: str) -> None:
    assert [each for each in said(**more) if words in each] != []


def test_a_long_body_is_found() -> None:
    assert "130000" in problems(b" " * MAX_BODY, NOW)[0]
    assert problems(b"{", NOW) == ["is not JSON"]
    assert problems(b"[]", NOW) == ["is not an object"]


views = st.builds(
    View,
    st.floats(NOW - 3600, NOW),
    st.just(""),
    st.text(max_size=200).map(lambda text: f"GET /{text}"),
    st.integers(100, 599),
    st.integers(-1, 10**12),
    st.sampled_from([kind.value for kind in Kind]),
    st.sampled_from(["~00000000000000aa", "~ffffffffffffffff", "~0000000000000000", "user 7", "key shop", "", "~x"]),
    st.none() | st.text(max_size=300),
    st.text(max_size=300),
)


@given(st.lists(views, min_size=1, max_size=120))
def test_whatever_was_called_is_told_within_the_rules(some: list[View]) -> None:
    calls = GOOGLE.calls(some)
    assert sum(call.views for call in calls) == len(some)
    for call in calls:
        assert problems(call.body, NOW) == []
        assert b"user 7" not in call.body
    assert "api_secret=secret%26x" in calls[0].url


def test_one_request_is_of_one_caller() -> None:
    some = [View(NOW, "", "GET /x", 200, 1, "script", f"~{number % 3:016x}", None, "") for number in range(90)]
    calls = GOOGLE.calls(some)
    assert [call.views for call in calls] == [25, 5] * 3
    assert len({orjson.loads(call.body)["client_id"] for call in calls}) == 3
