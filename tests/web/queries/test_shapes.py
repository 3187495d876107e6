"""Two questions have one shape if they differ in their values alone."""

from __future__ import annotations

import pytest

from web.features.queries.shapes import is_page, reads, shape, short


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("SELECT a FROM t WHERE id = 1", "select a from t where id = 2"),
        ("SELECT a FROM t WHERE id = $1::INTEGER", "SELECT a FROM t WHERE id = ?"),
        ("SELECT a FROM t WHERE id = $1::TIMESTAMP WITH TIME ZONE", "SELECT a FROM t WHERE id = %(id_1)s"),
        ("SELECT a FROM t WHERE n = 'it''s'", "SELECT a FROM t WHERE n = :name_1"),
        ("SELECT a FROM t\n  WHERE id IN ($1, $2, $3)", "SELECT a FROM t WHERE id IN (%s)"),
        ("SELECT a /* page */ FROM t -- why\nWHERE n = -1.5", "SELECT a FROM t WHERE n = 7"),
    ],
)
def test_values_and_spaces_are_no_part_of_it(one: str, two: str) -> None:
    assert shape(one).lower() == shape(two).lower()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("SELECT a FROM t1 WHERE id = 1", "SELECT a FROM t2 WHERE id = 1"),
        ("SELECT t.c1 FROM t", "SELECT t.c2 FROM t"),
        ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = 1 LIMIT 1"),
        ('SELECT a AS "n 1" FROM t', 'SELECT a AS "n" FROM t'),
    ],
)
def test_names_are(one: str, two: str) -> None:
    assert shape(one) != shape(two)


def test_cast_is_not_taken_for_a_name_of_a_value() -> None:
    assert shape("SELECT a::text FROM t WHERE b = :b") == "SELECT a::text FROM t WHERE b = ?"


def test_short_form_leaves_the_columns_out() -> None:
    assert short("SELECT a.x, a.y FROM a WHERE a.z = ?") == "SELECT … FROM a WHERE a.z = ?"
    assert short("UPDATE a SET b = ?") == "UPDATE a SET b = ?"


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        (" select 1", True),
        ("WITH x AS (…) SELECT 1", True),
        ("INSERT INTO t SELECT 1", False),
        ("selection", False),
        ("WITH x AS (SELECT 1) UPDATE t SET a = 1", False),
    ],
)
def test_what_reads(statement: str, answer: bool) -> None:
    assert reads(statement) is answer


def test_pages_have_a_limit() -> None:
    assert is_page(shape("SELECT a FROM t LIMIT 3"))
    assert is_page(shape("SELECT a FROM t FETCH FIRST $1 ROWS ONLY"))
    assert not is_page(shape("SELECT a FROM t"))
