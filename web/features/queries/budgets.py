"""Queries and rows by route, with few rows in the database and with ten times as many, as a file keeps them. Pure.

A route that asks more than its budget says is over it, and so is one whose queries grow with the rows. The file has the
statements too, without their columns, so that the one that is new, or comes more often, can be named.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .asked import Asked
from .shapes import short


@dataclass(frozen=True, slots=True)
class Count:
    """What a route asked once. places: by statement, the lines that asked; not kept."""

    queries: int
    rows: int
    statements: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)


def count_of(asked: Sequence[Asked]) -> Count:
    """What questions come to."""
    statements: Counter[str] = Counter()
    places: dict[str, list[str]] = {}
    for each in asked:
        said = short(each.shape)
        statements[said] += 1
        if each.place not in places.setdefault(said, []):
            places[said].append(each.place)
    return Count(len(asked), sum(each.rows or 0 for each in asked), statements, places)


@dataclass(frozen=True, slots=True)
class Budget:
    """A route's: with few rows, and with many."""

    few: Count
    many: Count


def larger(one: Budget, two: Budget) -> Budget:
    """What is enough for both: databases differ in what they are asked."""
    return Budget(_larger(one.few, two.few), _larger(one.many, two.many))


def _larger(one: Count, two: Count) -> Count:
    names = {**one.statements, **two.statements}
    statements = {name: max(one.statements.get(name, 0), two.statements.get(name, 0)) for name in names}
    return Count(max(one.queries, two.queries), max(one.rows, two.rows), statements, {**one.places, **two.places})


def over(route: str, budget: Budget | None, now: Budget, *, sizes: tuple[int, int] = (1, 10)) -> str:
    """What is wrong with what a route asks now, with the statements; "" if nothing is. sizes: how many rows of each."""
    if budget is None:
        return f"{route} has no budget yet: it asks {_words(now, sizes)}; --write-budgets writes it down"
    lines: list[str] = []
    for size, before, after in zip(sizes, (budget.few, budget.many), (now.few, now.many), strict=True):
        for what in ("queries", "rows"):
            old, new = getattr(before, what), getattr(after, what)
            if new > (old if what == "queries" else _with_slack(old)):
                lines.append(f"{what}: {old} before, {new} now, with {size} rows of everything")
                lines += [f"  {each}" for each in _more(before, after)] if what == "queries" else []
    if now.many.queries > now.few.queries:
        lines.append(
            f"queries grow with the rows: {now.few.queries} with {sizes[0]}, {now.many.queries} with {sizes[1]}"
        )
        lines += [f"  {each}" for each in _more(now.few, now.many)]
    if not lines:
        return ""
    if not any(line.startswith("  ") for line in lines):
        # More rows come from the same statements.
        lines += [f"  {_said(each, now.many)}" for each in now.many.statements]
    return "\n".join([f"{route} is over its budget", *(f"  {line}" for line in dict.fromkeys(lines))])


def _with_slack(rows: int) -> int:
    """Some rows come by the clock, such as that of a search that was slow; those of a list without a bound are many."""
    return rows + max(3, rows // 10)


def below(budget: Budget | None, now: Budget) -> bool:
    """Whether a route asks less than it may: its budget can be made smaller."""
    if budget is None:
        return False
    pairs = ((budget.few, now.few), (budget.many, now.many))
    return any(after.queries < before.queries or _with_slack(after.rows) < before.rows for before, after in pairs)


def _more(before: Count, after: Count) -> list[str]:
    more = Counter(after.statements) - Counter(before.statements)
    return [f"{count} more: {_said(name, after)}" for name, count in more.most_common()]


def _said(name: str, count: Count) -> str:
    places = ", ".join(count.places.get(name, ()))
    return f"{name} ({places})" if places else name


def _words(budget: Budget, sizes: tuple[int, int]) -> str:
    return " and ".join(
        f"{count.queries} queries for {count.rows} rows with {size} of everything"
        for size, count in zip(sizes, (budget.few, budget.many), strict=True)
    )


# The file


def read(text: str) -> dict[str, Budget]:
    """By route. Raises ValueError for what is no such file."""
    try:
        value = json.loads(text)
        statements = value["statements"]
        return {route: _budget(one, statements) for route, one in value["routes"].items()}
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"is no file of budgets: {type(error).__name__}: {error}") from None


def _budget(value: Mapping[str, Any], statements: Mapping[str, str]) -> Budget:
    (few, many), (few_rows, many_rows) = value["queries"], value["rows"]
    asked = {statements[key]: counts for key, counts in value["asks"].items()}
    return Budget(
        Count(few, few_rows, {name: counts[0] for name, counts in asked.items() if counts[0]}),
        Count(many, many_rows, {name: counts[1] for name, counts in asked.items() if counts[1]}),
    )


def write(budgets: Mapping[str, Budget]) -> str:
    """A line a route and a line a statement, so that a change can be read."""
    statements: dict[str, str] = {}
    routes: list[str] = []
    for route, budget in sorted(budgets.items()):
        asks = {}
        for name in sorted({**budget.few.statements, **budget.many.statements}):
            key = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
            statements[key] = name
            asks[key] = [budget.few.statements.get(name, 0), budget.many.statements.get(name, 0)]
        one = {
            "queries": [budget.few.queries, budget.many.queries],
            "rows": [budget.few.rows, budget.many.rows],
            "asks": asks,
        }
        routes.append(f"    {json.dumps(route, ensure_ascii=False)}: {json.dumps(one)}")
    lines = [
        f"    {json.dumps(key)}: {json.dumps(name, ensure_ascii=False)}" for key, name in sorted(statements.items())
    ]
    return '{\n  "routes": {\n' + ",\n".join(routes) + '\n  },\n  "statements": {\n' + ",\n".join(lines) + "\n  }\n}\n"
