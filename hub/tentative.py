"""Subscriptions that were changed by requests under way, and are not saved yet. Pure.

The rules change a session at once. Its record is saved afterwards, and that may fail. The change is then undone, unless
another request asked for the same meanwhile and was answered with success: it found nothing to change, so it relies on
the change of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from .sessions.session import Session


@dataclass(slots=True, eq=False)
class Flip:
    """A pattern that was subscribed to (`on`) or unsubscribed from.

    asking: how many unfinished requests want it so. kept: whether one that did was answered with success.
    """

    pattern: str
    on: bool
    asking: int = 0
    kept: bool = False


class Tentative:
    """The unfinished changes of all sessions of a node."""

    def __init__(self) -> None:
        # By session and pattern, oldest first; each flip is the opposite of the one before.
        self._flips: WeakKeyDictionary[Session, dict[str, list[Flip]]] = WeakKeyDictionary()

    def __len__(self) -> int:
        """How many sessions have unfinished changes."""
        return len(self._flips)

    def begin(self, session: Session, asked: Sequence[str], changed: Sequence[str], *, on: bool) -> list[Flip]:
        """A message subscribes to patterns (`on`), or unsubscribes; call `finish` with what this returns.

        changed: those of `asked` that this has changed.
        """
        ours = self._flips.get(session)
        if ours is None:
            if not changed:
                return []
            ours = self._flips[session] = {}
        flips, new = [], set(changed)
        for pattern in asked:
            if pattern in new:
                ours.setdefault(pattern, []).append(Flip(pattern, on))
            found = ours.get(pattern)
            # If not, it has been so since before any request that is under way.
            if found is not None and found[-1].on is on:
                found[-1].asking += 1
                flips.append(found[-1])
        return flips

    def finish(self, session: Session, flips: Sequence[Flip], *, kept: bool) -> dict[str, bool]:
        """A message is answered. kept: with success.

        Returns what must be undone: by pattern, whether to subscribe to it again or to unsubscribe.
        """
        undone: dict[str, bool] = {}
        ours = self._flips.get(session, {})
        for flip in flips:
            flip.asking -= 1
            flip.kept = flip.kept or kept
            found = ours.get(flip.pattern, [])
            if flip.asking or flip not in found:
                continue
            if flip.kept:
                # Earlier flips don't matter any more.
                del found[: found.index(flip)]
            while found and not found[-1].asking and not found[-1].kept:
                undone[flip.pattern] = not found.pop().on
            if not any(each.asking for each in found):
                ours.pop(flip.pattern, None)
        if not ours:
            self._flips.pop(session, None)
        return undone
