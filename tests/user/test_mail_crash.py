"""A process that is killed with kill -9 while it sends: the mail goes out all the same, perhaps twice."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from commerce.user.v1 import recovery_pb2, recovery_pb2_grpc, user_pb2, user_pb2_grpc

from deploy.local.files import ensure_secret, make_private_folder
from deploy.local.parts.certificates import Authority, ensure_signing_key
from services.settings import RedisSettings
from tests.conftest import DatabaseHandle
from tests.support.mails import mails_in, read_mail, token_in
from tests.support.ports import free_port
from tests.support.programs import Supervisor, process_of, service_settings
from tests.support.vaults import make_key_file
from tests.support.waiting import until
from tests.user.conftest import PASSWORD, channel, some_email
from tests.user.test_smtp import MailServer, serving


@dataclass(frozen=True)
class Place:
    """Where processes of the user service run, one after the other."""

    database: DatabaseHandle
    certificates: Authority
    valkey: RedisSettings
    folder: Path

    @asynccontextmanager
    async def process(self, mail_url: str) -> AsyncIterator[tuple[Any, Any]]:
        """Run one until the block ends: the process, and a channel to it."""
        port = free_port()
        supervisor = Supervisor(make_private_folder(self.folder / f"run-{port}"))
        settings = service_settings(self.database, self.certificates.files("user"), port) | {
            "NOTIFY_SOCKET": supervisor.path,
            "COMMERCE_REDIS_URL": self.valkey.url,
            "COMMERCE_REDIS_PASSWORD_FILE": self.valkey.password_file,
            "COMMERCE_PAGE_TOKEN_KEY_FILE": self.folder / "secret",
            "COMMERCE_PERSONAL_KEY_FILE": make_key_file(self.folder),
            "COMMERCE_SIGNING_KEY_FILE": self.folder / "signing.key",
            "COMMERCE_PUBLIC_URL": "http://localhost:8080",
            "COMMERCE_MAIL_TOKEN_KEY_FILE": self.folder / "secret",
            "COMMERCE_LOGIN_KEY_FILE": self.folder / "secret",
            "COMMERCE_MAIL_URL": mail_url,
        }
        async with process_of("services.user", settings, "serve") as process:
            assert await supervisor.heard() == "READY=1"
            async with channel(port, self.certificates, "edge") as edge:
                yield process, edge

    async def pass_the_lease(self) -> None:
        owner = await asyncpg.connect(self.database.owner_dsn)
        await owner.execute("UPDATE outgoing_mails SET due_time = now() WHERE due_time IS NOT NULL")
        await owner.close()


@pytest.fixture
def place(
    database: Callable[[str], DatabaseHandle],
    certificates: Authority,
    valkey: RedisSettings,
    tmp_path: Path,
) -> Place:
    ensure_secret(tmp_path / "secret")
    ensure_signing_key(tmp_path / "signing.key")
    return Place(database("user"), certificates, valkey, tmp_path)


async def register(edge: Any, email: str) -> None:
    user = user_pb2.User(email=email)
    await user_pb2_grpc.UserServiceStub(edge).CreateUser(
        user_pb2.CreateUserRequest(user=user, password=PASSWORD)
    )


async def test_a_mail_of_a_process_that_is_killed_before_it_is_sent_is_sent_by_the_next_one(
    place: Place,
) -> None:
    email, folder = some_email(), place.folder / "mail"
    async with (
        serving(MailServer({"RCPT": None})) as server,
        place.process(f"smtp://127.0.0.1:{server.port}") as (process, edge),
    ):
        await register(edge, email)
        await server.is_hanging.wait()
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert server.taken == []
    await place.pass_the_lease()
    async with place.process(folder.as_uri()) as (_, edge):

        async def is_sent() -> bool:
            return bool(mails_in(folder, email))

        await until(is_sent)
        (mail,) = mails_in(folder, email)
        request = recovery_pb2.ConfirmEmailRequest(token=token_in(mail))
        await recovery_pb2_grpc.RecoveryServiceStub(edge).ConfirmEmail(request)


async def test_a_mail_of_a_process_that_is_killed_before_it_notes_it_is_sent_again_as_the_same(
    place: Place,
) -> None:
    async with serving(MailServer({"QUIT": None})) as server:
        url = f"smtp://127.0.0.1:{server.port}"
        async with place.process(url) as (process, edge):
            await register(edge, some_email())
            await server.is_hanging.wait()
            process.send_signal(signal.SIGKILL)
            await process.wait()
        assert len(server.taken) == 1
        await place.pass_the_lease()

        async def came_again() -> bool:
            return len(server.taken) > 1

        async with place.process(url):
            await until(came_again)
    first, second = (read_mail(envelope.content) for envelope in server.taken)  # type: ignore[arg-type]
    assert first["Message-ID"] == second["Message-ID"]
    assert token_in(first) == token_in(second)
