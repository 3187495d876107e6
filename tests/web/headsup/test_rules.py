"""Patterns, recipients, refs, and what a rule finds."""

from __future__ import annotations

import re
import time

import pytest
from cpu import taking
from hypothesis import given
from hypothesis import strategies as st

from web.features.headsup.globs import matches_name, matches_path, split_patterns
from web.features.headsup.names import parse_name
from web.features.headsup.pushes import Commit, Person, Push, in_order, is_zero, split_ref
from web.features.headsup.recipients import parse_recipients, without_doubles
from web.features.headsup.remark import Words
from web.features.headsup.rules import Entry, Rule, find, plan

NAMES = [
    ("main", "main", True),
    ("main", "mai", False),
    ("main", "*", True),
    ("feature/x", "*", False),
    ("feature/x", "feature/*", True),
    ("feature/a/b", "feature/*", False),
    ("feature/a/b", "feature/**", True),
    ("feature/a/b", "**", True),
    ("a/b/x", "**/x", True),
    ("x", "**/x", True),
    ("ax", "**/x", False),
    ("a/xb/xy", "**/x*y", True),
    ("v1.2", "v?.?", True),
    ("a.c", "a.c", True),
    ("abc", "a.c", False),
    ("main", "!dev", True),
    ("dev", "!dev", False),
    ("release/2", "release/* !release/2", False),
    ("release/3", "release/*, !release/2", True),
    ("Main", "main", False),
    ("[x]", "[x]", True),
]


@pytest.mark.parametrize(("name", "patterns", "is_in"), NAMES)
def test_pattern_is_for_the_whole_name(name: str, patterns: str, is_in: bool) -> None:
    assert matches_name(name, split_patterns(patterns)) is is_in


PATHS = [
    ("db/1.sql", "*.sql", True),
    ("1.sql", "*.sql", True),
    ("docs/a/b.md", "docs/", True),
    ("x/docs/b.md", "docs/", False),
    ("setup.cfg", "/setup.cfg", True),
    ("a/setup.cfg", "/setup.cfg", False),
    ("a/b/c.py", "a/*/c.py", True),
    ("a/b", "", False),
]


@pytest.mark.parametrize(("path", "patterns", "is_in"), PATHS)
def test_pattern_of_files(path: str, patterns: str, is_in: bool) -> None:
    assert matches_path(path, split_patterns(patterns)) is is_in


@given(st.text("ab/.", max_size=8), st.lists(st.sampled_from([*"ab/.", "?", "*", "**", "**/"]), max_size=8))
def test_patterns_are_what_an_expression_says(name: str, parts: list[str]) -> None:
    said = {"?": "[^/]", "*": "[^/]*", "**/": "(?:.*/)?"}
    tokens = re.findall(r"\*\*/|\*\*+|.", "".join(parts))
    expression = "".join(
        ".*" if token.startswith("**") and token != "**/" else said.get(token, re.escape(token)) for token in tokens
    )
    assert matches_name(name, ["".join(parts)]) is bool(re.fullmatch(expression, name))


def test_no_pattern_takes_long() -> None:
    """50 patterns by the paths of a push took a third of a second a path, minutes for all."""
    with taking(time.process_time) as taken:
        matches_name("a" * 500, ["*a" * 10 + "b"])
        matches_path("a/" * 2000, ["**/a" * 5 + "**b"])
        for _ in range(20):
            matches_path("a" * 200, [f"{'**a' * 66}{number:02}" for number in range(50)])
    assert taken.seconds < 1.0


REFS = [
    ("refs/heads/feature/foo", ("branch", "feature/foo")),
    ("refs/tags/v1/x", ("tag", "v1/x")),
    ("refs/heads/refs/heads/x", ("branch", "refs/heads/x")),
    ("refs/notes/commits", ("other", "refs/notes/commits")),
    ("refs/heads/", ("other", "refs/heads/")),
    ("main", ("other", "main")),
    ("", ("other", "")),
]


@pytest.mark.parametrize(("ref", "found"), REFS)
def test_ref_is_split_twice_at_most(ref: str, found: tuple[str, str]) -> None:
    assert split_ref(ref) == found


def test_zeros_are_no_commit() -> None:
    assert is_zero("0" * 40)
    assert is_zero("0" * 64)
    assert not is_zero("")
    assert not is_zero("0" * 39 + "1")


def test_commits_come_oldest_first() -> None:
    one, two = Commit("1", ""), Commit("2", "")
    assert in_order([one, two], "2", newest_first=True) == (one, two)
    assert in_order([two, one], "2", newest_first=False) == (one, two)
    assert in_order([two, one], "?", newest_first=True) == (one, two)


RECIPIENTS = [
    ("a@example.org", ["a@example.org"], []),
    ("a@example.org;b@example.org, c@example.org\nd@example.org\r\ne@example.org", ["a", "b", "c", "d", "e"], []),
    ('"Doe, Jane" <jane@example.org>; ops@example.org', ["jane@example.org", "ops@example.org"], []),
    ("Ada <ada@example.org>", ["ada@example.org"], []),
    ("a@example.org, A@Example.org", ["a@example.org"], []),
    ("a@bücher.example", ["a@xn--bcher-kva.example"], []),
    ("xxx", [], ["xxx"]),
    ("a@host.(none)", [], ["a@host.(none)"]),
    ("a@example.org\u2028Bcc: x@example.org", ["a@example.org"], ["Bcc: x@example.org"]),
    (",;\n ,", [], []),
    ('"unclosed <a@example.org>', [], ['"unclosed <a@example.org>']),
]


@pytest.mark.parametrize(("text", "found", "bad"), RECIPIENTS)
def test_recipients_are_parsed(text: str, found: list[str], bad: list[str]) -> None:
    recipients = parse_recipients(text)
    specs = [each.spec for each in recipients.addresses]
    assert specs == [each if "@" in each else f"{each}@example.org" for each in found]
    assert list(recipients.bad) == bad


def test_recipient_of_two_fields_is_in_the_first() -> None:
    fields = {
        "to": parse_recipients("a@x.org"),
        "cc": parse_recipients("A@x.org, b@x.org"),
        "bcc": parse_recipients("b@x.org"),
    }
    assert {name: [each.spec for each in some] for name, some in without_doubles(fields).items()} == {
        "to": ["a@x.org"],
        "cc": ["b@x.org"],
        "bcc": [],
    }


def test_many_recipients_take_no_time() -> None:
    with taking(time.process_time) as taken:
        for text in ('"' * 10_000, "<" * 10_000, '"a\\' * 5000, "a," * 5000):
            parse_recipients(text)
    assert taken.seconds < 1.0


GIVEN_NAMES = [
    ("ada/engine", "ada/engine"),
    (" https://github.com/ada/engine ", "ada/engine"),
    ("https://github.com/ada/engine.git", "ada/engine"),
    ("https://gitlab.example.org/group/sub/engine/-/tree/main", "group/sub/engine"),
    ("engine", None),
    ("ada/../x", None),
    ("ada/eng ine", None),
    ("ada/engine\n", "ada/engine"),
    ("", None),
]


@pytest.mark.parametrize(("text", "name"), GIVEN_NAMES)
def test_name_of_a_repository(text: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(ValueError, match="owner/name"):
            parse_name(text)
    else:
        assert parse_name(text) == name


def push(*commits: Commit, **more: object) -> Push:
    values = {"ref": "refs/heads/main", "kind": "branch", "name": "main", "commits": commits} | more
    return Push(**values)  # type: ignore[arg-type]  # what a test gives


def test_rule_finds_remarks_and_says_why_not() -> None:
    rule = Rule(1, Words())
    found = find(rule, push(Commit("1", "headsup: a"), Commit("2", "b"), Commit("3", "headsup:")), "main")
    assert [entry.text for entry in found.entries] == ["a"]
    assert found.missed == (("2", "no trigger word"), ("3", "nothing is left after the word"))
    assert find(rule, push(), "dev").why == "another branch: main"
    assert find(rule, push(), "").why == ""


def entry(sha: str, text: str, email: str = "a@x.org") -> Entry:
    return Entry(sha, text, False, "A", email, "")


def test_plan_tells_each_text_once() -> None:
    entries = [entry("1", "a"), entry("2", "a"), entry("3", "b"), entry("4", "c"), entry("5", "d")]
    decided = plan(entries, {"3"}, {entries[3].sameness})
    assert [(each.sha, each.others) for each in decided.told] == [("1", ("2",)), ("5", ())]
    assert [each.sha for each in decided.known] == ["3"]
    assert [each.sha for each in decided.again] == ["4"]


def test_same_text_of_another_author_is_other() -> None:
    assert entry("1", "a").sameness == entry("2", "a", "A@X.org").sameness
    assert entry("1", "a").sameness != entry("2", "a", "b@x.org").sameness
    assert Person().email == ""
