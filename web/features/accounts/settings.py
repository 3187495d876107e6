"""Settings of who may sign in, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hub.errors import SettingsError
from hub.settings import FLAG, HTTP_URL, TEXT, Kind, setting

#: A login (GitHub's are up to 39 letters, digits and hyphens; of Enterprise users with _ too), `@organisation`, or the
#: number of an account.
_ENTRY = re.compile(r"@?[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?|#[1-9][0-9]{0,18}")


def _parse_people(text: str) -> tuple[str, ...]:
    found = tuple(word.lower() for word in re.split(r"[\s,]+", text.strip(" \t\n,")) if word)
    for word in found:
        if not _ENTRY.fullmatch(word):
            raise ValueError(f"{word!r} is neither a login, an @organisation nor a #number")
    return found


PEOPLE = Kind("logins, @organisations, #numbers", _parse_people, ",".join)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """The accounts' settings."""

    client_id: str | None = setting(
        "GITHUB_CLIENT_ID", TEXT, None, "of an OAuth app at GitHub; with it people can sign in with GitHub"
    )
    client_secret: str | None = setting("GITHUB_CLIENT_SECRET", TEXT, None, "of the same app", secret=True)
    github: str = setting("GITHUB_URL", HTTP_URL, "https://github.com", "GitHub, or your GitHub Enterprise Server")
    given_api: str | None = setting(
        "GITHUB_API_URL",
        HTTP_URL,
        None,
        "its API; without it https://api.github.com, or GITHUB_URL/api/v3 of an Enterprise Server",
    )
    managers: tuple[str, ...] = setting(
        "GITHUB_MANAGERS",
        PEOPLE,
        (),
        "who is a manager here after signing in with GitHub: logins, @organisations, and #numbers of accounts",
    )
    writers: tuple[str, ...] = setting("GITHUB_WRITERS", PEOPLE, (), "who is a writer then, in the same words")
    anybody: bool = setting(
        "GITHUB_ANYBODY", FLAG, False, "whether everybody else may sign in with GitHub too, and have no role"
    )

    def __post_init__(self) -> None:
        if self.client_id is not None and self.client_secret is None:
            raise SettingsError("GITHUB_CLIENT_SECRET: is not set, and GITHUB_CLIENT_ID is")
        if self.client_id is not None and not (self.managers or self.writers or self.anybody):
            raise SettingsError(
                "GITHUB_CLIENT_ID: is set, and nobody may sign in with GitHub; name some in GITHUB_MANAGERS"
            )

    @property
    def api(self) -> str:
        """Where the API is."""
        if self.given_api is not None:
            return self.given_api
        return "https://api.github.com" if self.github == "https://github.com" else f"{self.github}/api/v3"

    @property
    def organisations(self) -> tuple[str, ...]:
        """The organisations that are named, in lower case; without them nobody's memberships are asked for."""
        return tuple(dict.fromkeys(word[1:] for word in (*self.managers, *self.writers) if word.startswith("@")))
