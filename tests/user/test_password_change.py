"""ChangePassword, and hashes that are replaced at a log-in, through a real server and PostgreSQL."""

import asyncio
import threading
from typing import Any
from uuid import UUID, uuid4

import argon2
import bcrypt
import pytest
from commerce.user.v1 import auth_pb2, role_pb2, user_pb2

from deploy.local.shop.clients import bearer
from services.storage.postgres import Pool, transaction
from services.user.accounts.store import get_user_for_update, strengthen_password_hash
from services.user.sessions.password_change import PasswordChange
from tests.support.net import until
from tests.support.people import Person
from tests.support.refusals import refusal
from tests.support.waiting import PATIENCE_SECONDS
from tests.user.conftest import PASSWORD, UserService, some_email
from tests.user.test_recovery import count_waiting

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW_PASSWORD = "another horse, another battery"
OLD_PASSWORD_WRONG = ("INVALID_ARGUMENT", "OLD_PASSWORD_WRONG")
CREDENTIALS_INVALID = ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
TOO_COMMON = ("INVALID_ARGUMENT", "PASSWORD_TOO_COMMON")
WEAK_HASHES = {
    "argon2id of less": argon2.PasswordHasher(memory_cost=8, time_cost=1, parallelism=1).hash(PASSWORD),
    "bcrypt": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
}

HASH_OF_ANOTHER = bcrypt.hashpw(NEW_PASSWORD.encode(), bcrypt.gensalt(4)).decode()


async def change(
    service: UserService, person: Person, old: str = PASSWORD, new: str = NEW_PASSWORD, request_id: str = ""
) -> None:
    request = auth_pb2.ChangePasswordRequest(old_password=old, new_password=new, request_id=request_id)
    await service.auth.ChangePassword(request, metadata=person.metadata)


async def hash_of(service: UserService, person: Person) -> str:
    found: str = await service.fetchval(
        "SELECT password_hash FROM users WHERE user_id = $1", UUID(person.user_id)
    )
    return found


async def give_hash(service: UserService, person: Person, password_hash: str) -> None:
    await service.fetchval(
        "UPDATE users SET password_hash = $2 WHERE user_id = $1", UUID(person.user_id), password_hash
    )


async def events_of(service: UserService, stream: str) -> list[tuple[int, str]]:
    found = await service.fetchval(
        "SELECT array_agg((version, type) ORDER BY version) FROM events WHERE stream = $1", stream
    )
    return [tuple(each) for each in found or []]


async def test_a_changed_password_is_the_one_that_logs_in(service: UserService) -> None:
    person = await service.register()
    await change(service, person)
    assert await refusal(service.create_session(person.email)) == CREDENTIALS_INVALID
    await service.create_session(person.email, NEW_PASSWORD)


async def test_a_changed_password_is_told_by_one_mail(service: UserService) -> None:
    person = await service.register()
    request_id = str(uuid4())
    await change(service, person, request_id=request_id)
    await change(service, person, request_id=request_id)
    subjects = [mail["Subject"] for mail in await service.mails_to(person.email)]
    assert subjects.count("Commerce Mesh: Your password was changed") == 1


async def test_a_changed_password_ends_all_other_sessions_and_the_log_tells(service: UserService) -> None:
    person = await service.register()
    others = [await service.log_in(person.email) for _ in range(2)]
    stranger = await service.register()
    await change(service, person)
    for other in others:
        assert await refusal(service.refresh(other.refresh_token)) == (
            "UNAUTHENTICATED",
            "REFRESH_TOKEN_INVALID",
        )
        assert await events_of(service, f"session/{other.session_id}") == [(1, "SessionEnded")]
    await service.refresh(person.refresh_token)
    await service.refresh(stranger.refresh_token)
    assert await events_of(service, f"session/{person.session_id}") == []
    told = await events_of(service, f"user/{person.user_id}")
    assert told == [(1, "UserCreated"), (2, "PasswordChanged")]
    me = await service.users.GetUser(user_pb2.GetUserRequest(user_id="me"), metadata=person.metadata)
    assert me.etag == "2"


async def test_a_wrong_old_password_changes_nothing(service: UserService) -> None:
    person = await service.register()
    before = await hash_of(service, person)
    assert await refusal(change(service, person, old="not the password")) == OLD_PASSWORD_WRONG
    assert await hash_of(service, person) == before
    assert await events_of(service, f"user/{person.user_id}") == [(1, "UserCreated")]


async def test_wrong_old_passwords_are_counted_and_shut_nobody_out_elsewhere(service: UserService) -> None:
    person = await service.register()
    for n in range(10):
        assert await refusal(change(service, person, old=f"wrong {n}")) == OLD_PASSWORD_WRONG
    assert await refusal(change(service, person)) == ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")
    await service.create_session(person.email)


async def test_a_common_password_is_refused_and_is_no_wrong_old_one(service: UserService) -> None:
    person = await service.register()
    for new in ("Password123", person.email, "1234567890") * 4:
        assert await refusal(change(service, person, new=new)) == TOO_COMMON
    await service.log_in(person.email)


async def test_nobody_registers_with_a_common_password_or_their_own_name(service: UserService) -> None:
    email = some_email()
    for password in ("PASSWORD123", email.upper(), "Augusta Ada King"):
        user = user_pb2.User(email=email, display_name="Augusta Ada King")
        call = service.users.CreateUser(user_pb2.CreateUserRequest(user=user, password=password))
        assert await refusal(call) == TOO_COMMON
    assert await service.count_users(email) == 0


async def test_an_operators_account_has_no_password_to_change(service: UserService) -> None:
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    request = auth_pb2.ChangePasswordRequest(old_password="x", new_password=NEW_PASSWORD)
    assert await refusal(service.auth.ChangePassword(request, metadata=admin)) == OLD_PASSWORD_WRONG


async def test_a_repeated_change_gets_the_first_answer_and_changes_nothing_more(service: UserService) -> None:
    person, request_id = await service.register(), str(uuid4())
    await change(service, person, request_id=request_id)
    before, later = await hash_of(service, person), await service.create_session(person.email, NEW_PASSWORD)
    await change(service, person, request_id=request_id)
    assert await hash_of(service, person) == before
    await service.refresh(later.tokens.refresh_token)
    reused = ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    again = change(service, person, new="a third horse, and battery", request_id=request_id)
    assert await refusal(again) == reused


async def test_a_retry_that_looked_before_its_first_attempt_was_done_is_answered_as_that(
    service: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, request_id = await service.register(), str(uuid4())
    await change(service, person, request_id=request_id)
    looks, is_answered = iter([False]), PasswordChange._is_answered

    async def looked_too_early(self: PasswordChange, key: Any) -> bool:
        for look in looks:
            return look
        return await is_answered(self, key)

    monkeypatch.setattr(PasswordChange, "_is_answered", looked_too_early)
    await change(service, person, request_id=request_id)
    told = await events_of(service, f"user/{person.user_id}")
    assert told == [(1, "UserCreated"), (2, "PasswordChanged")]
    await service.create_session(person.email, NEW_PASSWORD)


async def test_of_two_changes_at_once_one_password_stands(service: UserService) -> None:
    for _ in range(5):
        person = await service.register()
        passwords = [f"{n} horses and their batteries" for n in range(3)]
        outcomes: list[Any] = await asyncio.gather(
            *(change(service, person, new=each) for each in passwords), return_exceptions=True
        )
        won = [each for each, outcome in zip(passwords, outcomes, strict=True) if outcome is None]
        lost = [await refusal(outcome) for outcome in outcomes if outcome is not None]
        assert len(won) == 1
        assert set(lost) <= {OLD_PASSWORD_WRONG, ("ABORTED", "VERSION_CONFLICT")}
        await service.create_session(person.email, won[0])


async def test_no_log_in_by_the_old_password_outlives_its_change(service: UserService) -> None:
    for _ in range(5):
        person = await service.register()
        outcomes: list[Any] = await asyncio.gather(
            change(service, person),
            *(service.log_in(person.email) for _ in range(6)),
            return_exceptions=True,
        )
        assert outcomes[0] is None
        live = await service.fetchval(
            "SELECT array_agg(session_id::text) FROM sessions WHERE user_id = $1 AND end_time IS NULL",
            UUID(person.user_id),
        )
        assert live == [person.session_id]


async def test_no_log_in_begins_whose_password_is_changed_while_it_waits(
    service: UserService, pool: Pool
) -> None:
    person = await service.register()
    async with transaction(pool) as conn:
        await get_user_for_update(conn, UUID(person.user_id))
        waiting = asyncio.ensure_future(service.create_session(person.email))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await count_waiting(pool) == 0:  # noqa: ASYNC110  it is in the database
                await asyncio.sleep(0.005)
        await strengthen_password_hash(conn, UUID(person.user_id), HASH_OF_ANOTHER)
    assert await refusal(waiting) == CREDENTIALS_INVALID


@pytest.mark.parametrize("kind", WEAK_HASHES)
async def test_a_weak_hash_is_replaced_at_a_log_in(service: UserService, kind: str) -> None:
    person = await service.register()
    await give_hash(service, person, WEAK_HASHES[kind])
    assert await refusal(service.create_session(person.email, "not the password")) == CREDENTIALS_INVALID
    assert await hash_of(service, person) == WEAK_HASHES[kind]
    await asyncio.gather(*(service.log_in(person.email) for _ in range(4)))
    assert (await hash_of(service, person)).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await service.log_in(person.email)
    assert await events_of(service, f"user/{person.user_id}") == [(1, "UserCreated")]


async def test_a_weak_hash_that_is_replaced_puts_back_no_old_password(service: UserService) -> None:
    for weak in WEAK_HASHES.values():
        person = await service.register()
        await give_hash(service, person, weak)
        outcomes: list[Any] = await asyncio.gather(
            *(service.log_in(person.email) for _ in range(3)), change(service, person), return_exceptions=True
        )
        if outcomes[-1] is None:
            assert await refusal(service.create_session(person.email)) == CREDENTIALS_INVALID
            await service.create_session(person.email, NEW_PASSWORD)
        else:
            assert await refusal(outcomes[-1]) == ("ABORTED", "VERSION_CONFLICT")
            await service.create_session(person.email)


async def test_a_slip_at_the_end_of_a_long_password_is_not_made_the_password(service: UserService) -> None:
    person, long = (
        await service.register(),
        "many words that are seventy-two bytes, ".ljust(72, "x") + " and the rest",
    )
    await give_hash(service, person, bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode())
    await service.create_session(person.email, long + "slip")
    await service.create_session(person.email, long)


async def test_a_hash_that_cannot_be_read_is_refused_by_the_schema_and_at_the_log_in(
    service: UserService,
) -> None:
    person = await service.register()
    for unreadable in ("$argon2id$", "$argon2id$v=19$m=999999,t=99,p=1$c2FsdHNhbHQ$aGFzaA"):
        with pytest.raises(Exception, match="users_password_hash_check"):
            await give_hash(service, person, unreadable)
    # Its lanes want more memory than it names.
    await give_hash(service, person, "$argon2id$v=19$m=1,t=1,p=9$c2FsdHNhbHQ$aGFzaA")
    assert await refusal(service.create_session(person.email)) == CREDENTIALS_INVALID


async def test_a_good_hash_stays(service: UserService) -> None:
    person = await service.register()
    before = await hash_of(service, person)
    await service.log_in(person.email)
    assert await hash_of(service, person) == before


async def test_the_schema_lets_in_no_hash_that_a_log_in_could_wait_for_all_day(service: UserService) -> None:
    person = await service.register()
    for password_hash in ("$2b$13$" + "a" * 53, "$2b$12$short", "plain", "$2x$12$" + "a" * 53):
        with pytest.raises(Exception, match="users_password_hash_check"):
            await give_hash(service, person, password_hash)
    await give_hash(service, person, "$2b$12$" + "a" * 53)


async def test_whoever_guesses_passwords_of_another_shop_holds_up_nobody_else(
    service: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, *guessed = [await service.register() for _ in range(4)]
    for person in guessed:
        await give_hash(service, person, WEAK_HASHES["bcrypt"])
    begun, may_end, check = threading.Event(), threading.Event(), bcrypt.checkpw

    def slow(password: bytes, password_hash: bytes) -> bool:
        begun.set()
        # Of any cost: it ends after the honest log-in, or never.
        return may_end.wait(PATIENCE_SECONDS) and check(password, password_hash)

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    guesses = [
        asyncio.ensure_future(
            service.auth.CreateSession(
                auth_pb2.CreateSessionRequest(email=person.email, password=f"cafe\u0301 {n}"),
                metadata=(("x-forwarded-for", "192.0.2.1"),),
            )
        )
        for person in guessed
        for n in range(8)
    ]
    await until(begun.is_set)
    try:
        await service.log_in(honest.email)
        assert not any(each.done() for each in guesses)
    finally:
        may_end.set()
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert {await refusal(each) for each in outcomes} == {CREDENTIALS_INVALID}


async def end_sessions(service: UserService, token: str, user_id: str = "me", **fields: Any) -> int:
    request = auth_pb2.EndSessionsRequest(user_id=user_id, **fields)
    answer = await service.auth.EndSessions(request, metadata=bearer(token))
    return int(answer.ended_count)


async def test_all_sessions_end_or_all_but_the_callers(service: UserService) -> None:
    person, stranger = await service.register(), await service.register()
    others = [await service.log_in(person.email) for _ in range(3)]
    assert await end_sessions(service, person.token, keep_current=True) == 3
    assert await end_sessions(service, person.token, keep_current=True) == 0
    await service.refresh(person.refresh_token)
    assert await end_sessions(service, person.token) == 1
    for each in (person, *others):
        assert await events_of(service, f"session/{each.session_id}") == [(1, "SessionEnded")]
    await service.refresh(stranger.refresh_token)


async def test_only_administrators_end_anothers_sessions(service: UserService) -> None:
    ada, bea = await service.register(), await service.register()
    not_found = ("NOT_FOUND", "USER_NOT_FOUND")
    assert await refusal(end_sessions(service, ada.token, user_id=bea.user_id)) == not_found
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    token = admin[0][1].removeprefix("Bearer ")
    assert await end_sessions(service, token, user_id=bea.user_id) == 1
    await service.refresh(ada.refresh_token)


async def test_a_session_is_listed_with_the_program_that_began_it(service: UserService) -> None:
    person = await service.register()
    listed = await service.auth.ListSessions(auth_pb2.ListSessionsRequest(), metadata=person.metadata)
    (session,) = listed.sessions
    assert session.device.startswith("grpc-python-asyncio/")
    assert session.last_use_time == session.create_time
