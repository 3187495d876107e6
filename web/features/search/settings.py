"""Settings of search."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from hub.settings import COUNT, PATH, SECONDS, Kind, setting


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _parse_name(text: str) -> str:
    # Elasticsearch has more to say about names; these are always good.
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,99}", text):
        raise ValueError("is not a name of small letters, digits, - and _")
    return text


def _parse(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("is not a URL such as https://user:password@search.example.org:9200")
    return text.rstrip("/")


ELASTICSEARCH_URL = Kind("URL", _parse, _shown)
NAME = Kind("name", _parse_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Where the index is, and what is kept of searches."""

    elasticsearch: str | None = setting(
        "ELASTICSEARCH_URL",
        ELASTICSEARCH_URL,
        None,
        "Elasticsearch 8 or 9 for search, with its user and password; without it the index is embedded",
        secret=True,
    )
    index: str = setting("SEARCH_INDEX", NAME, "fanfare", "what the index is called in Elasticsearch")

    folder: Path | None = setting(
        "SEARCH_DIR",
        PATH,
        None,
        "folder of the embedded index, a part of it for each worker; without it `search` in HUB_VAR; `memory` for none",
    )

    kept: float = setting(
        "SEARCH_KEPT", SECONDS, 90 * 86400.0, "how long searches are kept, without who; 0 for not at all", minimum=0
    )
    slow: float = setting("SEARCH_SLOW", SECONDS, 0.05, "from when on a search is listed as slow", minimum=0)
    rate: int = setting(
        "SEARCH_RATE",
        COUNT,
        # A key each tenth of a second, and what is offered beside it; a hall shares an address.
        6000,
        "searches a minute from one address; 0 for no limit",
        minimum=0,
    )

    def where(self, var: Path) -> Path | None:
        """The folder; None for an index in memory."""
        if self.folder is None:
            return var / "search"
        return None if str(self.folder) == "memory" else self.folder
