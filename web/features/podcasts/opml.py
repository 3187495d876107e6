"""Lists of podcasts as other players have them: OPML, in and out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from .addresses import BadUrl, canonical
from .names import plain

#: Podcasts of one list; elements within each other; bytes.
MOST = 1000
_MAX_DEPTH = 50
MAX_BYTES = 1024 * 1024


class BadOpml(ValueError):
    """This is no list that can be read; the text says why."""


class TooMany(BadOpml):
    """A list of more podcasts than are read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A podcast of a list. name: as the list has it, or ""."""

    url: str
    name: str = ""


def read_opml(body: bytes, most: int = MOST) -> tuple[list[Entry], list[str]]:
    """The podcasts of a list, each once, and words for what in it is none; raises BadOpml.

    most: podcasts of it, of which one that is there twice, or is none, is counted too: each takes as long.
    """
    if len(body) > MAX_BYTES:
        raise BadOpml(f"the file is longer than {MAX_BYTES} bytes")
    found: dict[str, Entry] = {}
    wrong: list[str] = []
    depth = count = elements = 0
    is_opml = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count, elements, is_opml
        depth += 1
        elements += 1
        if elements > 20 * most:
            raise BadOpml("it has too much in it that is no podcast")
        if depth > _MAX_DEPTH:
            raise BadOpml(f"its elements are more than {_MAX_DEPTH} deep")
        is_opml = is_opml or (depth == 1 and name.lower() == "opml")
        if name.lower() != "outline":
            return
        lower = {key.lower(): value for key, value in attributes.items()}
        if not lower.get("xmlurl", "").strip():
            return
        count += 1
        if count > most:
            raise TooMany(f"the list has more than {most} podcasts")
        try:
            url = canonical(lower["xmlurl"])
        except BadUrl as error:
            wrong.append(f"{plain(lower['xmlurl'], 80)}: {error}")
            return
        found.setdefault(url, Entry(url, plain(lower.get("text") or lower.get("title"), 200)))

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    def entity(name: str, *rest: object) -> None:
        raise BadOpml("it declares entities")

    def defaults(*rest: object) -> None:
        # Each element gets all defaults: 7,000 of them on 1,900 elements took 1.2 s (160 kB).
        raise BadOpml("it declares attributes")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.EntityDeclHandler = start, end, entity
    parser.AttlistDeclHandler = defaults
    try:
        parser.Parse(body.lstrip(), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, BadOpml):
            raise
        raise BadOpml(f"it is no XML: {error}") from None
    if not is_opml:
        raise BadOpml("it is no OPML")
    return list(found.values()), wrong


def write_opml(title: str, entries: Iterable[tuple[str, str, str]], made: datetime) -> bytes:
    """A list of names, feeds and pages, in OPML 2.0."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<opml version="2.0">',
        f"<head><title>{_text(title)}</title><dateCreated>{made:%a, %d %b %Y %H:%M:%S} GMT</dateCreated></head>",
        "<body>",
    ]
    for name, url, link in entries:
        page = f" htmlUrl={_attribute(link)}" if link else ""
        lines.append(f'<outline type="rss" text={_attribute(name)} xmlUrl={_attribute(url)}{page}/>')
    return "\n".join([*lines, "</body>", "</opml>", ""]).encode()


def _attribute(text: str) -> str:
    return quoteattr(plain(text, 2000))


def _text(text: str) -> str:
    return plain(text, 200).replace("&", "&amp;").replace("<", "&lt;")
