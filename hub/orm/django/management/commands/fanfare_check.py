"""manage.py fanfare_check"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, router

from .....errors import HubError, ProtocolError
from ... import settings
from ...images import declared
from ...models import Outbox
from ...telling import publish

#: Nobody's channel: what is published here is heard by who tries a hub.
CHANNEL = "test"


class Command(BaseCommand):
    help = "Tries what a save needs to be told: settings, declarations, the outbox's table, the hub and its key."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = settings.read()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        if not declared:
            raise CommandError(
                'no model has __hints__: say which changes tell whom, `__hints__ = tells("comments-{id}")`'
            )
        self.stdout.write("ok    declared: " + ", ".join(sorted(model._meta.label for model in declared)))
        for using in sorted({router.db_for_write(model) for model in declared}):
            self._try_outbox(using)
        where = "Redis at FANOUT_REDIS_URL" if found.redis_url else f"the hub at {found.url}"
        try:
            publish(CHANNEL, True)
        except HubError as error:
            text = error.text if isinstance(error, ProtocolError) else str(error)
            raise CommandError(f"{where} takes nothing: {text}") from None
        self.stdout.write(f"ok    {where} took a publication on the channel {CHANNEL!r}")
        if not found.redis_url:
            self.stdout.write(
                f"      its HUB_ORIGINS must name this site, as browsers have it, unless it is {found.url}"
            )

    def _try_outbox(self, using: str) -> None:
        if not router.allow_migrate_model(using, Outbox):
            return
        try:
            Outbox.objects.using(using).exists()
        except DatabaseError as error:
            database = "" if using == "default" else f" --database {using}"
            first = str(error).partition("\n")[0]
            raise CommandError(f"database {using!r} has no outbox ({first}): `manage.py migrate{database}`") from None
        self.stdout.write(f"ok    outbox in the database {using!r}")
