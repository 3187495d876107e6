"""What a server says of itself when it starts: what it leans on, and who may come in. No secret is in it.

A hub that keeps its log in memory because REDIS_URL was misspelled looks like any other until it restarts.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

from .checkup import fingerprint
from .settings import Settings


def facts(settings: Settings, url: str, *, kept_key: bool) -> dict[str, str]:
    """The facts in their order. settings: with the key. kept_key: it is the one that was made in HUB_VAR."""
    where = str((settings.var / "fanout.key").absolute()) if kept_key else "FANOUT_KEY"
    key = "none" if settings.key is None else f"{fingerprint(settings.key)} from {where}"
    pages = ", ".join(settings.origins) or "none (HUB_ORIGINS is not set)"
    found = {
        "listens": f"{url}, {settings.workers} {'worker' if settings.workers == 1 else 'workers'}",
        "log": _log(settings),
        "realm": f"{settings.realm}, key {key}",
        "pages of other sites": pages,
        "proxies in front": f"{settings.proxies} ({settings.proxy_header})"
        if settings.proxies
        else "none (HUB_PROXIES)",
    }
    if settings.site_url is not None:
        found["browsers see"] = settings.site_url
    return found


def publishing(settings: Settings, url: str, *, kept_key: bool) -> str:
    """A command that publishes to this hub as it stands, from any folder and without a virtual environment's PATH.

    kept_key: as in `facts`; a key that was given has to be in the caller's environment.
    """
    words = []
    if kept_key:
        words.append(f"HUB_VAR={shlex.quote(str(settings.var.absolute()))}")
    if settings.realm != Settings().realm:
        words.append(f"FANOUT_REALM={shlex.quote(settings.realm)}")
    beside = Path(sys.executable).with_name("fanfare")
    # Whole, though it may be on the server's PATH: that of who reads it is another.
    if beside.exists():
        words.append(shlex.quote(str(beside)))
    else:
        words += [shlex.quote(sys.executable), "-m", "hub"]
    return " ".join([*words, "publish", "--url", shlex.quote(url), "comments-1", "17"])


def _log(settings: Settings) -> str:
    if settings.redis_url is None:
        return "in memory, lost at a restart (REDIS_URL is not set)"
    parts = urlsplit(settings.redis_url)
    # Whatever stands before the last @ is the user and the password; the query may have another.
    return f"Redis at {parts.netloc.rpartition('@')[2]}{parts.path}"


def lines(title: str, found: dict[str, str], form: str) -> list[str]:
    """What to print: the title and a line for each, or one JSON object where the log is JSON too."""
    if form == "json":
        return [json.dumps({"message": title, **found}, ensure_ascii=False)]
    return [title, *(f"  {name}: {value}" for name, value in found.items())]
