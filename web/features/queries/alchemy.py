"""Listens to every engine and session of SQLAlchemy in this process, sync and async."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import Mapper, ORMExecuteState, RelationshipProperty, Session

from .asked import Relation, Why, counted, recorder

_OPTION = "fanfare_why"
_NOTED = "_fanfare_asked"


def listen() -> None:
    """Begin; a second time changes nothing."""
    if not event.contains(Engine, "before_cursor_execute", _before):
        event.listen(Engine, "before_cursor_execute", _before)
        event.listen(Engine, "after_cursor_execute", _after)
        event.listen(Session, "do_orm_execute", _orm)


def relation_of(relationship: RelationshipProperty[Any]) -> Relation:
    """A relationship, and the loader for it: a join for one row, select-in for many."""
    owner = relationship.parent.class_.__name__
    name = f"{owner}.{relationship.key}"
    loader = "selectinload" if relationship.uselist else "joinedload"
    return Relation(name, f".options({loader}({name}))", owner)


def _orm(state: ORMExecuteState) -> None:
    if not recorder.wants or not state.is_select:
        return
    why = Why()
    if getattr(state.session, "_flushing", False):
        why = Why(eager=True)
    elif state.is_relationship_load:
        why = _loaded(state)
    elif state.is_column_load:
        why = _column(state)
    else:
        mappers = state.all_mappers
        models = tuple(mapper.class_.__name__ for mapper in mappers)
        why = Why(models=models, relations=tuple(each for mapper in mappers[:1] for each in _leading_to(mapper)))
    state.update_execution_options(**{_OPTION: why})


def _loaded(state: ORMExecuteState) -> Why:
    path: Any = state.loader_strategy_path
    found = next((each for each in reversed(tuple(path.path)) if isinstance(each, RelationshipProperty)), None)
    if state.lazy_loaded_from is None or found is None:
        # Select-in and subqueries: for all that were loaded.
        return Why(eager=True)
    return Why(relation_of(found), models=(found.mapper.class_.__name__,))


def _column(state: ORMExecuteState) -> Why:
    mapper = state.bind_mapper
    if mapper is None:
        return Why()
    owner = mapper.class_.__name__
    return Why(Relation(f"a column of {owner}", ".options(undefer(…)), or expire_on_commit=False", owner))


def _leading_to(mapper: Mapper[Any]) -> tuple[Relation, ...]:
    try:
        owners = tuple(mapper.registry.mappers)
        return tuple(relation_of(each) for owner in owners for each in owner.relationships if each.mapper is mapper)
    # What is wrong with somebody's models he is told by SQLAlchemy itself.
    except Exception:  # noqa: BLE001
        return ()


def _before(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
    options = {} if context is None else context.execution_options
    noted = recorder.begin(statement, parameters, connection.get_transaction(), options.get(_OPTION, Why()))
    if noted is not None and context is not None:
        setattr(context, _NOTED, (noted, time.perf_counter()))


def _after(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
    found = getattr(context, _NOTED, None)
    if found is not None:
        noted, began = found
        noted.seconds = time.perf_counter() - began
        noted.rows = counted(cursor)
