"""Verdicts: what a query must find among the first five, and what it must not. Pure.

    firefix             | /posts/firefox-in-winter |
    "to be or not to be" | /posts/hamlet            | /posts/bees, /posts/tools

A line each: the query, what must be there, what must not; addresses, with commas between. `=` before one says that it
must be the first; `-` alone as what must be there, that nothing may be found. A line that begins with # is for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Results among which it must be, or must not be.
FIRST = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What must come of a query. first: what must be the first; nothing: nothing may be found."""

    line: int
    query: str
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]
    nothing: bool = False
    first: str = ""


def read(text: str) -> list[Verdict]:
    """The verdicts of a file. Raises ValueError with the line that is none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        query, *rest = (part.strip() for part in line.split(" | "))
        parts = [part.strip(" |") for part in rest]
        if not 1 <= len(parts) <= 2 or not query:
            raise ValueError(f"line {number} is not QUERY | WANTED | UNWANTED")
        wanted, unwanted = (
            tuple(each.strip() for each in part.split(",") if each.strip()) for part in (*parts, "")[:2]
        )
        nothing = wanted == ("-",)
        firsts = [each[1:] for each in wanted if each.startswith("=")]
        wanted = () if nothing else tuple(each.lstrip("=") for each in wanted)
        found.append(Verdict(number, query, wanted, unwanted, nothing, firsts[0] if firsts else ""))
    return found


def judge(verdict: Verdict, found: Sequence[str]) -> str | None:
    """What is wrong with the addresses that a query found, in their order; None if nothing is."""
    first = found[:FIRST]
    if verdict.first and (not found or found[0] != verdict.first):
        return (
            f"line {verdict.line}: {verdict.query}: {verdict.first} is not the first of {', '.join(first) or 'nothing'}"
        )
    if verdict.nothing and found:
        return f"line {verdict.line}: {verdict.query}: found {', '.join(first)}, and nothing was wanted"
    missing = [each for each in verdict.wanted if each not in first]
    there = [each for each in verdict.unwanted if each in first]
    if missing:
        return (
            f"line {verdict.line}: {verdict.query}: {', '.join(missing)} is not among {', '.join(first) or 'nothing'}"
        )
    if there:
        return f"line {verdict.line}: {verdict.query}: {', '.join(there)} is among the first"
    return None
