"""What others tell us of views, judged one by one: each gets a receipt, `counted`, or `ignored` and why. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from .callers import hashed
from .kinds import Kind, Kinds
from .records import MAX_ENDPOINT, METHODS, View

#: Seconds that a view may be past, and to come where clocks differ.
MAX_PAST = 30 * 86400
MAX_AHEAD = 300

#: Characters of an id, an agent and a caller.
MAX_ID, MAX_TEXT = 100, 300

FIELDS = frozenset({"id", "endpoint", "status", "ms", "at", "agent", "caller", "kind", "quiet"})

_ENDPOINT = re.compile(r"([A-Z]{2,10}) (/[^\s?#]*)")


class Judged(NamedTuple):
    """An event: a view to count, or why it is none. id: as its sender said it. event: a digest of that; "" without."""

    view: View | None
    why: str = ""
    id: str | None = None
    event: str = ""


def judge(event: Any, *, source: str, now: float, salts: Mapping[int, bytes], kinds: Kinds) -> Judged:
    """One event of another server's. salts: of the days that it may be of; of another day its caller is not kept."""
    if not isinstance(event, dict):
        return Judged(None, 'an event is an object such as {"endpoint": "GET /api/songs/{id}", "status": 200}')
    given = event.get("id")
    id = given if isinstance(given, str) and 0 < len(given) <= MAX_ID else None
    if given is not None and id is None:
        return Judged(None, f"id: is text of 1 to {MAX_ID} characters")
    if unknown := sorted(islice((str(name)[:30] for name in event if name not in FIELDS), 20)):
        return Judged(None, f"{unknown[0]}: is no field; there are {', '.join(sorted(FIELDS))}", id)
    problem, view = _read(event, source, now, salts, kinds)
    if view is None:
        return Judged(None, problem, id)
    digest = "" if id is None else hashlib.blake2b(id.encode(errors="replace"), digest_size=16).hexdigest()
    return Judged(view, "", id, digest)


def _read(
    event: Mapping[str, Any], source: str, now: float, salts: Mapping[int, bytes], kinds: Kinds
) -> tuple[str, View | None]:
    name = event.get("endpoint")
    match = _ENDPOINT.fullmatch(name) if isinstance(name, str) and len(name) <= MAX_ENDPOINT else None
    if match is None or match[1] not in METHODS or not match[0].isprintable():
        return "endpoint: is a method and a route, without a query, such as GET /api/songs/{id}", None
    status = event.get("status", 200)
    if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status <= 599:
        return "status: is a number from 100 to 599", None
    took = event.get("ms")
    if took is not None and not (isinstance(took, (int, float)) and not isinstance(took, bool) and 0 <= took <= 3.6e6):
        return "ms: is how many milliseconds it took, up to an hour", None
    at = event.get("at", now)
    if not isinstance(at, (int, float)) or isinstance(at, bool):
        return "at: is when it was, in seconds since 1970", None
    if not now - MAX_PAST <= at <= now + MAX_AHEAD:
        return "at: is more than 30 days ago, or to come", None
    agent, caller = event.get("agent", ""), event.get("caller", "")
    if not isinstance(agent, str) or not isinstance(caller, str) or max(len(agent), len(caller)) > MAX_TEXT:
        return f"agent and caller: are texts of up to {MAX_TEXT} characters", None
    kind = event.get("kind")
    if kind is not None and (not isinstance(kind, str) or kind not in set(Kind)):
        return f"kind: is one of {', '.join(Kind)}", None
    quiet = event.get("quiet", False)
    if not isinstance(quiet, bool):
        return "quiet: is true for who wants nothing to be kept of them", None
    salt = salts.get(int(at // 86400))
    # Whatever says who it was, an address too, is hashed with the day's salt.
    who = hashed(salt, f"{source}\n{caller}", agent) if caller and not quiet and salt is not None else ""
    found = Kind(kind) if kind is not None else kinds.of(agent)
    return "", View(float(at), source, match[0], status, -1 if took is None else int(took * 1000), found, who)
