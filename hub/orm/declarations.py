"""Which changes of a row tell which channels, and with what payload. Pure: no database, no hub.

A declaration is written once per model, in the same words whatever the ORM:

    class Comment(Base):
        __hints__ = [tells("comments-{event_id}", data=lambda comment: comment.id)]

What can be wrong at the declaration raises there. What can only be wrong when a row is saved is
logged with the model and the row's id, and the save goes on: a bad payload becomes `true`, which
still makes the page fetch; so does a condition that raises; a bad channel name is dropped, for
nobody can be told, and the other channels of the change are told all the same.
"""

from __future__ import annotations

import inspect
import logging
import string
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property, lru_cache
from types import FunctionType, MethodType
from typing import Any, Literal, get_args

from ..errors import BadMessage, InvalidChannel
from ..protocol.channels import from_fanout
from ..publisher import encode

logger = logging.getLogger(__name__)

#: What can happen to a row. `related`: its many-to-many rows changed, not the row itself.
Kind = Literal["created", "changed", "deleted", "related"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: The longest payload by default, in bytes of JSON. A page gets it whole, and so does every other
#: reader of the channel; what is longer is better fetched by who needs it.
MAX_BYTES = 8192

#: The bound of `max_bytes`: the hub's own default for a message (HUB_MAX_BODY).
MOST_BYTES = 1024 * 1024

#: The longest subject kept: as long as a channel's name.
MAX_SUBJECT = 255


class Unknown(AttributeError):
    """A value that whoever noticed the change can't know, such as the id of a row inserted in bulk."""


ChannelOf = Callable[[Any], "str | Iterable[str] | None"]
DataOf = Callable[[Any], object]
Condition = Callable[[Any, "Change"], bool]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one row.

    fields: names of the columns whose value changed (empty for a creation or a deletion).
    before: their old values, as far as they are known. relations: names of the many-to-many
    relations that changed.
    """

    kind: Kind
    fields: frozenset[str] = frozenset()
    before: Mapping[str, object] = field(default_factory=dict)
    relations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell: what becomes a row of the outbox.

    channel: in Bayeux form, checked. data: JSON text. hint: only the newest matters to a slow
    reader. subject: the row it is about ("comment:17"); notices about one subject are told in
    the order in which they were saved.
    """

    channel: str
    data: str
    hint: bool = True
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Declaration:
    """Made by `tells`; see there."""

    channel: str | ChannelOf
    data: object
    on: frozenset[Kind]
    watch: frozenset[str]
    fields: tuple[str, ...]
    relations: frozenset[str]
    when: Condition | None
    max_bytes: int
    hint: bool

    def concerns(self, change: Change) -> bool:
        """Whether this kind of change, of these fields and relations, is told."""
        if change.kind not in self.on:
            return False
        if change.kind == "changed" and self.watch:
            return not self.watch.isdisjoint(change.fields)
        if change.kind == "related" and self.relations:
            return not self.relations.isdisjoint(change.relations)
        return True

    def contribute_to_class(self, model: type, name: str) -> None:
        """Called by Django for an attribute of a model: what says that the app is missing, where nothing of it runs."""
        from django.apps import apps

        setattr(model, name, self)
        if name == "__hints__" and apps.apps_ready and "hub.orm.django" not in {c.name for c in apps.get_app_configs()}:
            warnings.warn(
                f"{model.__name__}.__hints__ tells nobody: add 'hub.orm.django' to INSTALLED_APPS",
                RuntimeWarning,
                stacklevel=4,
            )

    @property
    def asks(self) -> bool:
        """Whether a function of the site's own sees the row: it may look at anything."""
        return callable(self.channel) or callable(self.data) or self.when is not None

    @property
    def names(self) -> frozenset[str]:
        """Every field this declaration names, for whoever has to remember their old values."""
        return self.watch | frozenset(self.fields) | frozenset(self.channel_names)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The attributes in the channel's braces; none for a function."""
        return names_in(self.channel) if isinstance(self.channel, str) else ()


def tells(
    channel: str | ChannelOf,
    data: object = True,
    *,
    on: Iterable[Kind] = KINDS,
    watch: Iterable[str] = (),
    fields: Sequence[str] = (),
    relations: Iterable[str] = (),
    when: Condition | None = None,
    max_bytes: int = MAX_BYTES,
    hint: bool | None = None,
) -> Declaration:
    """Declare that changes of a row tell a channel.

    channel: a name, with or without the leading slash, in which `{attribute}` stands for the
        row's value; or a function of the row that returns a name, several, or None for "nobody".
        When a change moves a row from one channel to another, both are told.
    data: the payload: any JSON value, or a function of the row that returns one. The default,
        `True`, says that something changed and no more.
    on: the kinds of change that are told; all by default.
    watch: tell a change only if one of these fields changed; by default those of `fields`, if given.
    fields: send these fields, and only these, of those that changed, as `{"id": …, "change":
        kind, "fields": {name: value}, "version": n}`. Rows hold secrets, so there is no way to say "all".
        Beyond `max_bytes` the fields are left out (`"fields": null`): fetch them.
    relations: tell many-to-many changes of these relations only.
    when: a last word: a function of the row and the `Change`.
    hint: whether a slow reader may skip all but the newest; by default True unless `fields` is given.

    Raises InvalidChannel for a name that can't be one, BadMessage for constant data that is not
    JSON or longer than `max_bytes`, and ValueError or TypeError for the rest.
    """
    kinds = _checked_kinds(on)
    if isinstance(channel, str):
        from_fanout(channel.format_map(dict.fromkeys(names_in(channel), "0")))
    elif not callable(channel):
        raise TypeError(f"channel is a string or a function of the row, not {type(channel).__name__}")
    if not 1 <= max_bytes <= MOST_BYTES:
        raise ValueError(f"max_bytes is from 1 to {MOST_BYTES}, not {max_bytes}")
    if fields:
        if data is not True:
            raise ValueError("give data or fields, not both")
        _checked_names("fields", fields)
    elif not callable(data) and len(encode(data)) > max_bytes:
        raise BadMessage(text="Data is longer than max_bytes")
    if when is not None and not callable(when):
        raise TypeError("when is a function of the row and the change")
    return Declaration(
        channel=channel,
        data=data,
        on=kinds,
        watch=frozenset(_checked_names("watch", watch)) or frozenset(fields),
        fields=tuple(fields),
        relations=frozenset(_checked_names("relations", relations)),
        when=when,
        max_bytes=max_bytes,
        hint=not fields if hint is None else hint,
    )


def declared_on(model: type) -> tuple[Declaration, ...]:
    """The declarations of a class's `__hints__`: one, or a list of them. Raises TypeError for anything else."""
    found = getattr(model, "__hints__", ())
    declarations = (found,) if isinstance(found, Declaration) else tuple(found)
    for declaration in declarations:
        if not isinstance(declaration, Declaration):
            raise TypeError(f"{model.__name__}.__hints__ holds {type(declaration).__name__}, not what tells() returns")
    return declarations


def subject_of(model: str, identity: object) -> str | None:
    """The name of a row in the outbox, "comment:17"; None for a row without a primary key yet."""
    if identity is None:
        return None
    if isinstance(identity, tuple | list):
        if not identity or any(part is None for part in identity):
            return None
        identity = ",".join(map(str, identity))
    subject = f"{model}:{identity}"
    return subject if len(subject) <= MAX_SUBJECT else None


def notices(
    declarations: Iterable[Declaration],
    row: object,
    change: Change,
    *,
    model: str,
    identity: object,
    old: object | None = None,
    moved: list[str] | None = None,
) -> list[Notice]:
    """What this change of this row tells. Never raises: what can't be told is logged.

    identity: the row's primary key; the first thing logged with the model when something is wrong.
    old: the row as it was before a change, where the caller can make one; else `Before` is used.
    moved: a list to which the channels are added that only one of the row before and the row after has.
    """
    found: list[Notice] = []
    subject = subject_of(model, identity)
    for declaration in declarations:
        if not declaration.concerns(change):
            continue
        facts = {"model": model, "id": identity, "change": change.kind}
        plain = False
        try:
            if declaration.when is not None and not declaration.when(row, change):
                continue
        # The function is the site's own: whatever it raises must not fail the save it is called from.
        except Exception:
            logger.warning("condition of a change can't be evaluated, told as true", exc_info=True, extra=facts)
            plain = True
        channels = _channels(declaration, row, change, old, facts, [] if moved is None else moved)
        if not channels:
            continue
        if subject is None and declaration.fields:
            # A reader matches fields by the row's key; without one it can only fetch.
            logger.warning("row has no primary key, told as true", extra=facts)
            plain = True
        data = "true" if plain else _payload(declaration, row, change, identity, facts)
        for channel in channels:
            notice = Notice(channel, data, declaration.hint, subject)
            if notice not in found:
                found.append(notice)
    return found


def notice(channel: str, data: object = True, *, hint: bool = True, max_bytes: int = MAX_BYTES) -> Notice:
    """A notice about no row in particular. Raises InvalidChannel or BadMessage."""
    text = _encode(data)
    if len(text) > max_bytes:
        raise BadMessage(text="Data is longer than max_bytes")
    return Notice(from_fanout(channel), text.decode(), hint)


def _checked_kinds(on: Iterable[Kind]) -> frozenset[Kind]:
    names = {on} if isinstance(on, str) else set(on)
    if not names or not names.issubset(KINDS):
        raise ValueError(f"on is some of {', '.join(KINDS)}, not {sorted(names)}")
    return frozenset(kind for kind in KINDS if kind in names)


def _checked_names(what: str, names: Iterable[str]) -> tuple[str, ...]:
    # A lone string would be taken letter by letter.
    found = () if isinstance(names, str) else tuple(names)
    if isinstance(names, str) or not all(str(name).isidentifier() for name in found):
        raise TypeError(f"{what} is a list of attribute names")
    return found


@lru_cache(maxsize=1024)
def names_in(template: str) -> tuple[str, ...]:
    """The attributes in a channel's braces. Raises ValueError for anything but a plain name there."""
    names = []
    for _, name, spec, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        # `{a.b}` and `{a[0]}` would reach anything from the row, `{a!r}` is never a channel's name.
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"{template!r}: between braces goes the name of an attribute")
        names.append(name)
    return tuple(names)


#: What `computed` returns for an attribute that the class has no code for.
MISSING: Any = object()


def computed(model: type, name: str, row: object) -> Any:
    """What a property, hybrid property or method of a class makes of `row`, which stands for an object; or MISSING."""
    found = inspect.getattr_static(model, name, None)
    if isinstance(found, FunctionType):
        return MethodType(found, row)
    if isinstance(found, cached_property):
        return found.func(row)
    getter = found.fget if isinstance(found, property) else inspect.getattr_static(found, "fget", None)
    return getter(row) if isinstance(getter, FunctionType) else MISSING


class Before:
    """A row as it was: the old values of what changed, all else from the row.

    The properties and methods of the row's class see the old values too.
    """

    def __init__(self, row: object, before: Mapping[str, object]) -> None:
        self._row = row
        self._before = before

    def __getattr__(self, name: str) -> Any:
        if name in self._before:
            return self._before[name]
        found = computed(type(self._row), name, self)
        return getattr(self._row, name) if found is MISSING else found

    def __str__(self) -> str:
        return type(self._row).__str__(self)


def differs(old: object, new: object) -> bool:
    """Whether a value changed. What can't be compared (arrays answer for each element) counts as changed."""
    if old is new:
        return False
    try:
        return bool(old != new)
    # The types of columns are anybody's.
    except Exception:  # noqa: BLE001  # as the comment says; there is nothing to log, it is told
        return True


def _channels(
    declaration: Declaration,
    row: object,
    change: Change,
    old: object | None,
    facts: Mapping[str, object],
    moved: list[str],
) -> list[str]:
    images = [row]
    if change.kind == "changed" and (old is not None or change.before):
        # The page that the row has left must drop it.
        images.append(Before(row, change.before) if old is None else old)
    found: dict[str, None] = {}
    places: list[set[str]] = []
    for image in images:
        # One that can't be told must not silence the others.
        try:
            names = list(_named(declaration, image))
        # The function is the site's own.
        except Exception:
            logger.warning("channel of a change can't be told", exc_info=True, extra=facts)
            continue
        places.append(set(names))
        for name in names:
            try:
                found[from_fanout(name)] = None
            except InvalidChannel:
                logger.warning("channel of a change can't be told", exc_info=True, extra=facts)
    if len(places) == 2:
        moved += places[0] ^ places[1]
    return list(found)


def _named(declaration: Declaration, row: object) -> Iterator[str]:
    if isinstance(declaration.channel, str):
        values = {name: getattr(row, name) for name in names_in(declaration.channel)}
        # A comment on no event has no page to tell.
        if None not in values.values():
            yield declaration.channel.format_map(values)
        return
    name = declaration.channel(row)
    if isinstance(name, str):
        yield name
    elif name is not None:
        yield from name


def _payload(
    declaration: Declaration, row: object, change: Change, identity: object, facts: Mapping[str, object]
) -> str:
    try:
        if declaration.fields:
            return _fields_payload(declaration, row, change, identity)
        data = declaration.data(row) if callable(declaration.data) else declaration.data
        text = _encode(data)
        if len(text) > declaration.max_bytes:
            raise BadMessage(text="Data is longer than max_bytes")
        return text.decode()
    except Unknown:
        return "true"
    # As in `notices`: the function is the site's own, and the page can still be told to fetch.
    except Exception:
        logger.warning("payload of a change is unusable, told as true", exc_info=True, extra=facts)
        return "true"


def _fields_payload(declaration: Declaration, row: object, change: Change, identity: object) -> str:
    names = [name for name in declaration.fields if change.kind == "created" or name in change.fields]
    if isinstance(identity, tuple | list) and len(identity) == 1:
        identity = identity[0]
    payload: dict[str, object] = {"id": identity, "change": change.kind}
    payload["fields"] = {name: getattr(row, name) for name in names} if change.kind != "deleted" else {}
    text = _encode(payload)
    if len(text) > declaration.max_bytes:
        text = _encode(payload | {"fields": None})
    return text.decode()


def _encode(value: object) -> bytes:
    return encode(_plain(value))


def _plain(value: object) -> object:
    """A value with decimals as strings: rows have them, JSON's numbers would round them."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
