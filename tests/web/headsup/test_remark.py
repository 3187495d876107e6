"""What a commit's message tells: how people write such notes, and D1 to D10 of docs/headsup.md."""

from __future__ import annotations

import time

import pytest
from cpu import taking

from web.features.headsup.remark import NO_TEXT, NO_WORD, REVERT, Words, read_remark, without_trailers

N = None
SIGNED = "Signed-off-by: Ada <ada@example.org>"

#: A message, and what it tells by the word "headsup".
PLAIN: list[tuple[str, str | None]] = [
    # The seed's own.
    ("Updated the Saab headsup! will require updating", "will require updating"),
    ("headsup: This changes things", "This changes things"),
    (
        "Fix the login\n\nHeadsup: Run this:\n\n    make migrate\n\nand restart.",
        "Run this:\n\n    make migrate\n\nand restart.",
    ),
    ("theheadsup: x", N),
    ("headsupper", N),
    ("headsupper: x", N),
    ("see headsup", N),
    ("headsup\nfoo", N),
    ("headsup, foo", N),
    ("headsup.", N),
    ("headsup? really", N),
    ("_headsup: x", N),
    ("9headsup: x", N),
    ("headsup:", N),
    ("headsup:x", "x"),
    ("#headsup: x", "x"),
    ("x-headsup! y", "y"),
    ("(headsup: in brackets)", "in brackets)"),
    ("headsup: a headsup: b", "a headsup: b"),
    ("headsup prose with a space", "prose with a space"),
    # As people wrote it.
    ("Headsup: capital", "capital"),
    ("HEADSUP: shouted", "shouted"),
    ("headSup: camel", "camel"),
    ("Fix\n\nheadsup! second paragraph", "second paragraph"),
    ("fixed the thing headsup: mid-line", "mid-line"),
    ("", N),
    ("   \n\n", N),
    ("Merge branch 'main' into dev", N),
    # D1: line ends.
    ("Subject\r\n\r\nheadsup: first\r\nsecond\r\n", "first\nsecond"),
    ("Subject\rheadsup: old mac\rsecond", "old mac\nsecond"),
    ("headsup: run it\r\n\r\nSigned-off-by: A <a@b.c>\r\n", "run it"),
    # D2: trailers.
    (f"headsup: run it\n\n{SIGNED}", "run it"),
    (f"headsup: run it\n\n{SIGNED}\nCo-authored-by: Bob <bob@example.org>\n", "run it"),
    ("headsup: run it\n\nChange-Id: I0123456789abcdef0123456789abcdef01234567", "run it"),
    (f"headsup: run it\n\nCloses #12\n{SIGNED}", "run it"),
    (f"headsup: run it\n\nFixes: #12\n{SIGNED}", "run it"),
    ("headsup: run it\n\nCloses #12", "run it\n\nCloses #12"),
    ("headsup: new settings\n\nURL: set it\nPORT: set it too", "new settings\n\nURL: set it\nPORT: set it too"),
    ("headsup: run it\n\n---------\n\nCo-authored-by: Bob <bob@example.org>", "run it"),
    (f"headsup: run it\n\n{SIGNED}\n\n---------\n\nCo-authored-by: Bob <bob@example.org>", "run it"),
    ("headsup: run it\n---\nCo-authored-by: Bob <b@example.org>", "run it"),
    ("headsup: dashes\n-----\nstay", "dashes\n-----\nstay"),
    (f"headsup: one\n\ntwo\n\n{SIGNED}", "one\n\ntwo"),
    (f"fix\n\nheadsup: among trailers\n{SIGNED}", "among trailers"),
    ("headsup: picked\n\n(cherry picked from commit 0123abc)", "picked"),
    # D3: what follows the word.
    ("headsup : à la française", "à la française"),
    ("headsup\u00a0: espace insécable", "espace insécable"),
    ("headsup\u202f! fine", "fine"),
    ("headsup!!! look", "look"),
    ("headsup: - dashed", "dashed"),
    ("headsup - dashed", "dashed"),
    ("headsup!: both", "both"),
    ("**Headsup:** in bold", "in bold"),
    ("**Headsup**: in bold", "in bold"),
    ("*headsup* with a space", "with a space"),
    ("headsup:\n\nbelow the word", "below the word"),
    ("headsup:\n- one\n- two", "- one\n- two"),
    # D4: the left edge.
    ("éheadsup: x", N),
    ("日headsup: x", N),
    ("path/headsup: x", N),
    ("https://example.org/headsup: x", N),
    ("«headsup: guillemets»", "guillemets»"),
    ("[headsup] x", N),
    ("[headsup: x]", "x]"),
    ("\theadsup: tab", "tab"),
    # D5: signs as wide as a letter.
    ("headsup：全角", "全角"),
    ("headsup！注意", "注意"),
    ("headsup：！ 両方", "両方"),
    # D7: nothing is left.
    ("headsup: ", N),
    ("headsup! !!", N),
    ("headsup: **", N),
    (f"headsup:\n\n{SIGNED}", N),
    # D10: other letters that fold to ours.
    ("head\u017fup: long s", N),
    ("HEADSUP\u212a: kelvin", N),
]


@pytest.mark.parametrize(("message", "text"), PLAIN)
def test_message_tells_what_is_behind_the_word(message: str, text: str | None) -> None:
    assert read_remark(message, Words()).text == text


#: Words of a rule, its message, what it tells, and why.
CHOSEN: list[tuple[Words, str, str | None, str]] = [
    # D8.
    (Words(strict=True), "no headsup needed", N, NO_WORD),
    (Words(strict=True), "thanks for the headsup about it", N, NO_WORD),
    (Words(strict=True), "headsup: x", "x", "headsup"),
    (Words(strict=True), "headsup! x", "x", "headsup"),
    (Words(strict=True), "headsup : x", "x", "headsup"),
    (Words(strict=True), "headsup！x", "x", "headsup"),
    (Words(), "no headsup needed", "needed", "headsup"),
    # D9.
    (Words(("headsup", "note")), "note: the second word", "the second word", "note"),
    (Words(("headsup", "note")), "note: a\n\nheadsup: b", "b", "headsup"),
    (Words(("headsup", "note")), "headsup:\n\nnote: c", "note: c", "headsup"),
    (Words(("heads up", "heads-up")), "Heads-up: y", "y", "heads-up"),
    # Words that begin with a sign.
    (Words(("@ops",)), " @ops: x", "x", "@ops"),
    (Words(("@ops",)), "a@ops: x", N, NO_WORD),
    (Words(("@ops",)), "@ops please look", "please look", "@ops"),
    (Words(("[!]",)), "[!] signs are no pattern", "signs are no pattern", "[!]"),
    (Words(("a.c",)), "abc: x", N, NO_WORD),
    # Case.
    (Words(case_sensitive=True), "Headsup: x", N, NO_WORD),
    (Words(case_sensitive=True), "headsup: x", "x", "headsup"),
    (Words(("kelvin",)), "\u212aelvin: x", N, NO_WORD),
    (Words(("kelvin",)), "KELVIN: x", "x", "kelvin"),
    (Words(("ACHTUNG",)), "achtung: x", "x", "ACHTUNG"),
    (Words(("überlauf",)), "ÜBERLAUF: x", "x", "überlauf"),
    # D6.
    (Words(), 'Revert "headsup: run it"\n\nThis reverts commit abc.', 'Revert "headsup: run it"', REVERT),
    (Words(), 'Revert "Fix"\n\nheadsup: rebuild first', "rebuild first", "headsup"),
    (Words(), 'Revert "Fix"\n\nThis reverts commit abc.', N, NO_WORD),
    (Words(), "Reverting headsup: x", "x", "headsup"),
    # D6: what the body of a revert quotes of the commit that it takes back was told by that.
    (Words(), 'Revert "Fix"\n\nThis reverts commit abc.\n\n> Fix\n>\n> headsup: run it', 'Revert "Fix"', REVERT),
    (Words(), 'Revert "Fix"\r\n\r\n> headsup: run it\r\n', 'Revert "Fix"', REVERT),
    (Words(), 'Revert "Fix"\n\n    Fix\n\n    headsup: run it', 'Revert "Fix"', REVERT),
    (Words(), 'Revert "Fix"\n\n\theadsup: run it', 'Revert "Fix"', REVERT),
    (Words(), "Revert \"Fix\"\n\nOriginal change's description:\n> headsup: run it", 'Revert "Fix"', REVERT),
    (Words(), 'Revert "Fix"\n\nOriginal commit message:\n\nFix\n\nheadsup: run it', 'Revert "Fix"', REVERT),
    (Words(), 'Revert "Fix"\n\nIt said "headsup: run it", and that was wrong.', 'Revert "Fix"', REVERT),
    (Words(), 'Revert "Fix"\n\nIt said “**headsup:** run it”.', 'Revert "Fix"', REVERT),
    (Words(("note", "headsup")), 'Revert "Fix"\n\n> note: a\n\nheadsup: b', "b", "headsup"),
    (Words(), 'Revert "Fix"\n\n> headsup: a\n\nheadsup: b:\n\n    make it', "b:\n\n    make it", "headsup"),
    (Words(), 'Revert "Fix"\n\nheadsup: b\n\n> headsup: a\n\nthe end', "b\n\n\n\nthe end", "headsup"),
    (Words(), 'Revert "Fix"\n\nheadsup: b\n\nOriginal message:\nheadsup: a', "b", "headsup"),
    (Words((), breaking=True), 'Revert "Fix"\n\n> BREAKING CHANGE: a', 'Revert "Fix"', REVERT),
    (Words(), 'Revert "Fix"\n\n> nothing of note', N, NO_WORD),
    # Elsewhere a quote is as good as any text.
    (Words(), "Fix\n\n> headsup: run it", "run it", "headsup"),
    (Words(), 'Fix\n\n"headsup: run it"', 'run it"', "headsup"),
    # D7.
    (Words(), "headsup:", N, NO_TEXT),
    # The preset.
    (Words((), breaking=True), "feat: x\n\nBREAKING CHANGE: a\nb\n\nCloses #4", "a\nb\n\nCloses #4", "BREAKING CHANGE"),
    (Words((), breaking=True), "feat: x\n\nBREAKING CHANGES: two", "two", "BREAKING CHANGES"),
    (Words((), breaking=True), "feat: x\n\nBREAKING-CHANGE: hyphen", "hyphen", "BREAKING-CHANGE"),
    (Words((), breaking=True), "no breaking change: here", N, NO_WORD),
    (Words((), breaking=True), "feat: x\n\nBREAKING CHANGE:\n\nBe.\n\n- a\n- b", "Be.\n\n- a\n- b", "BREAKING CHANGE"),
    (Words((), breaking=True), f"feat: x\n\nBREAKING CHANGE: gone\n{SIGNED}", "gone", "BREAKING CHANGE"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message", "text", "why"), CHOSEN)
def test_rule_says_how_its_notes_are_written(words: Words, message: str, text: str | None, why: str) -> None:
    remark = read_remark(message, words)
    assert (remark.text, remark.why) == (text, why)
    assert remark.is_revert == (why == REVERT)


def test_there_are_as_many_vectors_as_were_promised() -> None:
    assert len(PLAIN) + len(CHOSEN) >= 100


def test_text_without_trailers_is_itself() -> None:
    for text in ("", "a", "a\n\nb", "Note: this\nis text", "a\n\n---"):
        assert without_trailers(text) == text


def test_long_message_takes_time_with_its_length() -> None:
    """Stars, dashes and blanks repeat in what may follow a word; none of it is looked at twice."""
    pieces = ("headsup ", "headsup*", "headsup: -", " \t", "*", "a: b\n", "\n", "-\n", "headsup\u00a0")
    quotes = ('"headsup: ', "**headsup: ", "> headsup: a\n", "    headsup: a\n", "original message ", " ")
    for piece in (*pieces, *quotes):
        for subject in ("", 'Revert "Fix"\n\n'):
            with taking(time.process_time) as taken:
                message = subject + piece * (200_000 // len(piece))
                read_remark(message, Words(("headsup", "note", "@ops"), breaking=True))
            assert taken.seconds < 1.0, piece
