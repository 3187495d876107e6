"""The addresses in a sheet, told from another place: relative ones are of the sheet, the page is elsewhere. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def is_relative(url: str) -> bool:
    """Whether what it means depends on where it is written. `#part` is of the page, wherever it is written (CSS
    Values 4, §4.5.4), and so is nothing at all."""
    return bool(url) and not url.startswith("#") and _SCHEME.match(url) is None


# The sheets of a site's pages are few.
@lru_cache(maxsize=512)
def joined(base: str, url: str) -> str:
    """A URL seen from a base, with its query and fragment as they are written: `font.eot?#iefix` keeps its `?`."""
    url = url.strip(" \t\n")
    path, tail = re.match(r"([^?#]*)(.*)", url, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches all
    return (urljoin(base, path) if path else re.split("[?#]", base, maxsplit=1)[0]) + tail


def shown_from(base: str, url: str) -> str:
    """An absolute URL as a page at `base` says it: without the origin, if that is the page's."""
    ours, theirs = urlsplit(base), urlsplit(url)
    if theirs.netloc and (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc):
        return url[len(f"{theirs.scheme}://{theirs.netloc}") :] or "/"
    return url


def quoted(url: str) -> str:
    """A URL as a string of CSS."""
    escaped = re.sub(r'["\\\n\r\f]', lambda match: "\\%x " % ord(match[0]), url)
    return f'"{escaped}"'
