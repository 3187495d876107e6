"""The outbox as Django models. `hub.orm.outbox` describes the tables; either side can tell the other's rows."""

from __future__ import annotations

from django.db import models


class Outbox(models.Model):
    """A change to be told. It is written with the change, and deleted when it was told."""

    id = models.BigAutoField(primary_key=True)
    channel = models.CharField(max_length=255)
    data = models.TextField()
    hint = models.BooleanField(default=True)
    subject = models.CharField(max_length=255, null=True)  # null is "about no row"
    created = models.FloatField()
    due = models.FloatField(null=True)
    tries = models.IntegerField(default=0)
    last_error = models.TextField(null=True)  # null is "never refused"

    class Meta:
        db_table = "fanfare_outbox"
        verbose_name = "change to be told"
        verbose_name_plural = "outbox"
        indexes = (
            models.Index(fields=["due"], name="fanfare_outbox_due"),
            models.Index(fields=["subject"], name="fanfare_outbox_subject"),
        )

    def __str__(self) -> str:
        return f"{self.channel} {self.data[:40]}"


class Lease(models.Model):
    """Who sweeps the outbox, and until when."""

    name = models.CharField(max_length=32, primary_key=True)
    owner = models.CharField(max_length=64)
    until = models.FloatField()

    class Meta:
        db_table = "fanfare_lease"

    def __str__(self) -> str:
        return f"{self.name}: {self.owner}"
