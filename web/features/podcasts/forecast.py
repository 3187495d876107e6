"""What comes next week and next month: hours, with an interval that is held to its word. Pure.

The guess is a mean of the past weeks, of which the newest count most. How wide the interval must be is what the
errors of the same guess were at each time that is over; while those are few, a normal distribution's count beside
them. How often it would have held is tried on the same history, each interval made of what was known by then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

#: Of the intervals that shall hold.
SHARE = 0.8

#: Weeks of history that a forecast looks at; fewer than LEAST make none.
WEEKS, LEAST = 43, 8

#: Weights halve in so many weeks.
_HALF = 10.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Hours of the next so many weeks. low, high: the interval. held, tried: how often it was right on the past."""

    hours: float
    low: float
    high: float
    held: int
    tried: int


def weekly(history: Sequence[tuple[float, float]], weeks: int = WEEKS) -> list[float]:
    """Hours by week, the newest last. history: days ago, and hours, of each episode."""
    found = [0.0] * weeks
    for ago, hours in history:
        week = int(ago // 7)
        if 0 <= week < weeks:
            found[weeks - 1 - week] += hours
    return found


def forecast(by_week: Sequence[float], ahead: int, share: float = SHARE) -> Forecast | None:
    """Hours of the next `ahead` weeks; None with less than LEAST weeks of history. by_week: the newest last."""
    if len(by_week) < LEAST + ahead:
        return None
    # What the errors of the same forecast were in the past is how wide the interval must be.
    errors = []
    for end in range(LEAST, len(by_week) - ahead + 1):
        guess = _guess(by_week[:end], ahead)
        actual = sum(by_week[end : end + ahead])
        errors.append((actual - guess) / _scale(by_week[:end], ahead))
    guess, scale = _guess(by_week, ahead), _scale(by_week, ahead)
    low, high = _bounds(errors, share, ahead)
    held = tried = 0
    # Each past interval is made of the errors before it only.
    for number in range(LEAST, len(errors)):
        known = errors[: max(number - ahead + 1, 1)]
        below, above = _bounds(known, share, ahead)
        tried += 1
        held += below - 1e-9 <= errors[number] <= above + 1e-9
    return Forecast(guess, max(0.0, guess + low * scale), max(0.0, guess + high * scale), held, tried)


def _guess(by_week: Sequence[float], ahead: int) -> float:
    weights = [0.5 ** ((len(by_week) - 1 - place) / _HALF) for place in range(len(by_week))]
    mean = sum(weight * hours for weight, hours in zip(weights, by_week, strict=True)) / sum(weights)
    return float(mean * ahead)


def _scale(by_week: Sequence[float], ahead: int) -> float:
    """How much a sum of `ahead` weeks varies, from what the weeks do; never 0."""
    latest = by_week[-26:]
    mean = sum(latest) / len(latest)
    spread = math.sqrt(sum((each - mean) ** 2 for each in latest) / max(len(latest) - 1, 1))
    return max(spread * math.sqrt(ahead), 0.02 * mean * ahead, 1e-6)


def _bounds(errors: Sequence[float], share: float, ahead: int) -> tuple[float, float]:
    """The interval of errors that holds so many of the next, with a normal one's share while those are few.

    Errors of several weeks overlap, so they are worth less; the numbers are what holds on histories that are made
    (tests/web/podcasts/test_times.py).
    """
    edge = (1 - share) / 2
    normal = NormalDist().inv_cdf(1 - edge) * (1 + 0.2 * math.log2(ahead))
    if len(errors) < 4:
        return -normal, normal
    ordered, worth = sorted(errors), len(errors) / math.sqrt(ahead)
    outer = edge * max(worth - 1, 0.0) / (worth + 1)
    part = worth / (worth + 6)
    low, high = _quantile(ordered, outer), _quantile(ordered, 1 - outer)
    return part * low - (1 - part) * normal, part * high + (1 - part) * normal


def _quantile(ordered: Sequence[float], share: float) -> float:
    at = share * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)
