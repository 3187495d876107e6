"""Reading a request's body through aiohttp, with bounds on what is kept and how long it takes."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..errors import BadMessage, TooLarge
from ..turns import Turns

#: Bytes of a body that are decoded without waiting for one's turn.
SMALL_BYTES = 8 * 1024


async def read_body(request: web.Request, limit: int, seconds: float, turns: Turns) -> bytes:
    """The body, unpacked. Of a large one, when its turn to be decoded has come: do that before anything is awaited.

    Raises TooLarge before more than `limit` bytes are kept, TimeoutError when it takes longer than
    `seconds`, BadMessage for one that is not what its encoding says; the connection is then of no more use.
    """
    if (request.content_length or 0) > limit:
        raise TooLarge(text=f"Body is longer than {limit} bytes")
    size = 0
    parts = []
    try:
        async with asyncio.timeout(seconds):
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit:
                    raise TooLarge(text=f"Body is longer than {limit} bytes")
                parts.append(part)
    except TimeoutError:
        # Told that there is no more, aiohttp does not wait for it before it closes the connection.
        request.content.feed_eof()
        raise
    except web.RequestPayloadError:
        # Nothing of it can be read any more; told so, aiohttp doesn't try, and log a traceback.
        request.content.feed_eof()
        raise BadMessage(text="Body is not what its Content-Encoding or Transfer-Encoding says.") from None
    if size > SMALL_BYTES:
        await turns.wait()
    return b"".join(parts)
