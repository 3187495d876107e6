"""The tables' history, brought up to date. One chain for the whole site; features that are left out have theirs too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from hub.errors import HubError
from hub.orm import postgres
from hub.orm.database_url import DatabaseUrl

from .engine import UNUSABLE, checked, new_engine, unavailable

logger = logging.getLogger(__name__)


async def migrate(url: DatabaseUrl | str, revision: str = "head") -> None:
    """Bring the tables to a revision; several processes may do so at once.

    Triggers of watched tables that an earlier release has made are replaced. Raises
    DatabaseUnavailable when the database can't be reached or used.
    """
    url = checked(url)
    try:
        await _run(url, command.upgrade, revision)
    except UNUSABLE as error:
        raise unavailable(url, error) from error
    if url.path is None and revision == "head":
        try:
            await postgres.upgrade(url)
        except HubError as error:
            # They go on as they did; `fanfare watch --check` names them.
            logger.warning("triggers of an earlier release were not replaced", extra={"error": str(error)})


async def undo(url: DatabaseUrl | str, revision: str) -> None:
    """Bring the tables back to an earlier revision, or "base"; what only later ones can hold is lost."""
    await _run(checked(url), command.downgrade, revision)


async def waiting(engine: AsyncEngine) -> int:
    """How many migrations the database has not seen; raises what the engine does."""
    script = ScriptDirectory(str(Path(__file__).parent / "migrations"))

    def count(connection: Connection) -> int:
        heads = set(MigrationContext.configure(connection).get_current_heads())
        return sum(1 for revision in script.walk_revisions() if not _has(script, heads, revision.revision))

    async with engine.connect() as connection:
        return await connection.run_sync(count)


def _has(script: ScriptDirectory, heads: set[str], revision: str) -> bool:
    """Whether a database at these heads has a revision. What a later release made is unknown here, and further on."""
    for head in heads:
        try:
            known = [each.revision for each in script.iterate_revisions(head, "base")]
        except CommandError:
            return True
        if revision in known:
            return True
    return False


#: Any number will do, as long as every process of ours takes the same.
_MIGRATION_LOCK = 0x46414E46


async def _run(url: DatabaseUrl, step: Callable[[Config, str], None], revision: str) -> None:
    engine = new_engine(url)
    try:
        async with engine.execution_options(writing=True).begin() as connection:
            await connection.run_sync(_migrate, step, revision)
    finally:
        await engine.dispose()


def _migrate(connection: Connection, step: Callable[[Config, str], None], revision: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    step(config, revision)
