"""Pages and sheets for a command: from files, or from where a URL says, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aiohttp import hdrs

from ...services.addresses import Guard, parse_networks
from ...services.outbound import Outbound, OutboundError
from .errors import Left
from .source import decoded


class CannotFetch(Left):
    """Something is not there, or did not come; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came: url is where it was in the end."""

    url: str
    body: bytes
    charset: str | None


def url_of(page: str) -> str:
    """What was given on the command line as a URL: an address, or a file."""
    if urlsplit(page).scheme in {"http", "https", "file"}:
        return page
    return Path(page).absolute().as_uri()


def new_outbound() -> Outbound:
    """A client that goes wherever who types the command says, machines of their own network among them."""
    return Outbound(Guard(parse_networks("0.0.0.0/0 ::/0")), "fanfare-css")


async def fetch(outbound: Outbound, url: str, root: Path | None = None) -> Fetched:
    """What is at a URL. root: the folder that `/` is for files. Raises CannotFetch."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return await asyncio.to_thread(_read, url, unquote(parts.path), root)
    try:
        found = await outbound.fetch(url)
    except OutboundError as error:
        raise CannotFetch(f"{url}: {error}") from None
    if not found.ok:
        raise CannotFetch(f"{url}: status {found.status}")
    head = Message()
    head[hdrs.CONTENT_TYPE] = found.headers.get(hdrs.CONTENT_TYPE, "")
    return Fetched(found.url, found.body, head.get_content_charset())


def _read(url: str, name: str, root: Path | None) -> Fetched:
    path = Path(name)
    if root is not None and not path.exists():
        path = root / name.lstrip("/")
    try:
        return Fetched(url, path.read_bytes(), None)
    except OSError as error:
        raise CannotFetch(f"{path}: {error.strerror}") from None


def loader(outbound: Outbound, root: Path | None = None) -> Callable[[str], str | None]:
    """A function for another thread, which gives a sheet's text by its URL, None where it can't be had."""
    loop = asyncio.get_running_loop()

    def load(url: str) -> str | None:
        try:
            found = asyncio.run_coroutine_threadsafe(fetch(outbound, url, root), loop).result()
        except CannotFetch:
            return None
        return decoded(found.body, found.charset)

    return load
