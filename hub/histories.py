"""How much is kept of which channels: bounds by channel pattern. Pure.

    [[history]]                 # in the file HUB_RULES
    channels = ["chat/**"]
    count = 5000
    seconds = "1d"
    bytes = "4MiB"

The first table whose patterns match a channel decides; bounds that it does not name, and channels that
no table names, have the hub's own (HUB_HISTORY_COUNT, …_SECONDS, …_BYTES).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from .errors import SettingsError
from .protocol.access import covers, read_table
from .protocol.remembered import Remembered
from .settings import COUNT, SECONDS, SIZE

_KINDS = {"count": COUNT, "seconds": SECONDS, "bytes": SIZE}


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of a channel's history is kept: whichever bound is met first."""

    count: int = 1000
    seconds: float = 600.0
    bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HistoryRule:
    """The bounds that a table of the rules file names for channels. `source` says where it was written."""

    patterns: tuple[str, ...]
    bounds: Mapping[str, Any]
    source: str

    def __str__(self) -> str:
        return f"{self.source}: {', '.join(pattern[1:] for pattern in self.patterns)}"


class Histories:
    """The bounds of every channel's history."""

    def __init__(self, default: Retention | None = None, rules: Sequence[HistoryRule] = ()) -> None:
        self.default = default or Retention()
        self.rules = tuple(rules)
        # Names repeat, and a publish must not look at every rule.
        self._of = Remembered[str, Retention](self._find)

    def of(self, channel: str) -> Retention:
        """How much is kept of a channel, given in Bayeux form."""
        return self._of[channel] if self.rules else self.default

    def rule_of(self, channel: str) -> HistoryRule | None:
        """The table that decides about a channel; None where the hub's own bounds do."""
        for rule in self.rules:
            if any(covers(pattern, channel) for pattern in rule.patterns):
                return rule
        return None

    def _find(self, channel: str) -> Retention:
        rule = self.rule_of(channel)
        return self.default if rule is None else replace(self.default, **rule.bounds)

    def encode(self) -> bytes:
        """All of it as one line of JSON, for `decode`."""
        return orjson.dumps(
            {"default": asdict(self.default), "rules": [[rule.patterns, rule.bounds] for rule in self.rules]}
        )

    @classmethod
    def decode(cls, line: bytes) -> Histories:
        """What `encode` wrote, here or in another process."""
        known = orjson.loads(line)
        rules = [HistoryRule(tuple(patterns), bounds, "hub") for patterns, bounds in known["rules"]]
        return cls(Retention(**known["default"]), rules)


def parse_histories(text: str, source: str = "HUB_RULES") -> tuple[HistoryRule, ...]:
    """The [[history]] tables of a rules file, in order; raises SettingsError that says which and why."""
    try:
        entries = tomllib.loads(text).get("history", [])
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{source}: not TOML: {error}") from None
    if not isinstance(entries, list):
        raise SettingsError(f"{source}: history is not a list of tables: write [[history]]")
    return tuple(_rule(entry, f"{source} history {number}") for number, entry in enumerate(entries, 1))


def _rule(entry: object, where: str) -> HistoryRule:
    patterns, entry = read_table(entry, where, list(_KINDS))
    bounds = {name: _bound(entry[name], name, where) for name in _KINDS if name in entry}
    return HistoryRule(patterns, bounds, where)


def _bound(value: object, name: str, where: str) -> Any:
    # A number, or a text with a unit as the settings take it.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise SettingsError(f"{where}: {name} is neither a number nor a text")
    try:
        bound = _KINDS[name].parse(str(value))
    except ValueError as error:
        raise SettingsError(f"{where}: {name} {str(value)[:80]!r} {error}") from None
    if bound < 0:
        raise SettingsError(f"{where}: {name} is less than 0")
    return bound
