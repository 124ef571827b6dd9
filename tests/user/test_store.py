"""What the user service's schema and statements promise, on a real PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.storage.events import read_stream
from services.storage.forgetting import Forgetting
from services.storage.postgres import Pool, connection, transaction
from services.user.accounts import domain, store
from services.user.accounts.domain import OpenedUser, Role, User
from services.user.oauth import store as oauth_store
from services.user.oauth.domain import ClientKind
from services.user.privacy.domain import Sealed
from services.user.privacy.sealing import sealed_if_due
from services.user.sessions import store as session_store
from services.user.sessions.domain import EndReason, Session, SessionNotFound
from services.user.sessions.over_store import forget_sessions, forget_used_tokens
from tests.support.vaults import VAULT
from tests.support.waiting import until
from tests.user.conftest import insert_account, some_email
from tests.user.test_recovery import count_waiting

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MONTH = timedelta(days=30)
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"


async def add_user(pool: Pool, email: str) -> OpenedUser:
    async with transaction(pool) as conn:
        user, event = domain.register(await store.new_user_id(conn), email, "Ada", NOW)
        return await insert_account(conn, user, event, HASH)


async def add_session(pool: Pool, user: User, token_hash: bytes) -> Session:
    async with transaction(pool) as conn:
        await store.get_user_for_update(conn, user.user_id)
        session = await session_store.insert_session(conn, user.user_id, now=NOW, expire_time=NOW + MONTH)
        await session_store.insert_refresh_token(
            conn, session.session_id, token_hash, predecessor_hash=None, now=NOW
        )
    return session


async def delete(pool: Pool, user: User) -> None:
    async with transaction(pool) as conn:
        await store.delete_user(conn, *domain.close(user, NOW))


async def test_an_account_reads_back_as_it_was_written(pool: Pool) -> None:
    user = await add_user(pool, some_email())
    async with connection(pool) as conn:
        assert VAULT.opened(await store.get_user(conn, user.user_id)) == user


async def test_an_email_is_taken_whatever_its_case(pool: Pool) -> None:
    email = some_email()
    await add_user(pool, email)
    with pytest.raises(domain.EmailTaken):
        await add_user(pool, email.upper())


async def test_a_closed_account_gives_its_email_free(pool: Pool) -> None:
    email = some_email()
    first = await add_user(pool, email)
    await delete(pool, first)
    assert (await add_user(pool, email)).user_id != first.user_id


async def test_every_change_is_in_the_log_without_personal_data(pool: Pool) -> None:
    user = await add_user(pool, some_email())
    async with transaction(pool) as conn:
        change = domain.UserChange(display_name="Bea", roles=(Role.SUPPORT,))
        updated, event = domain.update(user, change, by_administrator=True, reads_email=True, now=NOW)
        assert event is not None
        assert isinstance(user.personal, Sealed)
        updated = updated.with_personal(VAULT.seal_again(user.personal, updated.opened))
        await store.update_user(conn, updated, event)
    await delete(pool, updated)
    async with connection(pool) as conn:
        events = await read_stream(conn, f"user/{user.user_id}")
    assert [(each.version, each.type, each.data) for each in events] == [
        (1, "UserCreated", {"user_id": str(user.user_id), "roles": ["ROLE_CUSTOMER"]}),
        (
            2,
            "UserUpdated",
            {
                "user_id": str(user.user_id),
                "changed_fields": ["display_name", "roles"],
                "roles": ["ROLE_SUPPORT"],
                "disabled": False,
            },
        ),
        (3, "UserDeleted", {"user_id": str(user.user_id)}),
    ]


async def test_a_closed_account_is_not_found_and_its_sessions_have_ended(pool: Pool) -> None:
    user = await add_user(pool, some_email())
    session = await add_session(pool, user, uuid4().bytes * 2)
    await delete(pool, user)
    async with transaction(pool) as conn:
        reason, now = EndReason.ACCOUNT_CLOSED, NOW + timedelta(seconds=1)
        assert await session_store.end_sessions(conn, user.user_id, reason, keep=None, now=now) == 1
        await session_store.forget_devices(conn, user.user_id)
    async with connection(pool) as conn:
        with pytest.raises(domain.UserNotFound):
            await store.get_user(conn, user.user_id)
        with pytest.raises(SessionNotFound):
            await session_store.get_session(conn, session.session_id, now=NOW)
        email = user.canonical_email
        assert await store.find_credentials(conn, email, VAULT.digests(email)) is None
        reason = await conn.fetchval(
            "SELECT end_reason FROM sessions WHERE session_id = $1", session.session_id
        )
    assert reason == "ACCOUNT_CLOSED"


async def test_no_session_begins_on_an_account_that_is_being_closed(pool: Pool) -> None:
    user = await add_user(pool, some_email())
    async with transaction(pool) as closing:
        await store.delete_user(closing, *domain.close(user, NOW))
        beginning = asyncio.create_task(add_session(pool, user, uuid4().bytes * 2))
        await asyncio.sleep(0.1)
        assert not beginning.done(), "it waits for the account"
    with pytest.raises(domain.UserNotFound):
        await beginning


async def test_there_is_one_operator_account_a_role_however_many_ask(pool: Pool) -> None:
    async def ask() -> UUID:
        async with transaction(pool) as conn:
            user_id = await store.new_user_id(conn)
            user, event = domain.open_operator_account(user_id, Role.MERCHANT, NOW)
            user = await sealed_if_due(conn, VAULT, user)
            digests = VAULT.digests(user.canonical_email)
            return (await store.ensure_operator_account(conn, user, event, digests)).user_id

    ids = set(await asyncio.gather(*(ask() for _ in range(10))))
    assert len(ids) == 1
    async with connection(pool) as conn:
        events = await read_stream(conn, f"user/{ids.pop()}")
    assert [each.type for each in events] == ["UserCreated"]


async def test_lists_go_from_new_to_old_in_pages(pool: Pool) -> None:
    made = [(await add_user(pool, some_email())).user_id for _ in range(3)]
    async with connection(pool) as conn:
        first = await store.list_users(conn, before=store.AFTER_ALL, limit=2)
        second = await store.list_users(conn, before=first[-1].user_id, limit=1)
    assert [user.user_id for user in (*first, *second)] == made[::-1]


async def test_a_session_that_ended_keeps_its_first_reason(pool: Pool) -> None:
    session = await add_session(pool, await add_user(pool, some_email()), uuid4().bytes * 2)
    async with connection(pool) as conn:
        await session_store.end_session(conn, session.session_id, EndReason.TOKEN_REUSED, now=NOW)
        await session_store.end_session(conn, session.session_id, EndReason.LOGGED_OUT, now=NOW + MONTH)
        row = await conn.fetchrow(
            "SELECT end_reason, end_time FROM sessions WHERE session_id = $1", session.session_id
        )
    assert row is not None
    assert tuple(row) == ("TOKEN_REUSED", NOW)


async def test_the_schema_allows_one_successor_of_a_token(pool: Pool) -> None:
    first, second, third = (uuid4().bytes * 2 for _ in range(3))
    session = await add_session(pool, await add_user(pool, some_email()), first)
    async with transaction(pool) as conn:
        await session_store.exchange_refresh_token(
            conn, session, old_hash=first, new_hash=second, now=NOW, expire_time=NOW + MONTH
        )
        await conn.execute("UPDATE refresh_tokens SET use_time = $1", NOW)
    with pytest.raises(asyncpg.UniqueViolationError, match="refresh_tokens_successor_key"):
        async with transaction(pool) as conn:
            await session_store.insert_refresh_token(
                conn, session.session_id, third, predecessor_hash=first, now=NOW
            )


async def test_the_schema_allows_one_unused_token_in_a_session(pool: Pool) -> None:
    first = uuid4().bytes * 2
    session = await add_session(pool, await add_user(pool, some_email()), first)
    with pytest.raises(asyncpg.UniqueViolationError, match="refresh_tokens_unused_key"):
        async with transaction(pool) as conn:
            await session_store.insert_refresh_token(
                conn, session.session_id, uuid4().bytes * 2, predecessor_hash=first, now=NOW
            )


async def test_a_successor_stays_in_its_family(pool: Pool) -> None:
    user = await add_user(pool, some_email())
    token, other_token = uuid4().bytes * 2, uuid4().bytes * 2
    await add_session(pool, user, token)
    other = await add_session(pool, user, other_token)
    async with connection(pool) as conn:
        await conn.execute("UPDATE refresh_tokens SET use_time = $1", NOW)
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="refresh_tokens_predecessor_fkey"):
            await session_store.insert_refresh_token(
                conn, other.session_id, uuid4().bytes * 2, predecessor_hash=token, now=NOW
            )


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"roles": []}, "users_roles_check"),
        ({"roles": ["ROLE_OWNER"]}, "users_roles_check"),
        ({"password_hash": None}, "users_operator_check"),
        ({"password_hash": "hunter2"}, "users_password_hash_check"),
        # Nothing personal as plain text, and nothing left out but of a person who is erased.
        ({"email": "a@example.com", "display_name": "", "sealed": None}, "users_plain_check"),
        ({"email": "a@example.com"}, "users_personal_check"),
        ({"display_name": ""}, "users_personal_check"),
        ({"sealed": None}, "users_personal_check"),
        ({"sealed": b"x" * 32}, "users_sealed_display_name_check"),
        ({"sealed": b"x" * 288}, "users_sealed_email_check"),
        ({"sealed": b"x" * 834}, "users_sealed_display_name_check"),
        ({"version": 0}, "users_version_check"),
        ({"operator_role": "ROLE_ADMIN", "password_hash": None}, "users_operator_roles_check"),
    ],
)
async def test_the_schema_refuses_what_must_never_be(
    pool: Pool, changes: dict[str, Any], constraint: str
) -> None:
    row = {
        "email": None,
        "display_name": None,
        # Both columns.
        "sealed": b"x" * 40,
        "roles": ["ROLE_CUSTOMER"],
        "password_hash": HASH,
        "operator_role": None,
        "version": 1,
    } | changes
    async with connection(pool) as conn:
        with pytest.raises(asyncpg.CheckViolationError, match=constraint):
            await conn.execute(
                """
                INSERT INTO users (user_id, email, display_name, sealed_email, sealed_display_name, roles,
                                   password_hash, operator_role, version, create_time, update_time)
                VALUES (uuidv7(), $1, $2, $3, $3, $4, $5, $6, $7, now(), now())
                """,
                *row.values(),
            )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users",
        "UPDATE users SET email = 'a@b.c'",
        "UPDATE users SET canonical_email = 'a@b.c'",
        "UPDATE users SET display_name = 'Ada'",
        "UPDATE users SET operator_role = NULL",
        "UPDATE email_indexes SET digest = digest",
        "UPDATE data_keys SET user_id = NULL",
        "UPDATE outgoing_mails SET user_id = NULL",
        "UPDATE outgoing_mails SET expire_time = now()",
        "UPDATE outgoing_mails SET password_mark = NULL",
        "INSERT INTO outgoing_mails (kind, create_time, attempt_count) VALUES ('RESET_PASSWORD', now(), 0)",
        "UPDATE counted_mails SET count_time = now()",
        "UPDATE sessions SET user_id = NULL",
        "UPDATE refresh_tokens SET predecessor_hash = NULL",
        "TRUNCATE users CASCADE",
    ],
)
async def test_the_service_may_not_do_what_it_never_does(pool: Pool, statement: str) -> None:
    async with connection(pool) as conn:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)


async def log_in(pool: Pool, user: User, *tokens: bytes, expire_time: datetime) -> UUID:
    """Begin a session; each token is exchanged for the next one, all long ago."""
    long_ago = datetime.now(UTC) - 3 * MONTH
    async with transaction(pool) as conn:
        session = await session_store.insert_session(
            conn, user.user_id, now=long_ago, expire_time=expire_time
        )
        await session_store.insert_refresh_token(
            conn, session.session_id, tokens[0], predecessor_hash=None, now=long_ago
        )
        for old, new in pairwise(tokens):
            await session_store.exchange_refresh_token(
                conn, session, old, new, now=long_ago, expire_time=expire_time
            )
    return session.session_id


async def test_used_tokens_and_sessions_that_are_over_are_forgotten_after_their_time(pool: Pool) -> None:
    user, now, minute = await add_user(pool, some_email()), datetime.now(UTC), timedelta(minutes=1)
    old, young = now - MONTH - minute, now - MONTH + minute
    first, second, third, fourth, *others = (uuid4().bytes * 2 for _ in range(9))
    alive = await log_in(pool, user, first, second, third, expire_time=now + MONTH)
    await log_in(pool, user, *others[:2], expire_time=old)
    expired_lately = await log_in(pool, user, others[2], expire_time=young)
    ended = await log_in(pool, user, others[3], expire_time=now + MONTH)
    async with transaction(pool) as conn:
        await session_store.end_session(conn, ended, EndReason.LOGGED_OUT, now=old)
        session = await session_store.get_session(conn, alive, now=now)
        await session_store.exchange_refresh_token(
            conn, session, third, fourth, now=young, expire_time=now + MONTH
        )
    forgetting = Forgetting(pool, [forget_used_tokens, forget_sessions])
    while await forgetting.forget():
        pass
    async with connection(pool) as conn:
        sessions = await conn.fetch("SELECT session_id FROM sessions WHERE user_id = $1", user.user_id)
        tokens = await conn.fetch("SELECT token_hash FROM refresh_tokens WHERE session_id = $1", alive)
        assert await session_store.is_refresh_token_used(conn, third)
    assert {row["session_id"] for row in sessions} == {alive, expired_lately}
    assert {row["token_hash"] for row in tokens} == {third, fourth}


async def test_the_service_cannot_delete_a_live_session_or_its_tokens(pool: Pool) -> None:
    user, now = await add_user(pool, some_email()), datetime.now(UTC)
    await log_in(pool, user, uuid4().bytes * 2, expire_time=now + MONTH)
    async with connection(pool) as conn:
        await conn.execute("DELETE FROM refresh_tokens")
        await conn.execute("DELETE FROM sessions")
        assert await conn.fetchval(
            "SELECT count(*) FROM sessions JOIN refresh_tokens USING (session_id) WHERE user_id = $1",
            user.user_id,
        )


async def test_who_ends_a_clients_sessions_and_who_ends_a_persons_do_not_lock_each_other(pool: Pool) -> None:
    user = await add_user(pool, some_email())
    async with transaction(pool) as conn:
        client = await oauth_store.insert_client(
            conn,
            name="A client",
            kind=ClientKind.PUBLIC,
            secret_hash=None,
            redirect_uris=["https://shop.example/"],
            scopes=["openid"],
            now=NOW,
        )
        live: Any = {"now": NOW, "expire_time": NOW + MONTH, "client_id": client.client_id, "scopes": ["x"]}
        ids = [(await session_store.insert_session(conn, user.user_id, **live)).session_id for _ in range(3)]

    async def end_persons() -> int:
        async with transaction(pool) as conn:
            await store.get_user_for_update(conn, user.user_id)
            reason = EndReason.LOGGED_OUT
            return await session_store.end_sessions(conn, user.user_id, reason, keep=None, now=NOW)

    async def end_clients() -> int:
        async with transaction(pool) as conn:
            return await session_store.end_client_sessions(conn, client.client_id, limit=10, now=NOW)

    async with transaction(pool) as conn:
        # Both wait for the one in the middle, with what they hold by then: not each other's.
        await conn.execute("SELECT FROM sessions WHERE session_id = $1 FOR UPDATE", ids[1])
        ending = [asyncio.create_task(each()) for each in (end_persons, end_clients)]
        await until(lambda: both_wait(pool))
    assert sorted(await asyncio.gather(*ending)) == [0, 3]


async def both_wait(pool: Pool) -> bool:
    return await count_waiting(pool) == 2
