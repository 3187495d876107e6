"""Ids of sessions: what a client shows to be who it is, so nobody may guess one."""

from __future__ import annotations

import os
import secrets

#: Letters and digits of an id. Nothing of another length is looked for in the broker.
ID_CHARS = 40


class _Dice:
    """Ids of the kernel's random bytes, made a hundred at a time: each fetch is a system call."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        # A forked process must not roll the same.
        os.register_at_fork(after_in_child=self._ids.clear)

    def roll(self) -> str:
        if not self._ids:
            digits = secrets.token_hex(100 * ID_CHARS // 2)
            self._ids += (digits[at : at + ID_CHARS] for at in range(0, len(digits), ID_CHARS))
        return self._ids.pop()


_dice = _Dice()


def new_id() -> str:
    """A clientId: 160 random bits in ID_CHARS letters and digits (Bayeux asks for at least 128)."""
    return _dice.roll()
