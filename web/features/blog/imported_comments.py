"""Comments of other tools, read into plain values. Nothing that a file names is fetched, nothing in it is expanded."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.parsers import expat

from .imported import Refused, Skipped, line_of, moment_of

#: Of a file of comments, and of one of its texts.
MOST_XML = 1_000_000_000
MOST_TEXT = 200_000
MOST_COMMENTS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedComment:
    """A comment of another tool. identity: of the tool and its own number, the same each time it is read."""

    identity: str
    #: The path or address of its post there, as the tool has it.
    post: str
    title: str = ""
    name: str = ""
    text: str
    #: "html" or "markdown".
    format: str
    posted_at: datetime
    #: The identity of the comment that it answers.
    answers: str | None = None
    is_public: bool = True
    is_spam: bool = False
    link: str = ""


class _Stop(Exception):
    """Why a file of comments is read no further."""


@dataclass(slots=True)
class _Element:
    """An element of interest as it is read: its attributes, and the text of those within it by their names."""

    attributes: dict[str, str]
    texts: dict[str, str] = field(default_factory=dict)
    #: Attributes of those within it.
    inner: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Elements that are within it many times.
    children: list[_Element] = field(default_factory=list)
    #: One of the texts is longer than may be, and lacks its end.
    is_long: bool = False


def _elements(file: Path, wanted: Mapping[str, str | None]) -> Iterator[tuple[str, _Element]]:
    """Elements of an XML file as they end, one at a time. wanted: their names; of those within others, in which.

    Raises:
        _Stop: it is no XML, or has what no export has. Entities and a document type are refused before they are read,
            so that none is expanded or fetched.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.buffer_size = 65_536
    done: list[tuple[str, _Element]] = []
    open_elements: list[tuple[str, _Element]] = []
    stack: list[str] = []

    def refuse(*_: Any) -> int:
        raise _Stop("it declares entities or a document type, as no export does")

    def begin(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > 50:
            raise _Stop("its elements are nested too deeply")
        if name in wanted and not (open_elements and wanted[name] is None):
            open_elements.append((name, _Element(attributes)))
        elif open_elements:
            open_elements[-1][1].inner.setdefault(name, attributes)
        stack.append(name)

    def take(text: str) -> None:
        if open_elements:
            element = open_elements[-1][1]
            so_far = element.texts.get(stack[-1], "")
            if len(so_far) + len(text) > MOST_TEXT:
                element.is_long = True
            else:
                element.texts[stack[-1]] = so_far + text

    def end(name: str) -> None:
        stack.pop()
        if open_elements and open_elements[-1][0] == name and name not in stack:
            element = open_elements.pop()[1]
            if open_elements:
                open_elements[-1][1].children.append(element)
            else:
                done.append((name, element))

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = take
    read = 0
    try:
        with file.open("rb") as source:
            while piece := source.read(65_536):
                read += len(piece)
                if read > MOST_XML:
                    raise _Stop(f"it has more than {MOST_XML:,} bytes")
                parser.Parse(piece, False)
                yield from done
                done.clear()
            parser.Parse(b"", True)
            yield from done
    except expat.ExpatError as error:
        raise _Stop(f"it is no XML: {error}") from error
    except OSError as error:
        raise _Stop(f"it can't be read: {error.strerror}") from error


def _told(
    read: Callable[[Path], Iterator[ImportedComment | Skipped]],
) -> Callable[[Path], Iterator[ImportedComment | Skipped]]:
    """With what stops the reading told as the last thing that was skipped."""

    def reading(file: Path) -> Iterator[ImportedComment | Skipped]:
        count = 0
        try:
            for each in read(file):
                count += 1
                if count > MOST_COMMENTS:
                    raise _Stop(f"it has more than {MOST_COMMENTS:,} comments")
                yield each
        except _Stop as error:
            yield Skipped(file.name, str(error))

    reading.__doc__ = read.__doc__
    return reading


@_told
def read_disqus(file: Path) -> Iterator[ImportedComment | Skipped]:
    """The comments of Disqus's export. Deleted ones are skipped; spam comes as what it is."""
    threads: dict[str, tuple[str, str]] = {}
    for name, element in _elements(file, {"thread": None, "post": None}):
        number = element.attributes.get("dsq:id", element.attributes.get("http://disqus.com/disqus-internals:id", ""))
        texts = element.texts
        if name == "thread":
            threads[number] = (texts.get("link", "").strip(), line_of(texts.get("title")))
            continue
        where = f"post {number}"
        if texts.get("isDeleted", "").strip() == "true":
            yield Skipped(where, "it was deleted")
            continue
        thread = _id_of(element, "thread")
        if thread not in threads:
            yield Skipped(where, f"its thread {thread} is not there")
            continue
        link, title = threads[thread]
        parent = _id_of(element, "parent")
        try:
            yield _comment(
                identity=f"disqus:{number}",
                post=link,
                title=title,
                name=texts.get("name", ""),
                text=_whole(element, "message"),
                format="html",
                posted_at=moment_of(texts.get("createdAt", ""), "date"),
                answers=f"disqus:{parent}" if parent else None,
                is_spam=texts.get("isSpam", "").strip() == "true",
            )
        except Refused as error:
            yield Skipped(where, str(error))


def _whole(element: _Element, name: str) -> str:
    if element.is_long:
        raise Refused(f"it has more than {MOST_TEXT:,} characters")
    return element.texts.get(name, "")


def _id_of(element: _Element, name: str) -> str:
    return element.inner.get(name, {}).get("dsq:id", "")


@_told
def read_wordpress(file: Path) -> Iterator[ImportedComment | Skipped]:
    """The comments of WordPress's export (WXR). Pingbacks are skipped; held ones are not public, spam is what it is."""
    for _, item in _elements(file, {"item": None, "wp:comment": "item"}):
        link, title = item.texts.get("link", "").strip(), line_of(item.texts.get("title"))
        for element in item.children:
            texts = element.texts
            number = texts.get("wp:comment_id", "").strip()
            kind, status = texts.get("wp:comment_type", "").strip(), texts.get("wp:comment_approved", "1").strip()
            where = f"comment {number}"
            if kind not in ("", "comment"):
                yield Skipped(where, f"it is a {kind}")
                continue
            if status == "trash":
                yield Skipped(where, "it was deleted")
                continue
            parent = texts.get("wp:comment_parent", "0").strip()
            try:
                yield _comment(
                    identity=f"wordpress:{number}",
                    post=link,
                    title=title,
                    name=texts.get("wp:comment_author", ""),
                    # WordPress makes paragraphs of empty lines when it shows them.
                    text=_paragraphs(_whole(element, "wp:comment_content")),
                    format="html",
                    posted_at=moment_of(_utc_of(texts), "date"),
                    answers=f"wordpress:{parent}" if parent not in ("", "0") else None,
                    is_public=status == "1",
                    is_spam=status == "spam",
                    link=texts.get("wp:comment_author_url", "").strip(),
                )
            except Refused as error:
                yield Skipped(where, str(error))


def _utc_of(texts: Mapping[str, str]) -> str:
    said = texts.get("wp:comment_date_gmt", "").strip()
    return said if said and not said.startswith("0000") else texts.get("wp:comment_date", "").strip()


def _paragraphs(html: str) -> str:
    if re.search(r"<(?:p|ul|ol|blockquote|pre)\b", html, re.IGNORECASE):
        return html
    parts = [
        part.strip().replace("\n", "<br>")
        for part in re.split(r"\n[ \t]*\n", html.replace("\r\n", "\n"))
        if part.strip()
    ]
    return "".join(f"<p>{part}</p>" for part in parts)


@_told
def read_isso(file: Path) -> Iterator[ImportedComment | Skipped]:
    """The comments of isso's database, which is only read. Deleted ones are skipped, held ones are not public."""
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000_000)
            rows = connection.execute(
                "SELECT c.id, c.parent, c.created, c.mode, c.text, c.author, c.website, t.uri, t.title"
                " FROM comments c JOIN threads t ON t.id = c.tid ORDER BY c.id"
            )
            for number, parent, created, mode, text, author, website, uri, title in rows:
                # 1: accepted, 2: held, 4: deleted, though answers to it stand.
                if mode == 4:
                    yield Skipped(f"comment {number}", "it was deleted")
                    continue
                try:
                    yield _comment(
                        identity=f"isso:{number}",
                        post=str(uri),
                        title=line_of(title),
                        name=author or "",
                        text=str(text or ""),
                        format="markdown",
                        posted_at=moment_of(created, "date"),
                        answers=f"isso:{parent}" if parent else None,
                        is_public=mode == 1,
                        link=str(website or ""),
                    )
                except Refused as error:
                    yield Skipped(f"comment {number}", str(error))
    except sqlite3.Error as error:
        raise _Stop(f"it is no database of isso: {error}") from error


def _comment(**values: Any) -> ImportedComment:
    text = values["text"].replace("\0", "").strip()
    if not text:
        raise Refused("it has no text")
    if len(text) > MOST_TEXT:
        raise Refused(f"it has more than {MOST_TEXT:,} characters")
    if values["identity"].endswith(":"):
        raise Refused("it has no number")
    link = values.get("link", "")
    values["link"] = link[:500] if urlsplit(link).scheme in ("http", "https") else ""
    return ImportedComment(**{**values, "text": text, "name": line_of(values.get("name"))[:200]})


def path_of(address: str) -> str:
    """The path of a comment's post, by which it is found: of an address or a path, decoded, without a last slash."""
    try:
        path = urlsplit(address).path
    except ValueError:
        return ""
    return "/" + unquote(path).strip("/")
