"""What the worst queries and texts cost a search, in pieces of the event loop: nobody else is served meanwhile."""

from __future__ import annotations

from itertools import islice, product

import pytest
from cpu import least, taking

from web.features.search.asked import MAX_QUERY, parse
from web.features.search.highlights import Wanted, places
from web.features.search.spelling import Known, Lookups, spellings

#: A millisecond on a quiet machine.
ALLOWED = 0.004


@pytest.mark.parametrize("count", [8, 10, 18])
def test_query_of_many_words_that_are_nearly_known(count: int) -> None:
    """All combinations were followed, the best of all first: 10 words, each like six others, were 4 s, 11 words 18."""
    words = tuple(map("".join, islice(product("abc", "def", "gh", "ij"), count)))
    assert len(" ".join(words)) <= MAX_QUERY
    near = {word: [(word[:3] + letter, Known(9, 9)) for letter in "uvwxyz"] for word in words}
    found = Lookups({}, near, together=0)
    # Of ten words with six changes: 4 s. So once is too much already.
    with taking() as taken:
        read = spellings(words, found)
    assert taken.seconds < 0.1
    assert least(lambda: spellings(words, found)) < ALLOWED
    assert read[0].words == words
    assert all(len(each.changes) == count for each in read[1:])


@pytest.mark.parametrize("piece", ["ab ", "\u00df ", "aaaaa ", "a", "a-", "a'b"])
def test_texts_in_which_each_word_may_be_the_one_that_is_looked_for(piece: str) -> None:
    """A text of 20,000 characters took 16 to 23 ms, and a page of results has forty texts."""
    text = piece * (20_000 // len(piece))
    wanted = Wanted(frozenset(parse("a e").spoken))
    assert least(lambda: list(places(text, wanted))) < 2 * ALLOWED
