"""A mail server that takes connections and says nothing keeps no forge waiting."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from headsup_site import running
from pushing import commit, github, push
from sqlalchemy import select

from hub.publisher import RecordingPublisher
from web.app import read_settings
from web.db.database import Database
from web.features.headsup.models import HeadsupDelivery, HeadsupNotice
from web.services.mail.postmen import RecordingPostman, SmtpPostman
from web.services.mail.server import MailServer


async def test_hook_answers_while_the_mail_server_hangs(
    environ: dict[str, str],
    database: Database,
    publisher: RecordingPublisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    settings = read_settings(environ | {"JOBS_GRACE": "0"})
    postman = RecordingPostman()
    async with running(settings, database, publisher, postman) as site:
        await site.watch()
        hanging = SmtpPostman(MailServer("127.0.0.1", port, tls="none"), "example.org")
        monkeypatch.setattr(postman, "bring", hanging.bring)
        # More than notices are sent at a time: none is over before the last delivery is answered.
        for number in range(20):
            async with asyncio.timeout(5):
                assert await site.hook(github(push(commit(f"headsup: {number}")))) == 202
        async with asyncio.timeout(10):
            while await _found(database) < 20:
                await asyncio.sleep(0.01)
        async with database.reading() as session:
            assert set(await session.scalars(select(HeadsupNotice.state))) == {"waiting"}
    server.close()


async def _found(database: Database) -> int:
    async with database.reading() as session:
        return len(list(await session.scalars(select(HeadsupDelivery.id).where(HeadsupDelivery.state == "done"))))
