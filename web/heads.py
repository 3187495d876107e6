"""What views read of a request's head, in time that is linear in its length, and little of it.

aiohttp has Python's e-mail parser read a Content-Type, and regular expressions in a loop read cookies and tags: 31,000
quotation marks for a Content-Type halted the process for minutes, as many brackets failed by recursion, and a head full
of cookies or tags took a tenth of a second. Nothing else of the site asks a request for these.
"""

from __future__ import annotations

import re

from aiohttp import hdrs, web

#: Characters of a Content-Type that is looked at; a browser's longest, of a form in parts, has 80.
MAX_TYPE = 200

#: Cookies of a line that are looked at; browsers keep 180 of a site. A head of 30,000 semicolons took 1.2 ms for each
#: of ours that was looked for.
_MOST_COOKIES = 500

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~\-]+"
# RFC 9110 §8.3.1.
_TYPE = re.compile(rf"[ \t]*({_TOKEN}/{_TOKEN})[ \t]*(;.*)?", re.DOTALL)
_CHARSET = re.compile(rf';[ \t]*charset=("?)({_TOKEN})\1[ \t]*(?=;|$)', re.IGNORECASE)

#: Fields of a query, as of the hub's ways in: 30 kB of them were 3 to 5 ms of the loop.
MAX_QUERY_FIELDS = 400


def check_query(request: web.Request) -> None:
    """Raise HTTPBadRequest for a query of too many fields: to count them is nothing beside reading them."""
    if request.rel_url.raw_query_string.count("&") >= MAX_QUERY_FIELDS:
        raise web.HTTPBadRequest(text=f"An address has at most {MAX_QUERY_FIELDS} fields.")


def content_type(request: web.BaseRequest) -> str:
    """The media type of a body in lower case, without parameters; "" if none is said, or nothing that is one."""
    match = _TYPE.fullmatch(_said(request))
    return "" if match is None else match[1].lower()


def charset(request: web.BaseRequest) -> str:
    """The charset that a Content-Type names, in lower case; "" if it names none."""
    match = _CHARSET.search(_said(request))
    return "" if match is None else match[2].lower()


def cookie(request: web.BaseRequest, name: str) -> str:
    """The value of a cookie, "" without one. Of several that have the name, the last; of many the last count."""
    value, begins = "", f"{name}="
    for line in request.headers.getall(hdrs.COOKIE, ()):
        for part in line.rsplit(";", _MOST_COOKIES)[-_MOST_COOKIES:] if begins in line else ():
            if begins in part and (part := part.strip(" \t")).startswith(begins):
                value = part[len(begins) :]
    return value


def has_tag(request: web.BaseRequest, tag: str) -> bool:
    """Whether If-None-Match names this entity tag, weak or strong, or any. tag: without quotes or backslashes."""
    lines = request.headers.getall(hdrs.IF_NONE_MATCH, ())
    return any(f'"{tag}"' in line or line.strip() == "*" for line in lines)


def _said(request: web.BaseRequest) -> str:
    said = request.headers.get(hdrs.CONTENT_TYPE, "")
    return said if len(said) <= MAX_TYPE else ""
