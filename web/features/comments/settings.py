"""Settings of comments."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import COUNT, FLAG, SECONDS, Kind, setting

from ...services.mail.addresses import Address, BadAddress, parse_address


def _addresses(text: str) -> tuple[Address, ...]:
    try:
        return tuple(parse_address(each) for each in text.split())
    except BadAddress as error:
        raise ValueError(f"is no list of addresses such as ada@example.org bo@example.org: {error}") from None


ADDRESSES = Kind("mail addresses", _addresses, lambda found: " ".join(each.spec for each in found))


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentSettings:
    """The comments' settings. Times are seconds."""

    rate: int = setting(
        "SITE_COMMENT_RATE",
        COUNT,
        # The people of one hall share an address, and all have something to say.
        120,
        "comments a minute from one address; 0 for no limit",
        minimum=0,
    )
    window: float = setting(
        "SITE_COMMENT_WINDOW",
        SECONDS,
        600.0,
        "how long a comment's writer may edit and delete it",
        minimum=0,
        maximum=86400,
    )
    moderators: tuple[Address, ...] = setting(
        "SITE_COMMENT_MODERATORS",
        ADDRESSES,
        (),
        "mail addresses, with spaces between, that are told of comments which wait; needs SITE_URL",
    )
    holds_new: bool = setting(
        "SITE_COMMENT_HOLD_NEW",
        FLAG,
        False,
        "hold the first comment of a name that has none yet from the same browser",
    )
    keep: float = setting(
        "SITE_COMMENT_KEEP",
        SECONDS,
        30 * 86400.0,
        "how long refused, deleted and spam comments are kept, and whose comments were, as hashes",
        minimum=86400,
        maximum=3650 * 86400,
    )
    work: int = setting(
        "SITE_COMMENT_WORK",
        COUNT,
        0,
        "work that a browser does before it sends a comment, in rounds of PBKDF2 a try, some 256 tries; 5000 takes a "
        "second or so; a comment without it is held; 0: none",
        minimum=0,
        maximum=100_000,
    )
    judges: bool = setting(
        "SITE_COMMENT_CHECKS", FLAG, True, "judge comments, and hold or refuse what looks like spam; off takes all"
    )
