"""What optimisers of CSS have broken elsewhere, by their public reports, and what has it right here.

So that none of these goes without somebody noticing: each test, and each story of vectors.py, has to be there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from vectors import ADDRESSES, VECTORS

#: Where tools have failed most, and what an optimiser has to do: the tests and stories of it.
BEHAVIOURS = {
    "a dead rule comes alive when a part of its list goes": "a part that no browser knows keeps the list whole;"
    " so does another maker's element; an empty part; what error recovery throws away; a newer state in a list",
    "what is emptied still orders and weighs": "an emptied layer still orders; the order of layers;"
    " a parent's list gives the weight; :is gives the weight of its heaviest; a layer in a rule keeps its place",
    "files that end early or begin late": "an end inside a block; an end inside a string; an end inside a comment;"
    " a mark of bytes in the middle; a charset in the middle; an import that stands too late is none;"
    " a namespace that stands too late is none; a_kept_rule_at_the_end_of_its_sheet_is_closed_once",
    "addresses": "addresses_are_seen_from_the_base_of_the_page; addresses_are_told_from_the_page; relative;"
    " a part of the page; an old hack; a string is none; imports_go_in_with_their_conditions",
    "sheets that must not begin to apply": "links_that_stay; what_is_no_sheet_is_not_touched;"
    " each_sheet_is_where_it_stood; a link in a comment; a link in a script",
    "order in the page": "each_sheet_is_where_it_stood; a_sheet_behind_one_that_stays_is_behind_it",
    "the end of a style in a string, and policies": "end_of_style_in_a_string_ends_nothing;"
    " policy_allows_the_new_styles_and_no_others; pages_that_stay_as_they_are",
    "states that no HTML shows": "a state that browsers set; a dialog's backdrop; what shows a popover;"
    " a sibling of what is checked; what it has may come; a field that was filled in wrongly; a template's names;"
    " what is for no scripts; a name that only a script has",
    "quirks": "without_a_doctype_letters_are_alike; the type of a field, in any letters;"
    " the parent that HTML implies; a tag in capitals; SVG's capitals",
    "ids that change from answer to answer": "pages_with_the_same_names_keep_each_its_own",
    "custom properties and escapes": "an empty custom property; a custom property is not touched;"
    " an escape with an end; a class that begins with a digit",
    "size and depth": "large_sheets_take_their_time_and_no_more; sheets_that_stay_links;"
    " what_is_too_deep_and_closed_is_no_failed_page; too_late_is_the_page_as_it_was",
    "computed styles stay": "every_case_looks_the_same; a_rule_too_few_is_seen; every_page_of_the_site_looks_the_same;"
    " what isn't known is kept whole",
    "an error leaves the page, and says why": "error_leaves_the_page_and_is_counted;"
    " page_stays_and_the_header_says_why; pages_are_counted_by_what_became_of_them",
    "fonts, keyframes, properties stay": "keyframes stay whole; a face with a range; a counter's style; a property;"
    " a page",
    "marks": "a rule with the mark; a group with the mark; a rule with the mark in a group;"
    " no_leaves_a_sheet_as_it_is_but_for_addresses",
    "only spaces and comments are minified": "comments go, tokens stay apart; calc keeps its spaces; important;"
    " an old browser's hack",
}

#: Public reports, by what they are about: their numbers, and what would show one here.
REPORTS = {
    "names": (
        "PurgeCSS 28 194 1086, purifycss 54 118, uikit 3533, uncss 409",
        "a class with a slash; a class with a colon; a class with a dot; a class in brackets;"
        " a class of another script",
    ),
    "attributes": (
        "PurgeCSS 30 110 303 475",
        "an attribute's beginning; an attribute's value may change; a bracket in a value; a comma in a value;"
        " an attribute's newer flag",
    ),
    "pseudo": (
        "PurgeCSS 24 356 399 978 1197 1282, dropcss 13 65, purifycss 161 233, wp-rocket 4265, tailwindcss 3043",
        "a state; a state in the middle; before and after, old and new; where it stands may change;"
        " what it is not; :where with a list inside; a selection",
    ),
    "nesting": (
        "PurgeCSS 1153 1347, wp-rocket 4939, lightningcss 67 202 806 1032 1318, csswg 8738 9492",
        "a rule in a rule; a dead rule in a live one; declarations behind a rule; media in a rule;"
        " the parent in a function; the parent behind; a pseudo-class that looks like a declaration;"
        " a list in a rule",
    ),
    "at-rules": (
        "angular-cli 30031, clean-css 572 1272, critical 580, critters 34, csso 258, lightningcss 710 974",
        "media; media in media; supports, and the rule behind it; layers within layers; a container;"
        " a scope with a root; a style to start with",
    ),
    "keyframes, variables, fonts": (
        "PurgeCSS 478 51 641 779 1262, cssnano 37 57 178, uncss 77 258 370, minimalcss 83",
        "keyframes stay whole; a face with a range; a custom property is not touched",
    ),
    "imports, urls, files": (
        "esbuild 465 953 2437, postcss-import 548, minimalcss 152, pagespeed 444 867, rcssmin 8",
        "imports_go_in_with_their_conditions; import_that_cannot_be_had_stays_in_front;"
        " imports_in_a_circle_end; data; with a query",
    ),
    "inlining": (
        "critters 17, critical 228 480 507, beasties 293, grunt-uncss 39, minimalcss 206 400",
        "links_that_stay; integrity_that_holds_goes_in; each_sheet_is_where_it_stood",
    ),
    "scripts' classes, ids": (
        "wp-rocket 4147 4209 4971 4975 5648, uncss 193",
        "names_that_scripts_set_are_kept; a name that only a script has; data is no script",
    ),
    "minifying": (
        "cssnano 87 89 419 458 717 854 1424 1469, lightningcss 3 1310",
        "comments go, tokens stay apart; a comment between a class and a class; calc keeps its spaces;"
        " line ends of three kinds",
    ),
    "quirks": (
        "fela 167, css-what 388",
        "without_a_doctype_letters_are_alike; a bracket in a value",
    ),
}


@pytest.fixture(scope="module")
def there() -> frozenset[str]:
    """Names of tests that there are, without their test_, and stories."""
    named = re.compile(r"^(?:async )?def test_(\w+)", re.MULTILINE)
    tests = {name for path in Path(__file__).parent.glob("test_*.py") for name in named.findall(path.read_text())}
    return frozenset(tests | {story for story, *_ in (*VECTORS, *ADDRESSES)})


def test_all_are_in_the_tables() -> None:
    assert (len(BEHAVIOURS), len(REPORTS)) == (17, 11)


@pytest.mark.parametrize("of", [*BEHAVIOURS, *REPORTS])
def test_each_has_its_tests(of: str, there: frozenset[str]) -> None:
    tests = BEHAVIOURS[of] if of in BEHAVIOURS else REPORTS[of][1]
    assert [name for name in re.split(r";\s*", tests) if name not in there] == []
