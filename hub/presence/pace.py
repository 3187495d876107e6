"""The times that presence goes by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times in seconds, and how many users a worker names.

    leave: how long a user may be away before the others are told that the user left. tick: least time between two
    reports, and between two events of a channel. wait: how long a new worker waits for the others' snapshots. users:
    most users, counted in each channel, that a worker reports by name; the others count as sessions only.
    """

    leave: float = 5.0
    tick: float = 0.2
    wait: float = 1.0
    users: int = 100_000

    @property
    def silence(self) -> float:
        """How long a worker may say nothing before the others count it as gone."""
        return min(10.0, 2 * self.leave)

    @property
    def dip(self) -> float:
        """How long a channel's count must have been lower before that is reported.

        Page reloads, and clients between two polls, are back within this time.
        """
        return min(1.0, self.leave / 2)

    @property
    def beat(self) -> float:
        """Longest time between two reports; without a change there is an empty one, as a sign of life."""
        return self.silence / 5
