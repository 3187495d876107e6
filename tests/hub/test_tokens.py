"""Publish tokens: whose they are, until when, and what is never accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import BadToken
from hub.protocol import tokens

NOW = 1_700_000_000.0
KEY = bytes(range(32))
SHORT_KEY = bytes(range(16))
OTHER_KEY = b"o" * 32


def raw(header: dict[str, Any], claims: object, key: bytes = KEY) -> str:
    """A token made by hand, so that it can say what no library would."""

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(key, signed, hashlib.sha256))).decode()


def refusal(token: str, *, keys: tuple[bytes, ...] = (KEY,), now: float = NOW, leeway: float = 0.0) -> str:
    with pytest.raises(BadToken) as caught:
        tokens.verify(token, "r", keys, now, leeway=leeway)
    return caught.value.text


def test_a_signed_token_is_accepted_until_it_expires() -> None:
    token = tokens.sign("r", KEY, NOW, life=60)
    assert tokens.verify(token, "r", [KEY], NOW + 59.9).expires == NOW + 60
    assert refusal(token, now=NOW + 60) == "Token expired"


def test_leeway_is_for_clocks_that_differ() -> None:
    token = tokens.sign("r", KEY, NOW, life=60)
    assert tokens.verify(token, "r", [KEY], NOW + 89, leeway=30).realm == "r"
    assert refusal(token, now=NOW + 90, leeway=30) == "Token expired"


def test_our_tokens_are_what_the_fanout_library_makes() -> None:
    theirs = jwt.encode({"iss": "r", "exp": int(NOW) + 600}, KEY, "HS256")
    assert tokens.sign("r", KEY, NOW) == theirs


@pytest.mark.parametrize("header", [{"alg": "HS256"}, {"alg": "HS256", "typ": "JWT"}])
def test_a_header_without_typ_is_accepted(header: dict[str, Any]) -> None:
    """npm's @fanoutio/grip sends none."""
    assert tokens.verify(raw(header, {"iss": "r", "exp": NOW + 1}), "r", [KEY], NOW).realm == "r"


def test_a_sixteen_byte_key_works_without_a_warning() -> None:
    """Fanout gave out such keys, and warnings are errors here."""
    token = raw({"alg": "HS256"}, {"iss": "r", "exp": NOW + 1}, SHORT_KEY)
    assert tokens.verify(token, "r", [SHORT_KEY], NOW).realm == "r"
    assert tokens.verify(tokens.sign("r", SHORT_KEY, NOW), "r", [SHORT_KEY], NOW).realm == "r"


def test_an_old_key_is_accepted_beside_the_new_one() -> None:
    token = tokens.sign("r", OTHER_KEY, NOW)
    assert tokens.verify(token, "r", [KEY, OTHER_KEY], NOW).realm == "r"
    assert refusal(token) == "Token signed with another key"


def test_a_token_of_another_realm_is_refused() -> None:
    assert refusal(tokens.sign("other", KEY, NOW)) == "Token is for another realm"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (raw({"alg": "none"}, {"iss": "r", "exp": NOW + 60}), "Token must be signed with HS256"),
        (jwt.encode({"iss": "r", "exp": NOW + 60}, None, "none"), "Token must be signed with HS256"),
        (jwt.encode({"iss": "r", "exp": NOW + 60}, KEY * 2, "HS512"), "Token must be signed with HS256"),
        (raw({"alg": "RS256"}, {"iss": "r", "exp": NOW + 60}), "Token must be signed with HS256"),
        (raw({"alg": "HS256"}, {"iss": "r"}), "Token has no exp"),
        (raw({"alg": "HS256"}, {"exp": NOW + 60}), "Token has no iss"),
        (raw({"alg": "HS256"}, {"iss": "r", "exp": "soon"}), "exp of the token is not a number"),
        (raw({"alg": "HS256"}, {"iss": "r", "exp": True}), "exp of the token is not a number"),
        (raw({"alg": "HS256"}, {"iss": "r", "exp": float("nan")}), "exp of the token is out of range"),
        (raw({"alg": "HS256"}, {"iss": "r", "exp": 10**400}), "exp of the token is out of range"),
        (raw({"alg": "HS256"}, {"iss": "r", "exp": NOW + 60, "nbf": NOW + 1}), "Token not valid yet"),
        (raw({"alg": "HS256"}, {"iss": 7, "exp": NOW + 60}), "Token is for another realm"),
        (raw({"alg": "HS256"}, ["iss", "exp"]), "Not a token"),
        (raw({"alg": ["HS256"]}, {"iss": "r", "exp": NOW + 60}), "Token must be signed with HS256"),
        ("", "Not a token"),
        ("a.b", "Not a token"),
        ("a.b.c", "Not a token"),
        ("é.é.é", "Not a token"),
        ("x" * 5000, "Token too long"),
    ],
)
def test_what_is_never_accepted(token: str, reason: str) -> None:
    assert refusal(token) == reason


def test_without_a_key_nothing_is_accepted() -> None:
    """An empty key must not verify what was signed with an empty key."""
    assert refusal(raw({"alg": "HS256"}, {"iss": "r", "exp": NOW + 60}, b""), keys=()) == (
        "No key is set - no token can be right"
    )


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}", fullmatch=True))
def test_any_text_is_refused_with_bad_token_and_nothing_else(text: str) -> None:
    with pytest.raises(BadToken):
        tokens.verify(text, "r", [KEY], NOW)


@given(
    st.dictionaries(st.text(max_size=5) | st.sampled_from(["iss", "exp", "nbf"]), st.none() | st.text() | st.floats())
)
def test_any_signed_claims_are_accepted_or_refused_with_bad_token(claims: dict[str, Any]) -> None:
    try:
        tokens.verify(raw({"alg": "HS256"}, claims), "r", [KEY], NOW)
    except BadToken:
        pass
