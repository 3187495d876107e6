"""What every view needs of a request: fields of a form, who sent it, and what form of answer it wants."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import hdrs, web
from yarl import query_to_pairs

from .. import heads
from ..identity import roles
from ..identity.browsers import browser_name, network_of
from ..identity.roles import Permission, Role
from ..identity.signins import SignIn, Where
from ..identity.users import User
from ..identity.visitors import Visitor
from . import keys
from .uploads import may_have_file, read_fields_before_file

#: Bytes of a form. The longest legal one, a description in four-byte letters, percent-encoded, is 120 kB.
MAX_FORM = 160 * 1024

#: When it came, by `time.perf_counter`; where a feature asks for that.
BEGAN = web.RequestKey("began", float)
VISITOR = web.RequestKey("visitor", Visitor)
USER = web.RequestKey("user", User)
#: Where the user is signed in: the row of this browser.
SIGN_IN = web.RequestKey("sign-in", SignIn)
FIELDS = web.RequestKey("fields", dict[str, str])
#: Bytes that the form of a request may have, where its route says another number than MAX_FORM.
MOST_FORM = web.RequestKey("most form", int)
#: The cookie that the answer has to carry.
NEW_VISITOR = web.RequestKey("new visitor", Visitor)

#: Marks that one letter may have; no writing system comes near (Unicode's stream-safe format has 30 too, UAX 15).
MAX_MARKS = 30

#: Fields of a form; ours have up to eight.
MAX_FIELDS = 100

#: How a form may come, and what its Content-Type may call its text: UTF-8, and what is a part of it.
_KINDS = frozenset({"application/x-www-form-urlencoded", "application/json"})
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})

#: Characters of a text that are composed at a time.
_PIECE = 500

#: What is left out of texts: control characters but tabs and ends of lines.
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n"})


def wants_json(request: web.Request) -> bool:
    """Whether the other end is a program: by the path, or by what it says it accepts."""
    if request.path.endswith(".json"):
        return True
    accept = request.headers.get(hdrs.ACCEPT, "")
    if "text/html" in accept:
        return False
    return "application/json" in accept or heads.content_type(request) == "application/json"


def wants_page(request: web.Request) -> bool:
    """Whether a browser asks for something to look at."""
    return "text/html" in request.headers.get(hdrs.ACCEPT, "")


async def read_fields(request: web.Request) -> dict[str, str]:
    """The fields of a form, or of a JSON object whose values are strings; read once, then remembered.

    They have no U+0000, which no text of PostgreSQL can have.

    Raises HTTPUnsupportedMediaType for what is neither, HTTPBadRequest for what can't be read,
    HTTPRequestEntityTooLarge beyond what its route takes, and HTTPRequestTimeout for what doesn't arrive in time.
    """
    if FIELDS in request:
        return request[FIELDS]
    kind = heads.content_type(request)
    if kind == "multipart/form-data" and may_have_file(request):
        request[FIELDS] = _without_nul(await _before_file(request))
        return request[FIELDS]
    if kind not in _KINDS and (kind or hdrs.CONTENT_TYPE in request.headers):
        # No other form of ours has a file.
        raise web.HTTPUnsupportedMediaType(text="Send a form as application/x-www-form-urlencoded, or JSON.")
    if (heads.charset(request) or "utf-8") not in _CHARSETS:
        # Forms are in UTF-8 (URL standard, application/x-www-form-urlencoded). Python knows a hundred other codecs by
        # whatever name a stranger gives, some of which take time with the square of the length: 150 kB in `punycode`
        # or `idna` halted the process for two seconds.
        raise web.HTTPUnsupportedMediaType(text="Send the form in UTF-8.")
    most = request.get(MOST_FORM, MAX_FORM)
    if (request.content_length or 0) > most:
        raise web.HTTPRequestEntityTooLarge(most, request.content_length or 0)
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in {"", "identity"}:
        # No browser packs a form, and unpacking one is work before its length is known.
        raise web.HTTPUnsupportedMediaType(text="Send the form without a Content-Encoding.")
    body = await read_body(request, most)
    try:
        fields = _of_json(body) if kind == "application/json" else _of_form(body)
    except ValueError:
        raise web.HTTPBadRequest(text="The form can't be read.") from None
    request[FIELDS] = _without_nul(fields)
    return request[FIELDS]


async def read_body(request: web.Request, most: int) -> bytes:
    """A body of at most so many bytes. Every view that reads one does it here, or bounds its time and size itself.

    Raises HTTPRequestEntityTooLarge, HTTPRequestTimeout for what doesn't arrive in time, and HTTPBadRequest for what is
    not packed as it says.
    """
    try:
        async with asyncio.timeout(request.app[keys.body_timeout]):
            return await request.clone(client_max_size=most).read()
    except TimeoutError:
        request.app[keys.when_late]()
        # Told that there is no more, aiohttp does not wait for it before it closes the connection.
        request.content.feed_eof()
        raise web.HTTPRequestTimeout(text="The form did not arrive in time.") from None
    except ValueError:
        raise web.HTTPBadRequest(text="The form can't be read.") from None


async def _before_file(request: web.Request) -> dict[str, str]:
    try:
        async with asyncio.timeout(request.app[keys.body_timeout]):
            return await read_fields_before_file(request)
    except TimeoutError:
        request.app[keys.when_late]()
        request.content.feed_eof()
        raise web.HTTPRequestTimeout(text="The form did not arrive in time.") from None
    except (ValueError, AssertionError, RuntimeError):
        # aiohttp asserts what a boundary is.
        raise web.HTTPBadRequest(text="The form can't be read.") from None


def _without_nul(fields: dict[str, str]) -> dict[str, str]:
    return {name: value.replace("\0", "") for name, value in fields.items()}


def _of_json(body: bytes) -> dict[str, str]:
    value: Any = orjson.loads(body)
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError
    return value


def _of_form(body: bytes) -> dict[str, str]:
    text = body.rstrip().decode()
    fields: dict[str, str] = {}
    for name, value in query_to_pairs(text, max_fields=MAX_FIELDS):
        fields.setdefault(name, value)
    return fields


def clean_text(text: str, most: int) -> str:
    """Text as it is kept: composed letters, plain line ends, no control characters, no space around it.

    most: characters that the caller takes. What is far longer comes back longer than that and is not composed:
    composing takes time with the square of how many marks stand on a letter (78,000 of them halted the process for
    6 s). For the same reason no letter keeps more than MAX_MARKS. Texts of more than a few hundred characters are for
    `clean_long`.
    """
    text, is_composed = _plain(text, most)
    return text if is_composed else composed(text).strip()


async def clean_long(text: str, most: int) -> str:
    """The same, of a text that may be long: others have their turn between pieces of it."""
    text, is_composed = _plain(text, most)
    if is_composed:
        return text
    pieces = []
    for piece in pieces_of(text):
        # Of marks without end as many as are kept.
        kept = ""
        for at in range(0, len(piece), _PIECE):
            kept = _unladen(kept + piece[at : at + _PIECE])
            await asyncio.sleep(0)
        pieces.append(unicodedata.normalize("NFC", kept))
    return "".join(pieces).strip()


def _plain(text: str, most: int) -> tuple[str, bool]:
    """A text as `clean_text` makes it, but for composing; whether there is nothing to compose, or too much."""
    text = text.strip()
    # A letter and its accent make one, as the two ends of a line do; who sends more has written too much already.
    if len(text) > 2 * most:
        return text.replace("\0", " "), True
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        # Each is a byte of its own. An expression takes 0.1 µs for each that it finds.
        text = text.encode().translate(None, _CONTROLS).decode().strip()
    except UnicodeEncodeError:
        # Half a surrogate pair.
        text = text.translate(dict.fromkeys(_CONTROLS)).strip()
    return text, text.isascii()


def composed(text: str) -> str:
    """A text with at most MAX_MARKS on a letter, composed (NFC)."""
    return unicodedata.normalize("NFC", _unladen(text))


def _unladen(text: str) -> str:
    return _marks().sub(r"\1", text)


def pieces_of(text: str, size: int = _PIECE) -> Iterator[str]:
    """Pieces of about so many characters, each of which is `composed` as it is in the whole; marks stay together."""
    begin = 0
    while begin < len(text):
        end = _boundary(text, begin + size)
        yield text[begin:end]
        begin = end


def _boundary(text: str, at: int) -> int:
    """Where the first letter begins, from there on, that does not compose with what is before it."""
    combining = unicodedata.combining
    for end in range(at, len(text)):
        letter = text[end]
        # A few letters begin with a mark when they are taken apart.
        if combining(letter) or combining(unicodedata.normalize("NFD", letter)[0]):
            continue
        # A letter and its marks; some vowels, and what a Korean syllable is written of, are no marks and compose.
        before = text[max(0, end - MAX_MARKS - 5) : end]
        whole, *parts = (unicodedata.normalize("NFC", each) for each in (before + letter, before, letter))
        if whole == "".join(parts):
            return end
    return len(text)


def clean_line(text: str, most: int) -> str:
    """The same on one line."""
    return " ".join(clean_text(text, most).split())


@cache
def _marks() -> re.Pattern[str]:
    """Finds the marks on a letter that are more than MAX_MARKS, after those that are kept."""
    marks = [chr(code) for code in range(0x300, 0x20000) if unicodedata.combining(chr(code))]
    usual, rare = ("".join(mark for mark in marks if (mark > "\uffff") is is_rare) for is_rare in (False, True))
    # What is beyond 16 bits makes the library look through a list, for each character: 0.7 µs, now for the rare alone.
    mark = f"(?:[{usual}]|(?=[\U00010000-\U0001ffff])[{rare}])"
    return re.compile(f"({mark}{{{MAX_MARKS}}}){mark}+")


def visitor_of(request: web.Request) -> Visitor:
    """The visitor, who gets a cookie with the answer if this is the first time."""
    if VISITOR not in request:
        request[VISITOR] = request[NEW_VISITOR] = request.app[keys.signer].new()
    return request[VISITOR]


def form_token(request: web.Request) -> str:
    """What a form on this visitor's page must repeat."""
    return request.app[keys.signer].form_token(visitor_of(request))


def require_user(request: web.Request) -> User:
    """The signed-in user; else the way to the login form, or 401 for a program, and where nobody can sign in."""
    if USER in request:
        return request[USER]
    login = request.app.get(keys.login)
    if login is None or wants_json(request) or request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
        raise web.HTTPUnauthorized(text="Sign in first.")
    raise web.HTTPSeeOther(f"{login}?next=" + quote(request.path_qs, safe="/"))


class NotAllowed(web.HTTPForbidden):
    """Who is signed in may not do this."""


def role_of(request: web.Request) -> Role:
    """The visitor's role on this site."""
    user = request.get(USER)
    return roles.role_of(None if user is None else user.role)


def may(request: web.Request, permission: Permission) -> bool:
    """Whether the visitor may do this."""
    return roles.may(role_of(request), permission)


def require(request: web.Request, permission: Permission) -> None:
    """Do nothing if the visitor may do this; else raise NotAllowed, or what `require_user` does for who may sign in."""
    if may(request, permission):
        return
    require_user(request)
    raise NotAllowed(text="Your account may not do this.")


def redirect(location: str) -> web.Response:
    """After a form: look there."""
    return web.Response(status=303, headers={hdrs.LOCATION: location})


def json_response(data: Mapping[str, Any], *, status: int = 200, cache: str = "no-store") -> web.Response:
    """JSON, not kept by anyone unless `cache` says so."""
    return web.Response(
        body=orjson.dumps(data), status=status, content_type="application/json", headers={hdrs.CACHE_CONTROL: cache}
    )


def address_of(request: web.Request) -> str:
    """What a browser is counted by: the connection's address, or the one that the outermost proxy of ours saw.

    Unlike at the hub's door, near addresses count: who signs in or writes is a person, wherever they sit.
    """
    proxies = request.app[keys.proxies]
    return proxies.client(request.remote or "", request.headers.getall(proxies.header, ()))


def where_of(request: web.Request) -> Where:
    """Where the visitor's browser is, and what it is called, as its user is shown it."""
    return Where(network_of(address_of(request)), browser_name(request.headers.get(hdrs.USER_AGENT, "")))


def read_number(request: web.Request, name: str, *, default: int, most: int) -> int:
    """A whole number of the query, from 1 to `most`; `default` without one. Raises HTTPNotFound for anything else."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        raise web.HTTPNotFound(text="There is no such page.")
    return int(text)
