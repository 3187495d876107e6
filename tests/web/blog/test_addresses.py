"""Addresses of lists: what each asks for, and the one way to write it."""

from __future__ import annotations

import pytest

from web.features.blog.addresses import ListAddress, NoAddress, category_path, parse_list
from web.features.blog.models import MAX_CATEGORIES, MAX_CATEGORY

ADDRESSES = {
    "/": ListAddress(),
    "/p2": ListAddress(page=2),
    "/p900": ListAddress(page=900),
    "/oc-Django": ListAddress(("Django",)),
    "/oc-Web+development": ListAddress(("Web development",)),
    "/oc-C%2B%2B": ListAddress(("C++",)),
    "/oc-A/oc-B": ListAddress(("A", "B")),
    "/oc-A/oc-B/p2": ListAddress(("A", "B"), 2),
    "/oc-%D0%96": ListAddress(("Ж",)),
    "/oc-oc-": ListAddress(("oc-",)),
    "/oc-p2": ListAddress(("p2",)),
    "/rss.xml": ListAddress(feed="rss.xml"),
    "/oc-A/atom.xml": ListAddress(("A",), feed="atom.xml"),
    "/oc-A/oc-B/feed.json": ListAddress(("A", "B"), feed="feed.json"),
}


@pytest.mark.parametrize("path", ADDRESSES)
def test_an_address_asks_for_a_list_and_is_its_one_address(path: str) -> None:
    assert parse_list(path) == ADDRESSES[path]
    assert ADDRESSES[path].path == path


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("/oc-", "/"),
        ("/oc-/p2", "/p2"),
        ("/p1", "/"),
        ("/oc-A/p1", "/oc-A"),
        ("/oc-A/oc-A", "/oc-A"),
        ("/oc-A/oc-", "/oc-A"),
        ("/oc-Web%20development", "/oc-Web+development"),
        ("/oc-A/", "/oc-A"),
    ],
)
def test_other_ways_to_write_it_are_the_same_list(path: str, same: str) -> None:
    assert parse_list(path).path == same


@pytest.mark.parametrize(
    "path",
    [
        *("/p0", "/p-1", "/p01", "/pabc", "/p2/p3", "/p2/oc-A", "/oc-A/b", "/oc-A/p", "/oc-A/p1x", "/oc-A/p9999999"),
        *("/oc-A/p200000", "/oc-A%00", "/oc-A/rss.xml/p2", "/" + "/".join(f"oc-{n}" for n in range(11))),
    ],
)
def test_no_address(path: str) -> None:
    with pytest.raises(NoAddress):
        parse_list(path)


@pytest.mark.parametrize("piece", ["%41", "/oc-", "/oc-a", "/oc-%f0", "/"])
def test_a_long_address_is_not_decoded(piece: str) -> None:
    """15 kB of categories were decoded, 2 to 5 ms of the loop, before they were too many."""
    with pytest.raises(NoAddress, match="at most"):
        parse_list("/oc-a" + (piece * 15_000)[:15_000])
    with pytest.raises(NoAddress, match="At most 10"):
        parse_list("/oc-a" * 21)
    assert parse_list("/oc-a" * 20) == ListAddress(("a",))


def test_ten_categories_of_the_longest_names_have_an_address() -> None:
    names = tuple(f"{number}".rjust(MAX_CATEGORY, "🎺") for number in range(MAX_CATEGORIES))
    found = ListAddress(names, 100_000)
    assert parse_list(found.path) == found


@pytest.mark.parametrize("name", ["C++", "R&D", "50%", "a?b#c", "ö ß", "..", "oc-x", '"><script>'])
def test_every_name_comes_back_from_its_address(name: str) -> None:
    assert parse_list(category_path(name)) == ListAddress((name,))
