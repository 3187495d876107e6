"""Fixtures of the tests of heads-ups: `headsup_site` has what they are made of."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headsup_site import Site, running

from hub.publisher import RecordingPublisher
from web.app import read_settings
from web.db.database import Database
from web.settings import Settings


@pytest.fixture
def site_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLite, unless a test asks for each in turn: `parametrize("site_url", BOTH, indirect=True)`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        path = tmp_path / "site.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("migrated_postgres")
    return url


@pytest.fixture
def environ(site_url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": site_url,
        "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
        "JOBS_POLL": "0.1",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
    }


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return read_settings(environ)


@pytest.fixture
async def site(settings: Settings, database: Database, publisher: RecordingPublisher) -> AsyncIterator[Site]:
    async with running(settings, database, publisher) as site:
        yield site
