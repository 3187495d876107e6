"""What of a sheet a page leaves, case by case."""

from __future__ import annotations

import gc
import random
from contextlib import suppress

import pytest
from vectors import ADDRESSES, VECTORS

from web.features.css.errors import LeftSheet
from web.features.css.inline import Sheets, inline
from web.features.css.page import Page
from web.features.css.plan import compile_sheet

URL = "https://example.org/posts/one"
SHEET = "https://example.org/static/css/site.css"


def page(head: str, body: str) -> str:
    return f'<!doctype html><html lang="en"><head><title>x</title>{head}</head><body>{body}</body></html>'


def left(body: str, css: str, **options: object) -> str:
    html = page(f'<link rel="stylesheet" href="{SHEET}">', body)
    sheets = Sheets({SHEET: css}.get)
    result = inline(html, URL, sheets.plan, **options)
    assert not result.left, result.left
    # Of a page like another the plan knows what it keeps.
    assert inline(html, URL, sheets.plan, **options) == result
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


def test_pages_with_the_same_names_keep_each_its_own() -> None:
    """What a plan knows of one page it gives another only if all that it was asked of it is so there too."""
    css = ".a .b{color:red .c{}}.a .b{.b .c{x:y}}.c .b{color:blue}"
    bodies = (
        '<p class="a"><b class="b"><i class="c">x</i></b></p>',
        '<p class="c"><b class="b"><i class="a">x</i></b></p>',
        '<p class="b"><b class="a"><i class="c">x</i></b></p>',
        '<p class="a"><b class="c"><i class="b">x</i></b></p>',
    )
    sheets = Sheets({SHEET: css}.get)
    for body in bodies * 2:
        html = page(f'<link rel="stylesheet" href="{SHEET}">', body)
        fresh = inline(html, URL, Sheets({SHEET: css}.get).plan)
        assert inline(html, URL, sheets.plan) == fresh


def test_many_questions_in_two_have_the_answers_of_each_alone() -> None:
    """Of 200 pages by chance: no answer that is wrong passes, and nearly all that are right do."""
    dice, passed = random.Random(19), 0

    def name() -> str:
        return dice.choice(["p", "b", "i", ".x", ".y", ".z", "#u", "[title]"])

    def element(depth: int) -> str:
        inner = "".join(element(depth - 1) for _ in range(dice.randint(0, 3))) if depth else ""
        tag = dice.choice(["b", "i", "div"])
        classes = " ".join(dice.sample(["x", "y", "z"], dice.randint(0, 2)))
        return f'<{tag} class="{classes}"{dice.choice(["", " title=t", " id=u"])}>{inner}</{tag}>'

    for _ in range(200):
        html = f'<!doctype html><html class="{dice.choice(["", "x"])}"><title>x</title><body>{element(3)}'
        judge = Page(html)
        queries = tuple({f"{name()}{dice.choice([' ', '>', '+', '~'])}{name()}" for _ in range(12)} | {".x.y", ".z.x"})
        answers = [judge.matches(query) for query in queries]
        passed += judge.agrees(queries, answers)
        for index in range(len(queries)):
            wrong = list(answers)
            wrong[index] = not wrong[index]
            assert not judge.agrees(queries, wrong), (html, queries[index])
    assert passed > 150


def test_collector_is_on_again_after_a_sheet_that_was_read_and_one_that_was_not() -> None:
    """While a large sheet is read it would take as long again, in a process that has a site loaded."""
    for css in (".a{color:red}", "@namespace x url(y);"):
        with suppress(LeftSheet):
            compile_sheet(css, "https://example.org/x.css")
        assert gc.isenabled()
    gc.disable()
    try:
        compile_sheet(".a{color:red}", "https://example.org/x.css")
        assert not gc.isenabled()
    finally:
        gc.enable()
