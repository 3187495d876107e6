"""What a page shows the hub to hear a channel that only some may hear."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

#: Seconds that such a token is good for, and HUB_TOKEN_LEEWAY more. Nobody tells the hub who has signed out or lost a
#: role, which the command does in another process, too: so the page asks again when its token is over, and who may ask
#: is decided by the row of that moment. Its client only shakes hands again, about once a minute, and misses nothing. It
#: takes a WebSocket that lived for less than 30 seconds, three times in a row, for one that something cuts.
SECONDS = 45.0


class Listening(Protocol):
    """Makes a token by which a browser may hear a channel for so long (`Hub.token`); "" where none can be made."""

    def __call__(self, channel: str, /, *, seconds: float) -> str: ...


def deaf(channel: str, /, *, seconds: float) -> str:
    """Of a site that is served apart from its hub."""
    return ""


def token_response(listening: Listening, channel: str) -> web.Response:
    """A token for who may hear the channel now."""
    return web.Response(text=listening(channel, seconds=SECONDS), headers={"Cache-Control": "no-store"})
