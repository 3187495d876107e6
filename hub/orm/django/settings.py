"""The app's settings, read from Django's. A bad one raises ImproperlyConfigured with its name.

FANOUT_REALM       the realm's name; "fanfare" by default, and through Redis the hub's default realm
FANOUT_KEY         the realm's key, base64; without it nothing is told, and a warning says so once
FANOUT_KEY_FILE    the path of a file that holds it, such as the hub's var/fanout.key
FANOUT_URL         where this server finds the hub; http://127.0.0.1:8000 by default
FANOUT_REDIS_URL   the hub's Redis, to tell straight through it; then FANOUT_KEY is not needed
FANOUT_LISTEN      False for no connection of a process's own that hears PostgreSQL's NOTIFY
FANOUT_PUBLIC_URL  where browsers find it; FANOUT_URL by default, "" for the page's own origin
FANOUT_INTEGRITY   the integrity hash of fanout.js, if pages are to check it

FANOUT_REALM_ID and FANOUT_REALM_KEY, the names of older sites, are read too.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: Where a key comes from, for whoever has a wrong one.
WHENCE = "It is the hub's own: what its FANOUT_KEY says, or what is in its var/fanout.key"


@dataclass(frozen=True, slots=True)
class Fanout:
    """What the settings say.

    realm: "" when it is not said. key: None when nothing can be told over HTTP. redis_url: "" for no way through Redis.
    """

    realm: str
    key: bytes | None
    url: str
    redis_url: str
    listen: bool
    public_url: str
    integrity: str


def read() -> Fanout:
    """The settings as they are now. Raises ImproperlyConfigured."""
    url = _text("FANOUT_URL", "http://127.0.0.1:8000").rstrip("/")
    return Fanout(
        realm=_text("FANOUT_REALM", _text("FANOUT_REALM_ID", "")),
        key=_key(_text("FANOUT_KEY", _text("FANOUT_REALM_KEY", "")) or _file("FANOUT_KEY_FILE")),
        url=url,
        redis_url=_text("FANOUT_REDIS_URL", ""),
        listen=bool(getattr(settings, "FANOUT_LISTEN", True)),
        public_url=_text("FANOUT_PUBLIC_URL", url).rstrip("/"),
        integrity=_text("FANOUT_INTEGRITY", ""),
    )


def _text(name: str, default: str) -> str:
    value = getattr(settings, name, None)
    if value is None:
        return default
    if not isinstance(value, str):
        raise ImproperlyConfigured(f"{name}: is a string, not {type(value).__name__}")
    return value


def _file(name: str) -> str:
    """What the file holds that this setting names, a string or a Path; "" where it is not set."""
    path = getattr(settings, name, None)
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"{name}: {str(path)!r} can't be read: {error}") from None


def _key(text: str) -> bytes | None:
    try:
        # The hub's own file ends with a newline, and so does what is copied out of a terminal.
        return base64.b64decode(text.strip(), validate=True) or None
    except (binascii.Error, ValueError):
        raise ImproperlyConfigured(f"FANOUT_KEY: is not base64. {WHENCE}") from None
