"""What is signed and hashed here with keys of the site's secret: forms, links in mails, and whose a comment is."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable

from ...identity.visitors import derive

_FORM = re.compile(r"([0-9]{9,12})\.([A-Za-z0-9_-]{8,32})\.([0-9a-f]{32})")


class Seals:
    """Signs and hashes. Nothing that was signed for one use is taken for another."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = derive(secret, b"comments")
        self._clock = clock

    def hashed(self, kind: str, value: str) -> str:
        """What a visitor or an address is known by: it can be compared, and not be read."""
        return hmac.digest(self._key, f"{kind}\n{value}".encode(), hashlib.sha256).hex()[:40]

    def form(self) -> str:
        """What a form carries: when its page was made, and a name that no other page's has."""
        begun = f"{int(self._clock())}.{secrets.token_urlsafe(9)}"
        return f"{begun}.{self._signed('form', begun)}"

    def form_age(self, text: str) -> float | None:
        """Seconds since a form's page was made; None if it is none of ours."""
        match = _FORM.fullmatch(text)
        if match is None or not self._is_signed("form", f"{match[1]}.{match[2]}", match[3]):
            return None
        return max(0.0, self._clock() - int(match[1]))

    def link(self, use: str, id: int, detail: str = "") -> str:
        """The end of a link in a mail that may be used for one thing only, by whoever has it."""
        named = f"{id}-{detail}" if detail else str(id)
        return f"{named}-{self._signed(use, named)}"

    def linked(self, use: str, text: str) -> tuple[int, str] | None:
        """The id and the detail of a link's end; None if it is none of ours."""
        match = re.fullmatch(r"([1-9][0-9]{0,9})(?:-([a-z]{1,20}))?-([0-9a-f]{32})", text)
        if match is None:
            return None
        named = f"{match[1]}-{match[2]}" if match[2] else match[1]
        return (int(match[1]), match[2] or "") if self._is_signed(use, named, match[3]) else None

    def _signed(self, use: str, text: str) -> str:
        return hmac.digest(self._key, f"{use}:{text}".encode(), hashlib.sha256).hex()[:32]

    def _is_signed(self, use: str, text: str, signature: str) -> bool:
        return hmac.compare_digest(self._signed(use, text), signature)
