"""What a forge is to us, and how signatures are compared: as bytes, in constant time, never with an empty secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multidict import MultiMapping

from ..pushes import Delivery

#: Headers by names in any case, each of which may come several times.
Headers = MultiMapping[str]


class Unsigned(Exception):
    """There is no signature."""


class BadSignature(Exception):
    """There is one, and it is not right."""


#: Signatures of one delivery that are compared: a sender has one for each secret that it changes between. A head has
#: room for 6,000, each to be compared for every secret of every project that the body names.
_MOST_SIGNATURES = 10

#: Looks at headers and body, for each of the secrets; raises Unsigned or BadSignature. The last: whether SHA-1 will do.
Verify = Callable[[Headers, bytes, Sequence[str], bool], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forge:
    """A forge.

    name: as rows have it; label: as people read it. marks: the headers that say it is this one; signature: those of
    which one must be there. event, delivery: the headers that say what happened, and which delivery it is: the same
    when it is sent again. read: of the event's name and the parsed payload.
    """

    name: str
    label: str
    marks: tuple[str, ...]
    signature: tuple[str, ...]
    event: str
    delivery: tuple[str, ...]
    verify: Verify
    read: Callable[[str, Mapping[str, Any]], Delivery]

    def is_signed(self, headers: Headers) -> bool:
        """Whether there is anything that could be a signature; what has none need not be read."""
        return any(name in headers for name in self.signature)


def one(headers: Headers, name: str) -> str | None:
    """The header's value, None without it. Raises BadSignature for a header that comes twice."""
    found = headers.getall(name, ())
    if len(found) > 1:
        raise BadSignature
    return found[0] if found else None


def check_hex(given: str, body: bytes, secrets: Sequence[str], digest: str = "sha256") -> None:
    """Compare lower-case hexadecimal digits with the HMAC of the body. Raises BadSignature."""
    # As bytes: of text that is not ASCII `compare_digest` raises TypeError.
    sent = raw(given)
    for secret in usable(secrets):
        if hmac.compare_digest(sent, hmac.digest(secret, body, digest).hex().encode()):
            return
    raise BadSignature


def check_token(given: str, secrets: Sequence[str]) -> None:
    """Compare a secret that is sent as it is. Raises BadSignature."""
    for secret in usable(secrets):
        if hmac.compare_digest(raw(given), secret):
            return
    raise BadSignature


def check_standard(id: str, timestamp: str, given: str, body: bytes, secrets: Sequence[str]) -> None:
    """Compare as Standard Webhooks has it: `v1,<base64>`, perhaps several with blanks between. Raises BadSignature."""
    signed = raw(id) + b"." + raw(timestamp) + b"." + body
    sent = [
        raw(word.partition(",")[2])
        for word in given.split(" ", _MOST_SIGNATURES)[:_MOST_SIGNATURES]
        if word.startswith("v1,")
    ]
    for secret in usable(secrets):
        right = base64.b64encode(hmac.digest(standard_key(secret), signed, "sha256"))
        for each in sent:
            if hmac.compare_digest(each, right):
                return
    raise BadSignature


def standard_key(secret: bytes) -> bytes:
    """The key of a secret: what is behind `whsec_` in base64, or the bytes of what has no such prefix."""
    if secret.startswith(b"whsec_"):
        try:
            return base64.b64decode(secret[6:], validate=True) or secret
        except binascii.Error:
            return secret
    return secret


def sign_standard(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature` of a message of ours."""
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(standard_key(secret.encode()), signed, hashlib.sha256)).decode()


def usable(secrets: Sequence[str]) -> list[bytes]:
    """Secrets as bytes, without empty ones, which anybody would have."""
    return [raw(secret) for secret in secrets if secret]


def raw(text: str) -> bytes:
    """The bytes of a header as they came."""
    return text.encode("utf-8", "surrogateescape")
