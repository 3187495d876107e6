"""What is told equals what a comparison of the tables before and after says, for every commit of Django's ORM.

As in test_comparison.py: every place is used once, so that a channel names one state of one row. For every commit the
channels of the row before and of the row after are told, for each row that differs; and nothing is told but
channels of a state that a row had in this transaction and that was not rolled back.
"""

from __future__ import annotations

import itertools
import random
from typing import Any
from unittest import mock

import django_site  # noqa: F401  # first: it sets Django up
import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce
from random_newsrooms import KINDS, Kind, random_kind
from searching import seeds
from test_django import database, publisher  # noqa: F401  # fixtures

from hub.orm.django.changes import bulk_create, bulk_update, update
from hub.orm.django.models import Outbox
from hub.orm.django.telling import telling

OPERATIONS = (
    "add",
    "add by key",
    "move",
    "move by SQL",
    "like by SQL",
    "write",
    "save nothing",
    "save some",
    "save some of it",
    "move deferred",
    "move only",
    "write only",
    "save by key",
    "save some by key",
    "set second",
    "save stale",
    "refresh and move",
    "delete",
    "move and delete",
    "delete by key",
    "delete deferred",
    "delete many",
    "delete room",
    "update",
    "update by SQL",
    "bulk update",
    "bulk create",
    "upsert",
    "upsert nothing",
    "update or create",
    "savepoint",
    "release",
    "back",
    "commit",
    "rollback",
)

#: Programs run on each database: the same in every run (searching.py says how to run others).
PROGRAMS = 100

Step = tuple[str, int]


class Program:
    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.model = kind.model
        self.places = itertools.count(100)
        self.slugs = itertools.count(1)
        for pk in (1, 2, 3):
            kind.room.objects.create(pk=pk)
        self.start: dict[Any, Any] = {}
        self.may: list[set[str]] = [set()]
        self.blocks: list[Any] = []

    def run(self, steps: list[Step]) -> None:
        self.begin()
        for name, number in steps:
            getattr(self, name.replace(" ", "_"))(number)
            self.look()
        while len(self.blocks) > 1:
            self.release(0)
        self.commit(0)
        self.blocks.pop().__exit__(None, None, None)

    def begin(self) -> None:
        self.blocks.append(transaction.atomic())
        self.blocks[-1].__enter__()

    def rows(self) -> dict[Any, Any]:
        return {row.pk: row for row in self.model.objects.order_by("pk")}

    def look(self) -> None:
        for row in self.rows().values():
            self.may[-1] |= self.kind.channels(row)

    def compare(self, may: set[str]) -> None:
        rows = self.rows()
        told = set(Outbox.objects.values_list("channel", flat=True))
        Outbox.objects.all().delete()
        must = set()
        for pk in self.start.keys() | rows.keys():
            both = [row for row in (self.start.get(pk), rows.get(pk)) if row is not None]
            if len(both) < 2 or values(both[0]) != values(both[1]):
                must |= set().union(*(self.kind.channels(row) for row in both))
        assert told >= must, "what changed was not told"
        assert told <= may, "told is what no row was"
        self.start, self.may = rows, [set()]
        self.look()

    # Transactions

    def commit(self, number: int) -> None:
        if len(self.blocks) == 1:
            self.blocks.pop().__exit__(None, None, None)
            self.compare(self.may[0])
            self.begin()

    def rollback(self, number: int) -> None:
        if len(self.blocks) == 1:
            transaction.set_rollback(True)
            self.blocks.pop().__exit__(None, None, None)
            self.compare(set())
            self.begin()

    def savepoint(self, number: int) -> None:
        self.begin()
        self.may.append(set(self.may[-1]))

    def release(self, number: int) -> None:
        if len(self.blocks) > 1:
            self.blocks.pop().__exit__(None, None, None)
            may = self.may.pop()
            self.may[-1] = may

    def back(self, number: int) -> None:
        if len(self.blocks) > 1:
            transaction.set_rollback(True)
            self.blocks.pop().__exit__(None, None, None)
            self.may.pop()

    # Rows

    def place(self) -> Any:
        return self.kind.place(next(self.places))

    def room(self, number: int) -> Any:
        found = list(self.kind.room.objects.order_by("pk"))
        if not found:
            found = [self.kind.room.objects.create()]
        return found[number % len(found)]

    def pk(self, number: int) -> Any:
        keys = sorted(self.rows())
        return keys[number % len(keys)] if keys else None

    def one(self, number: int) -> Any:
        pk = self.pk(number)
        return None if pk is None else self.model.objects.get(pk=pk)

    def new(self, number: int, **more: Any) -> Any:
        if self.kind.is_keyed:
            more.setdefault("pk", self.kind.key(next(self.slugs)))
        return self.model(room=self.room(number), place=self.place(), slug=next(self.slugs), **more)

    def add(self, number: int) -> None:
        self.new(number).save()

    def add_by_key(self, number: int) -> None:
        key = 1000 + next(self.slugs)
        # SQLite counts on from the greatest key that was ever there.
        while self.kind.key(key) in self.rows():
            key += 1
        row = self.new(number, pk=self.kind.key(key))
        row.save(force_insert=bool(number % 2))

    def move(self, number: int) -> None:
        if (row := self.one(number)) is not None:
            row.place = self.place()
            if number % 2:
                row.room = self.room(number + 1)
            row.save()
            if number % 3 == 0:
                self.look()
                row.place = self.place()
                row.save()

    def move_by_SQL(self, number: int) -> None:  # noqa: N802
        if (row := self.one(number)) is not None:
            row.place = Coalesce(Value(None), Value(self.place()))
            row.save()

    def like_by_SQL(self, number: int) -> None:  # noqa: N802
        if (row := self.one(number)) is not None:
            row.likes = F("likes") + 1
            row.save()

    def write(self, number: int) -> None:
        if (row := self.one(number)) is not None:
            row.text = f"text {self.place()}"
            row.save()

    def save_nothing(self, number: int) -> None:
        if (row := self.one(number)) is not None:
            row.save()

    def save_some(self, number: int) -> None:
        if (row := self.one(number)) is not None:
            row.place, row.text = self.place(), f"text {number}"
            row.save(update_fields=["place"])

    def save_some_of_it(self, number: int) -> None:
        """Another field than the one that says where it is, and that only later."""
        if (row := self.one(number)) is not None:
            row.place, row.text = self.place(), f"text {self.place()}"
            row.save(update_fields=["text"])
            self.look()
            if number % 2:
                row.save()

    def move_deferred(self, number: int) -> None:
        if (pk := self.pk(number)) is not None:
            row = self.model.objects.defer("place", "room").get(pk=pk)
            row.place = self.place()
            row.save()

    def move_only(self, number: int) -> None:
        if (pk := self.pk(number)) is not None:
            row = self.model.objects.only("text").get(pk=pk)
            row.room = self.room(number)
            row.save()

    def write_only(self, number: int) -> None:
        if (pk := self.pk(number)) is not None:
            row = self.model.objects.only("text").get(pk=pk)
            row.text = f"only {self.place()}"
            row.save()

    def save_by_key(self, number: int) -> None:
        if (row := self.one(number)) is not None and not self.kind.makes_key:
            made = self.model(pk=row.pk, room=self.room(number), place=self.place(), slug=row.slug)
            if not self.kind.alone:
                made.post_ptr_id = row.pk
            made.save()

    def save_some_by_key(self, number: int) -> None:
        if (row := self.one(number)) is not None and not self.kind.makes_key:
            made = self.model(pk=row.pk, text=f"some {self.place()}", place=self.place())
            made.save(update_fields=["text"])

    def set_second(self, number: int) -> None:
        if hasattr(self.model, "second") and (row := self.one(number)) is not None:
            row.second = (None, f"second {self.place()}", Value(f"second {self.place()}"))[number % 3]
            row.save(update_fields=(None, ["second"])[number % 2])

    def save_stale(self, number: int) -> None:
        """Loaded in part before another process moved it: what is told is where it was by then."""
        if len(self.blocks) > 1 or (pk := self.pk(number)) is None:
            return
        row = self.model.objects.defer("place").get(pk=pk)
        self.commit(0)
        self.blocks.pop().__exit__(None, None, None)
        moved = {"place": self.place()} | ({"second": f"second {number}"} if hasattr(self.model, "second") else {})
        self.model.objects.filter(pk=pk).update(**moved)
        self.start, self.may = self.rows(), [set()]
        self.look()
        self.begin()
        row.text = f"stale {self.place()}"
        if number % 2:
            row.place = self.place()
        row.save(update_fields=(None, ["text"], ["text", "place"])[number % 3])

    def refresh_and_move(self, number: int) -> None:
        if (row := self.one(number)) is not None:
            row.place = self.place()
            row.refresh_from_db(fields=["text"])
            row.save()

    def delete(self, number: int) -> None:
        if (row := self.one(number)) is not None:
            row.delete()

    def move_and_delete(self, number: int) -> None:
        if (row := self.one(number)) is not None:
            row.place = self.place()
            row.delete()

    def delete_by_key(self, number: int) -> None:
        if (row := self.one(number)) is not None and self.kind.alone:
            self.model(pk=row.pk).delete()

    def delete_deferred(self, number: int) -> None:
        if (pk := self.pk(number)) is not None:
            self.model.objects.only("text").filter(pk=pk).delete()

    def delete_many(self, number: int) -> None:
        if (pk := self.pk(number)) is not None:
            self.model.objects.filter(pk__gte=pk).delete()

    def delete_room(self, number: int) -> None:
        self.room(number).delete()

    # Statements

    def update(self, number: int) -> None:
        if (pk := self.pk(number)) is not None:
            update(self.model.objects.filter(pk=pk), place=self.place(), text="x")

    def update_by_SQL(self, number: int) -> None:  # noqa: N802
        if (pk := self.pk(number)) is not None:
            update(self.model.objects.defer("place").filter(pk=pk), place=Coalesce(Value(None), Value(self.place())))

    def bulk_update(self, number: int) -> None:
        rows = list(self.rows().values())[: 1 + number % 2]
        for row in rows:
            row.place = self.place() if number % 3 else Coalesce(Value(None), Value(self.place()))
            row.text = "not asked for"
        bulk_update(self.model.objects, rows, ["place"])
        if number % 3:
            self.look()
            for row in rows[:1]:
                row.save()

    def bulk_create(self, number: int) -> None:
        if self.kind.alone:
            bulk_create(self.model.objects, [self.new(number), self.new(number + 1)])

    def conflicting(self, number: int) -> list[Any]:
        rows = [self.new(number), self.new(number + 1)]
        if (there := self.one(number)) is not None:
            rows[0].slug = there.slug
        return rows

    def upsert(self, number: int) -> None:
        if self.kind.alone:
            changed = ["place", "text"] if number % 2 else ["text"]
            bulk_create(
                self.model.objects,
                self.conflicting(number),
                update_conflicts=True,
                unique_fields=list(self.kind.target),
                update_fields=changed,
            )

    def upsert_nothing(self, number: int) -> None:
        if self.kind.alone:
            bulk_create(self.model.objects, self.conflicting(number), ignore_conflicts=True)

    def update_or_create(self, number: int) -> None:
        there = self.one(number)
        slug = next(self.slugs) if there is None or number % 3 == 0 else there.slug
        defaults = {"place": self.place(), "room": self.room(number)}
        if self.kind.is_keyed and (there is None or slug != there.slug):
            defaults[self.model._meta.pk.name] = self.kind.key(next(self.slugs))
        self.model.objects.update_or_create(slug=slug, defaults=defaults)


def values(row: Any) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def emptied(kind: Kind) -> None:
    with connection.cursor() as cursor:
        for table in (*kind.tables, "fanfare_outbox"):
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def failure(kind: Kind, steps: list[Step]) -> Exception | None:
    emptied(kind)
    try:
        Program(kind).run(steps)
    except (AssertionError, DatabaseError) as error:
        while connection.in_atomic_block:
            transaction.set_rollback(True)
            connection.atomic_blocks[-1].__exit__(None, None, None)
        return error
    return None


def check(kind: Kind, dice: random.Random, words: str) -> None:
    """Raise AssertionError if a program tells something else, with the steps as few as it still does."""
    steps = [(dice.choice(OPERATIONS), dice.randrange(12)) for _ in range(dice.randrange(1, 16))]
    error = failure(kind, steps)
    if error is None:
        return
    for at in reversed(range(len(steps))):
        shorter = steps[:at] + steps[at + 1 :]
        if (other := failure(kind, shorter)) is not None:
            steps, error = shorter, other
    raise AssertionError(f"{words} {steps}") from error


@pytest.mark.long
@pytest.mark.search
def test_what_is_told_is_what_the_tables_say(publisher: Any) -> None:  # noqa: F811
    # Nothing is published: the outbox is looked at.
    with mock.patch.object(telling, "_committed"):
        for seed in seeds(PROGRAMS):
            dice = random.Random(seed)
            kind = dice.choice(KINDS)
            check(kind, dice, f"seed {seed}: {kind.model.__name__}")


#: Models made, and programs run on each.
MADE, EACH = 25, 4
#: After `bulk_update` an instance had a generated field as it was before, and the next save told a place of two ages.
#: A deferred field that was saved by name was loaded by the save, which forgot what else it had read of the row.
#: What the database had computed before the save was told instead of what it computed at it, by an older object.
ONCE = (673981219173, 157034490666, 100302966067)


@pytest.mark.long
@pytest.mark.search
def test_what_any_model_tells_is_what_the_tables_say(publisher: Any) -> None:  # noqa: F811
    with mock.patch.object(telling, "_committed"):
        for seed in seeds(MADE, ONCE):
            dice = random.Random(seed)
            with random_kind(seed) as (kind, words):
                for _ in range(EACH):
                    check(kind, dice, f"seed {seed}: {words}")
