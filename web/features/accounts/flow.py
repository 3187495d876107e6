"""A sign-in with GitHub that is under way: kept by the browser, in a signed cookie, for some minutes.

Whoever comes back must be the browser that left (RFC 6749 §10.12, RFC 9700 §2.1): its cookie has the state that the
answer must repeat. The verifier (RFC 7636) is made of the state with a key of ours, so it is in no cookie and no table,
and any worker can make it again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt
from aiohttp import web

from ...identity.cookies import claims_of
from ...identity.visitors import derive

#: Seconds for saying yes at GitHub, with a password and a second factor. GitHub's codes live as long.
LIFE = 600

_AUDIENCE = "fanfare-github"

#: Characters of its cookie, which has the address in it that is gone to afterwards.
_MAX_COOKIE = 4096


@dataclass(frozen=True, slots=True)
class Flow:
    """What a browser left for. next: where to go afterwards. link: the key of the sign-in that is to be linked."""

    state: str
    next: str
    link: str | None = None


class Flows:
    """Writes and reads the cookie. secret: the site's."""

    def __init__(self, secret: bytes, *, secure: bool, clock: Callable[[], float] = time.time) -> None:
        self._cookie_key = derive(secret, b"github flow")
        self._verifier_key = derive(secret, b"github verifier")
        self._secure = secure
        self._clock = clock
        # With the prefix no other host of this domain can put one here: its owner's account would be signed in.
        self.cookie = "__Host-github" if secure else "github"

    def new(self, target: str, link: str | None = None) -> Flow:
        """A new sign-in flow, with a random state of 256 bits."""
        return Flow(secrets.token_urlsafe(32), target, link)

    def verifier(self, flow: Flow) -> str:
        """The code verifier of a flow: 43 characters."""
        return _plain(hmac.digest(self._verifier_key, flow.state.encode(), hashlib.sha256))

    def challenge(self, flow: Flow) -> str:
        """What of the verifier is shown beforehand, by S256."""
        return _plain(hashlib.sha256(self.verifier(flow).encode()).digest())

    def write(self, response: web.StreamResponse, flow: Flow) -> None:
        """Let the browser keep a flow, in the place of any other."""
        claims = {"aud": _AUDIENCE, "exp": int(self._clock() + LIFE), "state": flow.state, "next": flow.next}
        if flow.link is not None:
            claims["link"] = flow.link
        response.set_cookie(
            self.cookie,
            jwt.encode(claims, self._cookie_key, algorithm="HS256"),
            max_age=LIFE,
            path="/",
            httponly=True,
            secure=self._secure,
            # Lax: the browser comes back by a link of GitHub's.
            samesite="Lax",
        )

    def read(self, request: web.Request, state: str) -> Flow | None:
        """The flow that this browser left for, if the answer repeats its state; else None."""
        require = ["exp", "state", "next"]
        claims = claims_of(request, self.cookie, self._cookie_key, _AUDIENCE, require=require, most=_MAX_COOKIE)
        if claims is None:
            return None
        try:
            flow = Flow(str(claims["state"]), str(claims["next"]), claims.get("link"))
            expires = float(claims["exp"])
        except (TypeError, ValueError):
            return None
        same = hmac.compare_digest(flow.state.encode(), state.encode(errors="replace"))
        return flow if same and expires > self._clock() else None

    def forget(self, response: web.StreamResponse) -> None:
        """Take the cookie away: a flow comes back once."""
        response.del_cookie(self.cookie, path="/", httponly=True, secure=self._secure, samesite="Lax")


def _plain(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
