"""Reading one's own write: what a browser has changed, or has heard of, it finds changed at whichever worker it asks.

The answer to a form carries a cookie that names the channels which its save told, each with the position at which it
was told, or without one if that was not known yet. A worker that has not heard so far makes the page anew for this
visitor. The cookie lasts as long as a page is kept at the longest: then no page from before the save is left. A script
that fetches because it has heard a hint says in a header up to where it has.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from aiohttp import web

from hub.errors import BadMessage

from .. import heads
from .kept import Tops

COOKIE = "wrote"
HEADER = "Hub-Heard"

#: Channels that a cookie or a header names; of more, all is made anew.
MOST = 8

#: Seconds that a request waits for this worker to hear what the browser knows of. A worker that hears hears within a
#: few milliseconds; waiting lets all who come with one hint share one page.
PATIENCE = 0.05

_MAX_TEXT = 2048
_PAIR = re.compile(r"([A-Za-z0-9%._~-]{1,300}):([A-Za-z0-9.]{0,64})")


def known(request: web.BaseRequest) -> dict[str, str] | None:
    """What the browser knows of: positions by channel, "" for one that is not known; empty for nothing.

    None if it may be anything.
    """
    found: dict[str, str] = {}
    for text in (heads.cookie(request, COOKIE), request.headers.get(HEADER, "")):
        if not text:
            continue
        parts = text[:_MAX_TEXT].split("|")
        if len(parts) > MOST or "*" in parts:
            return None
        for part in parts:
            match = _PAIR.fullmatch(part)
            if match is not None and (match[2] or match[1] not in found):
                found[unquote(match[1])] = match[2]
    return found


async def has_heard(tops: Tops, positions: Mapping[str, str] | None) -> bool:
    """Whether this worker has heard all that a browser knows of, or does in a moment."""
    if positions is None or not all(positions.values()):
        return False
    try:
        async with asyncio.timeout(PATIENCE):
            for channel, position in positions.items():
                if not await tops.reached(channel, position, PATIENCE):
                    return False
    except TimeoutError:
        return False
    except BadMessage:
        # Nobody of ours has said that.
        return True
    return True


def write(response: web.StreamResponse, positions: Mapping[str, str] | None, seconds: float, *, secure: bool) -> None:
    """Put on an answer what the browser has changed; None for what may be anything."""
    if positions is None or len(positions) > MOST:
        text = "*"
    else:
        text = "|".join(f"{quote(channel, safe='')}:{position}" for channel, position in positions.items())
    response.set_cookie(
        COOKIE, text, max_age=max(1, int(seconds + 1)), path="/", httponly=True, secure=secure, samesite="Lax"
    )
