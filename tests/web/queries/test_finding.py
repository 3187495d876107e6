"""What is a loop of questions, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from web.features.queries.asked import Asked, Relation, Unit, Why
from web.features.queries.finding import find
from web.features.queries.places import Place, Project

VIEW, LOADS, TEST = Place("shop/views.py", 12), Place("shop/views.py", 9), Place("tests/test_shop.py", 3)
SONG = Relation("Song.artist", ".options(joinedload(Song.artist))", "Song")


def is_test(place: Place) -> bool:
    return place.file.startswith("tests/")


def asked(
    id: int = 1,
    *,
    statement: str = "SELECT a.name FROM artists a WHERE a.id = {}",
    stack: tuple[Place, ...] = (VIEW, TEST),
    transaction: int = 1,
    why: Why | None = None,
    rows: int = 1,
) -> Asked:
    why = Why(SONG) if why is None else why
    return Asked(statement.format(id), stack, transaction, str(id), why, rows)


def unit(*questions: Asked, **loaded: Place) -> Unit:
    return Unit("GET /songs", list(questions), loaded)


def found(*questions: Asked, **loaded: Place) -> list[str]:
    return [str(each) for each in find([unit(*questions, **loaded)], is_test)]


def test_line_that_asks_for_each_row_is_named_with_the_loader_and_where_to_write_it() -> None:
    assert found(*map(asked, range(4)), Song=LOADS) == [
        "shop/views.py:12 asks 4 times, in GET /songs: SELECT … FROM artists a WHERE a.id = ?\n"
        "  Song.artist is loaded row by row: write .options(joinedload(Song.artist)) into the query of Song at "
        "shop/views.py:9"
    ]


def test_line_of_a_template_is_named_with_the_line_that_renders_it() -> None:
    template = Place("templates/songs.html", 7)
    (words,) = found(*(asked(id, stack=(template, VIEW)) for id in range(3)))
    assert words.startswith("templates/songs.html:7, from shop/views.py:12 asks 3 times")


def lists(*sizes: int) -> list[Asked]:
    """A question for each of these numbers of values."""
    many = [", ".join(map(str, range(size))) for size in sizes]
    return [asked(statement=f"SELECT a.name FROM artists a WHERE a.id IN ({each})", why=Why()) for each in many]


def test_a_long_list_in_parts_is_no_loop() -> None:
    """What a push of a thousand commits has told already was said to be asked for row by row."""
    assert not found(*lists(100, 100, 100, 7))
    assert not found(*lists(100, 100, 100))


@pytest.mark.parametrize("form", ["(VALUES {})", "({})"])
def test_a_long_list_of_rows_in_parts_is_no_loop(form: str) -> None:
    """What is known by two columns, as SQLite and PostgreSQL write it: endpoints of a page view were said to be."""
    loops = []
    for sizes in ((100, 100, 100, 7), (3, 3, 3)):
        many = [", ".join(f"('site', 'name {number}')" for number in range(size)) for size in sizes]
        text = "SELECT v.id FROM views v WHERE (v.source, v.name) IN "
        loops.append(found(*(asked(statement=text + form.format(each), why=Why()) for each in many)))
    assert not loops[0]
    assert "asks 3 times" in loops[1][0]


@pytest.mark.parametrize("sizes", [(3, 3, 3), (12, 15, 11), (10, 10, 20), (1, 1, 1)])
def test_a_list_for_each_row_is_a_loop(sizes: tuple[int, ...]) -> None:
    (words,) = found(*lists(*sizes))
    assert "asks 3 times" in words


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT name FROM (SELECT * FROM sqlite_master UNION ALL SELECT * FROM sqlite_temp_master) WHERE name = '{}'",
        "SELECT c.relname FROM pg_catalog.pg_class c WHERE c.relname = '{}'",
        "SELECT column_name FROM information_schema.columns WHERE table_name = '{}'",
    ],
)
def test_what_a_migration_asks_of_each_table_is_no_loop(statement: str) -> None:
    assert not found(*(asked(number, statement=statement, why=Why()) for number in range(6)))


def test_two_are_no_loop_yet() -> None:
    assert not found(asked(1), asked(2))


@pytest.mark.parametrize(
    "change",
    [
        {"transaction": 2},
        {"stack": (VIEW, Place("shop/urls.py", 1))},
        {"statement": "SELECT a.name FROM artists a WHERE a.name = {}"},
    ],
    ids=str,
)
def test_other_transaction_other_way_or_other_shape_is_another_loop(change: dict[str, object]) -> None:
    assert not found(asked(1), asked(2), asked(3, **change))  # type: ignore[arg-type]  # of any field


def test_requests_are_no_loop() -> None:
    assert not find([unit(asked(number)) for number in range(9)], is_test)


def test_loop_of_a_test_is_its_own_business() -> None:
    assert not found(*(asked(id, stack=(TEST, VIEW)) for id in range(9)))


def test_what_nobody_of_the_project_asked_is_left_out() -> None:
    assert not found(*(asked(id, stack=()) for id in range(9)))


def test_loader_that_asks_for_many_is_none() -> None:
    assert not found(*(asked(id, why=Why(eager=True)) for id in range(9)))


def test_writes_are_none() -> None:
    assert not found(*(asked(id, statement="UPDATE artists SET n = {}") for id in range(9)))


def test_what_is_asked_between_writes_is_none_but_for_relations() -> None:
    writing = asked(0, statement="INSERT INTO songs VALUES ({})")
    by_hand = [asked(id, why=Why()) for id in range(5)]
    assert found(*by_hand)
    assert not found(*(each for one in by_hand for each in (one, writing)))
    related = [asked(id) for id in range(5)]
    assert found(*(each for one in related for each in (one, writing)))


def test_going_through_a_table_page_by_page_is_none() -> None:
    paged = "SELECT s.id FROM songs s WHERE s.id > {} LIMIT 100"
    assert not found(*(asked(id, statement=paged, why=Why(), rows=100) for id in range(9)), asked(9, rows=0))
    assert not found(*(asked(id, statement=paged, why=Why(), rows=0) for id in range(9)))
    single = [asked(id, statement=paged, why=Why(), rows=1) for id in range(9)]
    assert found(*single)


def test_same_question_again_and_again_is_to_be_asked_once() -> None:
    (words,) = found(*(asked(5, why=Why()) for _ in range(3)))
    assert words.endswith("It is the same question each time: ask once, before the loop")


def test_question_by_hand_is_led_back_to_the_one_relation_it_can_be() -> None:
    by_hand = Why(models=("Artist",), relations=(SONG, Relation("Band.head", "…", "Band")))
    (words,) = found(*(asked(id, why=by_hand) for id in range(3)), Song=LOADS)
    assert "write .options(joinedload(Song.artist)) into the query of Song at shop/views.py:9" in words
    (words,) = found(*(asked(id, why=by_hand) for id in range(3)), Song=LOADS, Band=LOADS)
    assert words.endswith("Ask for all of them in one question, before the loop: where … in (…)")


def test_counts_may_be_grouped() -> None:
    counting = "SELECT count(s.id) FROM songs s WHERE s.artist_id = {}"
    (words,) = found(*(asked(id, statement=counting) for id in range(3)))
    assert words.endswith(", or count them all in one question, with group by")


def test_number_that_is_too_many_can_be_chosen() -> None:
    some = unit(*map(asked, range(4)))
    assert find([some], is_test, 4)
    assert not find([some], is_test, 5)


def test_project_knows_its_own_files(tmp_path: Path) -> None:
    project = Project(tmp_path, ["test_*.py"], skipped=["shop/db/"])
    own = {
        "shop/views.py": "shop/views.py",
        "shop/db/core.py": None,
        ".venv/lib/x.py": None,
        "a/site-packages/b.py": None,
    }
    assert {name: project.file(str(tmp_path / name)) for name in own} == own
    assert project.file("<string>") is None
    assert project.file(pytest.__file__) is None
    assert project.is_test(Place("shop/test_views.py", 1))
    assert project.is_test(Place("conftest.py", 1))
    assert not project.is_test(Place("shop/views.py", 1))
