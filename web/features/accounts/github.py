"""GitHub as it is spoken to: OAuth's web flow for apps, and the few questions that follow it.

The token that GitHub gives is asked three questions with, and then forgotten: nothing here needs it later.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from aiohttp import hdrs

from ...identity.roles import Role
from ...services.outbound import Fetched, Limits, Outbound, OutboundError
from .settings import AccountSettings

logger = logging.getLogger(__name__)

#: Somebody waits for it, with a browser that shows nothing meanwhile.
LIMITS = Limits(connect=5.0, gap=8.0, total=15.0, wire=512 * 1024, body=1024 * 1024, redirects=2)

#: Characters of a code or a token that are taken; GitHub's have 20 and 40, and may grow.
MAX_CODE = 255
_CODE = re.compile(r"[A-Za-z0-9._~-]{1,%d}" % MAX_CODE)
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?")
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,189}")


class GithubError(Exception):
    """Signing in with GitHub came to nothing. The text is for people."""


class CodeRefused(GithubError):
    """The code was used before, is too old, or is not of this sign-in."""


class GithubAway(GithubError):
    """GitHub can't be reached, takes too long, or fails."""


class GithubOdd(GithubError):
    """GitHub refuses us, or answers what we can't read: somebody has to look at the settings."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom GitHub says that somebody is.

    id: the account's number, which never changes hands; login: its name, which may. email: the primary address, if it
    is verified. organisations: of those asked about, in lower case, where they are an active member.
    """

    id: int
    login: str
    email: str | None
    organisations: frozenset[str] = frozenset()


def role_for(person: Person, settings: AccountSettings, *, keeps_login: bool = True) -> Role | None:
    """The role that the settings give; None for who may not sign in.

    keeps_login: whether nobody else had this login when they signed in here. A login that its owner gives up can be
    taken by a stranger, who must not get the owner's role with it.
    """
    words = {f"#{person.id}", *(f"@{name}" for name in person.organisations)}
    if keeps_login:
        words.add(person.login.lower())
    if words & set(settings.managers):
        return Role.MANAGER
    if words & set(settings.writers):
        return Role.WRITER
    return Role.USER if settings.anybody else None


class GitHub:
    """One GitHub, as the settings name it. callback: where it sends browsers back to; None for where the app says."""

    def __init__(self, settings: AccountSettings, outbound: Outbound, callback: str | None) -> None:
        self._settings = settings
        self._outbound = outbound
        self._callback = callback

    def authorize_url(self, state: str, challenge: str) -> str:
        """Where somebody is sent to say yes. challenge: of the verifier, by S256 (RFC 7636 §4.2)."""
        query = {
            "client_id": self._settings.client_id or "",
            "scope": "read:user user:email read:org" if self._settings.organisations else "read:user user:email",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if self._callback is not None:
            query["redirect_uri"] = self._callback
        return f"{self._settings.github}/login/oauth/authorize?{urlencode(query)}"

    async def who(self, code: str, verifier: str) -> Person:
        """Who came back with this code. Raises GithubError."""
        if not _CODE.fullmatch(code):
            raise CodeRefused("the code is none of GitHub’s")
        token = await self._token(code, verifier)
        user = await self._ask(token, "/user")
        if not isinstance(user, dict):
            raise GithubOdd("the user is not an object")
        number, login = user.get("id"), user.get("login")
        if type(number) is not int or not 0 < number < 2**63:
            raise GithubOdd("the user has no number")
        if not isinstance(login, str) or not _LOGIN.fullmatch(login):
            raise GithubOdd("the user has no login")
        email = _primary(await self._ask(token, "/user/emails"))
        member = [name for name in self._settings.organisations if await self._is_member(token, name)]
        return Person(number, login, email, frozenset(member))

    async def _token(self, code: str, verifier: str) -> str:
        fields = {
            "client_id": self._settings.client_id or "",
            "client_secret": self._settings.client_secret or "",
            "code": code,
            "code_verifier": verifier,
        }
        if self._callback is not None:
            fields["redirect_uri"] = self._callback
        headers: dict[str, str] = {
            hdrs.ACCEPT: "application/json",
            hdrs.CONTENT_TYPE: "application/x-www-form-urlencoded",
        }
        url = f"{self._settings.github}/login/oauth/access_token"
        answer = await self._fetch(url, headers, urlencode(fields).encode())
        said = _json(answer)
        error = said.get("error") if isinstance(said, dict) else None
        # GitHub says 200 to what went wrong, too.
        if error == "bad_verification_code":
            raise CodeRefused("the code was used before or is too old")
        token = said.get("access_token") if isinstance(said, dict) else None
        kind = said.get("token_type") if isinstance(said, dict) else None
        if not answer.ok or not isinstance(token, str) or not _CODE.fullmatch(token) or str(kind).lower() != "bearer":
            # Of GitHub's own words only those we know: a code or a secret may be among the others.
            known = (
                error
                if error in {"incorrect_client_credentials", "redirect_uri_mismatch", "unverified_user_email"}
                else ""
            )
            raise GithubOdd(f"no token: {answer.status} {known}".rstrip())
        return token

    async def _is_member(self, token: str, organisation: str) -> bool:
        """Whether they are an active member: not one who has only been asked to join."""
        path = f"/user/memberships/orgs/{quote(organisation, safe='')}"
        # 403: the organisation lets no app of ours look; 404: it knows nothing of them, or is not there.
        said = await self._ask(token, path, none={403, 404})
        return isinstance(said, dict) and said.get("state") == "active"

    async def _ask(self, token: str, path: str, *, none: frozenset[int] | set[int] = frozenset()) -> Any:
        headers: dict[str, str] = {
            hdrs.ACCEPT: "application/vnd.github+json",
            hdrs.AUTHORIZATION: f"Bearer {token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        answer = await self._fetch(self._settings.api + path, headers, None)
        if answer.status in none and not _is_limited(answer):
            return None
        if not answer.ok:
            raise (GithubAway if _is_limited(answer) else GithubOdd)(f"{path}: {answer.status}")
        return _json(answer)

    async def _fetch(self, url: str, headers: Mapping[str, str], data: bytes | None) -> Fetched:
        method = hdrs.METH_GET if data is None else hdrs.METH_POST
        try:
            answer = await self._outbound.fetch(url, method=method, headers=headers, data=data, limits=LIMITS)
        except OutboundError as error:
            # Its words are without queries and bodies.
            raise GithubAway(str(error)) from None
        if answer.status >= 500:
            raise GithubAway(f"GitHub fails: {answer.status}")
        return answer


def _is_limited(answer: Fetched) -> bool:
    return answer.status == 429 or answer.headers.get("X-RateLimit-Remaining") == "0" or answer.retry_after is not None


def _json(answer: Fetched) -> Any:
    try:
        return orjson.loads(answer.body)
    except ValueError:
        raise GithubOdd(f"an answer that is not JSON: {answer.status}") from None


def _primary(emails: Any) -> str | None:
    """The primary address if it is verified; nobody else's may be in there."""
    if not isinstance(emails, list):
        raise GithubOdd("the e-mails are not a list")
    for each in emails:
        if isinstance(each, dict) and each.get("primary") is True and each.get("verified") is True:
            address = each.get("email")
            return address if isinstance(address, str) and _EMAIL.fullmatch(address) else None
    return None
