"""What of a sheet a page leaves, case by case."""

from __future__ import annotations

import pytest
from vectors import ADDRESSES, VECTORS

from web.features.css.inline import Sheets, inline

URL = "https://example.org/posts/one"
SHEET = "https://example.org/static/css/site.css"


def page(head: str, body: str) -> str:
    return f'<!doctype html><html lang="en"><head><title>x</title>{head}</head><body>{body}</body></html>'


def left(body: str, css: str, **options: object) -> str:
    html = page(f'<link rel="stylesheet" href="{SHEET}">', body)
    result = inline(html, URL, Sheets({SHEET: css}.get).plan, **options)
    assert not result.left, result.left
    before, _, rest = result.html.partition("<style")
    assert html.startswith(before)
    text, _, after = rest.partition("</style>")
    assert html.endswith(after)
    return text.partition(">")[2]


@pytest.mark.parametrize(("body", "css", "expected"), [each[1:] for each in VECTORS], ids=[each[0] for each in VECTORS])
def test_what_is_left(body: str, css: str, expected: str) -> None:
    assert left(body, css) == expected


@pytest.mark.parametrize(("css", "expected"), [each[1:] for each in ADDRESSES], ids=[each[0] for each in ADDRESSES])
def test_addresses_are_told_from_the_page(css: str, expected: str) -> None:
    assert left("<p>x</p>", css) == expected
