"""Cookies that a stranger made up, in the place of each of ours."""

from __future__ import annotations

import base64
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from aiohttp import web
from multidict import CIMultiDict

from web.features.accounts.flow import Flows
from web.identity.users import User
from web.identity.visitors import Signer

SECRET = b"x" * 32
SIGNER = Signer(SECRET, secure=False)


def token(header: str, claims: str = "{}") -> str:
    return ".".join(base64.urlsafe_b64encode(each.encode()).rstrip(b"=").decode() for each in (header, claims, "a"))


COOKIES = {
    "nothing": "",
    # As a head has it whose bytes are no UTF-8.
    "bytes beyond UTF-8": "\udcff",
    "those in each part": "\udcff.\udcff.\udcff",
    "letters beyond ASCII": "é.é.é",
    "dots": "...",
    "brackets without end": token("[" * 700),
    "more of them": token("[" * 2900),
    "brackets in brackets": token('{"alg":"HS256","crit":' + "[" * 600),
    "no algorithm": token('{"alg":"none"}', '{"sub":"1"}'),
    "a number for an algorithm": token('{"alg":1}'),
    "of another key": jwt.encode({"sub": "1", "jti": "a", "vid": "v", "exp": 9e9}, b"y" * 32, algorithm="HS256"),
}
READERS: dict[str, Callable[[web.Request], object]] = {
    "visitor": SIGNER.read,
    "device": lambda request: SIGNER.device_of(request, User(id=1)),
    "github": lambda request: Flows(SECRET, secure=False).read(request, "state"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("cookie", COOKIES.values(), ids=COOKIES)
def test_cookie_that_is_none_of_ours_is_none(name: str, cookie: str) -> None:
    """With bytes beyond UTF-8 for a `device`, POST /login was a 500 where an account has the name, and 403 where none
    has: so it told who has an account, as often as one asked, because no attempt was counted before."""
    # A mocked request of aiohttp's takes no such bytes.
    request: Any = SimpleNamespace(headers=CIMultiDict({"Cookie": f"{name}={cookie}"}))
    assert READERS[name](request) is None
