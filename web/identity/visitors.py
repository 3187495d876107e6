"""Who is at the other end: a signed cookie, and the token in a form.

The cookie is a JWT that names a visitor and, after signing in, a user. It is good as long as the sign-in has its row
(`signins`): signing out deletes that, so a copy of the cookie is worth nothing afterwards. PyJWT is here for the hub's
tokens anyway, and there is nothing to encrypt; so no other library keeps the cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import jwt
from aiohttp import web

from .cookies import claims_of
from .users import User

#: Seconds that a visitor is known; a cookie is renewed once half of it is gone.
LIFE = 14 * 24 * 3600

#: Seconds after which a user has to sign in again, however often the cookie was renewed: a copy of it must not last for
#: ever.
LONGEST = 90 * 24 * 3600

#: Cookies of another use of the same secret are not taken for ours.
_AUDIENCE = "fanfare-visitor"
_DEVICE_AUDIENCE = "fanfare-device"

#: Seconds that a browser is known as one in which a user has signed in: the longest that browsers keep a cookie.
DEVICE_LIFE = 400 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Visitor:
    """One browser. id: random, changed when it signs in. expires and began (its first cookie): seconds since 1970."""

    id: str
    expires: float
    user_id: int | None = None
    began: float = 0.0


class Signer:
    """Reads and writes visitors' cookies, and makes the tokens that their forms carry."""

    def __init__(self, secret: bytes, *, secure: bool, clock: Callable[[], float] = time.time) -> None:
        # One key a use, so that nothing signed for one can be taken for the other.
        self._cookie_key = derive(secret, b"cookie")
        self._form_key = derive(secret, b"form")
        self._device_key = derive(secret, b"device")
        self._secure = secure
        self._clock = clock
        # With the prefix, browsers take the cookie only over https and from this very host.
        self.cookie = "__Host-visitor" if secure else "visitor"
        self._device_cookie = "__Secure-device" if secure else "device"

    def new(self, user_id: int | None = None) -> Visitor:
        """Someone we have not met, or a user who has just shown who they are."""
        now = self._clock()
        return Visitor(secrets.token_urlsafe(24), now + LIFE, user_id, now)

    def renew(self, visitor: Visitor) -> Visitor:
        """The same visitor for another LIFE, a user's up to LONGEST in all; the forms on open pages stay good."""
        expires = self._clock() + LIFE
        return replace(visitor, expires=expires if visitor.user_id is None else min(expires, visitor.began + LONGEST))

    def read(self, request: web.Request) -> Visitor | None:
        """The visitor a request's cookie names; None without one, or with one that is not ours or too old."""
        claims = claims_of(request, self.cookie, self._cookie_key, _AUDIENCE, require=["exp", "vid"])
        if claims is None:
            return None
        try:
            visitor = Visitor(
                str(claims["vid"]),
                float(claims["exp"]),
                claims.get("uid"),
                # Cookies from before this was kept began with the life they have.
                float(claims.get("iat", claims["exp"] - LIFE)),
            )
        except (TypeError, ValueError):
            return None
        return visitor if visitor.expires > self._clock() else None

    def write(self, response: web.StreamResponse, visitor: Visitor) -> None:
        """Put the cookie on a response."""
        claims: dict[str, object] = {
            "aud": _AUDIENCE,
            "vid": visitor.id,
            "exp": int(visitor.expires),
            "iat": int(visitor.began),
        }
        if visitor.user_id is not None:
            claims["uid"] = visitor.user_id
        response.set_cookie(
            self.cookie,
            jwt.encode(claims, self._cookie_key, algorithm="HS256"),
            max_age=max(0, int(visitor.expires - self._clock())),
            path="/",
            httponly=True,
            secure=self._secure,
            samesite="Lax",
        )

    def forget(self, response: web.StreamResponse) -> None:
        """Take the cookie away."""
        response.del_cookie(self.cookie, path="/", httponly=True, secure=self._secure, samesite="Lax")

    def device_of(self, request: web.Request, user: User) -> str | None:
        """The name of the request's browser, if this user has signed in with it before."""
        claims = claims_of(request, self._device_cookie, self._device_key, _DEVICE_AUDIENCE, require=["sub", "jti"])
        return str(claims["jti"]) if claims is not None and claims["sub"] == str(user.id) else None

    def write_device(self, response: web.StreamResponse, user: User, device: str | None) -> None:
        """Let the browser be known as one of this user's, under the name it has if it has one."""
        claims = {"aud": _DEVICE_AUDIENCE, "sub": str(user.id), "jti": device or secrets.token_urlsafe(18)}
        response.set_cookie(
            self._device_cookie,
            jwt.encode(claims, self._device_key, algorithm="HS256"),
            max_age=DEVICE_LIFE,
            path="/login",
            httponly=True,
            secure=self._secure,
            samesite="Lax",
        )

    def is_fading(self, visitor: Visitor) -> bool:
        """Whether it is time for a new cookie."""
        return visitor.expires - self._clock() < LIFE / 2 and self.renew(visitor).expires > visitor.expires + 1

    def form_token(self, visitor: Visitor) -> str:
        """What a form of this visitor must repeat: another site's page can't know it."""
        return derive(self._form_key, visitor.id.encode()).hex()

    def is_form_token(self, visitor: Visitor, token: str) -> bool:
        """Whether a form came from a page of ours."""
        return hmac.compare_digest(self.form_token(visitor).encode(), token.encode(errors="replace"))


def derive(key: bytes, use: bytes) -> bytes:
    """A key of its own for a use of a secret."""
    return hmac.digest(key, use, hashlib.sha256)
