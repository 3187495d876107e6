"""What is spam, and why. The labelled comments are in `labelled.py`."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import labelled
import pytest
from cpu import least
from hypothesis import given
from hypothesis import strategies as st
from labelled import Labelled

from web.features.comments.spam import (
    CHECKS,
    HOLD,
    MOST_WORDS,
    REFUSE,
    Learned,
    Sent,
    Verdict,
    host_of,
    judge,
    readable,
    restored,
    words_of,
)

PLAIN = (
    "We saw this too after the upgrade. Raising the timeout on the proxy helped; see the second paragraph of the docs."
)


def judged(text: str = PLAIN, **known: object) -> Verdict:
    return judge(replace(Sent(name="Anna", text=text), **known))  # type: ignore[arg-type]


def words(verdict: Verdict) -> str:
    return " ".join(reason.words for reason in verdict.reasons)


def shares(comments: Iterable[Labelled], learned: Learned | None = None) -> tuple[float, float]:
    """How much of the spam was held or refused, and how much of the rest."""
    stopped: dict[bool, list[bool]] = {True: [], False: []}
    for each in comments:
        stopped[each.is_spam].append(judge(each.sent, learned).decision != "publish")
    return sum(stopped[True]) / len(stopped[True]), sum(stopped[False]) / len(stopped[False])


def clicked(comments: Iterable[Labelled]) -> Learned:
    learned = Learned()
    for each in comments:
        learned.learn(f"{each.sent.name} {each.sent.text} {each.sent.link}", is_spam=each.is_spam)
    return learned


@cache
def reported() -> tuple[Labelled, ...]:
    return tuple(labelled.report())


def test_the_labelled_comments_are_a_thousand_and_half_spam() -> None:
    for comments in (labelled.develop(), labelled.report()):
        assert len(comments) == 1000
        assert sum(each.is_spam for each in comments) == 500
    assert labelled.report() == labelled.report()
    both = {each.sent.text for each in labelled.develop()} & {each.sent.text for each in labelled.report()}
    assert both == set()


def test_most_spam_is_stopped_before_anything_is_learned() -> None:
    """0.98 and 0.004 of comments whose templates were never looked at."""
    caught, wrong = shares(reported())
    assert caught >= 0.9
    assert wrong <= 0.01


def test_a_hundred_clicks_stop_nearly_all() -> None:
    comments = reported()
    caught, wrong = shares(comments[100:], clicked(comments[:100]))
    assert caught >= 0.97
    assert wrong <= 0.01


def test_clicks_help_with_spam_that_was_never_clicked() -> None:
    """The clicks are on other templates than the comments that are judged; of good ones 0.012 are held then."""
    learned = clicked(labelled.develop()[:100])
    caught, wrong = shares(reported(), learned)
    assert caught >= shares(reported())[0]
    assert caught >= 0.97
    assert wrong <= 0.02


def test_what_is_known_of_the_sender_is_not_what_stops_it() -> None:
    """From the words alone: nothing is known of the form, the address or the visitor."""
    alone = [
        replace(each, sent=Sent(name=each.sent.name, text=each.sent.text, link=each.sent.link)) for each in reported()
    ]
    caught, wrong = shares(alone)
    assert caught >= 0.9
    assert wrong <= 0.01


def test_each_verdict_has_its_reasons() -> None:
    for each in reported():
        verdict = judge(each.sent)
        assert verdict.weight == pytest.approx(sum(reason.weight for reason in verdict.reasons), abs=0.01)
        assert verdict.decision == (
            "publish" if verdict.weight < HOLD else "hold" if verdict.weight < REFUSE else "refuse"
        )
        assert all(reason.words.endswith((".", ")")) and reason.weight for reason in verdict.reasons)
        if verdict.decision != "publish":
            assert verdict.reasons
            assert verdict.reasons[0].weight == max(reason.weight for reason in verdict.reasons)


# One by one


def test_an_ordinary_comment_has_nothing_against_it() -> None:
    assert judged() == Verdict("publish", 0, ())


def test_a_hidden_field_refuses() -> None:
    verdict = judged(hidden="http://x.example")
    assert verdict.decision == "refuse"
    assert "don't see" in words(verdict)
    assert judged(hidden="  ").decision == "publish"


@pytest.mark.parametrize(("age", "decision"), [(0.0, "hold"), (1.9, "hold"), (5, "publish"), (1e6, "publish")])
def test_the_age_of_a_form(age: float, decision: str) -> None:
    assert judged(age=age).decision == decision


def test_a_flood_is_held_and_a_hall_is_not() -> None:
    assert judged(by_address=30).decision == "publish"
    assert judged(by_address=90).decision == "hold"
    assert judged(by_visitor=40).decision == "hold"
    assert "90 comments came from this address" in words(judged(by_address=90))


def test_repeats_are_found_though_words_change() -> None:
    other = PLAIN.replace("upgrade", "update").replace("helped", "did help")
    assert judged(recent=[PLAIN]).decision == "hold"
    assert "much like it" in words(judged(recent=["x", other]))
    assert judged(recent=["Something else entirely, about the index of a table and its pages."]).decision == "publish"
    assert judged("Thanks, that helped!", recent=["Thanks, that helped!"] * 50).reasons == ()


def test_good_comments_before_speak_for_a_visitor() -> None:
    held = judged("Best bonus at www.some-casino.top")
    assert held.decision != "publish"
    assert judged("Best bonus at www.some-casino.top", good=3).weight == held.weight - 4


def test_links_weigh_by_where_they_lead() -> None:
    assert judged(PLAIN + " https://github.com/a/b https://docs.python.org/3/").reasons == ()
    assert judged(PLAIN + " https://blog.example.net/x").weight == 1
    many = " ".join(f"https://a{number}.example.net" for number in range(8))
    assert judged(many).decision == "hold"
    assert judged("`curl https://a.top https://b.top https://c.top https://d.top`").reasons == ()
    assert host_of("https://u:p@WWW.A.example:80/x") == "a.example"
    assert judged(PLAIN + " https://github.com.evil.top/x").weight > 2


def test_a_name_that_is_an_address_or_a_trade() -> None:
    assert judged(name="best-casino.com").decision == "hold"
    assert judged(name="Cheap SEO services").decision == "hold"
    for name in ("Anna", "O'Brien", "node.js fan", "Казимир", "dave_42"):
        assert judged(name=name).decision == "publish"


def test_letters_that_only_look_alike() -> None:
    """The a of the name is Cyrillic: a moderator's name, as it seems."""
    verdict = judged(name="\u0410dmin")
    assert "mixes alphabets" in words(verdict)
    assert judged("Best \u0441\u0430sin\u043e in t\u043ewn, b\u043enus").decision == "hold"
    for text in ("Δt rises, μs by μs", "Спасибо за Redis 7", "Ευχαριστώ για το SQLite", "日本語とEnglish"):
        assert judged(text).reasons == ()
    assert readable("P\u0430yP\u0430l") == "paypal"
    assert readable("Спасибо") == "спасибо"


def test_text_that_is_turned_round_or_not_seen() -> None:
    assert judged("Look at \u202egpj.exe\u202c please").decision == "hold"
    assert judged("c\u200ba\u200bs\u200bi\u200bno").decision == "hold"
    assert judged(name="An\u200bna").decision == "hold"
    assert judged("a\u200f b\u200f c\u200f and so on").decision == "hold"
    for text in (
        "\u200fשלום\u200f aiohttp\u200f 3.9\u200f",
        "می\u200cشود درباره\u200cی آن",
        "👩\u200d💻 says hi",
        "क्\u200dष is a letter",
        "\ufeffcopied",
    ):
        assert judged(text).reasons == ()


def test_code_is_quoted_and_not_said() -> None:
    spam = "Buy cheap viagra without prescription at https://pills.top/x"
    assert judged(spam).decision != "publish"
    assert judged(f"I found this in our log:\n\n```\n{spam}\n```\n\nAny idea?").decision == "publish"


@given(st.text(max_size=300), st.text(max_size=60), st.floats(allow_nan=False) | st.none(), st.integers(0, 10**6))
def test_whatever_comes_has_a_verdict(text: str, name: str, age: float | None, count: int) -> None:
    verdict = judge(
        Sent(name=name, text=text, link=text[:50], age=age, by_address=count, recent=[text, name]), Learned()
    )
    assert verdict.decision in ("publish", "hold", "refuse")


WORST = [
    "a",
    " ",
    "[",
    "a.",
    "a.b/",
    "http://",
    "<a ",
    "<a href",
    "казино ",
    "а",
    "\u0301",
    "\u200b",
    "`",
    "    ",
    "your ",
    "+1 ",
    "a@",
    "lost ",
]


@pytest.mark.parametrize("piece", WORST)
def test_the_worst_text_takes_a_bounded_time(piece: str) -> None:
    """20 ms; other texts are compared, so they are as bad."""
    text = (piece * 100_000)[:100_000]
    sent = Sent(name=text, text=text, link=text, recent=[text] * 100)
    learned = Learned({"a": (9, 1)}, (10, 10))
    assert least(lambda: judge(sent, learned), 3) < 0.3


# Learning


def test_nothing_is_said_before_there_is_enough_to_say() -> None:
    learned = Learned()
    for _ in range(4):
        learned.learn("shiny beads", is_spam=True)
        learned.learn("proxy timeout", is_spam=False)
    assert judge(Sent(name="A", text="shiny beads"), learned).reasons == ()
    learned.learn("shiny beads", is_spam=True)
    learned.learn("proxy timeout", is_spam=False)
    verdict = judge(Sent(name="A", text="shiny beads"), learned)
    assert verdict.weight > 0
    assert "called spam: beads, shiny" in words(verdict)
    assert judge(Sent(name="A", text="a proxy timeout"), learned).weight < 0


TEXTS = st.lists(
    st.sampled_from(["casino", "proxy", "bonus", "timeout", "cheap", "index", "бонус", "日本語", "https://a.top/x"]),
    max_size=6,
)


@given(st.lists(st.tuples(TEXTS.map(" ".join), st.booleans()), max_size=20), st.randoms(use_true_random=False))
def test_a_click_can_be_taken_back(clicks: list[tuple[str, bool]], dice: random.Random) -> None:
    """In any order, and nothing of it is left."""
    learned = Learned()
    learned.learn("proxy bonus", is_spam=True)
    before = (dict(learned.words), learned.comments)
    for text, is_spam in clicks:
        learned.learn(text, is_spam=is_spam)
    dice.shuffle(clicks)
    for text, is_spam in clicks:
        learned.unlearn(text, is_spam=is_spam)
    assert (learned.words, learned.comments) == before


def test_what_changed_is_said_for_the_table() -> None:
    learned = Learned()
    rows: dict[str, tuple[int, int]] = {}

    def save(changed: set[str]) -> None:
        rows[""] = learned.comments
        for word in changed:
            if word in learned.words:
                rows[word] = learned.words[word]
            else:
                rows.pop(word, None)

    for each in reported()[:50]:
        save(learned.learn(each.sent.text, is_spam=each.is_spam))
    for each in reported()[:20]:
        save(learned.unlearn(each.sent.text, is_spam=each.is_spam))
    assert restored(rows) == learned


def test_words_are_bounded_and_the_rarest_go() -> None:
    learned = Learned()
    changed: set[str] = set()
    for number in range(MOST_WORDS // 100 + 20):
        text = "casino " + " ".join(f"w{number}x{each}" for each in range(110))
        changed = learned.learn(text, is_spam=True) | changed
        assert len(learned.words) <= MOST_WORDS
    assert learned.words["casino"] == (MOST_WORDS // 100 + 20, 0)
    assert "w0x0" not in learned.words
    assert "w0x0" in changed


def test_words_of_one_comment_are_bounded() -> None:
    assert len(words_of(" ".join(f"word{number}" for number in range(10_000)))) <= 310
    assert len(words_of("字" * 10_000)) < 310
    assert len(words_of("".join(chr(0x4E00 + number) for number in range(5_000)))) < 500


def test_a_clear_moderator_can_turn_a_rule_round() -> None:
    """A site about betting software calls such comments good, and they are published."""
    text = "Our betting exchange settles wagers by this queue, and the odds feed lags. https://ex.example.net/x"
    learned = Learned()
    for number in range(10):
        learned.learn(f"odds feed settles wagers betting exchange {number}", is_spam=False)
        learned.learn(f"cheap pills {number}", is_spam=True)
    assert judge(Sent(name="A", text=text), learned).weight < judge(Sent(name="A", text=text)).weight
    assert judge(Sent(name="A", text=text), learned).decision == "publish"


def test_the_checks_are_a_row() -> None:
    assert [check.__name__ for check in CHECKS][:4] == ["hidden_field", "work", "form_age", "rate"]
