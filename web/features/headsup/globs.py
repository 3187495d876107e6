"""Names and paths by patterns, as people write them. Pure.

`*` is anything but a slash, `**` anything, `?` one character but a slash. A pattern is for the whole name. One that
begins with `!` takes out again what those before it have let in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

#: Of a rule: patterns, and characters of one.
MAX_PATTERNS = 50
MAX_PATTERN = 200


def split_patterns(text: str) -> tuple[str, ...]:
    """Patterns separated by line ends, commas or blanks."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def matches_name(name: str, patterns: Sequence[str]) -> bool:
    """Whether patterns let in a branch or a tag, by its full name."""
    return _matches(name, tuple(patterns))


def matches_path(path: str, patterns: Sequence[str]) -> bool:
    """Whether patterns let in a file: `*.sql` at any depth, `docs/` with all below, `/setup.cfg` at the root."""
    return _matches(path, tuple(map(_as_path, patterns)))


def _as_path(pattern: str) -> str:
    no = "!" if pattern.startswith("!") else ""
    pattern = pattern.removeprefix("!")
    if pattern.endswith("/"):
        pattern += "**"
    elif "/" not in pattern:
        pattern = f"**/{pattern}"
    return no + pattern.removeprefix("/")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    # With nothing but exceptions, all others are let in.
    is_in = bool(patterns) and all(pattern.startswith("!") for pattern in patterns)
    for pattern in patterns:
        if _fits(name, pattern.removeprefix("!")):
            is_in = not pattern.startswith("!")
    return is_in


# What stands in a pattern for more than one letter: anything, anything within a part, folders with their slashes, one.
_ANY, _PART, _FOLDERS, _ONE = "**", "*", "**/", "?"


def _fits(name: str, pattern: str) -> bool:
    """Whether a pattern is for the whole of a name, in time that is linear in both: no expression that goes back."""
    tokens = _tokens(pattern)
    states: set[int] = set()
    _enter(0, tokens, states)
    for letter in name:
        after: set[int] = set()
        for state in states:
            token = tokens[state] if state < len(tokens) else ""
            if token == _FOLDERS:
                # Once begun, it ends after a slash.
                after.add(state)
                if letter == "/":
                    _enter(state + 1, tokens, after)
            elif token == _ANY or (token == _PART and letter != "/"):
                _enter(state, tokens, after)
            elif token == letter or (token == _ONE and letter != "/"):
                _enter(state + 1, tokens, after)
        states = after
        if not states:
            return False
    return len(tokens) in states


def _enter(state: int, tokens: Sequence[str], states: set[int]) -> None:
    """Add a state, and those that are reached from it without a letter."""
    states.add(state)
    while state < len(tokens) and tokens[state] in {_ANY, _PART, _FOLDERS}:
        state += 1
        states.add(state)


@lru_cache(maxsize=1000)
def _tokens(pattern: str) -> tuple[str, ...]:
    return tuple("**" if len(each) > 1 and each != _FOLDERS else each for each in _TOKEN.findall(pattern))


_TOKEN = re.compile(r"\*\*/|\*\*+|.", re.DOTALL)
