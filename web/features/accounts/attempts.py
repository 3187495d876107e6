"""How often somebody may try to sign in, in the database, because any worker may be asked next.

An attempt takes a place, which is a row, before the password is looked at, and gives it back when the password was
right: whoever asks a hundred times at once gets no further than one who asks in turn. Attempts are counted by where
they come from, so that a stranger who knows a name can't lock its owner out: a browser in which the owner has signed
in before (its device cookie) is counted by itself.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta

from sqlalchemy import delete, func, or_, select

from ...db.database import Database
from ...db.tables import now
from .models import FailedLogin

#: Wrong passwords are counted over this long.
WINDOW = timedelta(minutes=15)

#: How many of them: for one name from one place, from one place, for one name from anywhere. The last is wide: it takes
#: twenty networks to reach it, and those who have signed in before don't notice.
BY_BOTH, BY_PLACE, BY_NAME = 5, 25, 100


#: This machine, private networks, link-local addresses, and those of carriers' own translators.
_NEAR = [
    ipaddress.ip_network(each)
    for each in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
]


def place_of(address: str, device: str | None) -> str:
    """Where an attempt comes from, as it is counted: at most 64 characters, empty for nowhere in particular.

    device: of a browser that has signed in as this user. An IPv6 address counts as its /64, which one subscriber has.
    This machine and private networks are nowhere: such a connection may be a proxy's that HUB_PROXIES does not count,
    with everybody behind it.
    """
    if device is not None:
        return f"device {device}"[:64]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    if any(parsed in network for network in _NEAR):
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


async def take(database: Database, name: str, place: str) -> int | None:
    """Take a place for an attempt at a name: its id for `give_back`, None if there is none within WINDOW."""
    attempt = FailedLogin(name=name, address=place)
    async with database.saving() as session:
        await session.execute(delete(FailedLogin).where(FailedLogin.failed_at < now() - WINDOW))
        session.add(attempt)
    # Counted once it is written: of any number at once, each sees all that were counted before it.
    of_name, of_place = FailedLogin.name == name, FailedLogin.address == place
    statement = select(
        func.count().filter(of_name, of_place), func.count().filter(of_place), func.count().filter(of_name)
    ).where(or_(of_name, of_place), FailedLogin.failed_at > now() - WINDOW)
    async with database.reading() as session:
        both, by_place, by_name = (await session.execute(statement)).one()
    if place.startswith("device "):
        by_place = by_name = 0
    elif not place:
        both = by_place = 0
    if both <= BY_BOTH and by_place <= BY_PLACE and by_name <= BY_NAME:
        return attempt.id
    # Who is refused has guessed nothing, and must not keep the others waiting.
    await give_back(database, attempt.id)
    return None


async def give_back(database: Database, attempt: int) -> None:
    """Delete a noted attempt that was no wrong guess after all."""
    async with database.saving() as session:
        await session.execute(delete(FailedLogin).where(FailedLogin.id == attempt))
