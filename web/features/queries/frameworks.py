"""Tells requests apart, so that two requests of a test are never taken for a loop: each is a unit of its own.

Only frameworks that have been imported are looked at; each is patched once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .asked import recorder

_MARK = "fanfare_unit"


def listen() -> None:
    """Begin with those that have been imported by now."""
    if (aiohttp := sys.modules.get("aiohttp.web_app")) is not None:
        _patch(aiohttp.Application, "_handle", _of_aiohttp)
    if (django := sys.modules.get("django.core.handlers.base")) is not None:
        _patch(django.BaseHandler, "get_response", _of_django)
        _patch(django.BaseHandler, "get_response_async", _of_django_async)
    if (flask := sys.modules.get("flask.app")) is not None:
        _patch(flask.Flask, "wsgi_app", _of_wsgi)
    if (starlette := sys.modules.get("starlette.applications")) is not None:
        _patch(starlette.Starlette, "__call__", _of_asgi)


def _patch(owner: Any, name: str, around: Callable[[Any], Any]) -> None:
    call = getattr(owner, name)
    if not getattr(call, _MARK, False):
        patched = around(call)
        setattr(patched, _MARK, True)
        setattr(owner, name, patched)


def _of_aiohttp(call: Any) -> Any:
    async def handle(self: Any, request: Any) -> Any:
        with recorder.unit(f"{request.method} {request.path}"):
            return await call(self, request)

    return handle


def _of_django(call: Any) -> Any:
    def get_response(self: Any, request: Any) -> Any:
        with recorder.unit(f"{request.method} {request.path}"):
            return call(self, request)

    return get_response


def _of_django_async(call: Any) -> Any:
    async def get_response_async(self: Any, request: Any) -> Any:
        with recorder.unit(f"{request.method} {request.path}"):
            return await call(self, request)

    return get_response_async


def _of_wsgi(call: Any) -> Any:
    def wsgi_app(self: Any, environ: Any, start_response: Any) -> Any:
        with recorder.unit(f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')}"):
            return call(self, environ, start_response)

    return wsgi_app


def _of_asgi(call: Any) -> Any:
    async def application(self: Any, scope: Any, receive: Any, send: Any) -> Any:
        if scope.get("type") != "http":
            return await call(self, scope, receive, send)
        with recorder.unit(f"{scope.get('method')} {scope.get('path')}"):
            return await call(self, scope, receive, send)

    return application
