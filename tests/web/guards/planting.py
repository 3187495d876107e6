"""Templates with faults in them, for the tests of the guards."""

from __future__ import annotations

import aiohttp_jinja2
import jinja2
from aiohttp import web
from services import ROOT


class _Planted(jinja2.BaseLoader):
    def __init__(self, loader: jinja2.BaseLoader, name: str, source: str) -> None:
        self._loader, self._name, self._source = loader, name, source

    def get_source(self, environment: jinja2.Environment, template: str):  # type: ignore[no-untyped-def]  # a loader's
        if template == self._name:
            return self._source, str(ROOT / "templates" / template), lambda: True
        return self._loader.get_source(environment, template)


def plant(app: web.Application, name: str, source: str) -> None:
    """Let a site have another template, or have one otherwise."""
    environment = aiohttp_jinja2.get_env(app)
    assert environment.loader is not None
    environment.loader = _Planted(environment.loader, name, source)
