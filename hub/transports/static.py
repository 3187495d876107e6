"""The browser client, served by the hub itself: pages of other sites need only the hub's host.

`/bayeux/static/fanout.js`, and under the names Faye's server uses (`/bayeux/client.js`,
`/bayeux.js`). What an operator puts into `HUB_STATIC` is served beside it, by its name: so a page
that pins the integrity hash of the hosted service's own file can keep it.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from pathlib import Path

from aiohttp import hdrs, web

from ..files import ROOT

logger = logging.getLogger(__name__)

#: The client.
CLIENT = ROOT / "static" / "fanout.js"

_TYPES = {".js": "text/javascript; charset=utf-8", ".map": "application/json"}
_ALIASES = ("client.js", "faye-browser-min.js", "faye-browser.js")


class Static:
    """Files read once, with their ETags and integrity hashes.

    folder: of the operator's own files; only `.js` and `.map` directly in it. Raises nothing for a
    client that is missing: a hub alone may be installed without the site's files.
    """

    def __init__(self, folder: Path | None = None, client: Path = CLIENT) -> None:
        self._files: dict[str, tuple[bytes, str, str]] = {}
        for path in sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []:
            if path.suffix in _TYPES and path.is_file():
                self._add(path.name, path)
        if client.is_file():
            for name in ("fanout.js", *_ALIASES):
                if name not in self._files:
                    self._add(name, client)
        else:
            logger.warning("the browser's client is not here, its address is 404", extra={"file": str(client)})

    def _add(self, name: str, path: Path) -> None:
        body = path.read_bytes()
        integrity = "sha384-" + base64.b64encode(hashlib.sha384(body).digest()).decode()
        self._files[name] = (body, integrity, _TYPES[path.suffix])
        logger.debug("serving", extra={"file": name, "integrity": integrity})

    def integrity(self, name: str = "fanout.js") -> str | None:
        """The integrity hash of a file, for its script tag; None if there is no such file."""
        found = self._files.get(name)
        return None if found is None else found[1]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """A file by its name. Any origin may load it: with `integrity` browsers ask for that."""
        name = request.match_info.get("name", "fanout.js")
        found = self._files.get(name)
        if found is None:
            return web.Response(status=404, text=f"No {name[:80]!r} here. The client is fanout.js.\n")
        body, integrity, kind = found
        etag = f'"{integrity[7:39]}"'
        headers = {
            "Access-Control-Allow-Origin": "*",
            "ETag": etag,
            # A name with a version in it never changes; the others are asked for again each hour.
            "Cache-Control": "public, max-age=31536000, immutable"
            if any(char.isdigit() for char in name) or "v" in request.query
            else "public, max-age=3600",
            "X-Content-Type-Options": "nosniff",
            "X-Integrity": integrity,
        }
        if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers={**headers, "Content-Type": kind})
