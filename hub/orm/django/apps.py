"""The app: when all models are there, it listens to those that declare something, and checks them."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class FanfareConfig(AppConfig):
    name = "hub.orm.django"
    label = "fanfare"
    verbose_name = "Fanfare"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models can only be imported now.
        from . import changes
        from .checks import check_declared, check_settings

        changes.listen_to_declared()
        checks.register(check_settings, checks.Tags.compatibility)
        checks.register(check_declared, checks.Tags.models)
