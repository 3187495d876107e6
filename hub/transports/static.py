"""The browser client, served by the hub itself: pages of other sites need only the hub's host.

`/bayeux/static/fanout.js` is Fanout alone. `/bayeux/static/faye.js` is Fanout and Faye, also under the names that
Faye's pages load (`/bayeux/client.js`, `/bayeux.js`). What an operator puts into `HUB_STATIC` is served beside
them, by its name: so a page that pins the integrity hash of the hosted service's own file can keep it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

from aiohttp import hdrs, web

from ..files import ROOT

logger = logging.getLogger(__name__)

#: The client; what else is ours lies beside it.
CLIENT = ROOT / "static" / "fanout.js"

_NAMES = ("fanout.js", "fanout.js.map", "faye.js", "faye.js.map")
#: Names that only pages of Faye ask for; they do at `/bayeux.js` too.
_FAYE = "faye.js"
_ALIASES = ("client.js", "faye-browser-min.js", "faye-browser.js")
_TYPES = {".js": "text/javascript; charset=utf-8", ".map": "application/json"}


class _File(NamedTuple):
    body: bytes
    packed: bytes
    integrity: str
    kind: str


class Static:
    """Files read once, with their ETags and integrity hashes.

    folder: of the operator's own files; only `.js` and `.map` directly in it. Raises nothing for a
    client that is missing: a hub alone may be installed without the site's files.
    """

    def __init__(self, folder: Path | None = None, client: Path = CLIENT) -> None:
        self._files: dict[str, _File] = {}
        for path in sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []:
            if path.suffix in _TYPES and path.is_file():
                self._add(path.name, path)
        if not client.is_file():
            logger.warning("the browser's client is not here, its address is 404", extra={"file": str(client)})
            return
        for name in (*_NAMES, *_ALIASES):
            if name not in self._files:
                self._add(name, client.with_name(_FAYE if name in _ALIASES else name))

    def _add(self, name: str, path: Path) -> None:
        body = path.read_bytes()
        integrity = "sha384-" + base64.b64encode(hashlib.sha384(body).digest()).decode()
        self._files[name] = _File(body, gzip.compress(body, mtime=0), integrity, _TYPES[path.suffix])
        logger.debug("serving", extra={"file": name, "integrity": integrity})

    def integrity(self, name: str = "fanout.js") -> str | None:
        """The integrity hash of a file, for its script tag; None if there is no such file."""
        found = self._files.get(name)
        return None if found is None else found.integrity

    async def get(self, request: web.Request) -> web.StreamResponse:
        """A file by its name, packed where that is taken. Any origin may load it: with `integrity` browsers ask."""
        name = request.match_info.get("name", _FAYE)
        found = self._files.get(name)
        if found is None:
            text = f"No {name[:80]!r} here. The client is fanout.js; with Faye, faye.js.\n"
            return web.Response(status=404, text=text)
        packs = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
        # One tag a form: a cache must not take the packed bytes for the plain ones.
        etag = f'"{found.integrity[7:39]}{"-gzip" if packs else ""}"'
        headers = {
            "Access-Control-Allow-Origin": "*",
            "ETag": etag,
            # A name with a version in it never changes; the others are asked for again each hour.
            "Cache-Control": "public, max-age=31536000, immutable"
            if any(char.isdigit() for char in name) or "v" in request.query
            else "public, max-age=3600",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
            "X-Integrity": found.integrity,
        }
        if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = found.kind
        if packs:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=found.packed if packs else found.body, headers=headers)
