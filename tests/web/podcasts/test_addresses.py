"""URLs of feeds: one spelling, what is private, whom to be polite to; names and slugs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.features.podcasts.addresses import (
    _WHOLE,
    BadUrl,
    alike,
    canonical,
    host_of,
    is_private,
    media_url,
    without_query,
)
from web.features.podcasts.names import folded, plain, slug_of


@pytest.mark.parametrize(
    ("text", "url"),
    [
        # vocal 249, RadioDownloader 186, AntennaPod 3394: schemes of players, and in any case.
        ("feed://A.example/x", "http://a.example/x"),
        ("feed:https://a.example/x", "https://a.example/x"),
        ("itpc://a.example/x", "http://a.example/x"),
        ("pcast:a.example/x", "http://a.example/x"),
        ("Http://A.Example", "http://a.example/"),
        (" https://a.example:443/x#top ", "https://a.example/x"),
        ("http://a.example:80/X?b=C", "http://a.example/X?b=C"),
        ("http://a.example:8080/x", "http://a.example:8080/x"),
        ("a.example/x", "http://a.example/x"),
        ("//a.example/x", "http://a.example/x"),
        ("http://a.example./x", "http://a.example/x"),
        ("http://bücher.example/ö", "http://xn--bcher-kva.example/%C3%B6"),
        ("http://u:p@a.example/x", "http://u:p@a.example/x"),
        ("http://[::1]/x", "http://[::1]/x"),
        ("http://a.example/a b", "http://a.example/a%20b"),
    ],
)
def test_one_feed_has_one_spelling(text: str, url: str) -> None:
    assert canonical(text) == url
    assert canonical(url) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://a.example/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "nothing",
        "http://a b/",
        # On PostgreSQL these two were a 500.
        "http://a\0.example/feed",
        "http://xn--\0.example/",
        'http://a"b.example/',
        "http://<b>.example/",
        "http://a%00.example/",
        "http://[::1",
        "http://a.example/" + "x" * 2000,
    ],
)
def test_what_is_no_url_says_what_to_give(text: str) -> None:
    with pytest.raises(BadUrl, match="URL"):
        canonical(text)


@given(st.text(max_size=60))
def test_any_text_is_a_url_that_stays_or_is_none(text: str) -> None:
    try:
        url = canonical(text)
    except BadUrl:
        return
    assert url.isascii() or "@" in url
    assert canonical(url) == url


def test_addresses_of_one_feed_are_alike() -> None:
    urls = ["http://a.example/feed", "https://www.a.example/feed/", "https://a.example/feed"]
    assert len({alike(url) for url in urls}) == 1
    assert alike("http://a.example/feed?x=1") != alike("http://a.example/feed")


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://u:p@a.example/", True),
        ("http://a.example/?token=1", True),
        ("http://a.example/?x=1&auth=1", True),
        ("http://a.example/?Key=1", True),
        ("http://a.example/?monkey=1", False),
        ("http://a.example/token", False),
    ],
)
def test_an_address_that_lets_in_who_has_it_is_private(url: str, private: bool) -> None:
    """podcast-namespace 167: private feeds in a public index."""
    assert is_private(url) is private


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://feeds.a.example/x", "a.example"),
        ("http://rss.b.co.uk/x", "b.co.uk"),
        ("http://one.two.c.de", "c.de"),
        ("http://127.0.0.1:9/x", "127.0.0.1"),
        ("http://[::1]:9/x", "::1"),
        ("http://localhost/", "localhost"),
    ],
)
def test_manners_are_towards_who_has_registered_the_name(url: str, host: str) -> None:
    assert host_of(url) == host


def test_enclosures_are_resolved_and_escaped() -> None:
    assert media_url("\n http://a.example/a b.mp3 ") == "http://a.example/a%20b.mp3"
    assert media_url("b.mp3", "http://a.example/f/feed") == "http://a.example/f/b.mp3"
    assert media_url("b.mp3") == "b.mp3"
    assert media_url("data:audio/mp3;base64,AA", "http://a.example/") is None
    assert without_query("http://a.example/b.mp3?token=1") == "http://a.example/b.mp3"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a <b>bold</b> name", "a bold name"),
        ("Q&amp;A", "Q&A"),
        ("1 < 2 > 0", "1 < 2 > 0"),
        ("\u202eevil\u202c", "evil"),
        ("a\x00\x1f\nb", "a b"),
        ("&lt;script&gt;", "<script>"),
        ("", ""),
        (None, ""),
    ],
)
def test_titles_are_shown_without_tags_and_with_entities_decoded_once_more(text: str | None, shown: str) -> None:
    assert plain(text, 100) == shown


def test_long_titles_are_cut() -> None:
    assert plain("x" * 500, 300) == "x" * 299 + "…"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("The Night Ferry!", "the-night-ferry"),
        ("Élan", "elan"),
        ("🎧", "podcast"),
        ("", "podcast"),
        ("東京", "東京"),
        ("x" * 200, "x" * 80),
    ],
)
def test_slugs_are_never_empty(name: str, slug: str) -> None:
    assert slug_of(name) == slug


def test_names_are_compared_without_marks_and_case() -> None:
    assert folded("Café — Ünder") == "cafe under"


@given(st.from_regex(_WHOLE, fullmatch=True), st.sampled_from(["", "http://a.example/feed", "https://b.example/"]))
def test_a_whole_url_is_read_as_it_is_with_blanks_around_it(url: str, base: str) -> None:
    """Without them it is taken as it stands, by a shorter way, which has to lead to the same."""
    assert media_url(url, base) == media_url(f" {url}\n", base)


@given(st.text())
def test_text_that_is_plain_is_read_as_it_is_within_tags(text: str) -> None:
    """Without tags and entities it is looked at less, and has to come to the same."""
    if "<" not in text and "&" not in text:
        assert plain(text, 50) == plain(f"<i>{text}</i>", 50)
