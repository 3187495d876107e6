"""What may have been meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from web.features.search.asked import parse
from web.features.search.blend import blend, boosts
from web.features.search.finder import respelt
from web.features.search.spelling import Known, Lookups, Spelling, must_meet, spellings
from web.features.search.vocabulary import TEXTS, Vocabulary

SEEN = Known(titles=3, texts=9)


def _terms(words: str, **found: object) -> list[tuple[float, str]]:
    made = spellings(words.split(), Lookups(**found))  # type: ignore[arg-type]
    return [(each.score, " ".join(each.words)) for each in made]


def test_the_worked_numbers_of_the_first_search() -> None:
    """Of the post: four readings of "firefix", and what each counts in a title and in a text."""
    scores = ((1.1, "firefix"), (0.857, "firefox"), (0.714, "firefli"), (0.667, "firfox"))
    read = [Spelling(score, (word,)) for score, word in scores]
    shown = [(round(2 * each, 3), round(each, 3)) for each in boosts(read)]
    assert shown == [(8.8, 4.4), (5.142, 2.571), (2.856, 1.428), (1.334, 0.667)]


def test_scores_are_the_lucene_suggesters() -> None:
    near = {"firefix": [("firefox", SEEN), ("firefly", SEEN), ("firfox", SEEN)]}
    assert _terms("firefix", near=near) == [(1.1, "firefix"), (0.857, "firefox")]


def test_with_no_nearer_word_two_edits_count() -> None:
    assert _terms("firefix", near={"firefix": [("firefly", SEEN)]}) == [(1.1, "firefix"), (0.714, "firefly")]


def test_two_letters_the_wrong_way_round_are_one_edit() -> None:
    assert _terms("rdeis", near={"rdeis": [("redis", SEEN)]}) == [(1.1, "rdeis"), (0.8, "redis")]


def test_a_wrong_first_letter_costs_half_an_edit_more() -> None:
    near = {"virefox": [("firefox", SEEN)]}
    assert _terms("virefox", near=near) == [(1.1, "virefox"), (0.786, "firefox")]
    assert [change.edits for change in spellings(["virefox"], Lookups(near=near))[1].changes] == [1]


def test_a_wrong_first_letter_is_found_beside_nearer_words_of_texts() -> None:
    """On Django's documentation "treate" was some words of texts, and the pages that create something came nowhere."""
    near = {"treate": [*((each, Known(texts=9)) for each in ("treat", "treats", "treated")), ("create", SEEN)]}
    assert _terms("treate", near=near)[1:] == [(0.75, "create"), (0.75, "treated"), (0.75, "treats"), (0.72, "treat")]


def test_a_word_that_says_little_is_no_second_choice() -> None:
    """ "yotes" was "yours" too, and five titles that say "your" came before all notes."""
    near = {"yotes": [("notes", SEEN), ("yours", SEEN)]}
    assert _terms("yotes", near=near)[1:] == [(0.7, "notes")]
    assert _terms("agaihst", near={"agaihst": [("against", SEEN)]})[1:] == [(0.857, "against")]


def test_a_word_that_is_there_has_no_other_spelling() -> None:
    near = {"firefix": [("firefox", SEEN)]}
    assert _terms("firefix", near=near, known={"firefix": Known(texts=1)}) == [(1.1, "firefix")]


def test_a_word_without_hits_together_with_the_rest_may_be_a_more_frequent_one() -> None:
    known = {"firm": Known(titles=1, texts=1), "works": SEEN}
    near = {"firm": [("form", Known(titles=12, texts=40)), ("film", Known(titles=2, texts=3))]}
    assert _terms("firm works", known=known, near=near, together=0) == [(1.1, "firm works"), (0.75, "form works")]
    assert _terms("firm works", known=known, near=near, together=3) == [(1.1, "firm works")]


def test_a_typo_of_a_comment_does_not_make_itself_right() -> None:
    known = {"firefix": Known(comments=1)}
    often = {"firefix": [("firefox", Known(titles=20, texts=30))]}
    seldom = {"firefix": [("firefox", Known(titles=19, texts=30))]}
    assert _terms("firefix", known=known, near=often)[1:] == [(0.857, "firefox")]
    assert _terms("firefix", known=known, near=seldom)[1:] == []


def test_what_one_text_alone_has_is_offered_to_nobody() -> None:
    assert _terms("firefix", near={"firefix": [("firefax", Known(texts=1))]})[1:] == []


def test_numbers_and_short_words_stay() -> None:
    near = {"404": [("400", SEEN)], "php": [("pip", SEEN)], "3.11": [("3.10", SEEN)]}
    for word in near:
        assert _terms(word, near=near)[1:] == []


def test_run_together_words_are_split_and_split_ones_joined() -> None:
    known = {"web": SEEN, "development": SEEN, "red": SEEN, "bull": SEEN, "javascript": SEEN, "java": SEEN}
    assert _terms("webdevelopment", known=known)[1:] == [(0.9, "web development")]
    assert _terms("java scrip", known=known | {"javascrip": SEEN})[1:] == [(0.95, "javascrip")]
    assert _terms("java script", known=known | {"script": SEEN}, together=4)[1:] == []
    assert _terms("java script", known=known | {"script": SEEN}, together=0)[1:] == [(0.95, "javascript")]


def test_three_parts_too() -> None:
    known = {"web": SEEN, "socket": SEEN, "server": SEEN, "websocketserver": SEEN}
    assert _terms("websocketserver", known=dict.fromkeys(("web", "socket", "server"), SEEN))[1:] == [
        (0.85, "web socket server")
    ]
    assert _terms("web sock etserver", known=known | {"websocketserver": SEEN})[1:][0] == (0.95, "websocketserver")


def test_all_typos_of_a_query_are_corrected_at_once() -> None:
    near = {"djnago": [("django", SEEN)], "middlewrae": [("middleware", SEEN)]}
    assert _terms("djnago middlewrae", near=near)[1] == (0.75, "django middleware")


def test_at_most_five_readings() -> None:
    near = {"firefix": [(f"firefi{letter}", SEEN) for letter in "abcdefgh"]}
    assert len(_terms("firefix", near=near)) == 5


def test_words_are_replaced_where_they_stand() -> None:
    """The first search replaced wherever the letters stood, in other words too."""
    asked = parse("on on_comit, on!")
    (_, other) = spellings(asked.spoken, Lookups(known={"on": SEEN}, near={"comit": [("commit", SEEN)]}))
    assert respelt(asked, other) == "on on_commit, on!"


def test_the_same_words_are_one_clause() -> None:
    asked = parse("redis cashe")
    query = blend(asked, [Spelling(1.1, ("redis", "cashe")), Spelling(0.8, ("redis", "cache"))])
    keys = [(each.field, getattr(each, "word", None) or each.words) for each in query.any]  # type: ignore[union-attr]
    assert len(keys) == len(set(keys))


_TEXTS = st.lists(st.tuples(st.frozensets(st.sampled_from("abc")), st.frozensets(st.sampled_from("abc"))), min_size=1)


@given(_TEXTS, st.sampled_from(["a", "ab", "abc"]))
def test_words_that_must_meet_do(documents: list[tuple[frozenset[str], frozenset[str]]], words: str) -> None:
    """Documents of a title and a text each."""
    known = {
        word: Known(sum(word in title for title, _ in documents), sum(word in text for _, text in documents))
        for word in words
    }
    meet = any(set(words) <= title | text for title, text in documents)
    assert meet or not must_meet(words, known, len(documents))


def test_words_of_most_documents_must_meet() -> None:
    known = {"a": Known(texts=60), "b": Known(titles=30, texts=31, comments=10), "c": Known(texts=60)}
    assert must_meet(["a", "b"], known, 100)
    assert not must_meet(["a", "b"], known, 101)
    assert not must_meet(["a", "b", "c"], known, 100), "60, 41 and 60 of 100 may leave each other out"


def test_words_that_came_and_went_are_completed_as_they_are_now() -> None:
    vocabulary = Vocabulary()
    many = [f"word{number:03}" for number in range(300)]
    vocabulary.add([*many, "wordless"], TEXTS)
    vocabulary.add(["wordless"], TEXTS, -1)
    vocabulary.settle()
    assert [word for word, _ in vocabulary.begun("word", 999)] == many
    vocabulary.add(["word150"], TEXTS, -1)
    vocabulary.add(["word150", "wordy"], TEXTS)
    vocabulary.settle()
    assert [word for word, _ in vocabulary.begun("word", 999)] == ["wordy", *many], "each once, the shorter first"
