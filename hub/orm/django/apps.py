"""The app: when all models are there, it listens to those that declare something."""

from __future__ import annotations

from django.apps import AppConfig


class FanfareConfig(AppConfig):
    name = "hub.orm.django"
    label = "fanfare"
    verbose_name = "Fanfare"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Models can only be imported now.
        from . import changes

        changes.listen_to_declared()
