"""Posts of other tools, read into plain values. Knows no model: who saves them compares identities.

Markdown, HTML, reStructuredText and plain text, with the front matter of Pelican, Hugo or Jekyll. What can't be read is
skipped, and said why. Everything is bounded, nothing that a file names is fetched or run.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from html import unescape
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import yaml

from .imported import Refused, Skipped, line_of, moment_of
from .restructured import from_rst
from .text import POST, slug

#: Of one file, before anything is parsed.
MOST_BYTES = 2_000_000
_MOST_FRONT = 50_000
_MOST_WORDS = 250
_MOST_TITLE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPost:
    """A post of a file. identity: the same each time it is read, wherever the folder is then."""

    identity: str
    title: str
    slug: str
    text: str
    #: One of `text.FORMATS`. reStructuredText has become HTML: nothing here renders it again.
    format: str
    published_at: datetime | None = None
    changed_at: datetime | None = None
    is_draft: bool = False
    summary: str = ""
    categories: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    #: Earlier addresses on the same site, as paths.
    paths: tuple[str, ...] = ()
    #: None where the file says nothing of it.
    has_comments: bool | None = None
    #: When they close, if that is said.
    comments_until: datetime | None = None
    #: Its name in feeds, where the file has one besides its identity.
    uid: str = ""


def read_posts(folder: Path, rst: Collection[str] = ()) -> Iterator[ImportedPost | Skipped]:
    """The posts of a folder and those within it, in the order of their names, and what was skipped.

    rst: suffixes of reStructuredText besides its own, such as `.txt`.

    Two files that would have one identity can't be: it is the path in the folder, or what the front matter says (`id`,
    `uuid` or `guid`); of two that say the same the second is skipped. Slugs may collide.
    """
    seen: dict[str, str] = {}
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix()
        try:
            post = read_post(path, name, rst)
            if post.identity in seen:
                raise Refused(f"it has the id of {seen[post.identity]}")
        except Refused as error:
            yield Skipped(name, str(error))
        else:
            seen[post.identity] = name
            yield post


_FOLDERS_OF_TOOLS = {
    "node_modules",
    "_site",
    "_includes",
    "_layouts",
    "_sass",
    "_data",
    "__pycache__",
    "themes",
    "output",
}


def files_of(folder: Path) -> Iterator[Path]:
    """Files in the order of their names. Links are not followed: they may lead out, or round in circles."""
    for path in sorted(folder.iterdir(), key=lambda each: each.name):
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir():
            if path.name not in _FOLDERS_OF_TOOLS:
                yield from files_of(path)
        elif path.is_file():
            yield path


_MARKDOWN = {".md", ".markdown", ".mkd", ".mdown"}
_HTML = {".html", ".htm"}
_RST = {".rst"}
_TEXT = {".txt"}


def read_post(path: Path, name: str, rst: Collection[str] = ()) -> ImportedPost:
    """The post of one file. name: its path in the folder, with slashes. rst: suffixes of reStructuredText besides.

    Raises:
        Refused: why not.
    """
    suffix = path.suffix.lower()
    if suffix not in _MARKDOWN | _HTML | _RST | _TEXT:
        raise Refused(f"{suffix or 'a name without a suffix'} is no format of posts")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Refused(f"it has more than {MOST_BYTES:,} bytes")
        source = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"it is not UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise Refused(f"it can't be read: {error.strerror}") from error
    return parse_post(source, name, rst)


def parse_post(source: str, name: str, rst: Collection[str] = ()) -> ImportedPost:
    """The post of a file's text. name: its path in the folder, with slashes. rst: suffixes of reStructuredText besides.

    Raises:
        Refused: why not.
    """
    suffix = PurePosixPath(name).suffix.lower()
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    front, body = split_front(source)
    title = ""
    if suffix in _RST or suffix in rst:
        fields, title, body, format = from_rst(body)
        front = {**fields, **front}
    elif suffix in _HTML:
        if not front:
            front, title, body = _from_html(body)
        format = "html"
    elif suffix in _MARKDOWN:
        if not front:
            front, body = _pelican(body)
        # What we exported has an id, and means what it says.
        body = body if "id" in front else _fenced(body)
        format = "markdown"
    else:
        if not front:
            front, body = _pelican(body)
        format = "text"
    return _post(front, title, body.strip("\n"), format, name)


_HIGHLIGHT = re.compile(
    r"^(?:\{%-?|\{\{[<%])[ \t]*highlight[ \t]+\"?([\w+#.-]+)\"?([^%>\n]*)(?:-?%\}|[>%]\}\})[ \t]*\n"
    r"(.*?)^(?:\{%-?|\{\{[<%])[ \t]*(?:end|/[ \t]*)highlight[ \t]*(?:-?%\}|[>%]\}\})[ \t]*$",
    re.DOTALL | re.MULTILINE,
)


def _fenced(markdown: str) -> str:
    """Code between the tags of Jekyll and Hugo as everybody's fences."""

    def fence(found: re.Match[str]) -> str:
        language, words, code = found.groups()
        ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
        return f"{ticks}{language}{' lines' if 'linenos' in words else ''}\n{code.rstrip()}\n{ticks}"

    # One that is not closed is looked for through all that follows.
    if len(markdown) > POST.characters or markdown.count("highlight") > 1_000:
        return markdown
    return _HIGHLIGHT.sub(fence, markdown)


# Front matter


def split_front(source: str) -> tuple[dict[str, Any], str]:
    """The front matter of Hugo or Jekyll, its keys in small, and the text after it; {} where there is none.

    Raises:
        Refused: it can't be read.
    """
    for fence, parse in (("---", _yaml), ("+++", _toml)):
        if source.startswith(fence + "\n"):
            end = re.compile(rf"^{re.escape(fence)}[ \t]*$", re.MULTILINE).search(source, len(fence))
            # A rule at the top is no front matter, if no other ends it.
            if end is None:
                break
            front = source[len(fence) : end.start()]
            if len(front) > _MOST_FRONT:
                raise Refused(f"its front matter has more than {_MOST_FRONT:,} characters")
            return _small(parse(front)), source[end.end() :]
    if source.startswith("{\n"):
        try:
            front, end_at = json.JSONDecoder().raw_decode(source[: _MOST_FRONT + 1])
        except (ValueError, RecursionError) as error:
            raise Refused(f"its JSON front matter can't be read: {error}") from error
        return _small(front), source[end_at:]
    return {}, source


# 20 times as fast as the one in Python, which would take 20 s for the front matter of 10,000 posts.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LISTS = re.compile(r"(?:[-?][ \t]+){50}")


def _yaml(front: str) -> Any:
    # Each level is one of the C stack too, and nobody counts those.
    if front.count("[") + front.count("{") > 500 or _LISTS.search(front):
        raise Refused("its YAML front matter is nested too deeply")
    try:
        return yaml.load(front, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError) as error:
        raise Refused(f"its YAML front matter can't be read: {' '.join(str(error).split())[:200]}") from error


def _toml(front: str) -> Any:
    try:
        return tomllib.loads(front)
    except (ValueError, RecursionError) as error:
        raise Refused(f"its TOML front matter can't be read: {error}") from error


def _small(front: Any) -> dict[str, Any]:
    if front is None:
        return {}
    if not isinstance(front, dict):
        raise Refused("its front matter has no names")
    small: dict[str, Any] = {}
    for key, value in front.items():
        key = str(key).lower().replace("-", "_")
        # Hugo keeps lists of one's own under `taxonomies` or `params`.
        if key in ("taxonomies", "params") and isinstance(value, dict):
            for inner, each in value.items():
                small.setdefault(str(inner).lower(), each)
        else:
            small[key] = value
    return small


_PELICAN = re.compile(r"([A-Za-z][A-Za-z_-]{1,30}):[ \t]*(.*)")
_PELICAN_NAMES = {
    *(
        "title",
        "date",
        "modified",
        "tags",
        "keywords",
        "category",
        "categories",
        "slug",
        "author",
        "authors",
        "summary",
    ),
    *("lang", "status", "template", "save_as", "url", "translation", "image"),
}


def _pelican(source: str) -> tuple[dict[str, Any], str]:
    """Lines of `Name: value` at the top, up to an empty one. Continued lines are indented."""
    front: dict[str, Any] = {}
    lines = source.lstrip("\n").split("\n")
    last = ""
    for at, line in enumerate(lines):
        found = _PELICAN.fullmatch(line)
        if found and (found[1].lower() in _PELICAN_NAMES or front):
            last = found[1].lower().replace("-", "_")
            front[last] = found[2].strip()
        elif last and line[:1] in (" ", "\t") and line.strip():
            front[last] = f"{front[last]} {line.strip()}"
        elif not line.strip() and front:
            return front, "\n".join(lines[at + 1 :])
        else:
            break
    # A text that only begins like one, with a line that is no field before the empty one, has no front matter.
    if front and at == len(lines) - 1 and _PELICAN.fullmatch(lines[-1]):
        return front, ""
    return {}, source


# HTML


# None looks beyond the next tag for its end: a file may have a million that are not closed.
_BODY = re.compile(r"<body(?:\s[^<>]*)?>", re.IGNORECASE)
_META = re.compile(r"<meta\s[^<>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([a-zA-Z-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))")
_TITLE = re.compile(r"<title(?:\s[^<>]*)?>", re.IGNORECASE)
_FIRST_HEADING = re.compile(r"<h1(?:\s[^<>]*)?>", re.IGNORECASE)
_COMMENT_FRONT = re.compile(r"\s*<!--(.*?)-->", re.DOTALL)


def _from_html(source: str) -> tuple[dict[str, Any], str, str]:
    """What a page's head says, its title, its body. A fragment has only a body; Pelican's `<meta>` are its fields."""
    front: dict[str, Any] = {}
    body, title = source, ""
    if begun := _BODY.search(source):
        body = source[begun.end() : _end(source, "body", begun.end())]
        head = source[: min(begun.start(), 100_000)]
        for meta in _META.findall(head)[:200]:
            said = {name.lower(): unescape(a or b or c) for name, a, b, c in _ATTRIBUTE.findall(meta)}
            name = said.get("name", said.get("property", "")).lower()
            name = {"description": "summary", "article:published_time": "date"}.get(name, name)
            if name and "content" in said:
                front.setdefault(name, said["content"])
        if found := _TITLE.search(head):
            title = _plain(head[found.end() : _end(head, "title", found.end())])
    elif found := _COMMENT_FRONT.match(source):
        front, _ = _pelican(found[1].strip() + "\n\n")
        body = source[found.end() :] if front else source
    if found := _FIRST_HEADING.search(body):
        end = _end(body, "h1", found.end())
        title = title or _plain(body[found.end() : end])
        # The page shows the title itself.
        rest = body[end:].partition(">")[2]
        if not _FIRST_HEADING.search(rest) and not _plain(body[: found.start()]):
            body = body[: found.start()] + rest
    return front, title, body


def _end(html: str, tag: str, begin: int) -> int:
    """Where a tag ends that began before: at the first end of its name, or of all."""
    found = re.compile(rf"</{tag}\s*>", re.IGNORECASE).search(html, begin)
    return found.start() if found else len(html)


def _plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^<>]*>", "", html)).split())


# From front matter to a post


_DATED = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})[-_](.+)")
_ATX = re.compile(r"(?:\A|\n)[ ]{0,3}(#{1,2})[ \t]+([^\n]+)")
_SETEXT = re.compile(r"\n*([^\n]+)\n=+[ \t]*(?:\n|\Z)")
_DRAFTS = {"_drafts", "drafts"}
_ADDRESS = re.compile(r"(?=.{1,100}$)[a-z0-9]+(-[a-z0-9]+)*")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _post(front: Mapping[str, Any], title: str, body: str, format: str, name: str) -> ImportedPost:
    path = PurePosixPath(name)
    stem = path.stem if path.stem not in ("index", "_index") or len(path.parts) < 2 else path.parts[-2]
    dated = _DATED.fullmatch(stem)
    title = line_of(front.get("title")) or title
    if not title:
        title, body = _title_of(body, format)
    title = title or line_of((dated[4] if dated else stem).replace("-", " ").replace("_", " "))
    if not title:
        raise Refused("it has no title")
    if not body.strip() and "id" not in front:
        raise Refused("it has no text")
    dates = [front.get(key) for key in ("date", "publishdate", "published", "pubdate")]
    # Jekyll's `published: false` is no date.
    said_at = next((each for each in dates if each not in (None, "") and not isinstance(each, bool)), None)
    published_at = moment_of(said_at, "date") if said_at is not None else None
    if published_at is None and dated:
        published_at = moment_of(f"{dated[1]}-{int(dated[2]):02}-{int(dated[3]):02}", "date in the name")
    changed = front.get("modified", front.get("lastmod", front.get("last_modified_at", front.get("updated"))))
    status = line_of(front.get("status")).lower()
    if status in ("hidden", "skip"):
        raise Refused(f"its status is {status}")
    is_draft = status == "draft" or _is_true(front.get("draft")) or front.get("published") is False
    is_draft = is_draft or bool(_DRAFTS & set(path.parts[:-1]))
    said = line_of(front.get("id") or front.get("uuid") or front.get("guid"))
    uid = line_of(front.get("uuid"))
    until = front.get("comments")
    wanted = line_of(front.get("slug")) or (dated[4] if dated else stem)
    return ImportedPost(
        identity=_identity(said) if said else f"file:{path.with_suffix('')}",
        title=title[:_MOST_TITLE].strip(),
        # One that can be an address as it is may be longer than those that are made.
        slug=wanted if _ADDRESS.fullmatch(wanted) else slug(wanted) or slug(title) or "post",
        text=body,
        format=format,
        published_at=published_at,
        changed_at=moment_of(changed, "time of its change") if changed not in (None, "") else None,
        is_draft=is_draft,
        summary=line_of(front.get("summary") or front.get("description") or front.get("excerpt"))[:1000].strip(),
        categories=_names(front.get("categories", front.get("category")), with_spaces="category" in front),
        keywords=_names(front.get("tags", front.get("keywords"))),
        paths=_paths(front),
        has_comments=True if isinstance(until, date) else _has_comments(front),
        comments_until=moment_of(until, "time at which its comments close") if isinstance(until, date) else None,
        uid=uid if _UUID.fullmatch(uid) else "",
    )


def _identity(said: str) -> str:
    # An export says `file:…` of what had no id.
    return said[:500] if said.startswith("file:") else f"id:{said}"[:500]


def _title_of(body: str, format: str) -> tuple[str, str]:
    """The first heading, if the text begins with one, and the text after it."""
    if format == "markdown":
        body = body.strip("\n")
        if (found := _ATX.match(body)) and len(found[1]) == 1:
            return _undecorated(found[2]), body[found.end() :].strip("\n")
        if found := _SETEXT.match(body):
            return _undecorated(found[1]), body[found.end() :].strip("\n")
        if found := _ATX.search(body):
            return _undecorated(found[2]), body
    elif format == "text":
        first, _, rest = body.strip("\n").partition("\n")
        if first.strip() and len(first) <= 120 and (not rest.strip() or rest.startswith(("\n", "="))):
            underlined = re.sub(r"^=+[ \t]*\n", "", rest)
            return line_of(first), underlined.strip("\n") or first
    return "", body


def _undecorated(markdown: str) -> str:
    """A heading's words: no links, emphasis or code."""
    text = re.sub(r"!?\[([^\[\]]*)\]\([^()]*\)", r"\1", markdown[:1_000])
    text = re.sub(r"\s#+\s*$", "", text)
    text = re.sub(r"\{#[\w-]+\}\s*$", "", text)
    return line_of(unescape(re.sub(r"(\*\*|__|`|(?<!\w)[*_]|[*_](?!\w))", "", text)))


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() in ("true", "yes", "1", "on"))


def _names(value: Any, *, with_spaces: bool = True) -> tuple[str, ...]:
    """A list, or names between commas; Jekyll's `categories: a b` are two."""
    if value is None:
        return ()
    if isinstance(value, str):
        parts = re.split(r"[,;]", value.strip().strip("[]"))
        if len(parts) == 1 and not with_spaces:
            parts = value.split()
        parts = [part.strip().strip("\"'") for part in parts]
    elif isinstance(value, list | tuple):
        parts = [line_of(each) for each in value]
    else:
        parts = [str(value)]
    names = dict.fromkeys(line_of(line_of(part)[:60]) for part in parts)
    return tuple(name for name in names if name)[:_MOST_WORDS]


def _paths(front: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the post was: Jekyll's permalink, Hugo's url and aliases, Pelican's save_as."""
    named: list[Any] = [front.get("permalink"), front.get("url"), front.get("save_as")]
    for key in ("aliases", "redirect_from"):
        more = front.get(key)
        named += more if isinstance(more, list) else [more]
    paths: dict[str, None] = {}
    for each in named:
        path = urlsplit(line_of(each)).path if line_of(each) else ""
        # `/:year/:title` is a pattern of the site's.
        if path and ":" not in path and ".." not in path:
            paths["/" + path.lstrip("/")[:500]] = None
    return tuple(paths)[:_MOST_WORDS]


def _has_comments(front: Mapping[str, Any]) -> bool | None:
    value = front.get("comments")
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip().lower() not in ("false", "no", "off", "closed", "0")
    return bool(value)
