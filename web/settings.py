"""The site's settings: the same kind of table as the hub's, read once from the same environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from hub.errors import SettingsError
from hub.orm.database_url import DatabaseUrl, parse
from hub.settings import (
    COUNT,
    KEY,
    PATH,
    SECONDS,
    Kind,
    check_unknown,
    keep_key,
    proxies_setting,
    proxy_header_setting,
    read,
    setting,
    site_url_setting,
    variables,
)

from .services.addresses import Network, parse_networks

#: Variables with these prefixes are the site's own.
PREFIXES = ("SITE_", "OUTBOUND_")

NETWORKS = Kind("networks", parse_networks, lambda found: ",".join(map(str, found)))

DATABASE_URL = Kind("database URL", parse, lambda url: str(url.shown))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The site's settings. Times are seconds."""

    database: DatabaseUrl | None = setting(
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
    url: str | None = site_url_setting()
    secret: bytes | None = setting(
        "SITE_SECRET",
        KEY,
        None,
        "signs the visitors' cookies; on a loopback HOST it is made and kept in var/site.key",
        secret=True,
    )
    proxies: int = proxies_setting()
    proxy_header: str = proxy_header_setting()
    comment_rate: int = setting(
        "SITE_COMMENT_RATE",
        COUNT,
        # The people of one hall share an address, and all have something to say.
        120,
        "comments a minute from one address; 0 for no limit",
        minimum=0,
    )
    outbound_allow: tuple[Network, ...] = setting(
        "OUTBOUND_ALLOW",
        NETWORKS,
        (),
        "networks that feeds and pictures may be fetched from although they are not public, such as 192.168.1.0/24",
    )
    poll: float = setting(
        "SITE_POLL", SECONDS, 10.0, "how often a page asks by itself while the hub is away", minimum=0.1, maximum=3600
    )
    calm_poll: float = setting(
        "SITE_CALM_POLL", SECONDS, 300.0, "the same while the hub is well", minimum=0.1, maximum=86400
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the site's variables; raise SettingsError for a bad one, or an unknown SITE_ one."""
        check_unknown(environ, variables(cls), PREFIXES)
        return read(cls, environ)

    @property
    def database_url(self) -> DatabaseUrl:
        """DATABASE_URL, or the SQLite file under `var`."""
        if self.database is not None:
            return self.database
        return DatabaseUrl("sqlite", path=str(self.var / "fanfare.sqlite3"))

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the site by https, so that cookies may insist on it."""
        return self.url is not None and self.url.startswith("https:")

    def with_secret(self, *, development: bool) -> Self:
        """These settings with a secret: the given one, or in development the one kept in `var`.

        Raises SettingsError when there is none and others can reach the site: several machines
        would sign with different ones.
        """
        if self.secret is not None:
            return self
        path = self.var / "site.key"
        if not path.exists() and not development:
            raise SettingsError(
                "SITE_SECRET: is not set, and HOST is not a loopback address;"
                " `fanfare token --new-key` prints one that will do"
            )
        try:
            return replace(self, secret=keep_key(path))
        except SettingsError as error:
            raise SettingsError(str(error).replace("FANOUT_KEY", "SITE_SECRET")) from None
