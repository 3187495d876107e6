"""Tokens that say "this publisher holds the realm's key": JWT with HS256, and nothing else.

The key is the decoded realm key. What Fanout's libraries send has two claims: `iss`, the realm,
and `exp`, seconds since 1970. Both are required; `nbf` is obeyed; others are the caller's.
Time is given, never read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from ..errors import BadToken

#: The one accepted algorithm; what a token's own header asks for is never followed.
ALGORITHM = "HS256"

#: Longest token that is looked at. Two claims take about 150 characters.
MAX_CHARS = 4096

#: How long a token that we make is good for. Fanout's Python library takes an hour, its others ten minutes.
LIFE_SECONDS = 600.0

#: Seconds before or after 1970, the most that a claim may say: doubles tell single seconds apart up to there.
MAX_SECONDS = 1e15

_OPTIONS: Any = {
    "require": ["exp", "iss"],
    # These compare with the machine's clock, or with what a publisher has no reason to state.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_sub": False,
    "verify_jti": False,
    "verify_iss": False,
}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `expires` is in seconds since 1970; `all` is every claim, as sent."""

    realm: str
    expires: float
    all: Mapping[str, Any]


def sign(realm: str, key: bytes, now: float, *, life: float = LIFE_SECONDS, **claims: Any) -> str:
    """A token that publishes to `realm` until `now + life`; both in seconds since 1970."""
    return jwt.encode({"iss": realm, "exp": int(now + life), **claims}, _padded(key), ALGORITHM)


def verify(token: str, realm: str, keys: Sequence[bytes], now: float, *, leeway: float = 0.0) -> Claims:
    """The claims of a token signed with one of `keys`, for `realm`, not yet expired.

    Raises BadToken, whose text says what is wrong and is fit to be sent to the bearer.
    """
    if not keys:
        raise BadToken(text="No key is set - no token can be right")
    if len(token) > MAX_CHARS:
        raise BadToken(text="Token too long")
    claims = _decode(token, keys)
    expires = _seconds(claims, "exp")
    if now >= expires + leeway:
        raise BadToken(text="Token expired")
    if "nbf" in claims and now < _seconds(claims, "nbf") - leeway:
        raise BadToken(text="Token not valid yet")
    # Compared after the signature: what an unsigned token claims is nobody's business.
    if claims["iss"] != realm:
        raise BadToken(text="Token is for another realm")
    return Claims(realm, expires, claims)


def _decode(token: str, keys: Sequence[bytes]) -> dict[str, Any]:
    for key in keys:
        try:
            return jwt.decode(token, _padded(key), algorithms=[ALGORITHM], options=_OPTIONS)
        except jwt.InvalidSignatureError:
            # Another of the realm's keys may have signed it.
            continue
        except jwt.InvalidAlgorithmError:
            raise BadToken(text="Token must be signed with HS256") from None
        except jwt.MissingRequiredClaimError as error:
            raise BadToken(text=f"Token has no {error.claim}") from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise BadToken(text="Not a token") from None
    raise BadToken(text="Token signed with another key")


def _padded(key: bytes) -> bytes:
    # HMAC itself fills a key up with zeros to 64 bytes (RFC 2104 §2), so this signs the same; it spares
    # the 16-byte keys that Fanout gave out PyJWT's warning about every use of a short one.
    return key.ljust(32, b"\0")


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(text=f"{name} of the token is not a number")
    # NaN compares false with everything, and an int beyond float's range can't be compared.
    if not -MAX_SECONDS < value < MAX_SECONDS:
        raise BadToken(text=f"{name} of the token is out of range")
    return float(value)
