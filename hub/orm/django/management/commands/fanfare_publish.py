"""manage.py fanfare_publish CHANNEL JSON"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from .....errors import HubError, ProtocolError
from .....protocol.messages import loads
from ...telling import publish


class Command(BaseCommand):
    help = "Publishes to a channel, now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("channel", help="comments-17, or /comments-17")
        parser.add_argument("data", nargs="?", default="true", help="a JSON value; true by default")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            publish(options["channel"], loads(options["data"]))
        except HubError as error:
            text = error.text if isinstance(error, ProtocolError) else str(error)
            raise CommandError(text) from None
