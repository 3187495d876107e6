"""What views read of a request's head, and that it takes little time whatever is in it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import hdrs, web
from aiohttp.test_utils import make_mocked_request
from cpu import least
from multidict import CIMultiDict

from hub.protocol.heads import HEAD_BYTES
from web import heads

ROOT = Path(__file__).resolve().parents[2]


def request(*fields: tuple[str, str]) -> web.Request:
    return make_mocked_request("POST", "/", headers=CIMultiDict(fields))


@pytest.mark.parametrize(
    ("said", "kind", "charset"),
    [
        ("application/json", "application/json", ""),
        ("Application/JSON; charset=UTF-8", "application/json", "utf-8"),
        (' text/html ;a=b; charset="utf-8" ', "text/html", "utf-8"),
        ("text/html;charset=a;charset=b", "text/html", "a"),
        ('text/html; x=";charset=b"; Charset=c', "text/html", "c"),
        ("application", "", ""),
        ("a/b/c", "", ""),
        ("a/b, c/d", "", ""),
        ("multipart/form-data; boundary=b", "multipart/form-data", ""),
        ("a/b; " + "x" * heads.MAX_TYPE, "", ""),
        ("", "", ""),
    ],
)
def test_content_type_is_read(said: str, kind: str, charset: str) -> None:
    asked = request((hdrs.CONTENT_TYPE, said))
    assert (heads.content_type(asked), heads.charset(asked)) == (kind, charset)


def test_no_content_type_is_none() -> None:
    assert (heads.content_type(request()), heads.charset(request())) == ("", "")


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (["visitor=a.b-c_"], "a.b-c_"),
        (["x=y;visitor=a; z=1"], "a"),
        (["x=y; \tvisitor=a ;z"], "a"),
        (["visitor=a; visitor=b"], "b"),
        (["visitor=a", "visitor=b"], "b"),
        (["my-visitor=a"], ""),
        (["visitors=a; visitor"], ""),
        (["x=visitor=a"], ""),
        (["visitor=a=b"], "a=b"),
        (["a;" * 30_000 + "visitor=b"], "b"),
        (["visitor=a;" + ";" * 30_000], ""),
        ([], ""),
    ],
)
def test_cookie_is_found(lines: list[str], value: str) -> None:
    assert heads.cookie(request(*((hdrs.COOKIE, line) for line in lines)), "visitor") == value


def test_many_cookies_are_not_all_looked_at() -> None:
    """Each of ours that is looked for took 1.2 ms, and a page looks for three."""
    asked = request((hdrs.COOKIE, "visitor=a" + ";" * 30_000))
    assert heads.cookie(asked, "visitor") == ""
    assert least(lambda: heads.cookie(asked, "visitor")) < 0.0005


@pytest.mark.parametrize(
    ("line", "known"),
    [('"abc"', True), ('W/"abc"', True), ('"x", W/"abc"', True), ("*", True), ("abc", False), ('"abcd"', False)],
)
def test_tag_is_found(line: str, known: bool) -> None:
    assert heads.has_tag(request((hdrs.IF_NONE_MATCH, line)), "abc") is known


PIECES = ['"', "(", ",", "\\", "\\(", "=", ";", " ", "a", "<", "é"]
PIECES += ["a/b; x=y; ", 'W/"a", ', "visitor=a; ", "x*0*=%41; "]

WAYS: list[tuple[str, Callable[[web.Request], object]]] = [
    (hdrs.CONTENT_TYPE, heads.content_type),
    (hdrs.CONTENT_TYPE, heads.charset),
    (hdrs.COOKIE, lambda asked: heads.cookie(asked, "visitor")),
    (hdrs.IF_NONE_MATCH, lambda asked: heads.has_tag(asked, "abc")),
]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(("name", "read"), WAYS)
def test_no_field_takes_long(name: str, read: Callable[[web.Request], object], piece: str) -> None:
    """A head full of quotation marks, as the Content-Type of a form that anybody may send, halted the process for
    minutes. aiohttp had Python's e-mail parser look at it.
    """
    for begins in ("", "a/b; "):
        asked = request((name, begins + piece * (HEAD_BYTES // len(piece))))
        times = []
        for _ in range(5):
            began = time.perf_counter()
            read(asked)
            times.append(time.perf_counter() - began)
        # The quickest of some: other processes must not fail this. The library took 30 ms for cookies, the least.
        assert min(times) < 0.01


def test_the_site_has_no_library_read_a_head() -> None:
    """aiohttp's own properties for these take more than linear time, or a tenth of a second for a head full of them."""
    banned = re.compile(
        r"\brequest\.(cookies|content_type|charset|if_none_match|if_match|if_range|http_range|forwarded|post|text|json)\b"
    )
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for folder in ("hub", "web")
        for path in (ROOT / folder).rglob("*.py")
        for match in banned.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
