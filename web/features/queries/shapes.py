"""A statement without its values: two questions of one shape differ in those alone. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

_COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_VALUES = re.compile(
    r"""
      '(?:[^']|'')*'                # a text
    | \$\d+(?:::[\w"]+(?:\s(?:varying|precision|with(?:out)?\stime\szone))?(?:\[\])?)?   # $1::INTEGER
    | %\(\w+\)s | %s                # psycopg, Django
    | (?<![:\w]):\w+                # :name
    | \?\d*
    | (?<![\w."$])-?\d+(?:\.\d+)?(?![\w.])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SPACE = re.compile(r"\s+")
_LISTS = re.compile(r"\(\s*\?(?:\s*,\s*\?)*\s*\)")
# Of rows: SQLite has VALUES there, PostgreSQL has not.
_ROWS = re.compile(r"\(\s*(?:values )?\(…\)(?:\s*,\s*\(…\))*\s*\)", re.IGNORECASE)
_COLUMNS = re.compile(r"^(select(?: distinct)?) .*? (from) ", re.IGNORECASE)
_READS = re.compile(r"^\s*(?:select\b|with\b(?!.*\b(?:insert into|update|delete from)\b))", re.IGNORECASE | re.DOTALL)
_WRITES = re.compile(r"^\s*(?:insert|update|delete|replace|merge|with)\b", re.IGNORECASE)
_IN = re.compile(r"\bin \((\?(?:, \?)*)\)", re.IGNORECASE)
_IN_ROWS = re.compile(r"\bin \((?:values )?(\([?, ]+\)(?:, \([?, ]+\))*)\)", re.IGNORECASE)
_CATALOGUES = re.compile(
    r"\b(?:sqlite_(?:temp_)?(?:master|schema)|pg_catalog\.pg_\w+|information_schema\.\w+)\b", re.IGNORECASE
)
_PAGES = re.compile(r"\blimit \?|\bfetch (?:first|next) \?", re.IGNORECASE)


@lru_cache(maxsize=2000)
def shape(statement: str) -> str:
    """The statement on one line, `?` for each value, and one `(…)` for any number of them."""
    return _ROWS.sub("(…)", _LISTS.sub("(…)", _without_values(statement)))


def _without_values(statement: str) -> str:
    return _SPACE.sub(" ", _VALUES.sub("?", _COMMENTS.sub(" ", statement))).strip()


def asks_for(statement: str) -> int:
    """For how many values, or rows of them, at once it asks: those of the longest list that something is to be in."""
    text = _without_values(statement)
    values = [found.count("?") for found in _IN.findall(text)]
    rows = [found.count("(") for found in _IN_ROWS.findall(text)]
    return max(values + rows, default=0)


def is_of_catalogue(shape: str) -> bool:
    """Whether it asks what tables there are, and not for their rows."""
    return _CATALOGUES.search(shape) is not None


@lru_cache(maxsize=2000)
def short(shape: str) -> str:
    """A shape without the names of its columns: what a person reads first."""
    return _COLUMNS.sub(r"\1 … \2 ", shape, count=1)


def reads(statement: str) -> bool:
    """Whether it asks for rows and changes none."""
    return _READS.match(statement) is not None


def writes(statement: str) -> bool:
    """Whether it changes rows."""
    return _WRITES.match(statement) is not None and not reads(statement)


def is_page(shape: str) -> bool:
    """Whether it asks for so many rows at most: a loop of these goes through a table page by page."""
    return _PAGES.search(shape) is not None
