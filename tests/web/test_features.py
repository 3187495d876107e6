"""Features: what each hands in fits together, and one that is left out takes all of it along."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from services import ROOT
from visiting import Browser

from hub.errors import SettingsError
from hub.publisher import RecordingPublisher
from web.app import FEATURES, create_app, read_settings
from web.db.database import Database
from web.db.tables import Base
from web.feature import Feature
from web.features.events.models import Event
from web.identity.signins import SignIn
from web.identity.users import User
from web.settings import Settings

SECRET = {"SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA=="}

#: Templates and files of all pages, in no feature's folder.
COMMON = {"icon.svg", "live.js", "site.css"}
#: Of no page of the site: what other sites have in development (web.features.html.watcher).
BADGE = {"html.js"}
#: The hub's client in the browser: what is built, and the types; its sources are in a folder.
CLIENT = {f"{name}{end}" for name in ("fanout", "faye") for end in (".js", ".js.map", ".d.ts")}


def test_every_table_is_of_a_feature_or_of_the_ground() -> None:
    owned = [User, SignIn, *(table for feature in FEATURES for table in feature.tables)]
    assert sorted(table.__tablename__ for table in owned) == sorted(Base.metadata.tables)


def test_every_feature_has_its_folder_and_what_it_needs_comes_before_it() -> None:
    names = [feature.name for feature in FEATURES]
    folders = [path.name for path in (ROOT / "web" / "features").iterdir() if (path / "feature.py").exists()]
    assert sorted(names) == sorted(folders)
    for feature in FEATURES:
        assert set(feature.needs) <= set(names[: names.index(feature.name)])


def test_templates_and_static_files_are_of_a_feature_or_common() -> None:
    names = {feature.name for feature in FEATURES}
    assert {path.name for path in (ROOT / "templates").iterdir() if path.is_dir()} <= names
    statics = {name for feature in FEATURES for name in feature.statics}
    found = {str(path.relative_to(ROOT / "static")) for path in (ROOT / "static").rglob("*") if path.is_file()}
    sources = {name for name in found if name.startswith("fanout/")}
    assert found - sources == COMMON | CLIENT | BADGE | statics
    assert {Path(name).parts[0].partition(".")[0] for name in statics} <= names


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_settings_of_a_feature_are_the_sites_own(feature: Feature) -> None:
    if feature.settings is not None:
        assert read_settings({})[feature.settings] == feature.settings()


def test_unknown_feature_is_refused_with_those_there_are() -> None:
    names = ", ".join(feature.name for feature in FEATURES)
    with pytest.raises(SettingsError, match=rf"^SITE_FEATURES: there is no feature 'blgo'; there are {names}$"):
        read_settings({"SITE_FEATURES": "accounts, blgo"})


def test_feature_without_what_it_needs_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^SITE_FEATURES: events needs comments$"):
        read_settings({"SITE_FEATURES": "accounts,events"})


def test_setting_of_a_feature_that_is_left_out_is_no_mistake() -> None:
    """Turning a feature off is one variable."""
    settings = read_settings({"SITE_FEATURES": "accounts", "SITE_COMMENT_RATE": "5"})
    assert [feature.name for feature in settings.features] == ["accounts"]


def test_two_features_cannot_hand_in_one_name_for_templates(publisher: RecordingPublisher) -> None:
    settings = Settings.from_environ(SECRET, [Feature(name=name, globals={"limits": 1}) for name in ("a", "b")])
    with pytest.raises(ValueError, match=r"^b: templates have 'limits' already$"):
        create_app(settings, publisher)


async def _shown(settings: Settings, publisher: RecordingPublisher, database: Database) -> dict[str, tuple[int, str]]:
    paths = ("/", "/events/brass-on-the-quay", "/login", "/manage/events", "/nothing")
    async with TestClient(TestServer(create_app(settings, publisher, database=database))) as client:
        shown = {}
        for path in paths:
            response = await client.get(path, headers={"Accept": "text/html"}, allow_redirects=False)
            shown[path] = response.status, await response.text()
        return shown


async def test_feature_that_is_left_out_takes_its_routes_and_links_with_it(
    site_url: str, publisher: RecordingPublisher, database: Database, concert: Event
) -> None:
    environ = {"DATABASE_URL": site_url, **SECRET}
    shown = await _shown(read_settings({**environ, "SITE_FEATURES": "comments,pictures,events"}), publisher, database)
    # Nobody can sign in, so there is nowhere to be sent.
    assert [status for status, _ in shown.values()] == [200, 200, 404, 401, 404]
    assert not any("Sign in</a>" in page or "/login" in page for _, page in shown.values())
    shown = await _shown(read_settings({**environ, "SITE_FEATURES": "accounts"}), publisher, database)
    assert [status for status, _ in shown.values()] == [404, 404, 200, 404, 404]
    assert not any("What’s on</a>" in page for _, page in shown.values())


async def test_without_the_setting_all_are_on(browser: Browser, settings: Settings) -> None:
    assert settings.features == FEATURES
    await browser.look("/")
    assert "What’s on</a>" in browser.page
    assert "Sign in</a>" in browser.page
