"""What signs the visitors' cookies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from hub.errors import SettingsError
from hub.settings import KEY, PATH, keep_key, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """Settings of who is who."""

    secret: bytes | None = setting(
        "SITE_SECRET",
        KEY,
        None,
        "signs the visitors' cookies; on a loopback HOST it is made and kept in var/site.key",
        secret=True,
    )
    var: Path = setting("HUB_VAR", PATH, Path("var"), "folder for what is made on the first run")

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
