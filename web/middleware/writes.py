"""The answer to a form says how far the log must be heard to know of what the form has saved."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from aiohttp import web

from ..pages import keys, wrote
from ..pages.settings import PageSettings

#: Seconds that an answer waits for its changes to be told, which takes some milliseconds; then it says that they were
#: not yet.
PATIENCE = 0.02


async def carry(request: web.Request, response: web.StreamResponse, told: Collection[str]) -> None:
    """Put on an answer which channels its saves tell, and where they stand then. told: in Fanout form."""
    app = request.app
    settings = app[keys.settings][PageSettings]
    before = wrote.known(request)
    positions: dict[str, str] | None = None
    if before is not None and len(told) <= wrote.MOST:
        positions = dict.fromkeys(told, "")
        if await app[keys.database].notifier.flush(PATIENCE):
            # The newest: at the change or after it.
            found = await asyncio.gather(*(app[keys.publisher].position(channel) for channel in told))
            positions = {channel: position or "" for channel, position in zip(told, found, strict=True)}
        positions = {**before, **positions}
    wrote.write(response, positions, settings.age, secure=settings.is_https)
