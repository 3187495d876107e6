"""Listens to every connection of Django in this process."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from .asked import Relation, Why, counted, recorder
from .places import frames_from
from .shapes import reads

_DESCRIPTORS = "django/db/models/fields/related_descriptors.py"
_QUERY = "django/db/models/query.py"
_UTILS = "django/db/models/query_utils.py"


def listen() -> None:
    """Begin; a second time changes nothing. Django must have been imported."""
    from django.db.backends.utils import CursorWrapper

    if getattr(CursorWrapper.execute, "fanfare", False):
        return
    execute = CursorWrapper.execute

    def noting(self: Any, sql: Any, params: Any = None) -> Any:
        why = why_of(frames_from(sys._getframe(1))) if recorder.wants and reads(str(sql)) else Why()
        noted = recorder.begin(str(sql), params, self.db, why)
        began = time.perf_counter()
        found = execute(self, sql, params)
        if noted is not None:
            noted.seconds = time.perf_counter() - began
            noted.rows = counted(self.cursor)
        return found

    noting.fanfare = True  # type: ignore[attr-defined]  # a mark of ours
    CursorWrapper.execute = noting


def why_of(frames: Iterator[FrameType]) -> Why:
    """What a question is for, from the frames of Django's own that led to it."""
    model = ""
    for frame in frames:
        code = frame.f_code
        name = code.co_filename.replace("\\", "/")
        if "django/db/" not in name:
            continue
        if code.co_name in {"prefetch_related_objects", "prefetch_one_level"}:
            return Why(eager=True)
        this: Any = frame.f_locals.get("self")
        if name.endswith(_DESCRIPTORS):
            relation = _of_descriptor(this, code.co_name)
        elif name.endswith(_QUERY):
            relation = _of_queryset(this)
            model = model or getattr(getattr(this, "model", None), "__name__", "")
        elif name.endswith(_UTILS) and code.co_name == "__get__":
            relation = _of_deferred(this)
        else:
            continue
        if relation is not None:
            return Why(relation, models=(model,) if model else ())
    return Why(models=(model,) if model else ())


def _of_descriptor(this: Any, called: str) -> Relation | None:
    if called != "__get__":
        # A manager of rows that belong to one: `artist.songs.count()`.
        instance, field = getattr(this, "instance", None), getattr(this, "field", None)
        if instance is None:
            return None
        if field is not None and hasattr(field, "remote_field"):
            return _prefetch(type(instance).__name__, field.remote_field.get_accessor_name())
        return _prefetch(type(instance).__name__, getattr(this, "prefetch_cache_name", ""))
    field = getattr(this, "field", None)
    if field is not None:
        return _select(field.model.__name__, field.name)
    related = getattr(this, "related", None)
    return None if related is None else _select(related.model.__name__, related.get_accessor_name())


def _of_queryset(this: Any) -> Relation | None:
    known = getattr(this, "_known_related_objects", None)
    if known:
        field = next(iter(known))
        return _prefetch(field.remote_field.model.__name__, field.remote_field.get_accessor_name())
    instance = (getattr(this, "_hints", None) or {}).get("instance")
    if instance is None:
        return None
    owner = type(instance)
    names = [each.name for each in owner._meta.many_to_many if each.related_model is this.model]
    names += [
        each.get_accessor_name()
        for each in owner._meta.related_objects
        if each.many_to_many and each.related_model is this.model
    ]
    return _prefetch(owner.__name__, names[0]) if names else None


def _of_deferred(this: Any) -> Relation | None:
    field = getattr(this, "field", None)
    if field is None:
        return None
    owner = field.model.__name__
    return Relation(f"{owner}.{field.name}", f"no defer('{field.name}'), or an only(…) that has it", owner)


def _select(owner: str, name: str) -> Relation:
    return Relation(f"{owner}.{name}", f".select_related('{name}')", owner)


def _prefetch(owner: str, name: str | None) -> Relation | None:
    return Relation(f"{owner}.{name}", f".prefetch_related('{name}')", owner) if name else None
