"""Which browser a poll comes from: the cookie BAYEUX_BROWSER, for the advice `multiple-clients`. Pure, but for dice."""

from __future__ import annotations

import re
import secrets

from ..origins import is_same

#: Ours are 32 hexadecimal digits; others are not believed, so that nothing else becomes a key.
_COOKIE = re.compile(r"(?:^|;)\s*BAYEUX_BROWSER=([0-9a-f]{32})\s*(?:;|$)")
_MOUNT = re.compile(r".*?/bayeux(?=/|$)")


def browser_of(cookie: str | None, origin: str | None, host: str | None, path: str) -> tuple[str, str]:
    """The browser of a request, and the Set-Cookie that makes one known that is new; empty where it is not asked.

    Pages of other origins send no such cookie, and browsers count connections by the host they go to.
    """
    if origin is not None and not is_same(origin, host):
        return "", ""
    known = _COOKIE.search(cookie or "")
    if known is not None:
        return known[1], ""
    browser = secrets.token_hex(16)
    mount = _MOUNT.match(path)
    return browser, f"BAYEUX_BROWSER={browser}; Path={mount[0] if mount else '/'}; HttpOnly; SameSite=Lax"
