"""Routes are held to what a file says; what is over names the route, before, after, and the statement."""

from __future__ import annotations

import json

import pytest

from web.features.queries.asked import Asked, Why
from web.features.queries.budgets import Budget, Count, below, count_of, larger, over, read, write
from web.features.queries.places import Place

EVENTS, NAME = "SELECT … FROM events", "SELECT … FROM categories WHERE categories.id = ?"


def count(queries: int, rows: int, **more: object) -> Count:
    statements = {EVENTS: 1} | ({NAME: queries - 1} if queries > 1 else {})
    return Count(queries, rows, statements, {NAME: ["shop/views.py:12"]})


BUDGET = Budget(count(1, 2), count(1, 20))


def test_what_is_within_is_well() -> None:
    assert over("GET /events", BUDGET, BUDGET) == ""


def test_new_statement_is_named_with_its_line_before_and_after() -> None:
    assert over("GET /events", BUDGET, Budget(count(2, 2), count(2, 20))) == (
        "GET /events is over its budget\n"
        "  queries: 1 before, 2 now, with 1 rows of everything\n"
        f"    1 more: {NAME} (shop/views.py:12)\n"
        "  queries: 1 before, 2 now, with 10 rows of everything"
    )


def test_growth_is_named_even_if_the_budget_has_it() -> None:
    grown = Budget(count(3, 4), count(21, 40))
    words = over("GET /events", grown, grown, sizes=(2, 20))
    assert "queries grow with the rows: 3 with 2, 21 with 20" in words
    assert f"18 more: {NAME} (shop/views.py:12)" in words


def test_more_rows_are_over_the_budget_too() -> None:
    words = over("GET /events", BUDGET, Budget(count(1, 2), count(1, 200)))
    assert "rows: 20 before, 200 now, with 10 rows of everything" in words
    assert EVENTS in words


def test_few_rows_more_are_the_clocks() -> None:
    assert over("GET /events", BUDGET, Budget(count(1, 5), count(1, 23))) == ""
    assert "rows: 2 before, 6 now" in over("GET /events", BUDGET, Budget(count(1, 6), count(1, 20)))
    wide = Budget(count(1, 2), count(1, 200))
    assert over("GET /events", wide, Budget(count(1, 2), count(1, 220))) == ""
    assert "rows: 200 before, 221 now" in over("GET /events", wide, Budget(count(1, 2), count(1, 221)))


def test_route_without_a_budget_is_told_how_to_get_one() -> None:
    words = over("GET /events", None, BUDGET)
    assert words.startswith("GET /events has no budget yet: it asks 1 queries for 2 rows with 1 of everything")
    assert "--write-budgets" in words


def test_less_is_no_fault_and_can_be_told() -> None:
    less = Budget(count(1, 2), count(1, 10))
    assert over("GET /events", BUDGET, less) == ""
    assert below(BUDGET, less)
    assert not below(BUDGET, BUDGET)
    assert not below(None, less)


def test_file_has_all_of_it_but_the_lines_of_code() -> None:
    budgets = {"GET /events": Budget(count(2, 2), count(2, 20)), "GET /ü": BUDGET}
    found = read(write(budgets))
    assert set(found) == set(budgets)
    assert found["GET /events"].many == Count(2, 20, {EVENTS: 1, NAME: 1})
    assert write(found) == write(budgets)
    json.loads(write(budgets))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"routes": {"a": {}}, "statements": {}}', '{"routes": 1}'])
def test_file_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no file of budgets"):
        read(text)


def test_two_databases_share_the_larger() -> None:
    found = larger(Budget(count(1, 5), count(1, 20)), Budget(count(2, 2), count(2, 30)))
    assert (found.few.queries, found.few.rows, found.many.queries, found.many.rows) == (2, 5, 2, 30)
    assert found.few.statements == {EVENTS: 1, NAME: 1}


def test_count_is_of_statements_without_values() -> None:
    asked = [
        Asked(f"SELECT e.id FROM events e WHERE e.id = {id}", (Place("a.py", 1),), 1, "", Why(), rows=id)
        for id in (1, 2)
    ]
    found = count_of(asked)
    assert found == Count(
        2, 3, {"SELECT … FROM events e WHERE e.id = ?": 2}, {"SELECT … FROM events e WHERE e.id = ?": ["a.py:1"]}
    )
