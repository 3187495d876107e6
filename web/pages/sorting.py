"""Tables that are sorted by links: `?sort=hours`, and `?sort=-hours` for the largest first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sorting:
    """How a table is sorted. Values of `by` are the columns' own words: no text of a visitor."""

    by: str
    down: bool = False

    @classmethod
    def read(cls, text: str | None, columns: Collection[str], default: Sorting) -> Sorting:
        """What an address asks for; what is none of the columns is the default."""
        by = (text or "").removeprefix("-")
        return cls(by, (text or "").startswith("-")) if by in columns else default

    @property
    def text(self) -> str:
        """As an address has it."""
        return f"-{self.by}" if self.down else self.by

    def column(self, by: str, label: str, address: str, *, number: bool = False) -> dict[str, object]:
        """A column for `components/table.html`; its link sorts by it, or the other way round if it is sorted by it.

        address: with "{}" where the sorting is, such as "/shows?sort={}".
        """
        other = Sorting(by, self.by == by and not self.down)
        sorted_ = ("descending" if self.down else "ascending") if self.by == by else None
        return {"label": label, "number": number, "sort": address.format(other.text), "sorted": sorted_}

    def sort(self, rows: Iterable[T], key: Callable[[T], Any]) -> list[T]:
        """Rows that are in memory, sorted; equal ones stay as they were."""
        return sorted(rows, key=key, reverse=self.down)
