"""What `manage.py check` says of the settings and the declared models: what would be told to nobody, and the mend.

It asks neither the hub nor, but for `check --database`, a database: `manage.py fanfare_check` does.
"""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import models, router

from . import settings
from .images import declared
from .models import Outbox

#: The hub refuses keys below this many bytes (FANOUT_KEY in docs/settings.md).
SHORTEST_KEY = 16


def check_settings(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """What the first save or page would meet in the settings."""
    try:
        found = settings.read()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), hint="Until then saves of declared models raise this.", id="fanfare.E001")]
    if found.redis_url:
        return []
    if found.key is None:
        if not declared:
            return []
        return [
            checks.Warning(
                "FANOUT_KEY is not set: changes are not told.",
                hint=f"{settings.WHENCE}. Where nothing is to be told, SILENCED_SYSTEM_CHECKS = ['fanfare.W002'].",
                id="fanfare.W002",
            )
        ]
    if len(found.key) < SHORTEST_KEY:
        return [
            checks.Error(
                f"FANOUT_KEY has {len(found.key)} bytes once decoded, and no hub takes fewer than {SHORTEST_KEY}.",
                hint=f"{settings.WHENCE}; `fanfare token --new-key` prints a new one.",
                id="fanfare.E002",
            )
        ]
    return []


def check_declared(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """The checks of every declared model of these apps."""
    found: list[checks.CheckMessage] = []
    for model in declared:
        if app_configs is not None and model._meta.app_config not in app_configs:
            continue
        found += _database_of(model)
    return found


def _database_of(model: type[models.Model]) -> list[checks.CheckMessage]:
    using = router.db_for_write(model)
    if router.allow_migrate_model(using, Outbox):
        return []
    return [
        checks.Warning(
            f"Rows of {model._meta.label} are saved to the database {using!r}, which has no outbox.",
            hint=f"Have your routers allow the app 'fanfare' there and run `manage.py migrate --database {using}`. "
            "Until then a hint is written to the outbox of another database once the save is committed, and is lost "
            "if the process is killed in between.",
            obj=model,
            id="fanfare.W001",
        )
    ]
