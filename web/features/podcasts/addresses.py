"""URLs of feeds: one spelling for each, and what about them is nobody else's business. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import parse_qsl, quote, urljoin, urlsplit, urlunsplit

from ...services.domains import MAX_DOMAIN, may_be_split, to_ascii

#: Characters of a feed's URL.
MAX_URL = 2000

#: Schemes of players, for `http`.
_SCHEMES = {"feed": "http", "itpc": "http", "pcast": "http", "podcast": "http", "itms-podcast": "http"}

_SECRET = re.compile(r"^(token|auth|key|secret|password|pass|pwd|sig|signature|apikey|api_key|access_token)$", re.I)

#: Words before a country's ending that are everybody's, as `co` of `example.co.uk`.
_SECOND = frozenset({"ac", "co", "com", "edu", "gov", "net", "ne", "or", "org", "go", "gob", "nom", "me", "ltd", "plc"})

#: What is left as it is of a URL that somebody has escaped, or not.
_SAFE = "%/:=&?~#+!$,;'@()*[]"


#: A host in ASCII: a name, or an address of IPv6.
_HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.%a-z]+\]", re.ASCII | re.IGNORECASE)

#: URLs of which nothing can be resolved, dropped or escaped: most of those of enclosures.
_WHOLE = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9._~%/+,=@:!$'()*&-]*(?:\?[A-Za-z0-9._~%/+,=@:!$'()*&?-]+)?",
    re.ASCII,
)


class BadUrl(ValueError):
    """This is no URL of a feed; the text says what to give instead."""


def canonical(text: str) -> str:
    """The one spelling of a feed's URL; raises BadUrl.

    feed:, itpc: and pcast: mean http, as does no scheme at all; the host is in lower case and ASCII; the port that the
    scheme has anyway goes, as does a fragment. Path and query stay.
    """
    if len(text) > 2 * MAX_URL:
        raise BadUrl(f"the URL is longer than {MAX_URL} characters")
    text = "".join(text.split()) if "\n" in text else text.strip()
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(?!\d)(//)?", text)
    scheme = "http"
    if match is not None:
        scheme = match[1].lower()
        rest = text[match.end() :]
        if scheme in _SCHEMES:
            # feed:https://… has another inside.
            if re.match(r"https?:", rest, re.I):
                return canonical(rest)
            scheme = _SCHEMES[scheme]
    else:
        rest = text.removeprefix("//")
    if scheme not in {"http", "https"}:
        raise BadUrl("a feed's URL begins with http:// or https://")
    if not may_be_split(f"//{rest}"):
        raise BadUrl("this is no URL: its host is none")
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise BadUrl("this is no URL") from None
    if not host or " " in host or ("." not in host and ":" not in host and host != "localhost"):
        raise BadUrl("this is no URL: it names no host")
    host = _ascii(host)
    if not _HOST.fullmatch(host):
        raise BadUrl("this is no URL: its host has a character that none has")
    if port is not None and port != (443 if scheme == "https" else 80):
        host = f"{host}:{port}"
    user = parts.netloc.rpartition("@")[0]
    if user:
        host = f"{quote(user, safe=_SAFE)}@{host}"
    path, query = quote(parts.path or "/", safe=_SAFE), quote(parts.query, safe=_SAFE)
    found = urlunsplit((scheme, host, path, query, ""))
    if len(found) > MAX_URL:
        raise BadUrl(f"the URL is longer than {MAX_URL} characters")
    return found


def alike(url: str) -> str:
    """What two URLs of one feed have in common although they differ: http or https, www or not, a slash at the end."""
    parts = urlsplit(url)
    host = parts.netloc.removeprefix("www.")
    return urlunsplit(("", host, parts.path.rstrip("/"), parts.query, "")).removeprefix("//")


def is_private(url: str) -> bool:
    """Whether a URL lets in whoever has it: a user and a password, or a word that says so in its query."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        return True
    return any(_SECRET.match(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True))


def host_of(url: str) -> str:
    """Whom a feed is fetched from, for manners: the domain that somebody has registered, or an address."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return host
    words = host.split(".")
    if len(words) >= 3 and len(words[-1]) == 2 and words[-2] in _SECOND:
        return ".".join(words[-3:])
    return ".".join(words[-2:])


def media_url(text: str, base: str = "") -> str | None:
    """The URL of an enclosure: blanks around it dropped, those inside escaped, resolved; None unless it is http(s).

    base: the feed's own URL; without it a relative one stays as it is.
    """
    if len(text) <= MAX_URL and _WHOLE.fullmatch(text):
        return text
    text = "".join(char for char in text.strip() if char not in "\r\n\t").replace(" ", "%20")
    if not text or len(text) > MAX_URL:
        return None
    try:
        if not may_be_split(text):
            return None
        found = urljoin(base, text) if base else text
        parts = urlsplit(found)
    except ValueError:
        return None
    if parts.scheme.lower() not in ({"http", "https"} if base or parts.scheme else {""}):
        return None
    if parts.scheme:
        found = parts.scheme.lower() + found[len(parts.scheme) :]
    return found


def without_query(url: str) -> str:
    """A URL as far as what changes each day (a token, a count) doesn't matter."""
    return url.partition("?")[0].partition("#")[0]


def _ascii(host: str) -> str:
    if len(host) > MAX_DOMAIN:
        # What is in other alphabets is composed first, in time with the square of how many marks stand on a letter.
        raise BadUrl("this is no URL: its host is none")
    if ":" in host:
        return f"[{host}]"
    try:
        return host.lower() if host.isascii() else to_ascii(host)
    except ValueError:
        raise BadUrl("this is no URL: its host is none") from None
