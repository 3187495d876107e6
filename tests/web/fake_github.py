"""A fake GitHub, with the real one's interface as far as signing in goes: OAuth's web flow with PKCE, and the questions
that follow. The site speaks HTTP to it, and it refuses what GitHub refuses, in GitHub's words (an error of the token
endpoint has status 200).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.test_utils import TestServer

CLIENT_ID, CLIENT_SECRET = "Iv1.0123456789abcdef", "the secret of the app, 40 characters long"


@dataclass
class Code:
    challenge: str
    redirect: str | None
    scope: str


@dataclass
class FakeGitHub:
    """Who is signed in at it, and what it does wrong. callback: the address that is registered for the app."""

    id: int = 583231
    login: str = "octocat"
    emails: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"email": "old@example.org", "primary": False, "verified": True, "visibility": None},
            {"email": "octocat@example.org", "primary": True, "verified": True, "visibility": "private"},
        ]
    )
    #: Organisations by name, with the state of the membership.
    memberships: dict[str, str] = field(default_factory=dict)
    consents: bool = True
    callback: str = ""
    #: By path: a response instead of the right one, or None for one that never comes.
    wrong: dict[str, web.Response | None] = field(default_factory=dict)
    #: What was asked, in order: method and path.
    asked: list[str] = field(default_factory=list)
    codes: dict[str, Code] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    server: TestServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return str(self.server.make_url("")).rstrip("/")

    async def start(self) -> None:
        app = web.Application(middlewares=[self._watch])
        app.router.add_get("/login/oauth/authorize", self._authorize)
        app.router.add_post("/login/oauth/access_token", self._access_token)
        app.router.add_get("/api/v3/user", self._user)
        app.router.add_get("/api/v3/user/emails", self._emails)
        app.router.add_get("/api/v3/user/memberships/orgs/{name}", self._membership)
        self.server = TestServer(app)
        await self.server.start_server()

    async def close(self) -> None:
        if self.server is not None:
            await self.server.close()

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if request.path in self.wrong:
            response = self.wrong[request.path]
            if response is None:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            return web.Response(status=response.status, body=response.body, headers=response.headers)
        return await handler(request)  # type: ignore[no-any-return]  # aiohttp's own type is newer

    async def _authorize(self, request: web.Request) -> web.Response:
        query = request.query
        if query.get("client_id") != CLIENT_ID:
            raise web.HTTPNotFound
        answer = {"state": query.get("state", "")}
        redirect = query.get("redirect_uri")
        if redirect is not None and redirect != self.callback:
            answer |= {"error": "redirect_uri_mismatch", "error_description": "The redirect_uri MUST match"}
        elif not self.consents:
            answer |= {"error": "access_denied", "error_description": "The user has denied your application access."}
        else:
            assert query["code_challenge_method"] == "S256"
            code = answer["code"] = secrets.token_hex(10)
            self.codes[code] = Code(query["code_challenge"], redirect, query.get("scope", ""))
        return web.Response(status=302, headers={"Location": f"{self.callback}?{urlencode(answer)}"})

    async def _access_token(self, request: web.Request) -> web.Response:
        fields = await request.post()
        assert request.headers["Accept"] == "application/json", "else the answer is a form"
        if (fields.get("client_id"), fields.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return web.json_response({"error": "incorrect_client_credentials", "error_description": "…"})
        code = self.codes.pop(str(fields.get("code")), None)
        digest = hashlib.sha256(str(fields.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if code is None or code.challenge != challenge or code.redirect != fields.get("redirect_uri"):
            return web.json_response(
                {"error": "bad_verification_code", "error_description": "The code passed is incorrect or expired."}
            )
        token = f"gho_{secrets.token_hex(18)}"
        self.tokens[token] = code.scope
        return web.json_response({"access_token": token, "scope": code.scope.replace(" ", ","), "token_type": "bearer"})

    def _scopes(self, request: web.Request) -> list[str]:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise web.HTTPUnauthorized(text='{"message": "Bad credentials"}', content_type="application/json")
        assert request.headers["User-Agent"], "GitHub refuses who has none"
        return self.tokens[token].split()

    async def _user(self, request: web.Request) -> web.Response:
        self._scopes(request)
        # The public address may be none, and need not be verified.
        return web.json_response({"id": self.id, "login": self.login, "email": "public@example.org", "type": "User"})

    async def _emails(self, request: web.Request) -> web.Response:
        if "user:email" not in self._scopes(request):
            raise web.HTTPNotFound
        return web.json_response(self.emails)

    async def _membership(self, request: web.Request) -> web.Response:
        if "read:org" not in self._scopes(request):
            raise web.HTTPForbidden
        state = self.memberships.get(request.match_info["name"])
        if state is None:
            return web.json_response({"message": "Not Found"}, status=404)
        return web.json_response({"state": state, "role": "member"})
