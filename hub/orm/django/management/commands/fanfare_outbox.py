"""manage.py fanfare_outbox [--retry | --drop ID …]"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from ...models import Outbox


class Command(BaseCommand):
    help = "Lists what the hub refuses; the rest of the outbox is on its way."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--database", default="default", help="whose outbox")
        parser.add_argument("--limit", type=int, default=100, help="rows shown at most")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--retry", action="store_true", help="tell all parked rows again")
        what.add_argument("--drop", nargs="+", type=int, metavar="ID", help="delete these parked rows")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = Outbox.objects.using(options["database"])
        parked = rows.filter(due__isnull=True)
        if options["retry"]:
            count = parked.update(due=time.time(), tries=0)
            self.stdout.write(f"{count} to be told again")
        elif options["drop"]:
            count, _ = parked.filter(pk__in=options["drop"]).delete()
            self.stdout.write(f"{count} dropped")
        else:
            self.stdout.write(f"{rows.filter(due__isnull=False).count()} waiting, {parked.count()} parked")
            for row in parked.order_by("pk")[: options["limit"]]:
                self.stdout.write(f"{row.pk}\t{row.channel}\t{row.data[:60]}\t{row.last_error}")
