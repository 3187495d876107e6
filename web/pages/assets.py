"""Static files: each with a version in its URL, an integrity hash, and the caching that allows."""

from __future__ import annotations

import base64
import gzip
import hashlib
import mimetypes
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from aiohttp import ETag, hdrs, web

from .. import heads
from .seldom import SECONDS

#: Where the files are found below the site's root.
PREFIX = "/static/"

_TYPES = {
    ".js": "text/javascript",
    ".map": "application/json",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """A file as it is sent. integrity: the value of a tag's attribute."""

    modified: int
    body: bytes
    content_type: str
    version: str
    integrity: str

    @cached_property
    def packed(self) -> bytes:
        """The body by gzip; empty if that would be no shorter. Pages only name most files: who asks for one waits."""
        if not self.content_type.startswith(("text/", "image/svg")):
            return b""
        packed = gzip.compress(self.body, mtime=0)
        return packed if len(packed) < len(self.body) else b""


#: How a file is named below the folder: the one spelling that it is served and kept under. `/`, `./` and `../` in other
#: places lead to the same file in endlessly many ways.
_NAME = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class Assets:
    """The files of one folder, held in memory and read again when they change, which is seen within a second."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = self._folder = folder.resolve()
        self._clock = clock
        #: Files that are dictionaries, by name: for the documents of which paths (RFC 9842). A browser that has one
        #: says so when it asks for such a document.
        self.dictionaries: dict[str, str] = {}
        self._read: dict[str, Asset] = {}
        # Until when a name's file is not looked at again.
        self._until: dict[str, float] = {}

    def get(self, name: str) -> Asset:
        """A file by its name below the folder; LookupError if there is none."""
        if self._until.get(name, 0.0) > self._clock():
            return self._read[name]
        if _NAME.fullmatch(name) is None:
            raise LookupError(name)
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder):
            raise LookupError(name)
        try:
            modified = path.stat().st_mtime_ns
            known = self._read.get(name)
            if known is None or known.modified != modified:
                known = self._read[name] = _asset(path, modified)
        except OSError:
            self._until.pop(name, None)
            raise LookupError(name) from None
        self._until[name] = self._clock() + SECONDS
        return known

    def url(self, name: str) -> str:
        """Where browsers find this version of a file."""
        return f"{PREFIX}{name}?v={self.get(name).version}"

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """GET below PREFIX. Kept for ever when the URL names the version, asked about each time when not."""
        heads.check_query(request)
        try:
            asset = self.get(request.match_info["name"])
        except LookupError:
            raise web.HTTPNotFound from None
        versioned = request.query.get("v") == asset.version
        headers = {
            hdrs.CACHE_CONTROL: _FOR_EVER if versioned else "public, no-cache",
            # A script with an integrity hash may be asked for from another origin's page.
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "X-Content-Type-Options": "nosniff",
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
        }
        if versioned and request.match_info["name"] in self.dictionaries:
            headers["Use-As-Dictionary"] = (
                f'match="{self.dictionaries[request.match_info["name"]]}", match-dest=("document")'
            )
        packs = bool("gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "") and asset.packed)
        # One tag a form: a cache must not take the packed bytes for the plain ones.
        tag = ETag(f"{asset.version}-gzip" if packs else asset.version)
        if heads.has_tag(request, tag.value):
            response = web.Response(status=304, headers=headers)
        else:
            if packs:
                headers[hdrs.CONTENT_ENCODING] = "gzip"
            body = asset.packed if packs else asset.body
            charset = "utf-8" if asset.content_type.startswith(("text/", "image/svg")) else None
            response = web.Response(body=body, headers=headers, content_type=asset.content_type, charset=charset)
        response.etag = tag
        return response


def _asset(path: Path, modified: int) -> Asset:
    body = path.read_bytes()
    content_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    digest = hashlib.sha384(body).digest()
    return Asset(
        modified=modified,
        body=body,
        content_type=content_type,
        version=digest.hex()[:16],
        integrity="sha384-" + base64.b64encode(digest).decode(),
    )
