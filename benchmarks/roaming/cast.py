"""Who comes, by which transport, from where; and what became of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """Pages of one kind: a client library, where it runs, and the transport that it is left with."""

    library: str
    place: str
    transport: str

    def __str__(self) -> str:
        return f"{self.library}, {self.place}, {self.transport}"


#: Every transport that polls, where it is; a WebSocket's requests all go to one worker. Scripts need a page.
CAST = (
    Part("cometd", "Node", "long-polling"),
    Part("faye", "Node", "long-polling"),
    Part("cometd", "Chromium", "long-polling"),
    Part("cometd", "Chromium", "callback-polling"),
    Part("faye", "Chromium", "eventsource"),
    Part("faye", "Chromium", "long-polling"),
    Part("faye", "Chromium", "callback-polling"),
)

HEADS = ("client", "in", "transport", "workers", "way", "pages", "deaf", "refused", "hear what they left", "errors")


@dataclass(slots=True)
class Outcome:
    """What became of some pages. deaf, refused, left: how many of them; thrown: errors that no page has caught."""

    part: Part
    workers: int
    way: str
    pages: int = 0
    deaf: int = 0
    refused: int = 0
    left: int = 0
    #: The transport that they used, if it is another, for the hub did not offer theirs.
    instead: str = ""
    thrown: list[str] = field(default_factory=list)
    #: Of the first few, what they said.
    examples: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every page heard what it should and nothing else."""
        return not (self.deaf or self.refused or self.left or self.thrown)

    def take(self, result: dict[str, Any]) -> None:
        """Count a page by what visit.mjs returned."""
        used = result["transport"]
        if used != self.part.transport:
            # Faye looks for another when its way was refused. An event stream is not offered by several workers.
            if self.part.transport in result["offered"]:
                result["refused"].append(f"uses {used}")
            self.instead = used
        self.pages += 1
        self.deaf += bool(result["deaf"])
        self.refused += bool(result["refused"])
        self.left += bool(result["left"])
        if len(self.examples) < 5 and (result["deaf"] or result["refused"] or result["left"]):
            self.examples.append(str({name: value for name, value in result.items() if value}))

    def cells(self) -> list[str]:
        """The cells of its row, in the order of HEADS."""
        part = self.part
        numbers = (self.pages, self.deaf, self.refused, self.left, len(self.thrown))
        transport = f"{part.transport} (used: {self.instead})" if self.instead else part.transport
        return [part.library, part.place, transport, str(self.workers), self.way, *map(str, numbers)]


def line(cells: Sequence[str]) -> str:
    """A row of the table."""
    return f"| {' | '.join(cells)} |"


def head() -> str:
    """The table's head."""
    return f"{line(HEADS)}\n|{'---|' * len(HEADS)}"
