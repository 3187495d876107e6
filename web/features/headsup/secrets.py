"""Secrets with which forges sign: made here, or given. Pure."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from .models import MAX_SECRET, MIN_SECRET

#: What the example signs, as in GitHub's documentation. It is no JSON: no delivery can be made of it.
EXAMPLE = "Hello, World!"


def sign_example(secret: str) -> str:
    """How GitHub would sign the example, so that somebody can compare the secret in another place with this one."""
    return "sha256=" + hmac.digest(secret.encode(), EXAMPLE.encode(), hashlib.sha256).hex()


def new_secret() -> str:
    """A secret that nobody guesses, of signs that any form takes."""
    return secrets.token_urlsafe(32)


def check_secret(text: str) -> str:
    """A secret that somebody gives. Raises ValueError with words for people."""
    # Blanks around it are none that anybody has to guess.
    if len(text.strip()) < MIN_SECRET:
        raise ValueError(f"A secret has at least {MIN_SECRET} characters.")
    if len(text) > MAX_SECRET or not text.isprintable():
        raise ValueError(f"A secret has at most {MAX_SECRET} characters, all of which can be seen.")
    return text
