"""What one flush writes: each row as it was before and as it is after.

A session knows the old value of an attribute only if it was loaded. It is not after a commit
(which expires objects), where the column is deferred, and where SQL sets it; the new value is not where SQL
or the database makes it. What a declaration needs and the session doesn't know is read here, once before
the writes and once after them for all rows of a class, and not at all where nothing is missing.

A channel is made of values that its row had at one time. So where one of the columns that decide it has to be read,
or would be loaded later, all are read: what the session holds may be older, if a statement changed the row under the
object, or another session did. So are they where a row moves by some of them and nobody has read the others in this
flush: the name would be half of what was written and half of what was loaded, perhaps long ago.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.orm.attributes import get_history, instance_state, set_committed_value
from sqlalchemy.orm.base import PASSIVE_NO_INITIALIZE

from .declarations import Before, Change, Kind, Notice, differs, notices
from .mapped import (
    CHUNK,
    Identity,
    Old,
    Plan,
    agrees,
    ask,
    by_identity,
    is_outdated,
    key_is_one_of,
    locked,
    name_of,
    note_read,
    note_stale,
    one_of,
    rows_by_key,
    rows_where,
)

State = InstanceState[Any]
PlanOf = Callable[[Mapper[Any]], "Plan | None"]
Found = tuple[Mapper[Any], list[Notice]]


@dataclass(slots=True)
class Image:
    """A row before its UPDATE. fields: what is about to change. unknown: old values to be read.

    doubted: all of them are known, but may be older than the row.
    """

    fields: set[str] = field(default_factory=set)
    before: dict[str, Any] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    doubted: bool = False


@dataclass(slots=True)
class _Written:
    row: Any
    mapper: Mapper[Any]
    plan: Plan
    kind: Kind
    image: Image | None = None
    relations: frozenset[str] = frozenset()
    #: What was read after the writes, for an object that doesn't hold what its row does; looked: whether it was tried.
    after: dict[str, Any] = field(default_factory=dict)
    looked: bool = False
    #: Whether, by what is known, the row left a channel or came into one; fields: what changed then.
    moved: bool = False
    fields: frozenset[str] = frozenset()

    @property
    def is_unread(self) -> bool:
        """Whether the object holds something else than its row, and that was not looked up yet."""
        return is_outdated(instance_state(self.row)) and not self.looked


class Flush:
    """The flush under way in a session: `inserted`, `updating`, … as it goes, then `finish`."""

    def __init__(self, session: Session, plan_of: PlanOf) -> None:
        self._session = session
        self._plan_of = plan_of
        self._connections: dict[Mapper[Any], Connection] = {}
        self._written: list[_Written] = []
        self._images: dict[State, Image] = {}
        #: Old values that were read, for rows whose turn may come later.
        self._read: dict[State, dict[str, Any]] = {}
        #: Objects that were compared with what their rows hold of their channels.
        self._compared: set[State] = set()
        self._deleted: set[State] = set()
        #: Rows whose key a new object took, as they were.
        self._replacing: dict[State, Image] = {}
        self._found: list[Found] = []
        #: Rows whose expired columns are read together, if a function asks for one.
        self._expired: list[tuple[Any, Mapper[Any], Plan]] = []
        self._listed = False
        #: Whether a declaration's functions run now: what they ask the database is guarded.
        self.asking = False

    def inserted(self, mapper: Mapper[Any], plan: Plan, connection: Connection, row: Any) -> None:
        """Called after a row's INSERT."""
        self._connections.setdefault(mapper, connection)
        self._written.append(_Written(row, mapper, plan, "created"))

    def updating(self, mapper: Mapper[Any], plan: Plan, connection: Connection, row: Any) -> None:
        """Called before a row's UPDATE, changed or not."""
        state = instance_state(row)
        image = self._images[state] = self._image(plan, state)
        if not image.unknown:
            return
        self._connections.setdefault(mapper, connection)
        self._read_before(mapper, connection, [row, *self._session.dirty], deleting=False)
        self._take_read(plan, image, state)
        if image.doubted:
            # What can't be read is told by what is known.
            image.unknown.clear()

    def replacing(self, mapper: Mapper[Any], plan: Plan, connection: Connection, row: Any) -> None:
        """Called before a new object takes the key of this deleted one: SQLAlchemy makes one UPDATE of both."""
        state = instance_state(row)
        image = self._replacing[state] = self._image_of_deleted(plan, state)
        if plan.asks and not plan.columns.keys() <= state.dict.keys():
            # A function sees it after the UPDATE only, when what it asks for would be of the new row.
            image.unknown |= plan.columns.keys()
        if image.unknown:
            self._read_before(mapper, connection, [row], deleting=True)
            self._take_read(plan, image, state)

    def updated(
        self, mapper: Mapper[Any], plan: Plan, connection: Connection, row: Any, related: frozenset[str]
    ) -> None:
        """Called after a row's UPDATE, if there was one. related: the many-to-many relations that changed."""
        self._connections.setdefault(mapper, connection)
        image = self._images.get(instance_state(row))
        if image is None:
            # A new object that took the key of a deleted one; SQLAlchemy announced an INSERT.
            image = Image(set(plan.columns))
        if image.fields:
            self._written.append(_Written(row, mapper, plan, "changed", image))
        if related:
            self._written.append(_Written(row, mapper, plan, "related", relations=related))

    def related(self, mapper: Mapper[Any], plan: Plan, connection: Connection, row: Any, names: frozenset[str]) -> None:
        """Called for the row at the other end of a many-to-many change."""
        self._connections.setdefault(mapper, connection)
        self._written.append(_Written(row, mapper, plan, "related", relations=names))

    def touched(
        self, mapper: Mapper[Any], plan: Plan, connection: Connection, row: Any, fields: frozenset[str]
    ) -> None:
        """Called for a row that the site says was changed: these fields of it, or all."""
        self._connections.setdefault(mapper, connection)
        self._written.append(_Written(row, mapper, plan, "changed", Image(set(fields or plan.columns))))

    def deleting(self, mapper: Mapper[Any], plan: Plan, connection: Connection, row: Any) -> None:
        """Called before a row's DELETE: what is not loaded can still be read."""
        self._connections.setdefault(mapper, connection)
        state = instance_state(row)
        self._deleted.add(state)
        image = self._image_of_deleted(plan, state)
        if image.unknown:
            self._read_before(mapper, connection, self._session.deleted, deleting=True)
            self._take_read(plan, image, state)
        if plan.asks and not self._listed:
            self._listed = True
            for one in self._session.deleted:
                its = self._plan_of(instance_state(one).mapper)
                if its is not None:
                    self._expired.append((one, instance_state(one).mapper, its))
        self._found.append((mapper, self._told_of_deleted(mapper, plan, row, image)))

    def finish(self) -> list[Found]:
        """What the flush tells, by the class of the rows. Called after all its writes, before it is over."""
        for row in self._session.deleted:
            self._replaced(row)
        self._load_named()
        self._read_outdated()
        self._expired = [(one.row, one.mapper, one.plan) for one in self._written if one.plan.asks]
        told: list[list[Notice]] = []
        for one in self._written:
            if one.is_unread:
                self._read_outdated()
            found = self._told(one)
            if one.is_unread:
                # A function asked for what SQL or the database made, and what was read then is of a row that another
                # session has moved: the function saw some of both.
                self._read_outdated()
                found = self._told(one)
            told.append(found)
        for at in self._read_moved():
            told[at] = self._told(self._written[at])
        self._found += ((one.mapper, found) for one, found in zip(self._written, told, strict=True))
        return self._found

    def load_expired(self) -> None:
        """Read the expired columns of all rows that functions see, as one of them has just asked for one."""
        rows, self._expired = self._expired, []
        missing: dict[Any, tuple[Mapper[Any], set[str]]] = {}
        for row, mapper, plan in rows:
            state = instance_state(row)
            keys = {key for key in state.expired_attributes & plan.columns.keys() if key not in state.dict}
            if keys:
                missing[row] = (mapper, keys)
        self._load(missing)

    # Before the writes

    def _image(self, plan: Plan, state: State) -> Image:
        image = Image()
        held = state.dict
        # Only what was assigned since it was loaded is in there.
        for key in list(state.committed_state):
            if key not in plan.columns:
                continue
            history = get_history(state.obj(), key, PASSIVE_NO_INITIALIZE)
            if history.has_changes():
                image.fields.add(key)
                if history.deleted:
                    image.before[key] = history.deleted[0]
                elif key in plan.where:
                    image.unknown.add(key)
        if image.fields:
            for key in plan.moving:
                if key in image.fields:
                    continue
                # A session leaves an expression as it was when a statement changes what is in it.
                if key in held and key not in plan.expressions:
                    image.before[key] = held[key]
                elif key in plan.where:
                    image.unknown.add(key)
            if is_outdated(state):
                image.unknown |= plan.where | plan.moving
            elif image.unknown or not plan.where <= held.keys():
                image.unknown |= plan.where
            elif not plan.wide and (image.fields | plan.moving) & plan.where and _is_half(plan, image.fields):
                # What a function makes of the columns is seen after the writes only; see `_read_moved`.
                image.unknown |= plan.where
                image.doubted = True
        return image

    def _take_read(self, plan: Plan, image: Image, state: State) -> None:
        read = self._read.get(state, {})
        image.before |= {key: value for key, value in read.items() if key in image.unknown}
        image.unknown -= read.keys()
        # What is about to be written, and what follows from it, may differ.
        kept = {key: value for key, value in read.items() if key not in image.fields | plan.moving}
        if plan.where <= read.keys():
            self._compared.add(state)
        if not agrees(state, kept):
            note_stale(state)

    def _image_of_deleted(self, plan: Plan, state: State) -> Image:
        image = Image()
        for key in plan.columns:
            if key in state.committed_state:
                # Assigned and never written: the row still has the old value.
                history = get_history(state.obj(), key, PASSIVE_NO_INITIALIZE)
                if history.deleted:
                    image.before[key] = history.deleted[0]
                elif history.has_changes():
                    image.unknown.add(key)
            elif key in plan.where and (key not in state.dict or key in plan.expressions):
                image.unknown.add(key)
        if is_outdated(state):
            image.unknown |= plan.columns.keys() if plan.asks else plan.where
        elif image.unknown:
            image.unknown |= plan.where
        return image

    def _read_before(self, mapper: Mapper[Any], connection: Connection, rows: Iterable[Any], *, deleting: bool) -> None:
        """Read the old values that this row needs, and with it those of all rows of its class in this flush."""
        plan = self._plan_of(mapper)
        assert plan is not None
        wanted: dict[Identity, State] = {}
        keys: set[str] = set()
        for row in rows:
            state = instance_state(row)
            if state.mapper is not mapper or state.key is None:
                continue
            image = self._replacing.get(state)
            if image is None or not deleting:
                image = self._image_of_deleted(plan, state) if deleting else self._image(plan, state)
            unknown = image.unknown - self._read.get(state, {}).keys()
            if unknown:
                wanted[tuple(state.key[1])] = state
                keys |= unknown
        identities = list(wanted)
        for at in range(0, len(identities), CHUNK):
            criteria = [key_is_one_of(mapper, identities[at : at + CHUNK])]
            statement = locked(mapper, rows_where(mapper, plan, keys, criteria), deleting=deleting)
            for identity, values in by_identity(plan, ask(connection, statement, mapper) or ()).items():
                if identity in wanted:
                    self._read.setdefault(wanted[identity], {}).update({key: values[key] for key in keys})

    # After them

    def _replaced(self, row: Any) -> None:
        """A row that was deleted while a new object took its key: SQLAlchemy makes one UPDATE of both."""
        state = instance_state(row)
        plan = self._plan_of(state.mapper)
        if plan is None or state in self._deleted or state.key is None:
            return
        image = self._replacing.get(state) or self._image_of_deleted(plan, state)
        self._found.append((state.mapper, self._told_of_deleted(state.mapper, plan, row, image)))

    def _load_named(self) -> None:
        missing: dict[Any, tuple[Mapper[Any], set[str]]] = {}
        for one in self._written:
            held = instance_state(one.row).dict
            if one.image is not None:
                # Read before the writes, and none of these has touched it.
                for key in one.image.before.keys() - one.image.fields - one.plan.moving - held.keys():
                    set_committed_value(one.row, key, one.image.before[key])
            keys = {key for key in one.plan.named if key not in held}
            # A `literal()` is sent as a value, and stays in the object as it was assigned.
            looked_at = one.plan.columns if one.plan.asks else one.plan.named
            keys |= {key for key in looked_at if isinstance(held.get(key), ClauseElement)}
            if one.plan.asks and one.kind == "changed" and instance_state(one.row).key is None:
                # A new object in a deleted one's row: what it was not given is in the row, and nobody loads it yet.
                keys |= one.plan.columns.keys() - held.keys()
            if keys:
                missing[one.row] = (one.mapper, keys)
        self._load(missing)

    def _read_outdated(self) -> None:
        """Read what the rows hold whose objects hold something else, and leave the objects as they are."""
        by_mapper: dict[Mapper[Any], list[_Written]] = {}
        guesses: dict[Mapper[Any], list[_Written]] = {}
        for one in self._written:
            if one.looked:
                continue
            if is_outdated(instance_state(one.row)):
                by_mapper.setdefault(one.mapper, []).append(one)
            elif one.plan.guessed and one.image is not None:
                guesses.setdefault(one.mapper, []).append(one)
        for mapper, written in guesses.items():
            if len(written) > 1:
                by_mapper.setdefault(mapper, []).extend(written)
        self._look_up(by_mapper)

    def _read_moved(self) -> list[int]:
        """Read the rows that moved by some of the columns of their channels; which of them hold something else.

        They are the numbers of those in `_written` that have to be told again.
        """
        halves = {at: one for at, one in enumerate(self._written) if one.moved and self._is_half_known(one)}
        by_mapper: dict[Mapper[Any], list[_Written]] = {}
        for one in halves.values():
            by_mapper.setdefault(one.mapper, []).append(one)
        self._look_up(by_mapper)
        return [at for at, one in halves.items() if is_outdated(instance_state(one.row))]

    def _is_half_known(self, one: _Written) -> bool:
        """Whether a channel of this row is made of what was written and of what was loaded before this flush."""
        known = one.looked or instance_state(one.row) in self._compared
        return not known and _is_half(one.plan, one.fields)

    def _look_up(self, by_mapper: dict[Mapper[Any], list[_Written]]) -> None:
        for mapper, written in by_mapper.items():
            plan = written[0].plan
            keys = plan.columns.keys() if plan.asks else plan.named | plan.moving
            identities = {_identity(plan, instance_state(one.row)) for one in written}
            found = rows_by_key(self._connections[mapper], mapper, plan, identities, keys)
            for one in written:
                one.looked = True
                state = instance_state(one.row)
                one.after = found.get(_identity(plan, state), {})
                if one.after:
                    note_read(state, one.after)

    def _load(self, missing: dict[Any, tuple[Mapper[Any], set[str]]]) -> None:
        """Put columns that are not loaded into their objects, with one question for each class."""
        by_mapper: dict[Mapper[Any], list[tuple[Any, set[str]]]] = {}
        for row, (mapper, keys) in missing.items():
            by_mapper.setdefault(mapper, []).append((row, keys))
        for mapper, rows in by_mapper.items():
            plan, connection = self._plan_of(mapper), self._connections.get(mapper)
            if plan is None or connection is None:
                continue
            wanted = {_identity(plan, instance_state(row)): (row, keys) for row, keys in rows}
            names = plan.where.union(*(keys for _, keys in rows))
            for identity, values in rows_by_key(connection, mapper, plan, list(wanted), names).items():
                if identity in wanted:
                    row, keys = wanted[identity]
                    for key in keys:
                        set_committed_value(row, key, values[key])
                    self._compared.add(instance_state(row))
                    if not agrees(instance_state(row), values):
                        note_stale(instance_state(row))

    def _told(self, one: _Written) -> list[Notice]:
        if one.image is None:
            seen = Old(one.row, one.after) if one.after else None
            return self._notices(one.mapper, one.plan, one.row, Change(one.kind, relations=one.relations), seen=seen)
        image, state = one.image, instance_state(one.row)
        fields = set(image.fields)
        for key in state.committed_state:
            # Written by the flush itself, after the row's own UPDATE (`post_update`).
            if key in one.plan.columns and key not in fields:
                history = get_history(one.row, key, PASSIVE_NO_INITIALIZE)
                if history.has_changes():
                    fields.add(key)
                    if history.deleted:
                        image.before[key] = history.deleted[0]
        for key in one.plan.moving:
            known = key not in fields and key in image.before
            held = one.after or state.dict
            if known and (key not in held or differs(image.before[key], held[key])):
                fields.add(key)
        change = Change("changed", frozenset(fields), image.before)
        # What nobody wrote was before as it is after: the object may hold something older. Where the database or a
        # default wrote, too, so it did in the other session: what that made is not known, and the object is believed.
        unwritten = frozenset() if fields & one.plan.moving else one.plan.where - fields - one.plan.moving
        before = {key: value for key, value in one.after.items() if key in unwritten} | image.before
        old = Old(one.row, before, image.unknown) if image.before else None
        seen = Old(one.row, one.after) if one.after else None
        moved: list[str] = []
        found = self._notices(one.mapper, one.plan, one.row, change, old, seen, moved)
        one.moved, one.fields = bool(moved), change.fields
        return found

    def _told_of_deleted(self, mapper: Mapper[Any], plan: Plan, row: Any, image: Image) -> list[Notice]:
        seen = Old(row, image.before, image.unknown) if image.before else row
        return self._notices(mapper, plan, row, Change("deleted"), seen=seen)

    def _notices(
        self,
        mapper: Mapper[Any],
        plan: Plan,
        row: Any,
        change: Change,
        old: Before | None = None,
        seen: Any = None,
        moved: list[str] | None = None,
    ) -> list[Notice]:
        state = instance_state(row)
        # A new key that was never written is none that anybody has heard of.
        gone = change.kind == "deleted" and state.key is not None
        identity = tuple(state.key[1]) if gone and state.key is not None else _identity(plan, state)
        with self.functions():
            return notices(
                plan.declarations,
                row if seen is None else seen,
                change,
                model=name_of(mapper),
                identity=one_of(identity),
                old=old,
                moved=moved,
            )

    @contextmanager
    def functions(self) -> Iterator[None]:
        """While inside, the site's own functions run."""
        before, self.asking = self.asking, True
        try:
            yield
        finally:
            self.asking = before


def _is_half(plan: Plan, written: Collection[str]) -> bool:
    """Whether a channel may be made of other columns than those written, and of older values than the row's.

    Of a class with a `version_id_col` too: an UPDATE by hand need not raise the version.
    """
    return not plan.where.difference(plan.key) <= set(written)


def _identity(plan: Plan, state: State) -> Identity:
    """The primary key: as it is assigned now, or, where that is expired, as the session knows the row."""
    held = state.dict
    if all(key in held for key in plan.key) or state.key is None:
        return tuple(held.get(key) for key in plan.key)
    return tuple(state.key[1])
