"""A site that watches ada/engine, does its jobs, and keeps the mails it sends."""

from __future__ import annotations

import asyncio
import email
import email.policy
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from pushing import SECRET
from sqlalchemy import select, text

from web.app import create_app
from web.db.database import Database
from web.db.tables import now
from web.features.headsup.forms import RuleForm
from web.features.headsup.models import HeadsupAddress, HeadsupDelivery, HeadsupProject
from web.features.headsup.setting_up import By, new_project, save_rule
from web.features.headsup.settings import HeadsupSettings
from web.pages import keys
from web.services.mail.addresses import Address
from web.services.mail.jobs import POST_OFFICE, PostOffice
from web.services.mail.postmen import RecordingPostman
from web.settings import Settings

URL = "https://fanfare.example.org"

#: For `parametrize("site_url", BOTH, indirect=True)`.
BOTH = ["sqlite", "postgresql"]


@dataclass
class Site:
    """The site, from outside and from inside."""

    client: TestClient[Any, Any]
    app: Any
    database: Database
    postman: Any
    projects: list[int] = field(default_factory=list)

    async def hook(self, sent: dict[str, Any], project: int | None = None) -> int:
        """Send a delivery; the status of the answer, whose words are kept in `said`."""
        path = "/headsup/hook" if project is None else f"/headsup/hook/{project}"
        if isinstance(sent["data"], bytes) and len(sent["data"]) > 1_000_000:
            sent = sent | {"data": io.BytesIO(sent["data"])}
        async with self.client.post(path, **sent) as response:
            self.said = (await response.text()).strip()
            return response.status

    async def told(self, sent: dict[str, Any], project: int | None = None) -> int:
        """The same, and wait until all that follows of it is done."""
        status = await self.hook(sent, project)
        await self.settle()
        return status

    async def settle(self) -> None:
        """Wait until no job is left that is due."""
        async with asyncio.timeout(20):
            while await self._unfinished():
                await asyncio.sleep(0.01)

    async def _unfinished(self) -> int:
        async with self.database.engine.connect() as connection:
            found = await connection.scalar(
                text(
                    "select count(*) from jobs where finished is null and key is null"
                    " and (owner is not null or error is null or due < :now)"
                ),
                {"now": self.app[keys.runner].clock() + 1},
            )
        return int(found or 0)

    def mails(self) -> list[EmailMessage]:
        """The heads-ups that were sent, and forget them; what asks for a yes is no heads-up."""
        sent = [email.message_from_bytes(raw, policy=email.policy.default) for raw, _, _ in self.postman.mails]
        self.postman.mails.clear()
        return [each for each in sent if not str(each["Subject"]).startswith("Do you want")]

    async def watch(
        self,
        name: str = "ada/engine",
        *,
        to: str = "team@example.org",
        secret: str = SECRET,
        says_yes: bool = True,
        **fields: Any,
    ) -> int:
        """Make a project with one rule; its id. Who gets it has said yes."""
        by = By(None, "Ada", URL)
        async with self.database.saving() as session:
            project = await new_project(session, HeadsupSettings(), by, name, origin=URL, secret=secret)
            project_id = project.id
        await self.rule(project_id, to=to, says_yes=says_yes, **fields)
        self.projects.append(project_id)
        await self.settle()
        self.postman.mails.clear()
        return project_id

    async def rule(self, project_id: int, *, to: str = "team@example.org", says_yes: bool = True, **fields: Any) -> int:
        """Give a project another rule."""
        ticked = {name: "true" if value is True else str(value) for name, value in fields.items()}
        form = RuleForm.read({"send_to": to, **ticked})
        assert not form.errors
        async with self.database.saving() as session:
            project = await session.get_one(HeadsupProject, project_id)
            rule, _ = await save_rule(
                session, self.app[keys.jobs], HeadsupSettings(), By(None, "Ada", URL), project, form
            )
            if says_yes:
                for address in await session.scalars(
                    select(HeadsupAddress).where(HeadsupAddress.confirmed_at.is_(None))
                ):
                    address.confirmed_at = now()
            return rule.id

    async def deliveries(self) -> list[HeadsupDelivery]:
        async with self.database.reading() as session:
            return list(await session.scalars(select(HeadsupDelivery).order_by(HeadsupDelivery.id)))

    async def outcome(self) -> str:
        """What became of the last delivery."""
        return (await self.deliveries())[-1].outcome

    async def get(self, model: Any, id: int) -> Any:
        async with self.database.reading() as session:
            return await session.get_one(model, id)


@asynccontextmanager
async def running(
    settings: Settings, database: Database, publisher: Any, postman: Any = None, **options: Any
) -> AsyncIterator[Site]:
    """A site that does its jobs. postman: who takes its mails."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    app = create_app(settings, publisher, database=database, hasher=hasher, with_jobs=True, **options)
    postman = postman or RecordingPostman()
    app[POST_OFFICE] = PostOffice(postman, Address("noreply", "example.org", "Fanfare"))
    server = TestServer(app)
    await server.start_server()
    async with TestClient(server) as client:
        yield Site(client, app, database, postman)
    await server.close()
