"""What is tried with a feed that is not well-formed, one after the other, until expat accepts it. Pure.

trim      white space before the declaration
utf-8     the declared encoding is a lie: the bytes are UTF-8
entities  HTML's names become numbers; a bare & becomes &amp;
controls  characters that XML forbids are dropped
recover   libxml2's recovering parser makes of it what it can
"""

from __future__ import annotations

import html.entities
import re
from collections.abc import Callable
from dataclasses import replace
from xml.parsers import expat

from lxml import etree

from .feeds import Feed, NotAFeed, Refused, Unreadable

#: Reads bytes in an encoding, or in that which they say; raises ExpatError, ValueError, LookupError, FeedError.
Parse = Callable[[bytes, str | None], Feed]

_DECLARATION = re.compile(rb"\A\s*<\?xml[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SINGLE = re.compile(r"(iso-?8859-?\d+|latin-?1|us-ascii|ascii|(windows|cp)-?125\d|koi8-[ru])", re.I)

#: Left alone: what CDATA and comments have in them is no entity.
_LITERAL = rb"<!\[CDATA\[.*?\]\]>|<!--.*?-->"
_AMPERSAND = re.compile(
    rb"("
    + _LITERAL
    + rb")|&(?:(#[0-9]{1,8}|#[xX][0-9A-Fa-f]{1,7}|amp|lt|gt|quot|apos);|([A-Za-z][A-Za-z0-9]{0,40});)?",
    re.DOTALL,
)
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|\xed[\xa0-\xbf][\x80-\xbf]")
_REFERENCE = re.compile(rb"&#(?:[xX]([0-9A-Fa-f]+)|([0-9]+));")


def read(body: bytes, charset: str, parse: Parse) -> Feed:
    """What `parse` makes of the bytes, or of them repaired; raises FeedError."""
    encoding = None
    declared = _declared(body)
    if not declared and not body.startswith(_BOMS) and charset and not _is_utf8(body) and _is_known(charset):
        encoding = charset
    if _SINGLE.fullmatch(declared) and not body.isascii() and _is_utf8(body):
        # Hardly any text of another encoding is UTF-8 as well by chance.
        return replace(_mended(body, parse, "utf-8"), repair="utf-8")
    try:
        return parse(body, encoding)
    except (expat.ExpatError, ValueError, LookupError) as error:
        reason = str(error)
    _check_entities(body)
    encoding = None if encoding is None or _is_utf8(body) else encoding
    for name, mend in _REPAIRS:
        mended = mend(body)
        if mended is None:
            continue
        body, encoding = mended, "utf-8" if name in {"utf-8", "recover"} else encoding
        try:
            return replace(parse(body, encoding), repair=name)
        except (expat.ExpatError, ValueError, LookupError):
            continue
        except NotAFeed:
            if name == "recover":
                raise NotAFeed(_guess(body) or f"it is no XML: {reason}") from None
            raise
    raise Unreadable(f"it is no XML: {reason}")


def _mended(body: bytes, parse: Parse, first: str) -> Feed:
    try:
        return parse(body, "utf-8")
    except (expat.ExpatError, ValueError, LookupError):
        return read(_set_encoding(body), "", parse)


def _declared(body: bytes) -> str:
    match = _DECLARATION.match(body[:300])
    return "" if match is None else match[1].decode()


def _set_encoding(body: bytes) -> bytes:
    match = _DECLARATION.match(body[:300])
    return body if match is None else body[: match.start(1)] + b"utf-8" + body[match.end(1) :]


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_known(charset: str) -> bool:
    return _SINGLE.fullmatch(charset) is not None or charset.lower() in {"utf-8", "utf8", "utf-16"}


def _check_entities(body: bytes) -> None:
    if b"<!ENTITY" in body[:100_000].upper():
        raise Refused("it declares entities")


def _guess(body: bytes) -> str:
    return "it is a web page, not a feed" if b"<html" in body[:10_000].lower() else ""


def _trim(body: bytes) -> bytes | None:
    start = body.find(b"<?xml")
    # A byte order mark and white space, in any order; words before it are something else.
    if 0 < start < 1000 and not body[:start].replace(b"\xef\xbb\xbf", b"").strip():
        return body[start:]
    stripped = body.lstrip()
    return stripped if len(stripped) < len(body) else None


def _utf8(body: bytes) -> bytes | None:
    declared = _declared(body).lower()
    return body if declared not in {"", "utf-8", "utf8"} and _is_utf8(body) else None


def _entities(body: bytes) -> bytes | None:
    def mend(match: re.Match[bytes]) -> bytes:
        literal, known, name = match.groups()
        if literal is not None or known is not None:
            return match[0]
        code = html.entities.name2codepoint.get(name.decode()) if name else None
        if code is not None:
            return b"&#%d;" % code
        return b"&amp;" + match[0][1:]

    mended = _AMPERSAND.sub(mend, body)
    return None if mended == body else mended


def _controls(body: bytes) -> bytes | None:
    def mend(match: re.Match[bytes]) -> bytes:
        code = int(match[1], 16) if match[1] else int(match[2][:12])
        fits = code in {9, 10, 13} or 32 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code <= 0x10FFFF
        return match[0] if fits else b""

    mended = _REFERENCE.sub(mend, _CONTROL.sub(b"", body))
    return None if mended == body else mended


#: An attribute that begins right behind another: libxml2 would lose the rest of the document.
_CLOSE = re.compile(rb"(=[ \t\r\n]*(?:\"[^\"<>]*\"|'[^'<>]*'))(?=[A-Za-z_])")


def _recover(body: bytes) -> bytes | None:
    body = _CLOSE.sub(rb"\1 ", body)
    parser = etree.XMLParser(recover=True, no_network=True, resolve_entities=False, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    if root is None:
        return None
    for entity in list(root.iter(etree.Entity)):
        _drop(entity)
    for element in root.iter(etree.Element):
        _declare(element)
    found: bytes = etree.tostring(root, encoding="utf-8", with_tail=False)
    return found


#: Namespaces of prefixes that some feeds forget to declare.
_PREFIXES = {
    "itunes": "http://www.itunes.com/dtds/podcast-1.0.dtd",
    "media": "http://search.yahoo.com/mrss/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "atom": "http://www.w3.org/2005/Atom",
    "podcast": "https://podcastindex.org/namespace/1.0",
}


def _declare(element: etree._Element) -> None:
    """Give the names of an element and its attributes the namespaces that nobody has declared."""
    tag = str(element.tag)
    if ":" in tag and not tag.startswith("{"):
        prefix, _, local = tag.partition(":")
        element.tag = f"{{{_PREFIXES.get(prefix, 'undeclared')}}}{local.replace(':', '-') or 'x'}"
    for name in [str(name) for name in element.attrib]:
        if ":" in name and not name.startswith("{"):
            del element.attrib[name]


def _drop(entity: etree._Element) -> None:
    """Take a node out, and leave the text behind it."""
    parent = entity.getparent()
    if parent is None:
        return
    before, tail = entity.getprevious(), entity.tail or ""
    if before is None:
        parent.text = (parent.text or "") + tail
    else:
        before.tail = (before.tail or "") + tail
    entity.tail = None
    parent.remove(entity)


_REPAIRS: tuple[tuple[str, Callable[[bytes], bytes | None]], ...] = (
    ("trim", _trim),
    ("utf-8", _utf8),
    ("entities", _entities),
    ("controls", _controls),
    ("recover", _recover),
)
