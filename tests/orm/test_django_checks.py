"""What `manage.py check` and `fanfare_check` say before a save would, and what the template tag says of a name."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import django_site  # noqa: F401  # first: it sets Django up
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.template import Context, Template, TemplateSyntaxError
from django.test import override_settings
from services import ROOT
from test_django import database, publisher  # noqa: F401  # fixtures

from hub.errors import BadToken, BrokerUnavailable
from hub.orm.django import settings
from hub.orm.django.management.commands import fanfare_check
from hub.publisher import RecordingPublisher

KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="


def found() -> list[str]:
    return [str(one.id) for one in run_checks() if str(one.id).startswith("fanfare.")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"FANOUT_KEY": KEY}, []),
        ({"FANOUT_KEY": "no key!"}, ["fanfare.E001"]),
        ({"FANOUT_KEY": None, "FANOUT_KEY_FILE": "/nowhere/fanout.key"}, ["fanfare.E001"]),
        ({"FANOUT_URL": 8000}, ["fanfare.E001"]),
        # Base64, as it happens; the hub refuses such a key, and saves would wait in the outbox for ever.
        ({"FANOUT_KEY": "changeme"}, ["fanfare.E002"]),
        ({"FANOUT_KEY": None}, ["fanfare.W002"]),
        ({"FANOUT_KEY": None, "FANOUT_REDIS_URL": "redis://127.0.0.1:1"}, []),
    ],
)
def test_check_finds_what_the_first_save_would(given: dict[str, Any], said: list[str]) -> None:
    """`check` had no issues with a key that made the first comment a 500."""
    with override_settings(**given):
        assert found() == said


def test_a_key_ends_with_a_newline_as_the_hub_s_own_file_does(tmp_path: Path) -> None:
    """`Path("var/fanout.key").read_text()` made every page a 500."""
    with override_settings(FANOUT_KEY=KEY + "\n"):
        assert settings.read().key == b"kkk" * 10 + b"kk"
    file = tmp_path / "fanout.key"
    file.write_text(KEY + "\n")
    with override_settings(FANOUT_KEY=None, FANOUT_KEY_FILE=file):
        assert settings.read().key == b"kkk" * 10 + b"kk"
    file.unlink()
    with override_settings(FANOUT_KEY=None, FANOUT_KEY_FILE=file), pytest.raises(ImproperlyConfigured) as refused:
        settings.read()
    assert str(file) in str(refused.value)


def checked() -> str:
    out = StringIO()
    call_command("fanfare_check", stdout=out)
    return out.getvalue()


def test_fanfare_check_tries_what_a_save_needs(publisher: RecordingPublisher) -> None:  # noqa: F811  # the fixture
    with mock.patch.object(fanfare_check, "publish") as publish:
        assert "newsroom.Comment" in checked()
        publish.assert_called_once_with("test", True)
        for error, text in (
            (BadToken(text="Token signed with another key"), "takes nothing: Token signed with another key"),
            (
                BrokerUnavailable("http://127.0.0.1:8000: connection refused"),
                "takes nothing: http://127.0.0.1:8000: conn",
            ),
        ):
            publish.side_effect = error
            with pytest.raises(CommandError, match=text):
                checked()
        call_command("migrate", "fanfare", "zero", verbosity=0)
        with pytest.raises(CommandError, match=r"database 'default' has no outbox \(.*\): `manage.py migrate`"):
            checked()


def test_models_that_tell_without_the_app_are_named_when_they_are_made(tmp_path: Path) -> None:
    """`__hints__` without INSTALLED_APPS told nobody, and nothing said so."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "models.py").write_text(
        "from django.db import models\nfrom hub.orm.declarations import tells\n\n\n"
        "class Order(models.Model):\n    __hints__ = tells('orders')\n"
    )
    for apps, warned in ((["shop"], True), (["hub.orm.django", "shop"], False), (["shop", "hub.orm.django"], False)):
        code = (
            "import django\nfrom django.conf import settings\n"
            f"settings.configure(INSTALLED_APPS={apps}, DEFAULT_AUTO_FIELD='django.db.models.BigAutoField')\n"
            "django.setup()\nfrom shop.models import Order\nassert Order.__hints__.channel == 'orders'\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (
            "models.py:5: RuntimeWarning: Order.__hints__ tells nobody: add 'hub.orm.django'" in done.stderr
        ) == warned


def render(tag: str, **context: object) -> str:
    return Template("{% load fanfare %}" + tag).render(Context(context))


def test_the_position_tag_makes_its_channel_of_parts(publisher: RecordingPublisher) -> None:  # noqa: F811  # the fixture
    publisher.position = lambda channel: f"of {channel}"  # type: ignore[method-assign,assignment]  # as SyncPublisher's
    assert render('{% position "comments-" pk %}', pk=17) == "of comments-17"
    assert render('{% position "a" "/" 3 %}') == "of a/3"


@pytest.mark.parametrize(
    "tag",
    ['{% position "comments-"|add:pk %}', '{% position "comments-" nothing %}', '{% position "comments-{{ pk }}" %}'],
)
def test_a_position_of_no_channel_says_how_to_write_it(tag: str, publisher: RecordingPublisher) -> None:  # noqa: F811
    """One was a 500 that named neither tag nor value, another the position of a channel that nobody has."""
    with pytest.raises(TemplateSyntaxError, match="is no channel"):
        render(tag, pk=17)
