"""Dockerfile and compose.yaml: what they say is run here, without a container around it."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from services import RedisFactory
from shell import ROOT, Shell

from hub import settings as hub_settings
from web.app import FEATURES
from web.settings import tables

SECRET = base64.b64encode(b"a secret of 32 bytes, for a test").decode()


def dockerfile() -> dict[str, str]:
    """The last stage's instructions; of those that are repeated, the last."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    stage = text[text.rindex("FROM ") :]
    return {word: rest.strip() for word, rest in re.findall(r"^([A-Z]+) (.+)$", stage, re.MULTILINE)}


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return found


def test_containers_are_given_only_settings_that_exist() -> None:
    known = {name for table in (hub_settings.Settings, *tables(FEATURES)) for name in hub_settings.variables(table)}
    fanfare = {"web", "migrate"}
    services = compose()["services"]
    for name in fanfare:
        assert set(services[name]["environment"]) <= known
    image = dict(word.split("=", 1) for word in shlex.split(dockerfile()["ENV"]))
    assert set(image) - known == {"PYTHONUNBUFFERED"}
    assert all("healthcheck" in services[name] for name in set(services) - fanfare)


def test_what_a_build_copies_is_what_is_installed() -> None:
    """The folders that setup.py and MANIFEST.in name, and the packages."""
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    grafted = set(re.findall(r"^graft (\S+)$", (ROOT / "MANIFEST.in").read_text(), re.MULTILINE))
    assert grafted | {"hub", "web", "setup.cfg", "setup.py", "pyproject.toml", "constraints.txt"} <= let_in
    assert all((ROOT / name).exists() for name in let_in)


def test_two_workers_start_as_composed_and_are_healthy_until_they_stop(
    tmp_path: Path, new_redis: RedisFactory, new_postgres_database: Callable[[], str]
) -> None:
    web = compose()["services"]["web"]["environment"]
    shell = Shell(tmp_path, "web", "Fanfare on http")
    image = dict(word.split("=", 1) for word in shlex.split(dockerfile()["ENV"]))
    port = shell.environ["PORT"]
    given = {
        "REDIS_URL": new_redis().url,
        "DATABASE_URL": new_postgres_database(),
        "SITE_URL": "https://hub.example.org",
        "SITE_SECRET": SECRET,
        "FANOUT_REALM": "fanfare",
        "FANOUT_KEY": SECRET,
    }
    assert set(given) <= set(web)
    shell.environ |= image | web | given | {"PORT": port, "HUB_VAR": str(tmp_path), "HOST": "127.0.0.1"}
    migrated = shell.run(*compose()["services"]["migrate"]["command"])
    assert migrated.returncode == 0, migrated.stderr
    # Its first word is Python's in the image.
    check = [sys.executable, *json.loads(dockerfile()["HEALTHCHECK"].partition("CMD")[2])[1:]]
    with shell.serving(*json.loads(dockerfile()["CMD"])) as process:
        assert process.stdout is not None
        assert "2 workers" in process.stdout.readline()
        assert subprocess.run(check, env=shell.environ, check=False, timeout=30).returncode == 0
        process.terminate()
        process.communicate(timeout=60)
    done = subprocess.run(check, env=shell.environ, check=False, timeout=30, stderr=subprocess.DEVNULL)
    assert done.returncode == 1


@pytest.mark.parametrize("name", ["FANOUT_KEY", "SITE_SECRET", "SITE_URL", "POSTGRES_PASSWORD"])
def test_compose_does_not_start_without_what_only_its_operator_knows(name: str) -> None:
    assert f"${{{name}:?" in (ROOT / "compose.yaml").read_text(encoding="utf-8")
