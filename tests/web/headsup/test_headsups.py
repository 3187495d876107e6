"""The mail of a push: its words, its lengths, its HTML."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.features.headsup.cutting import MAX_TEXT, cut
from web.features.headsup.headsups import (
    MAX_ENTRIES,
    MAX_SUBJECT,
    HeadsUp,
    Reader,
    Told,
    html_of,
    reply_to,
    subject_of,
    text_of,
    told,
)
from web.features.headsup.pushes import Commit, Push
from web.features.headsup.remark import Words
from web.features.headsup.rules import Entry, Rule, find
from web.features.html.server import Server
from web.services.mail.addresses import Address
from web.services.mail.messages import Mail, compose

SENDER = Address("noreply", "example.org", "Fanfare")
READER = Reader(others=["bob@example.org"], log="https://example.org/headsup/1/log/2", out="https://example.org/out/x")


def entry(text: str, url: str = "") -> Entry:
    shown = cut(text, MAX_TEXT)
    rest = 0 if shown == text else len(text) - len(shown) + 1
    return Entry("a" * 40, shown, False, "Ada", "ada@example.org", url, rest=rest)


def headsup(*texts: str, **more: Any) -> HeadsUp:
    return HeadsUp(repository="ada/engine", ref="main", entries=tuple(told(entry(text)) for text in texts), **more)


NASTY = [
    "<script>alert(1)</script> & <b>bold</b> &amp; \"quotes\" 'too'",
    "x" * 5000,
    "👩‍👩‍👧‍👦 a family, 🏴󠁧󠁢󠁥󠁮󠁧󠁿 a flag, שלום, e\u0301",
    "line\n.\n..\nFrom here\n\n    indented\n\ttabbed",
    "mail@example.org <mail@example.org>",
    "{{ 7 * 7 }} %s {0} \\n",
]


@pytest.mark.parametrize("text", NASTY)
def test_text_arrives_as_it_was_written(text: str) -> None:
    one = headsup(text)
    mail = Mail(to="a@example.org", subject=subject_of(one), text=text_of(one, READER), html=html_of(one, READER))
    raw = compose(mail, SENDER, "1.2", 0, longest=2_000_000)
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    found = email.message_from_bytes(raw, policy=email.policy.default).get_body(("plain",))
    assert found is not None
    content = found.get_content().replace("\r\n", "\n")
    assert cut(text, MAX_TEXT).rstrip("…") in content
    assert "<script>" not in html_of(one, READER)


def test_mail_of_fifty_nasty_remarks_is_whole_and_its_html_valid(validator: Server) -> None:
    texts = [f"{number}: {NASTY[number % len(NASTY)]}" for number in range(MAX_ENTRIES)]
    one = headsup(*texts, compare_url="https://example.org/a...b", pusher="<ada>", more=3, again=1, unseen=2)
    body = text_of(one, READER)
    for text in texts:
        assert f"\n{cut(text, MAX_TEXT)}\n" in body
    mail = Mail(to="a@example.org", subject=subject_of(one), text=body, html=html_of(one, READER))
    found = email.message_from_bytes(compose(mail, SENDER, "1.2", 0, longest=2_000_000), policy=email.policy.default)
    plain = found.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().replace("\r\n", "\n") == body
    bare = HeadsUp(repository="", entries=(Told(sha="", text=""),))
    try:
        # That a text is not composed, and in which language it is, is its author's to say.
        for page in (html_of(one, READER), html_of(bare, Reader())):
            messages, _ = validator.check(page.encode(), "text/html; charset=utf-8")
            theirs = ("Normalization Form C", "appears to be written in")
            assert [each.text for each in messages if not any(words in each.text for words in theirs)] == []
    finally:
        validator.close()


def test_long_text_says_how_much_is_missing() -> None:
    commit = Commit("1", "headsup: " + "x" * 5000)
    push = Push(ref="refs/heads/main", kind="branch", name="main", commits=(commit,))
    (found,) = find(Rule(1, Words()), push, "main").entries
    one = told(found)
    assert len(one.text) == MAX_TEXT
    assert one.rest == 5000 - MAX_TEXT + 1
    shown = text_of(HeadsUp(repository="x", entries=(one,)), READER)
    assert "[1001 more characters are in the commit]" in shown


SUBJECTS = [
    (headsup("run it"), "Headsup! ada/engine: run it"),
    (headsup("run it", "and that"), "Headsup! ada/engine: run it (+1)"),
    (headsup("\n  first line\nsecond"), "Headsup! ada/engine: first line"),
    (headsup("run it", kind="tag"), "Headsup! ada/engine main: run it"),
    (headsup("run it", replay=1), "Again: Headsup! ada/engine: run it"),
    (headsup("run it", more=9), "Headsup! ada/engine: run it (+9)"),
]


@pytest.mark.parametrize(("one", "subject"), SUBJECTS)
def test_subject_is_the_first_line_of_the_first(one: HeadsUp, subject: str) -> None:
    assert subject_of(one) == subject


@given(st.text(max_size=400), st.text(max_size=300), st.integers(0, 3000))
def test_subject_is_short_and_one_line(text: str, name: str, more: int) -> None:
    one = replace(headsup(text or "x"), repository=name, more=more)
    subject = subject_of(one)
    assert len(subject) <= MAX_SUBJECT
    assert len(subject.splitlines()) == 1


CUTS = [
    ("abc", 3, "abc"),
    ("abcd", 3, "ab…"),
    ("ab👍🏽d", 4, "ab…"),
    ("a👩‍👩‍👧‍👦", 5, "a…"),
    ("ae\u0301\u0323x", 3, "a…"),
    ("a🇩🇪🇫🇷", 4, "a🇩🇪…"),
    ("a🇩🇪🇫🇷", 3, "a…"),
    ("a b cdef", 4, "a b…"),
    ("a🏴󠁧󠁢󠁥󠁮󠁧󠁿", 4, "a…"),
    # Syllables of Hangul in parts: han (L V T), geul; a whole one with a part behind; L L V.
    ("a\u1112\u1161\u11abb", 4, "a…"),
    ("a\u1112\u1161\u11abb", 3, "a…"),
    ("\u1112\u1161\u11ab\u1100\u1173\u11af", 5, "\u1112\u1161\u11ab…"),
    ("a\uac00\u11a8b", 3, "a…"),
    ("a\uac01\u11a8b", 3, "a…"),
    ("a\u1100\u1100\u1161b", 3, "a…"),
    ("a\ua960\ud7b0\ud7cbb", 4, "a…"),
    # Wholes beside each other are syllables of their own.
    ("한글한글", 3, "한글…"),
    ("a\u11a8\u1100bc", 3, "a\u11a8…"),
    # Devanagari: ksha is ka, virama, sha; Thai sara am; half-width katakana.
    ("a\u0915\u094d\u0937b", 4, "a…"),
    ("a\u0915\u094d\u200d\u0937b", 5, "a…"),
    ("a\u0915\u0937bc", 3, "a\u0915…"),
    ("a\u0e01\u0e33b", 3, "a…"),
    ("a\uff76\uff9eb", 3, "a…"),
]


@pytest.mark.parametrize(("text", "most", "found"), CUTS)
def test_no_letter_is_cut_in_two(text: str, most: int, found: str) -> None:
    assert cut(text, most) == found


def test_replies_go_to_one_author_only() -> None:
    both = HeadsUp(
        repository="x",
        entries=(Told(sha="1", text="a", email="a@example.org"), Told(sha="2", text="b", email="b@example.org")),
    )
    assert reply_to(both) is None
    assert reply_to(replace(both, entries=both.entries[:1])) == "a@example.org"


def test_row_and_value_say_the_same() -> None:
    one = headsup("a", "b", notes=("n",), again=2)
    assert HeadsUp.from_data(one.as_data()) == one
    assert HeadsUp.from_data(one.as_data() | {"later": 1}) == one


def test_links_are_web_addresses_only() -> None:
    urls = ("javascript:alert(1)", "data:x", "//evil", "https://a b/", "https:", 'https://x/"><b>')
    for url in urls:
        page = html_of(HeadsUp(repository="x", compare_url=url, entries=(told(entry("t", url=url)),)), Reader())
        assert not re.search(r'href="(?!https://x/&#34;)', page)
