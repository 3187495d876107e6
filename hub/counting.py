"""How many sessions of this process publications reach, where the rules must be asked about many of them."""

from __future__ import annotations

from collections.abc import Iterable

from .sessions.registry import ASKED, Registry
from .turns import Turns

#: Listeners about whom the rules are asked in one go, where each has a token that names other channels.
_PIECE = 16


class Counting:
    """Counts the subscribers of channels, as `Registry.count` does, in turns."""

    def __init__(self, registry: Registry, turns: Turns) -> None:
        self._registry = registry
        self._turns = turns

    def is_short(self, channels: Iterable[str]) -> bool:
        """Whether these may as well be counted at once."""
        registry, left = self._registry, ASKED
        if registry.wild:
            for channel in channels:
                left -= registry.cost(channel)
        return left >= 0

    async def count(self, channels: Iterable[str]) -> dict[str, int]:
        """How many sessions what is published to these channels reaches."""
        registry, turns, counts = self._registry, self._turns, {}
        left = ASKED
        for channel in channels:
            if registry.cost(channel) > left:
                await turns.wait()
                left = ASKED
            count, asked, left = registry.count_some(channel, left)
            left -= 1
            for begin in range(0, len(asked), _PIECE):
                await turns.wait()
                count += sum(registry.may_hear(each, channel) for each in asked[begin : begin + _PIECE])
            counts[channel] = count
        return counts
