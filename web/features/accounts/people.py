"""The accounts that may sign in: made, given other passwords and roles, and joined to GitHub's."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.database import Database
from ...identity import signins
from ...identity.passwords import Passwords
from ...identity.roles import Role
from ...identity.signins import Where
from ...identity.users import MAX_NAME, User
from ...identity.visitors import Signer, Visitor
from ...pages.requests import clean_line
from .github import Person, role_for
from .models import FailedLogin, GithubAccount
from .settings import AccountSettings

#: Longer ones cost the server time and nobody types them.
MAX_PASSWORD = 200
MIN_PASSWORD = 10


class NotListed(Exception):
    """The settings let this GitHub account not sign in."""


class LinkTaken(Exception):
    """The GitHub account is another user's, or the user has another."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A sign-in that has begun: the user, and the visitor that the browser is from now on."""

    user: User
    visitor: Visitor


def check_password(password: str) -> None:
    """Raise ValueError for a password that won't do."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")


async def create_user(
    database: Database, passwords: Passwords, name: str, password: str, role: Role = Role.MANAGER
) -> User:
    """Make an account. Raises ValueError for a name or password that won't do, or a name that is taken."""
    name = clean_line(name, MAX_NAME)
    if not 1 <= len(name) <= MAX_NAME:
        raise ValueError(f"a name has 1 to {MAX_NAME} characters")
    check_password(password)
    hashed = await passwords.hash(password)
    async with database.saving() as session:
        if await session.scalar(select(User.id).where(User.name == name)) is not None:
            raise ValueError(f"there is a user {name!r} already")
        user = User(name=name, password_hash=hashed, role=role.value)
        session.add(user)
    return user


async def change_password(
    database: Database, passwords: Passwords, name: str, password: str, *, but: Visitor | None = None
) -> None:
    """Give a user another password, which also ends every sign-in but one. Raises ValueError; LookupError for no such
    user.

    but: the visitor who changes it.
    """
    check_password(password)
    hashed = await passwords.hash(password)
    async with database.saving() as session:
        user = await _named(session, name)
        user.password_hash = hashed
        await signins.end_all(session, user.id, but=but)


async def change_role(database: Database, name: str, role: Role) -> None:
    """Give a user another role, which GitHub no longer changes then. Raises LookupError for no such user."""
    async with database.saving() as session:
        user = await _named(session, name)
        user.role = role.value
        account = await session.scalar(select(GithubAccount).where(GithubAccount.user_id == user.id))
        if account is not None:
            account.gives_role = False


async def sign_in_by_password(
    database: Database,
    signer: Signer,
    passwords: Passwords,
    user: User,
    password: str,
    where: Where,
    instead: Visitor | None,
) -> Visitor:
    """Begin a sign-in of who has shown the right password, forget the wrong ones, and hash it again if that is due."""
    outdated = passwords.is_outdated(user.password_hash)
    hashed = await passwords.hash(password) if outdated else None
    # Another visitor from here on: whoever knew the old cookie knows nothing of this one.
    visitor = signer.new(user.id)
    async with database.saving() as session:
        await session.execute(delete(FailedLogin).where(FailedLogin.name == user.name))
        if hashed is not None and (kept := await session.get(User, user.id)) is not None:
            kept.password_hash = hashed
        await signins.begin(session, user.id, visitor, where, "password", instead=instead)
    return visitor


async def sign_in_by_github(
    database: Database, signer: Signer, settings: AccountSettings, person: Person, where: Where, instead: Visitor | None
) -> Joined:
    """Begin a sign-in of a GitHub account, and make its user at the first time. Raises NotListed.

    A user is known by the number of the account, never by a name or an address: who has a user's name at GitHub gets
    another account here. Who is no longer listed loses the role that the list gave, and every sign-in.
    """
    for attempt in range(3):
        try:
            async with database.saving() as session:
                user = await _user_of(session, settings, person)
                if user is not None:
                    visitor = signer.new(user.id)
                    await signins.begin(session, user.id, visitor, where, "github", instead=instead)
            if user is None:
                raise NotListed
            return Joined(user, visitor)
        except IntegrityError:
            # The same account from another tab, or somebody who took the name meanwhile.
            if attempt == 2:
                raise
    raise AssertionError


async def link_github(database: Database, user_id: int, person: Person) -> None:
    """Let a user sign in with a GitHub account too; the role stays the user's own. Raises LinkTaken."""
    try:
        async with database.saving() as session:
            account = await session.get(GithubAccount, person.id)
            theirs = await session.scalar(select(GithubAccount.id).where(GithubAccount.user_id == user_id))
            if account is None and theirs is None:
                session.add(_account(person, user_id, gives_role=False))
            elif account is None or account.user_id != user_id:
                raise LinkTaken
    except IntegrityError:
        raise LinkTaken from None


async def unlink_github(database: Database, user_id: int) -> None:
    """Take the GitHub account from a user who has a password; who has none keeps it."""
    async with database.saving() as session:
        user = await session.get(User, user_id)
        if user is not None and user.password_hash:
            await session.execute(delete(GithubAccount).where(GithubAccount.user_id == user_id))


async def _user_of(session: AsyncSession, settings: AccountSettings, person: Person) -> User | None:
    """The user of an account, made if it is a new one; None for who may not sign in."""
    first = select(GithubAccount.id).where(GithubAccount.login == person.login.lower())
    holder = await session.scalar(first.order_by(GithubAccount.linked_at, GithubAccount.id).limit(1))
    account = await session.get(GithubAccount, person.id)
    role = role_for(person, settings, keeps_login=holder in {None, person.id})
    if account is None:
        if role is None:
            return None
        user = User(name=await _free_name(session, person.login), role=role.value)
        session.add(user)
        await session.flush()
        session.add(_account(person, user.id, gives_role=True))
        return user
    user = await session.get_one(User, account.user_id)
    if account.gives_role:
        user.role = (role or Role.USER).value
        if role is None:
            await signins.end_all(session, user.id)
            return None
    account.shown, account.email = person.login, person.email
    return user


def _account(person: Person, user_id: int, *, gives_role: bool) -> GithubAccount:
    return GithubAccount(
        id=person.id,
        user_id=user_id,
        login=person.login.lower(),
        shown=person.login,
        email=person.email,
        gives_role=gives_role,
    )


async def _free_name(session: AsyncSession, login: str) -> str:
    """A name for a new user that nobody has: the login, or the login with something behind it."""
    base = login[: MAX_NAME - 8]
    names = [base, *(f"{base}-{number}" for number in range(2, 10)), f"{base}-{secrets.token_hex(3)}"]
    taken = set(await session.scalars(select(User.name).where(User.name.in_(names))))
    return next((name for name in names if name not in taken), names[-1])


async def _named(session: AsyncSession, name: str) -> User:
    user = await session.scalar(select(User).where(User.name == clean_line(name, MAX_NAME)))
    if user is None:
        raise LookupError(f"there is no user {name!r}")
    return user
