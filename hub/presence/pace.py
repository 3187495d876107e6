"""The times that presence goes by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times in seconds, and the bound of named users of a worker.

    leave: how long a user may be away before that is told. tick: least time between reports, and
    between events of a channel. wait: what a new worker gives the others to say who is with them.
    """

    leave: float = 5.0
    tick: float = 0.2
    wait: float = 1.0
    users: int = 100_000

    @property
    def silence(self) -> float:
        """How long a worker may say nothing before it counts as gone."""
        return min(10.0, 2 * self.leave)

    @property
    def dip(self) -> float:
        """How long a count must be lower to be reported so: pages loaded again, and polls, are back within."""
        return min(1.0, self.leave / 2)

    @property
    def beat(self) -> float:
        """Time between signs of life."""
        return self.silence / 5
