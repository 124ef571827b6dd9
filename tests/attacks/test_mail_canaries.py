"""The token of a mail, its address and its person's name stand in the mail alone, as they can be read."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import asyncpg
import pytest
from commerce.user.v1 import auth_pb2, recovery_pb2, user_pb2
from google.protobuf.message import Message
from redis.asyncio import Redis

from deploy.local.parts import postgres
from tests.attacks.canaries import Canaries
from tests.attacks.test_canaries import log_files, written
from tests.support.calls import Caller, Target, open_caller
from tests.support.mails import mails_in, token_in
from tests.support.stack import Stack
from tests.support.waiting import until
from tests.support.world import AUTH, PASSWORD, RECOVERY, USERS

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

# Calls that nobody else in this session makes.
ADDRESS = "127.0.0.9"
TRACE = "3cf92f3577b34da6a3ce929d0e0e4737"


async def test_no_token_and_no_address_of_a_mail_stands_in_a_log_or_in_the_database(guarded: Stack) -> None:
    canaries = Canaries()
    email = f"{canaries.word('the address')}@example.com"
    name = canaries.word("the name")
    async with open_caller(Target.of(guarded.place), source=ADDRESS) as caller:
        tokens = await live_by_mail(guarded, caller, email, name)
        await call(
            caller, RECOVERY + "RequestPasswordReset", recovery_pb2.RequestPasswordResetRequest(email=email)
        )
        unused = token_in(await mail_to(guarded, email, count=5))
        last = await caller.send(
            "POST",
            "/v1/users:confirmEmail",
            json_body={"token": unused},
            headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        )
        assert last.reason == "MAIL_TOKEN_INVALID", "it is one for a new password"
    await written(guarded.place.logs / "user.log", TRACE)
    logs = {path: path.read_text(encoding="utf-8", errors="replace") for path in log_files(guarded)}
    told = "".join(logs.values())
    for words in (RECOVERY + "ResetPassword", "a mail was sent", RECOVERY + "ConfirmEmail"):
        assert words in told, f"the logs do not tell of {words}"
    for path, text in logs.items():
        assert canaries.found_in(text) == [], path
        assert not [token for token in (*tokens, unused) if token in text], path
    await check_tables(guarded, canaries, [*tokens, unused])
    wanted = [each for token in (*tokens, unused) for each in (token.encode(), mac_of(token))]
    # The account, its sessions and all of this in the write-ahead log.
    wanted.append(canaries.prefix.encode())
    assert await asyncio.to_thread(files_with, guarded, wanted) == []
    assert canaries.found_in(await everything_in_valkey(guarded)) == []


async def live_by_mail(stack: Stack, caller: Caller, email: str, name: str) -> list[str]:
    """Register, confirm the address and set a new password; the tokens of it."""
    user = user_pb2.User(email=email, display_name=name)
    await call(caller, USERS + "CreateUser", user_pb2.CreateUserRequest(user=user, password=PASSWORD))
    confirmation = token_in(await mail_to(stack, email, count=1))
    await call(caller, RECOVERY + "ConfirmEmail", recovery_pb2.ConfirmEmailRequest(token=confirmation))
    asked = recovery_pb2.RequestPasswordResetRequest(email=email)
    await call(caller, RECOVERY + "RequestPasswordReset", asked)
    first = token_in(await mail_to(stack, email, count=2))
    await call(caller, RECOVERY + "RequestPasswordReset", asked)
    second = token_in(await mail_to(stack, email, count=3))
    reset = recovery_pb2.ResetPasswordRequest(token=second, new_password=f"{PASSWORD}!")
    await call(caller, RECOVERY + "ResetPassword", reset)
    assert (await mail_to(stack, email, count=4))["Subject"].endswith("Your password was changed")
    wrong = auth_pb2.CreateSessionRequest(email=f"x{email}", password="wrong")
    assert (await caller.call_rest(AUTH + "CreateSession", wrong)).reason == "CREDENTIALS_INVALID"
    session = auth_pb2.CreateSessionRequest(email=email, password=f"{PASSWORD}!")
    await call(caller, AUTH + "CreateSession", session)
    return [confirmation, first, second]


async def call(caller: Caller, method: str, request: Message) -> None:
    outcome = await caller.call_rest(method, request)
    assert outcome.code == "OK", outcome


async def mail_to(stack: Stack, email: str, *, count: int) -> EmailMessage:
    """Wait until somebody has been sent so many mails, and read the last one."""

    async def have_come() -> bool:
        return len(mails_in(stack.place.mail, email)) >= count

    await until(have_come)
    return mails_in(stack.place.mail, email)[-1]


async def check_tables(stack: Stack, canaries: Canaries, tokens: list[str]) -> None:
    """Read every row of every table, as a dump has it."""
    async with superuser(stack) as connection:
        tables = await connection.fetch("SELECT relname FROM pg_stat_user_tables")
        assert {"outgoing_mails", "events", "users"} <= {row["relname"] for row in tables}
        for (table,) in tables:
            rows = await connection.fetch(f"SELECT t::text AS row FROM {table} t")  # noqa: S608  a table's name
            text = "\n".join(row["row"] for row in rows)
            assert not [token for token in tokens if token in text or mac_of(token).hex() in text], table
            assert canaries.found_in(text) == [], table


@asynccontextmanager
async def superuser(stack: Stack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    cluster = postgres.Cluster(stack.data_dir, stack.place.ports["postgres"])
    password = stack.place.secret("postgres").read_text(encoding="utf-8").strip()
    name = postgres.database_name("user")
    connection = await asyncpg.connect(cluster.dsn(postgres.SUPERUSER, password, name))
    try:
        # What is still in memory comes to the files too.
        await connection.execute("CHECKPOINT")
        yield connection
    finally:
        await connection.close()


async def everything_in_valkey(stack: Stack) -> str:
    """Read every key and what is serialized under it."""
    password = stack.place.secret("valkey").read_text(encoding="utf-8").strip()
    async with Redis(port=stack.place.ports["valkey"], password=password) as valkey:
        keys = [key async for key in valkey.scan_iter()]
        assert keys, "the failures of a log-in are counted there"
        values = [await valkey.dump(key) or b"" for key in keys]
    return "\n".join(each.decode("latin-1") for each in (*keys, *values))


def files_with(stack: Stack, wanted: list[bytes]) -> list[Path]:
    """Name the files of the mesh that hold one of these, but for the mails themselves."""
    files = [path for path in stack.data_dir.rglob("*") if path.is_file() and path.parent != stack.place.mail]
    assert any("pg_wal" in str(path) for path in files)
    return [path for path in files if any(each in content_of(path) for each in wanted)]


def content_of(path: Path) -> bytes:
    # PostgreSQL removes files while it runs.
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def mac_of(token: str) -> bytes:
    """The part of a token that is secret: the other one is its row's id."""
    return base64.urlsafe_b64decode(token)[16:]
