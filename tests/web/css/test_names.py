"""A page's names, read off its text: none is missing that a parser finds in it, however it is written.

A name too few takes a rule from a page that uses it. Which elements there are is Lexbor's to say, whose tree is asked
here for each of them; the text alone is three times as fast.
"""

from __future__ import annotations

import random

import pytest
from selectolax.lexbor import LexborHTMLParser

from web.features.css.errors import LeftPage
from web.features.css.page import Page

#: What real pages are made of, and what makes two readers of HTML differ.
PIECES = (
    "<p class=\"a b\">x</p>", "<p class='c'>", "<i id=d>", "<b class=e/f>", "<a/class=\"g\"/href=x>", "<u class = h >",
    "<p title=\"1 > 0\" class=\"i\">", "<p title='\"' class=j>", "<p b\"c class=\"k\">", "<p b'c class='l'>",
    "<p class=\"a<b\" id=\"m\">", "<P CLASS=n ID=O>", "<p class=\"q&amp;r s\">", "<p class=\"t\nu\tv\">", "<p class>",
    "<!-- <p class=\"w\"> -->", "<!--><p class=x>", "<!-- a > b \" -->", "<title>a <b \"</title>", "<br class=y>",
    "</p>","</br>", "<image class=z>", "<table><td class=aa>", "<table><col>", "</table>",
    "<svg viewBox=\"0 0 1 1\"><path/></svg>",
    "<script>if (a<b && c > \"<p class='ab'>\") {}</script>", "<textarea><i <p class=ac></textarea>", "<x-y data-z>",
    "<template><p class=\"ad\"></template>", "<noscript><p class=ae></noscript>", "<p =af class=ag>", "< p class=ah>",
    "<", "<p data-long=\"" + "l" * 500 + "\" class=\"ai\">",
    "<p data-long=\"" + "l " * 300 + "\" class=\"aj\" ID=\"ak\" title=\"" + "class=al " * 9 + "\">",
    "<p data-long='" + "\"" * 500 + "' class=\"am\">", "<p class=\"" + " ".join(f"an{n}" for n in range(99)) + "\">",
    "\"", "'", ">",
)  # fmt: skip


def names_of(html: str) -> set[str]:
    """The names of all elements, as a parser has them."""
    found = set()
    root = LexborHTMLParser(html).root
    assert root is not None
    for node in root.traverse():
        if node.tag.startswith(("-", "!")):
            continue
        found.add(node.tag.lower())
        for name, value in node.attributes.items():
            found.add("[" + name.lower())
            if name == "class":
                found.update("." + each for each in (value or "").split())
            elif name == "id" and value:
                found.add("#" + value)
    return found


@pytest.mark.parametrize("piece", PIECES)
def test_no_name_of_a_tag_is_missing(piece: str) -> None:
    html = f"<!doctype html><title>x</title>{piece} and <em class=last>more</em>"
    try:
        page = Page(html)
    except LeftPage:
        return
    assert names_of(html) <= page.all


def test_no_name_is_missing_of_pages_put_together_at_random() -> None:
    dice = random.Random(20261201)
    looked = 0
    for _ in range(2000):
        html = "<!doctype html>" + "".join(dice.choices(PIECES, k=dice.randint(1, 8)))
        try:
            page = Page(html)
        except LeftPage:
            continue
        missing = names_of(html) - page.all
        assert not missing, (html, missing)
        looked += 1
    assert looked > 1000


def test_what_is_in_no_tag_of_the_page_is_no_name_of_it() -> None:
    """Else every rule would be kept, and nothing of the sheets left out."""
    page = Page('<!doctype html><p class="a">.b #c <!-- d --> [e] &lt;f class="g"&gt;</p>')
    assert page.all == {"html", "head", "body", "p", ".a", "[class"}
