"""Subscriptions that requests under way have changed, and that are not saved yet. Pure.

The rules change a session at once; its record is saved afterwards, and that may fail. Then the change is undone, unless
another request that asked for the same meanwhile was answered successful: it found nothing to change, so what it was
promised is what the first one did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from .sessions.session import Session


@dataclass(slots=True, eq=False)
class Flip:
    """A pattern that was subscribed to (`on`) or left. asking: requests that want it so and are not finished.

    kept: whether one of them was answered successful.
    """

    pattern: str
    on: bool
    asking: int = 0
    kept: bool = False


class Tentative:
    """The changes of all sessions of a node that are not finished."""

    def __init__(self) -> None:
        # By session and pattern, oldest first: each flip is the opposite of the one before.
        self._flips: WeakKeyDictionary[Session, dict[str, list[Flip]]] = WeakKeyDictionary()

    def __len__(self) -> int:
        """Sessions with changes that are not finished."""
        return len(self._flips)

    def begin(self, session: Session, asked: Sequence[str], changed: Sequence[str], *, on: bool) -> list[Flip]:
        """A message asks for patterns, or to leave them; `finish` must follow with what this returns.

        changed: those of `asked` that were not so already.
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
            # Else it has been so since before any request that is under way.
            if found is not None and found[-1].on is on:
                found[-1].asking += 1
                flips.append(found[-1])
        return flips

    def finish(self, session: Session, flips: Sequence[Flip], *, kept: bool) -> dict[str, bool]:
        """A message is answered; kept: whether successfully.

        Returns what must be undone: patterns, and whether they are to be subscribed to.
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
                # What was before it does not matter any more.
                del found[: found.index(flip)]
            while found and not found[-1].asking and not found[-1].kept:
                undone[flip.pattern] = not found.pop().on
            if not any(each.asking for each in found):
                ours.pop(flip.pattern, None)
        if not ours:
            self._flips.pop(session, None)
        return undone
