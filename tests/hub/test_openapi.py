"""The running hub answers as docs/openapi.json says, to what it describes and to what it does not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from benchmarks.servers import HOST, Fanfare
from hub.protocol import tokens

DESCRIPTION = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text(encoding="utf-8"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

# The site's are its own tests' (tests/web/test_openapi.py).
schema = schemathesis.openapi.from_dict(DESCRIPTION).exclude(tag="site")


class Subject(Fanfare):
    rules = ""

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "HUB_CONNECT_TIMEOUT": "50ms",
            "HUB_ORDER_WAIT": "50ms",
            "HUB_RULES": self.rules,
        }


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    rules = tmp_path_factory.mktemp("openapi") / "rules.toml"
    rules.write_text('[[rule]]\nchannels = ["**"]\npresence = "open"\n', encoding="utf-8")
    subject = Subject()
    subject.rules = str(rules)
    with subject.running(0) as (_, port):
        yield f"http://{HOST}:{port}"


@schema.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case: Any, url: str) -> None:
    token = tokens.sign(Fanfare.realm, Fanfare.key, time.time())
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    # Half of them reach what is behind the realm's name.
    if len(str((case.path_parameters or {}).get("realm", ""))) % 2:
        case.path_parameters["realm"] = Fanfare.realm
    case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=60)


def test_the_hub_serves_its_description(url: str) -> None:
    response = requests.get(f"{url}/openapi.json", timeout=30)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.json() == DESCRIPTION
