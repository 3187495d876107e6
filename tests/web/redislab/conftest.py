"""A site with a Redis to measure."""

from __future__ import annotations

import pytest

from web.features.redislab.settings import RedisLabSettings
from web.settings import Settings


@pytest.fixture
def settings(settings: Settings, redis_url: str) -> Settings:
    return settings.with_(RedisLabSettings, redis_url=redis_url)


@pytest.fixture(params=["sqlite"])
def site_url(request: pytest.FixtureRequest) -> str:
    """No row is asked for: one kind of database says it all."""
    import shutil

    path = request.getfixturevalue("tmp_path") / "site.db"
    shutil.copyfile(request.getfixturevalue("migrated_file"), path)
    return f"sqlite:///{path}"
