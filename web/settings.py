"""Every setting of the site, read once from the environment: the rooms' tables, and the features'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from hub.errors import SettingsError
from hub.settings import WORDS, check_unknown, read, setting, variables

from .db.settings import DatabaseSettings
from .feature import Feature
from .identity.settings import IdentitySettings
from .pages.settings import PageSettings
from .services.cache.settings import CacheSettings
from .services.jobs.settings import JobSettings
from .services.mail.settings import MailSettings
from .services.settings import ServiceSettings

T = TypeVar("T")

#: Variables with these prefixes are the site's own.
PREFIXES = ("SITE_", "OUTBOUND_", "JOBS_", "MAIL_", "SEARCH_", "VIEWS_")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """Which features there are."""

    features: tuple[str, ...] = setting(
        "SITE_FEATURES",
        WORDS,
        (),
        "the features to have, with commas between; without it all. One that is left out takes its pages, links, jobs"
        " and settings with it, and keeps its rows",
    )


#: The rooms' tables; each feature has one of its own besides.
ROOMS: tuple[type[Any], ...] = (
    SiteSettings,
    DatabaseSettings,
    IdentitySettings,
    PageSettings,
    ServiceSettings,
    CacheSettings,
    JobSettings,
    MailSettings,
)


def tables(features: Sequence[Feature]) -> list[type[Any]]:
    """Every table of settings, those of features last."""
    return [*ROOMS, *(feature.settings for feature in features if feature.settings is not None)]


@dataclass(frozen=True, slots=True)
class Settings:
    """The site's settings by their dataclass: `settings[PageSettings].url`; and the features that are on."""

    features: tuple[Feature, ...]
    values: Mapping[type[Any], Any]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], features: Sequence[Feature]) -> Self:
        """Read the site's variables; raise SettingsError for a bad one, an unknown SITE_ one or an unknown feature.

        features: all there are. Variables of one that is left out are known, and not looked at.
        """
        check_unknown(environ, {name for table in tables(features) for name in variables(table)}, PREFIXES)
        chosen = _choose(read(SiteSettings, environ).features, features)
        return cls(chosen, {table: read(table, environ) for table in tables(chosen)})

    def __getitem__(self, table: type[T]) -> T:
        found: T = self.values[table]
        return found

    def with_(self, table: type[Any], **fields: Any) -> Self:
        """These settings with other values in one table."""
        return replace(self, values={**self.values, table: replace(self[table], **fields)})

    def with_secret(self, *, development: bool) -> Self:
        """These settings with a secret, as `IdentitySettings.with_secret` makes it."""
        identity = self[IdentitySettings].with_secret(development=development)
        return replace(self, values={**self.values, IdentitySettings: identity})


def _choose(names: Sequence[str], features: Sequence[Feature]) -> tuple[Feature, ...]:
    known = [feature.name for feature in features]
    for name in names:
        if name not in known:
            raise SettingsError(f"SITE_FEATURES: there is no feature {name!r}; there are {', '.join(known)}")
    chosen = tuple(feature for feature in features if not names or feature.name in names)
    on = {feature.name for feature in chosen}
    for feature in chosen:
        for need in feature.needs:
            if need not in on:
                raise SettingsError(f"SITE_FEATURES: {feature.name} needs {need}")
    return chosen
