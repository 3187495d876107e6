"""Matomo, by its Tracking API, in bulk (developer.matomo.org/api-reference/tracking-api)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import orjson

from ..records import View
from .target import Call, Taken, client_of, location, title

#: Views of one request.
MAX_EVENTS = 100


@dataclass(frozen=True, slots=True)
class Matomo:
    """A site there. server: the Matomo. token: of a user who may write; without it Matomo takes the time of arrival."""

    server: str
    site: int
    base: str
    token: str | None = None
    name: str = "matomo"

    def calls(self, views: Sequence[View]) -> list[Call]:
        """A request for many."""
        found = []
        for at in range(0, len(views), MAX_EVENTS):
            part = views[at : at + MAX_EVENTS]
            data: dict[str, object] = {"requests": [self._said(view) for view in part]}
            if self.token is not None:
                data["token_auth"] = self.token
            headers = {"Content-Type": "application/json"}
            found.append(Call(f"{self.server.rstrip('/')}/matomo.php", headers, orjson.dumps(data), len(part)))
        return found

    def _said(self, view: View) -> str:
        fields: dict[str, object] = {
            "idsite": self.site,
            "rec": 1,
            "apiv": 1,
            "send_image": 0,
            "url": location(self.base, view),
            "action_name": title(view),
            "_id": client_of(view),
            "rand": int(view.at * 1000) % 1_000_000,
            "ua": view.agent[:300],
            "pf_srv": max(0, view.micros // 1000),
        }
        if self.token is not None:
            # Only who may write says when it was, and asks for a visitor by name.
            fields |= {"cdt": int(view.at), "cid": client_of(view)}
        return "?" + urlencode(fields)

    def taken(self, call: Call, headers: Mapping[str, str], body: bytes) -> Taken:
        """It says how many it took, and which were invalid."""
        try:
            said = orjson.loads(body)
            tracked, invalid = int(said["tracked"]), int(said.get("invalid", 0))
        except (ValueError, TypeError, KeyError):
            return Taken()
        ignored = max(invalid, call.views - tracked)
        return Taken(ignored, "it calls them invalid") if ignored > 0 else Taken()
