"""The site's settings: what DATABASE_URL may say, and where the secret comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.errors import SettingsError
from hub.settings import Settings as HubSettings
from web.app import read_settings
from web.db.settings import DatabaseSettings
from web.identity.settings import IdentitySettings
from web.pages.settings import PageSettings


def test_without_a_database_url_it_is_sqlite_in_var() -> None:
    settings = read_settings({"HUB_VAR": "/srv/fanfare"})
    assert settings[DatabaseSettings].url.path == "/srv/fanfare/fanfare.sqlite3"


@pytest.mark.parametrize("url", ["mysql://db/site", "no url", "sqlite://", "sqlite:///:memory:", "postgresql://db:x/y"])
def test_a_bad_database_url_stops_the_start_with_its_name(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: "):
        read_settings({"DATABASE_URL": url})


def test_a_bad_database_url_does_not_show_its_password() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"DATABASE_URL": "mysql://ada:geheim@db/site"})
    assert "geheim" not in str(caught.value)


def test_an_unknown_setting_of_the_site_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="SITE_POL: unknown setting; did you mean SITE_POLL"):
        read_settings({"SITE_POL": "3"})


def test_the_secret_is_made_once_in_development(tmp_path: Path) -> None:
    settings = read_settings({"HUB_VAR": str(tmp_path)})
    first = settings.with_secret(development=True)[IdentitySettings].secret
    assert first is not None
    assert settings.with_secret(development=True)[IdentitySettings].secret == first
    assert (tmp_path / "site.key").stat().st_mode & 0o077 == 0


def test_the_secret_must_be_given_when_others_can_reach_the_site(tmp_path: Path) -> None:
    settings = read_settings({"HUB_VAR": str(tmp_path)})
    with pytest.raises(SettingsError, match=r"^SITE_SECRET: "):
        settings.with_secret(development=False)


def test_a_var_that_cannot_be_written_is_told_by_the_secrets_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = read_settings({"HUB_VAR": str(tmp_path / "file")})
    with pytest.raises(SettingsError, match=r"^SITE_SECRET: "):
        settings.with_secret(development=True)


def test_setting_for_proxies_is_one_for_site_and_hub() -> None:
    """Whoever set one of two had half of it."""
    environ = {"HUB_PROXIES": "2", "HUB_PROXY_HEADER": "Forwarded"}
    for found in (read_settings(environ)[PageSettings], HubSettings.from_environ(environ)):
        assert (found.proxies, found.proxy_header) == (2, "forwarded")
    with pytest.raises(SettingsError, match="SITE_PROXIES: is HUB_PROXIES now"):
        read_settings({"SITE_PROXIES": "1"})
