"""A form with a file in it: its fields first, then the file, which is read by the view, up to its own bound.

The fields must stand before the file, as they do in our forms: then whoever asks for the form's token has it without
the file being read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from aiohttp import BodyPartReader, hdrs, web

from . import keys

F = TypeVar("F", bound=Callable[..., object])

FILE: web.RequestKey[BodyPartReader] = web.RequestKey("file", BodyPartReader)

#: Fields before the file, and bytes of each.
_MAX_FIELDS = 20
_MAX_FIELD = 4096

#: Seconds that a file may take, beside those of a form: 30 MB by a slow line.
FILE_SECONDS = 120.0

#: Bytes that a file may be longer than it may: so much is read to say so in an answer that is read.
_SLACK = 1024**2


class TooLong(web.HTTPRequestEntityTooLarge):
    """A file is longer than it may be."""


def takes_files(view: F) -> F:
    """Mark a view that reads the file of its form with `read_file`; others refuse such forms."""
    view.takes_files = True  # type: ignore[attr-defined]  # read below
    return view


def may_have_file(request: web.Request) -> bool:
    """Whether the view of a request takes files."""
    return bool(getattr(request.match_info.handler, "takes_files", False))


async def read_fields_before_file(request: web.Request) -> dict[str, str]:
    """The fields of a form up to its file. Raises ValueError for what can't be read."""
    fields: dict[str, str] = {}
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            raise ValueError("a form in a form")
        if part.filename is not None:
            request[FILE] = part
            break
        if len(fields) == _MAX_FIELDS or part.name is None:
            raise ValueError("too many fields")
        data = b""
        while chunk := await part.read_chunk(_MAX_FIELD):
            data += chunk
            if len(data) > _MAX_FIELD:
                raise ValueError("a field is too long")
        fields.setdefault(part.name, data.decode())
    return fields


async def read_file(request: web.Request, most: int) -> bytes:
    """The file of a form whose fields were read, b"" for none. Raises HTTPException."""
    part = request.get(FILE)
    if part is None:
        return b""
    if (request.content_length or 0) > most + _SLACK:
        request.content.feed_eof()
        raise TooLong(most, request.content_length or 0, text=f"The file is longer than {most // 1024**2} MB.")
    if part.headers.get(hdrs.CONTENT_ENCODING) or part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING):
        raise web.HTTPUnsupportedMediaType(text="Send the file as it is.")
    pieces, size = [], 0
    try:
        async with asyncio.timeout(request.app[keys.body_timeout] + FILE_SECONDS):
            while chunk := await part.read_chunk(64 * 1024):
                size += len(chunk)
                if size > most:
                    request.content.feed_eof()
                    raise TooLong(most, size, text=f"The file is longer than {most // 1024**2} MB.")
                pieces.append(chunk)
    except TimeoutError:
        request.app[keys.when_late]()
        request.content.feed_eof()
        raise web.HTTPRequestTimeout(text="The file did not arrive in time.") from None
    except ValueError:
        raise web.HTTPBadRequest(text="The form can't be read.") from None
    return b"".join(pieces)
