"""Where the database is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hub.orm.database_url import DatabaseUrl, parse
from hub.settings import PATH, Kind, setting

DATABASE_URL = Kind("database URL", parse, lambda url: str(url.shown))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """The database's settings."""

    given: DatabaseUrl | None = setting(
        "DATABASE_URL", DATABASE_URL, None, "where events are kept; without it SQLite, in HUB_VAR", secret=True
    )
    direct: DatabaseUrl | None = setting(
        "DATABASE_DIRECT_URL",
        DATABASE_URL,
        None,
        "the same PostgreSQL without the pooler (PgBouncer) that DATABASE_URL names, for LISTEN, which needs one"
        " connection that stays; without it changes of watched tables are looked for every 2 seconds",
        secret=True,
    )
    var: Path = setting("HUB_VAR", PATH, Path("var"), "folder for what is made on the first run")

    @property
    def url(self) -> DatabaseUrl:
        """DATABASE_URL, or the SQLite file under `var`."""
        if self.given is not None:
            return self.given
        return DatabaseUrl("sqlite", path=str(self.var / "fanfare.sqlite3"))
