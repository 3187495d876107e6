"""What `manage.py check` says of the declared models: changes that would be told to nobody, and the mend."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.db import models, router

from .images import declared
from .models import Outbox


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
