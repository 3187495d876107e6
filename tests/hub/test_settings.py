"""Settings: what is read, what stops the start, and what is kept secret."""

from __future__ import annotations

import base64
import multiprocessing
import re
import stat
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import SettingsError
from hub.settings import (
    PREFIXES,
    Settings,
    check_unknown,
    describe,
    keep_key,
    new_key,
    variables,
)

ROOT = Path(__file__).resolve().parents[2]
KEY = bytes(range(32))
KEY64 = base64.b64encode(KEY).decode()

#: A value for each kind that differs from every default.
OTHER = {
    "number": "17",
    "bytes": "3MiB",
    "seconds": "1s",
    "true | false": "false",
    "text": "localhost",
    "path": "elsewhere",
    "spec | faye": "faye",
    "spec | cometd": "cometd",
    "realm": "a1b2c3d4",
    "base64": KEY64,
    "base64, …": KEY64,
    "origins": "https://example.org",
    "channel patterns": "/chat/*",
    "URL": "https://hub.example.org",
    "redis URL": "redis://localhost:6379/0",
    "debug | info | warning | error": "debug",
    "text | json": "json",
    "x-forwarded-for | forwarded": "forwarded",
    "hosts": "hub.example.org",
}


def refusal(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_an_empty_environment_gives_defaults_fit_for_a_laptop() -> None:
    settings = Settings.from_environ({})
    assert (settings.port, settings.host, settings.workers, settings.redis_url) == (8000, "127.0.0.1", 1, None)
    assert settings == Settings()
    assert settings.development


@pytest.mark.parametrize("row", describe(Settings), ids=lambda row: row.variable)
def test_every_setting_is_read_from_its_variable(row: object) -> None:
    [row] = [each for each in describe(Settings) if each == row]
    text = "true" if row.default is False else OTHER[row.kind.name]
    environ = {"REDIS_URL": "redis://localhost", row.variable: text}
    value = getattr(Settings.from_environ(environ), row.field)
    assert value != row.default
    assert value == row.kind.parse(text)


@pytest.mark.parametrize("row", describe(Settings), ids=lambda row: row.variable)
def test_every_default_is_within_its_bounds_and_shows_as_it_is_read(row: object) -> None:
    [row] = [each for each in describe(Settings) if each == row]
    if row.default not in (None, ()):
        assert row.parse(row.show(row.default)) == row.default


def test_every_field_is_in_the_table_with_help() -> None:
    rows = describe(Settings)
    # Nobody sets where the key came from.
    assert [row.field for row in rows] == [item.name for item in fields(Settings) if item.name != "key_kept"]
    assert all(row.help and not row.help.endswith(".") for row in rows)
    assert len({row.variable for row in rows}) == len(rows)


def test_every_setting_does_something() -> None:
    """A variable that is taken without complaint and changes nothing would be a lie."""
    code = "".join(
        path.read_text(encoding="utf-8") for folder in ("hub", "web") for path in (ROOT / folder).rglob("*.py")
    )
    # What the properties of the table itself give out.
    own = {"old_keys"}
    assert [row.field for row in describe(Settings) if f"ettings.{row.field}" not in code] == sorted(own, reverse=True)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]  # that it can't be set is the claim


def test_an_empty_variable_counts_as_not_set() -> None:
    """What make and Compose pass on when nobody has set it."""
    assert Settings.from_environ({"PORT": "", "HUB_ORIGINS": " ", "FANOUT_KEY": ""}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("PORT", "http", "PORT: 'http' is not a whole number"),
        ("PORT", "65536", "PORT: '65536' is more than 65535"),
        ("PORT", "-1", "PORT: '-1' is less than 0"),
        ("WEB_CONCURRENCY", "0", "WEB_CONCURRENCY: '0' is less than 1"),
        ("WEB_CONCURRENCY", "2", "WEB_CONCURRENCY: 2 workers need REDIS_URL, the log between them"),
        ("HUB_CONNECT_TIMEOUT", "60", "HUB_CONNECT_TIMEOUT: '60' is more than 55s"),
        ("HUB_CONNECT_TIMEOUT", "soon", "HUB_CONNECT_TIMEOUT: 'soon' is not a time such as 45, 45s, 500ms or 10m"),
        ("HUB_MAX_BODY", "1 pint", "HUB_MAX_BODY: '1 pint' is not a size such as 65536, 64KiB or 1MiB"),
        ("HUB_MAX_BODY", "16MiB", "HUB_MAX_BODY_READ: is less than HUB_MAX_BODY"),
        ("HUB_METRICS", "maybe", "HUB_METRICS: 'maybe' is neither true nor false"),
        ("HUB_LOG_LEVEL", "loud", "HUB_LOG_LEVEL: 'loud' is not one of debug, info, warning, error"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL: is not a URL such as redis://localhost:6379/0"),
        ("REDIS_URL", "redis://h:port", "REDIS_URL: is not a URL"),
        ("HUB_URL", "hub.example.org", "HUB_URL: 'hub.example.org' is not a URL such as https://hub.example.org"),
        ("FANOUT_REALM", "a/b", "FANOUT_REALM: 'a/b' is not a realm: up to 64 letters, digits, - and _"),
        ("FANOUT_KEY", "xyz987", "FANOUT_KEY: is not base64"),
        ("FANOUT_KEY", "AAAA-_AAAAAAAAAAAAAAAA==", "FANOUT_KEY: is not base64"),
        ("FANOUT_KEY", "c2hvcnQ=", "FANOUT_KEY: is shorter than 16 bytes once decoded"),
        ("FANOUT_OLD_KEYS", f"{KEY64},xyz", "FANOUT_OLD_KEYS: is not base64"),
        (
            "HUB_ORIGINS",
            "https://a.org/path",
            "HUB_ORIGINS: 'https://a.org/path' has a path or a query, which an origin never has; write https://a.org",
        ),
        (
            "HUB_CLIENT_PUBLISH",
            "/a/**/b",
            "HUB_CLIENT_PUBLISH: '/a/**/b' has '/a/**/b' in it, which is not a channel or a pattern such as /chat/*",
        ),
    ],
)
def test_a_bad_value_stops_the_start_with_its_name(variable: str, text: str, reason: str) -> None:
    assert refusal(**{variable: text}) == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("HUB_CONECT_TIMEOUT", "HUB_CONECT_TIMEOUT: unknown setting; did you mean HUB_CONNECT_TIMEOUT?"),
        ("FANOUT_KEYS", "FANOUT_KEYS: unknown setting; did you mean FANOUT_KEY?"),
        ("HUB_XYZZY", "HUB_XYZZY: unknown setting"),
    ],
)
def test_an_unknown_variable_with_our_prefix_stops_the_start(name: str, reason: str) -> None:
    assert refusal(**{name: "1"}) == reason


def test_variables_of_others_are_nobodys_business() -> None:
    assert Settings.from_environ({"PATH": "/bin", "PORTS": "x", "GITHUB_HUB_X": "1", "SITE_POLL": "x"}) == Settings()


def test_what_kubernetes_sets_for_a_service_named_hub_is_let_be() -> None:
    environ = {
        "HUB_SERVICE_HOST": "10.0.0.1",
        "HUB_SERVICE_PORT": "80",
        "HUB_SERVICE_PORT_HTTP": "80",
        "HUB_PORT": "tcp://10.0.0.1:80",
        "HUB_PORT_80_TCP": "tcp://10.0.0.1:80",
        "HUB_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert Settings.from_environ(environ) == Settings()
    assert refusal(HUB_PORT="8000").startswith("HUB_PORT: unknown setting")


@pytest.mark.parametrize(
    ("text", "size"), [("65536", 65536), ("64k", 65536), ("64KiB", 65536), ("1 MB", 1048576), ("1_048_576", 1048576)]
)
def test_sizes_may_have_units(text: str, size: int) -> None:
    assert Settings.from_environ({"HUB_QUEUE_BYTES": text}).queue_bytes == size


@pytest.mark.parametrize(("text", "seconds"), [("2", 2.0), ("2s", 2.0), ("1500ms", 1.5), ("0.5", 0.5), ("1m", 60.0)])
def test_times_may_have_units(text: str, seconds: float) -> None:
    assert Settings.from_environ({"HUB_SESSION_TTL": text}).session_ttl == seconds


def test_lists_take_commas_and_spaces() -> None:
    environ = {"HUB_ORIGINS": "https://A.org, http://b.org:8080", "HUB_CLIENT_PUBLISH": "chat/* /draw/**,x"}
    settings = Settings.from_environ(environ)
    assert settings.origins == ("https://a.org", "http://b.org:8080")
    assert settings.client_publish == ("/chat/*", "/draw/**", "/x")
    assert Settings.from_environ({"HUB_ORIGINS": "*"}).origins == ("*",)


# Secrets


def test_a_secret_may_come_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY64}\n")
    assert Settings.from_environ({"FANOUT_KEY_FILE": str(path)}).key == KEY
    assert "which one is meant" in refusal(FANOUT_KEY=KEY64, FANOUT_KEY_FILE=str(path))
    assert refusal(FANOUT_KEY_FILE=str(tmp_path / "none")).startswith("FANOUT_KEY_FILE: ")
    path.write_bytes(b"\xff\xfe")
    assert refusal(FANOUT_KEY_FILE=str(path)).endswith("can't be read: not text")


def test_only_secrets_may_come_as_files() -> None:
    assert "PORT_FILE" not in variables(Settings)
    assert {"FANOUT_KEY_FILE", "REDIS_URL_FILE"} <= variables(Settings)


def test_secrets_are_in_no_message_and_in_no_repr() -> None:
    environ = {"FANOUT_KEY": KEY64, "FANOUT_OLD_KEYS": KEY64, "REDIS_URL": "redis://:hunter2@localhost"}
    settings = Settings.from_environ(environ)
    rows = {row.variable: row for row in describe(Settings)}
    shown = [repr(settings), *(rows[name].show(getattr(settings, rows[name].field)) for name in environ)]
    shown += [refusal(FANOUT_KEY="hunter2"), refusal(REDIS_URL="http://:hunter2@localhost")]
    assert not any("hunter2" in text or KEY64 in text or repr(KEY) in text for text in shown)


def test_old_keys_come_after_the_new_one() -> None:
    old = bytes(16)
    environ = {"FANOUT_KEY": KEY64, "FANOUT_OLD_KEYS": base64.b64encode(old).decode()}
    assert Settings.from_environ(environ).keys == (KEY, old)
    assert Settings().keys == ()


def test_in_development_a_key_is_made_and_kept(tmp_path: Path) -> None:
    first = Settings(var=tmp_path / "var").with_key()
    assert first.key is not None
    assert len(first.key) == 32
    assert Settings(var=tmp_path / "var").with_key().key == first.key
    assert stat.S_IMODE((tmp_path / "var" / "fanout.key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["fanout.key"]


def test_a_given_key_is_kept_nowhere(tmp_path: Path) -> None:
    assert Settings(var=tmp_path / "var", key=KEY).with_key().key == KEY
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hub.example.org", ""])
def test_where_others_can_reach_it_a_key_must_be_given(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match=r"^FANOUT_KEY: is not set, and HOST"):
        Settings(host=host, var=tmp_path).with_key()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback_is_development(host: str) -> None:
    assert Settings(host=host).development


def test_a_spoiled_key_file_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "fanout.key"
    path.write_text("not base64!")
    with pytest.raises(SettingsError, match=r"^FANOUT_KEY: what '.*' holds is not base64$"):
        keep_key(path)
    with pytest.raises(SettingsError, match=r"^FANOUT_KEY: .* can't be kept"):
        keep_key(path / "below-a-file" / "key")


def _keep(path: str) -> bytes:
    return keep_key(Path(path))


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(_keep, [str(tmp_path / "key")] * 8))) == 1


def test_new_keys_differ() -> None:
    assert new_key() != new_key()


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (Settings(), "http://127.0.0.1:8000"),
        (Settings(host="0.0.0.0", port=80), "http://127.0.0.1:80"),
        (Settings(host="::"), "http://[::1]:8000"),
        (Settings(host="hub.example.org"), "http://hub.example.org:8000"),
        (Settings(url="https://hub.example.org"), "https://hub.example.org"),
    ],
)
def test_the_hubs_url_is_one_that_can_be_connected_to(settings: Settings, url: str) -> None:
    assert settings.hub_url == url


def test_another_table_may_read_names_with_our_prefixes() -> None:
    assert Settings.from_environ({"HUB_OTHER": "1"}, also={"HUB_OTHER"}) == Settings()


@given(st.sampled_from(sorted(variables(Settings))), st.text(st.characters(exclude_characters="\0"), max_size=40))
def test_any_text_is_read_or_refused_with_settings_error(variable: str, text: str) -> None:
    try:
        Settings.from_environ({"REDIS_URL": "redis://localhost"} | {variable: text})
    except SettingsError as error:
        if "\n" in str(error) or not re.match(r"[A-Z_]+: ", str(error)):
            pytest.fail(f"not one line that begins with a name: {error}")


@given(st.from_regex(r"(HUB|FANOUT)_[A-Z_]{1,20}", fullmatch=True))
def test_no_name_with_our_prefix_is_overlooked(name: str) -> None:
    known = variables(Settings)
    if name in known or "_SERVICE_" in name:
        return
    with pytest.raises(SettingsError):
        check_unknown({name: "1"}, known, PREFIXES)
