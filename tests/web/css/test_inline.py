"""A page as a whole: which sheets go into it, in which place and form, and when it stays as it was."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from test_vectors import SHEET, URL, page

from web.features.css.inline import Result, Sheets, inline
from web.features.css.policy import with_hashes

LINK = f'<link rel="stylesheet" href="{SHEET}">'
BODY = '<p class="a">x</p>'
CSS = ".a{color:red}.b{color:blue}"


def made(head: str, body: str = BODY, sheets: dict[str, str] | None = None, **options: object) -> Result:
    return inline(page(head, body), URL, Sheets((sheets or {SHEET: CSS}).get).plan, **options)  # type: ignore[arg-type]


def styles_of(result: Result) -> list[str]:
    return [each.partition(">")[2] for each in result.html.replace("</style", "<style").split("<style")[1::2]]


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ('<link rel="stylesheet" href="{}" data-mincss="ignore">', "it is marked to be ignored"),
        ('<link rel="alternate stylesheet" href="{}" title="x">', "it is one of several to choose from"),
        ('<link rel="stylesheet" href="{}" title="x">', "it is one of several to choose from"),
        ('<link rel="stylesheet" href="{}" disabled>', "a script may want it, by its disabled"),
        ('<link rel="stylesheet" href="{}" id="theme">', "a script may want it, by its id"),
        (
            '<link rel="stylesheet" href="{}" media="print" onload="this.media=1">',
            "a script may want it, by its onload",
        ),
        ('<link rel="stylesheet" href="{}" type="text/less">', "it is text/less"),
        ('<link rel="stylesheet" href="">', "it has no address"),
        ('<link rel="stylesheet" href="gone.css">', "it can't be had"),
        ('<link rel="stylesheet" href="{}" integrity="sha384-AAAA">', "it is not what its integrity says"),
    ],
)
def test_links_that_stay(link: str, why: str) -> None:
    result = made(link.format(SHEET))
    assert result.html == page(link.format(SHEET), BODY)
    assert result.left == why


@pytest.mark.parametrize(
    "head",
    [
        "<noscript>{}</noscript>",
        "<template>{}</template>",
        "<!-- {} -->",
        "<script>'{}'</script>",
        '<link rel="preload" as="style" href="/a.css">',
        "",
    ],
)
def test_what_is_no_sheet_is_not_touched(head: str) -> None:
    result = made(head.format(LINK))
    assert (result.html, result.left) == (page(head.format(LINK), BODY), "it has no style sheets")


def test_each_sheet_is_where_it_stood() -> None:
    sheets = {"https://example.org/1.css": ".a{color:red}", "https://example.org/2.css": ".a{color:blue}"}
    style = "<style>.a{margin:0}.b{x:y}</style>"
    head = f'<link rel=stylesheet href=/1.css>{style}<link rel="stylesheet" href="/2.css" media="print">'
    result = made(head, '<style>.a{top:0}</style><p class="a">x</p>', sheets)
    assert styles_of(result) == [".a{color:red}", ".a{margin:0}", ".a{color:blue}", ".a{top:0}"]
    assert '<style media="print" data-href="/2.css">' in result.html
    assert len(result.hashes) == 4


def test_a_sheet_behind_one_that_stays_is_behind_it() -> None:
    head = f'<link rel="stylesheet" href="/x.css" data-mincss="ignore">{LINK}'
    result = made(head)
    assert result.html.index("/x.css") < result.html.index("<style")
    assert [each.state for each in result.sheets] == ["link", "pruned"]
    assert result.header == "inline; sheets=1; links=1; of=27; kept=13"


def test_no_leaves_a_sheet_as_it_is_but_for_addresses() -> None:
    css = "/* x */ .b {\n background: url(i.png) }\n"
    result = made(LINK.replace(">", ' data-mincss="no">'), sheets={SHEET: css})
    assert styles_of(result) == ['/* x */ .b {\n background: url("/static/css/i.png") }\n']
    assert result.sheets[0].state == "whole"
    style = '<style data-mincss="no">.b{x:y}</style>'
    assert style in made(LINK + style).html


def test_integrity_that_holds_goes_in() -> None:
    digest = base64.b64encode(hashlib.sha384(CSS.encode()).digest()).decode()
    assert styles_of(made(LINK.replace(">", f' integrity="sha384-{digest}" crossorigin>'))) == [".a{color:red}"]


def test_end_of_style_in_a_string_ends_nothing() -> None:
    """A public tool ran the script that stood in such a string."""
    css = '.a::before{content:"</style><script>alert(1)</script>"}'
    result = made(LINK, sheets={SHEET: css})
    assert "</style><script>" not in result.html
    assert r"<\/style><script>" in result.html
    assert made(LINK, sheets={SHEET: ".a{--x:</style>}"}).left == "a custom property with the end of a style in it"
    verbatim = made(LINK.replace(">", ' data-mincss="no">'), sheets={SHEET: "/* </STYLE> */"})
    assert verbatim.html.lower().count("</style") == 1


def test_imports_go_in_with_their_conditions() -> None:
    base = "https://example.org/static/css/"
    sheets = {
        SHEET: '@charset "utf-8";@layer z;@import "sub/one.css" layer(y) supports(display: grid) print;'
        "@import url(two.css);.a{top:0}",
        base + "sub/one.css": '@import "deep.css";.a{background:url(i.png)}.b{x:y}',
        base + "sub/deep.css": ".a{left:0}",
        base + "two.css": ".a{right:0",
    }
    assert styles_of(made(LINK, sheets=sheets)) == [
        "@layer z;@media print{@supports (display: grid){@layer y{.a{left:0}"
        '.a{background:url("/static/css/sub/i.png")}}}}.a{right:0}.a{top:0}'
    ]


def test_import_that_cannot_be_had_stays_in_front() -> None:
    css = '@import url("https://fonts.example/f?a=1&b") screen;.a{top:0}'
    assert styles_of(made(LINK, sheets={SHEET: css})) == ['@import "https://fonts.example/f?a=1&b" screen;.a{top:0}']
    two = '@import "one.css";@import "gone.css";'
    sheets = {SHEET: two, "https://example.org/static/css/one.css": ".a{top:0}"}
    assert made(LINK, sheets=sheets).left == "it imports https://example.org/static/css/gone.css, which can't be had"


def test_imports_in_a_circle_end() -> None:
    assert made(LINK, sheets={SHEET: f'@import "{SHEET}";'}).left == "imports more than 10 deep"


@pytest.mark.parametrize(
    ("css", "why"),
    [
        ("@namespace x url(y);.a{top:0}", "it has namespaces"),
        ("@scope{.a{top:0}}", "an @scope without a root means another element inside the page"),
        (".a{--x:url(i.png)}", "a custom property with an address that is relative to the sheet"),
        ("%%{x:y}@import 'z.css';.a{top:0}", "an @import behind what may be a rule or not"),
        (".a{top:0}" + " " * 4 * 1024**2, "longer than 4,194,304 characters"),
        ("@media screen{" * 300 + ".a{top:0}", "its end can't be understood"),
        ("{" * 60_000, "its end can't be understood"),
    ],
    ids=range(7),
)
def test_sheets_that_stay_links(css: str, why: str) -> None:
    assert made(LINK, sheets={SHEET: css}).left == why


def test_what_is_too_deep_and_closed_is_no_failed_page() -> None:
    css = "@media screen{" * 3000 + ".a{top:0}" + "}" * 3000
    assert made(LINK, sheets={SHEET: css}).left == "RecursionError" or made(LINK, sheets={SHEET: css}).left


def test_large_sheets_take_their_time_and_no_more() -> None:
    css = (
        "".join(f".c{number}{{top:0}}" for number in range(30_000))
        + ",".join(f".d{n}" for n in range(5000))
        + "{x:y}.a{top:0}"
    )
    sheets = Sheets({SHEET: css}.get)
    sheets.plan(SHEET)
    before = time.perf_counter()
    result = inline(page(LINK, BODY), URL, sheets.plan)
    assert time.perf_counter() - before < 1.0
    assert styles_of(result) == [".a{top:0}"]


@pytest.mark.parametrize(
    ("html", "why"),
    [
        (
            "<!doctype html><style>.a{x:y}</style><svg><p><link rel=stylesheet href=/s.css></svg>",
            "its HTML can be read in two ways",
        ),
        ("<!doctype html><link rel=stylesheet href=/s.css", "a tag of it doesn't end"),
        ("<!doctype html><link rel=stylesheet href=/s.css><style>.a{", "a <style> of it doesn't end"),
        (
            "<!doctype html><meta http-equiv=Content-Security-Policy content=\"style-src 'self'\">"
            "<link rel=stylesheet href=/s.css>",
            "its own policy forbids inline styles",
        ),
    ],
)
def test_pages_that_stay_as_they_are(html: str, why: str) -> None:
    result = inline(html, URL, Sheets({"https://example.org/s.css": CSS}.get).plan)
    assert (result.html, result.left) == (html, why)
    assert result.header == f'original; why="{why}"'


def test_too_late_is_the_page_as_it_was() -> None:
    assert made(LINK, late=lambda: True).left == "it took too long"


def test_addresses_are_seen_from_the_base_of_the_page() -> None:
    sheets = {"https://cdn.example/x/s.css": ".a{background:url(i.png)}"}
    result = made('<base href="https://cdn.example/x/"><link rel=stylesheet href=s.css>', sheets=sheets)
    assert styles_of(result) == ['.a{background:url("https://cdn.example/x/i.png")}']
    # `/static/…` would be of the other host.
    result = made(f'<base href="https://cdn.example/">{LINK}', sheets={SHEET: ".a{background:url(i.png)}"})
    assert styles_of(result) == ['.a{background:url("https://example.org/static/css/i.png")}']


def test_without_a_doctype_letters_are_alike() -> None:
    html = f'<html><head>{LINK}</head><body><p class="A" ID="Top">x</p></body></html>'
    result = inline(html, URL, Sheets({SHEET: ".a{top:0}#top{top:0}.b{x:y}"}.get).plan)
    assert styles_of(result) == [".a{top:0}#top{top:0}"]


def test_names_that_scripts_set_are_kept() -> None:
    css = ".is-open .a{top:0}.js-x{top:0}.js-y .zz{x:y}[data-state=on]{top:0}.gone{x:y}"
    found = styles_of(made(LINK, sheets={SHEET: css}, keep=(".is-open", ".js-*", "[data-state]")))
    assert found == [".is-open .a{top:0}.js-x{top:0}[data-state=on]{top:0}"]
    inside = made(LINK + "<script>go('is-open')</script>", sheets={SHEET: css}, reads_scripts=False)
    assert styles_of(inside) == [""]


def test_report_says_why() -> None:
    reasons = made(LINK, sheets={SHEET: ".b{x:y}\n.a{top:0}\n:host{x:y}"}, explain=True).sheets[0].reasons
    assert reasons == ((2, ".a", "the page has .a"), (3, ":host", "can't be judged"))


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ("default-src 'self'", "default-src 'self'; style-src 'self' 'sha256-x'"),
        (
            "default-src 'none'; style-src 'self' https://cdn",
            "default-src 'none'; style-src 'self' https://cdn 'sha256-x'",
        ),
        ("style-src 'self' 'unsafe-inline'", "style-src 'self' 'unsafe-inline'"),
        ("style-src 'unsafe-inline' 'nonce-y'", "style-src 'unsafe-inline' 'nonce-y' 'sha256-x'"),
        ("style-src 'none'", None),
        ("style-src-elem 'self'; style-src 'none'", "style-src-elem 'self' 'sha256-x'; style-src 'none'"),
        ("script-src 'self'", "script-src 'self'"),
    ],
)
def test_policy_allows_the_new_styles_and_no_others(policy: str, allowed: str | None) -> None:
    assert with_hashes(policy, ["'sha256-x'"]) == allowed


@pytest.mark.parametrize("end", ["", "\n", " \n\n", "\n/* the end */\n", "}\n"])
def test_a_kept_rule_at_the_end_of_its_sheet_is_closed_once(end: str) -> None:
    """Of a sheet that ended with a new line, the last rule was closed twice."""
    sheet = "@media print {\n.a { color: red; }}" if end.startswith("}") else ".a { color: red; }"
    result = made(LINK, sheets={SHEET: sheet + end.removeprefix("}")})
    [style] = styles_of(result)
    assert style.count("{") == style.count("}")
    assert "color:red" in style
