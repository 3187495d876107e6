"""Cookies that we signed, read back. Whatever a stranger sends in their place is answered as no cookie is."""

from __future__ import annotations

from typing import Any

import jwt
from aiohttp import web

from .. import heads

#: Characters of a cookie of ours. They have some 200; to take one of 30,000 apart, whoever made it, takes more than a
#: millisecond.
MAX_COOKIE = 1000


def claims_of(
    request: web.BaseRequest, name: str, key: bytes, audience: str, *, require: list[str], most: int = MAX_COOKIE
) -> dict[str, Any] | None:
    """What a signed cookie (a JWT) says; None without it, and of one that is not ours. The caller looks at its `exp`.

    key: that it was signed with. audience: its use (`aud`). require: claims that it must have. most: characters beyond
    which it is not ours.
    """
    text = heads.cookie(request, name)
    if not text or len(text) > most:
        return None
    options: Any = {"require": require, "verify_exp": False, "verify_iat": False}
    try:
        return jwt.decode(text, key, algorithms=["HS256"], audience=audience, options=options)
    # The last two are of texts that the library doesn't expect: bytes beyond UTF-8, and brackets without end.
    except (jwt.InvalidTokenError, TypeError, ValueError, RecursionError):
        return None
