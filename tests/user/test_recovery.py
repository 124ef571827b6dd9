"""Confirming an address and setting a new password, as people do it: by the mails that they get."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from commerce.user.v1 import recovery_pb2, role_pb2, user_pb2

from services.storage.events import read_stream
from services.storage.postgres import Pool, connection, transaction
from services.user.mail.domain import MOST_AT_ONCE, Kind
from tests.support.mails import last_token, token_in
from tests.support.people import Person
from tests.support.refusals import ends, refusal
from tests.support.waiting import PATIENCE_SECONDS
from tests.user.conftest import MAIL_TOKENS, UserService, some_email

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW_PASSWORD = "a quite different one"
TOKEN_INVALID = ("INVALID_ARGUMENT", "MAIL_TOKEN_INVALID")
CREDENTIALS_INVALID = ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
SUBJECTS = {
    Kind.CONFIRM_EMAIL: "Commerce Mesh: Confirm your e-mail address",
    Kind.RESET_PASSWORD: "Commerce Mesh: Set a new password",
    Kind.PASSWORD_CHANGED: "Commerce Mesh: Your password was changed",
}


async def ask_for_reset(service: UserService, email: str) -> None:
    await service.recovery.RequestPasswordReset(recovery_pb2.RequestPasswordResetRequest(email=email))


async def reset(service: UserService, token: str, password: str = NEW_PASSWORD, request_id: str = "") -> None:
    request = recovery_pb2.ResetPasswordRequest(token=token, new_password=password, request_id=request_id)
    await service.recovery.ResetPassword(request)


async def confirm(service: UserService, token: str) -> None:
    await service.recovery.ConfirmEmail(recovery_pb2.ConfirmEmailRequest(token=token))


async def ask_for_confirmation(
    service: UserService, person: Person, user_id: str = "me", etag: str = ""
) -> None:
    request = recovery_pb2.RequestEmailVerificationRequest(user_id=user_id, etag=etag)
    await service.recovery.RequestEmailVerification(request, metadata=person.metadata)


async def token_to(service: UserService, email: str, kind: Kind) -> str:
    """Read the token in the last mail of a kind to somebody."""
    mails = [mail for mail in await service.mails_to(email) if mail["Subject"] == SUBJECTS[kind]]
    return token_in(mails[-1])


async def reset_token_to(service: UserService, email: str) -> str:
    await ask_for_reset(service, email)
    return await token_to(service, email, Kind.RESET_PASSWORD)


async def count_mails(service: UserService, email: str, kind: Kind) -> int:
    return [mail["Subject"] for mail in await service.mails_to(email)].count(SUBJECTS[kind])


async def me(service: UserService, person: Person) -> Any:
    return await service.users.GetUser(user_pb2.GetUserRequest(user_id="me"), metadata=person.metadata)


async def events_of(pool: Pool, user_id: str) -> list[str]:
    async with connection(pool) as conn:
        return [event.type for event in await read_stream(conn, f"user/{user_id}")]


@asynccontextmanager
async def held(pool: Pool, user_id: str) -> AsyncIterator[None]:
    """Hold an account, as any change of it does, until the block ends."""
    async with transaction(pool) as conn:
        await conn.execute("SELECT FROM users WHERE user_id = $1 FOR NO KEY UPDATE", user_id)
        yield


async def count_waiting(pool: Pool) -> int:
    """Count the transactions that wait for what others hold."""
    return int(
        await pool.fetchval(
            """
            SELECT count(*)
              FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND datname = current_database()
            """
        )
    )


async def test_registering_sends_a_mail_whose_token_confirms_the_address(
    service: UserService, pool: Pool
) -> None:
    ada = await service.register()
    before = await me(service, ada)
    assert not before.HasField("email_verify_time")
    (mail,) = await service.mails_to(ada.email)
    await confirm(service, token_in(mail))
    after = await me(service, ada)
    assert after.HasField("email_verify_time")
    assert after.etag != before.etag
    assert await events_of(pool, ada.user_id) == ["UserCreated", "EmailConfirmed"]


async def test_a_confirmation_is_good_once_and_for_a_day(service: UserService) -> None:
    ada, ben = await service.register(), await service.register()
    tokens = [await token_to(service, each.email, Kind.CONFIRM_EMAIL) for each in (ada, ben)]
    await confirm(service, tokens[0])
    assert await refusal(confirm(service, tokens[0])) == TOKEN_INVALID
    service.clock.ahead = timedelta(hours=24)
    assert await refusal(confirm(service, tokens[1])) == TOKEN_INVALID
    service.clock.ahead = timedelta(hours=23, minutes=59)
    await confirm(service, tokens[1])


async def test_an_account_gets_three_confirmations_an_hour(service: UserService) -> None:
    ada = await service.register()
    for _ in range(MOST_AT_ONCE - 1):
        await ask_for_confirmation(service, ada)
    limited = ("RESOURCE_EXHAUSTED", "TOO_MANY_MAILS")
    assert await refusal(ask_for_confirmation(service, ada)) == limited
    assert await count_mails(service, ada.email, Kind.CONFIRM_EMAIL) == MOST_AT_ONCE
    service.clock.ahead = timedelta(hours=1)
    await ask_for_confirmation(service, ada)
    assert await count_mails(service, ada.email, Kind.CONFIRM_EMAIL) == MOST_AT_ONCE + 1


async def test_requests_at_the_same_moment_are_counted_too(service: UserService) -> None:
    for _ in range(5):
        ada = await service.register()
        for _ in range(MOST_AT_ONCE - 2):
            await ask_for_confirmation(service, ada)
        answers = await asyncio.gather(
            *(ask_for_confirmation(service, ada) for _ in range(10)), return_exceptions=True
        )
        assert answers.count(None) == 1


async def test_of_several_confirmations_one_is_used_and_the_others_end_with_it(service: UserService) -> None:
    ada = await service.register()
    first = await token_to(service, ada.email, Kind.CONFIRM_EMAIL)
    await ask_for_confirmation(service, ada)
    await confirm(service, await token_to(service, ada.email, Kind.CONFIRM_EMAIL))
    assert await refusal(confirm(service, first)) == TOKEN_INVALID
    confirmed = ("FAILED_PRECONDITION", "EMAIL_ALREADY_CONFIRMED")
    assert await refusal(ask_for_confirmation(service, ada)) == confirmed


async def test_a_confirmation_is_asked_for_by_its_person_or_an_administrator_alone(
    service: UserService,
) -> None:
    ada, ben = await service.register(), await service.register()
    not_found = ("NOT_FOUND", "USER_NOT_FOUND")
    assert await refusal(ask_for_confirmation(service, ben, ada.user_id)) == not_found
    mismatch = ("ABORTED", "ETAG_MISMATCH")
    assert await refusal(ask_for_confirmation(service, ada, etag="past")) == mismatch
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    of_ada = recovery_pb2.RequestEmailVerificationRequest(user_id=ada.user_id)
    await service.recovery.RequestEmailVerification(of_ada, metadata=admin)
    assert await count_mails(service, ada.email, Kind.CONFIRM_EMAIL) == 2
    own = service.recovery.RequestEmailVerification(
        recovery_pb2.RequestEmailVerificationRequest(user_id="me"), metadata=admin
    )
    assert await refusal(own) == ("INVALID_ARGUMENT", "EMAIL_RESERVED")


async def test_a_reset_sets_the_password_ends_all_sessions_and_confirms_the_address(
    service: UserService, pool: Pool
) -> None:
    ada = await service.register()
    other = await service.log_in(ada.email)
    await ask_for_reset(service, ada.email.upper())
    await reset(service, await token_to(service, ada.email, Kind.RESET_PASSWORD))
    assert await refusal(service.create_session(ada.email)) == CREDENTIALS_INVALID
    again = await service.create_session(ada.email, NEW_PASSWORD)
    for session in (ada, other):
        assert (await refusal(service.refresh(session.refresh_token)))[1] == "REFRESH_TOKEN_INVALID"
        # By it services hear that the session's access tokens are good no more.
        async with connection(pool) as conn:
            told = await read_stream(conn, f"session/{session.session_id}")
        assert [event.type for event in told] == ["SessionEnded"]
    reasons = await pool.fetch(
        "SELECT DISTINCT end_reason FROM sessions WHERE user_id = $1 AND end_time IS NOT NULL", ada.user_id
    )
    assert [row["end_reason"] for row in reasons] == ["PASSWORD_CHANGED"]
    assert await events_of(pool, ada.user_id) == ["UserCreated", "EmailConfirmed", "PasswordChanged"]
    # Of those who are logged in, too, nobody goes on with what was issued before.
    await ends(lambda: me(service, ada))
    now = Person(ada.user_id, again.tokens.access_token)
    assert (await me(service, now)).HasField("email_verify_time")
    assert await count_mails(service, ada.email, Kind.PASSWORD_CHANGED) == 1


async def test_a_reset_lets_in_whom_a_guesser_has_shut_out(service: UserService) -> None:
    ada = await service.register()
    for _ in range(10):
        assert await refusal(service.create_session(ada.email, "a wrong guess")) == CREDENTIALS_INVALID
    assert (await refusal(service.create_session(ada.email)))[1] == "LOGIN_THROTTLED"
    await reset(service, await reset_token_to(service, ada.email))
    await service.create_session(ada.email, NEW_PASSWORD)


async def test_a_disabled_account_may_be_reset_and_stays_disabled(service: UserService) -> None:
    ada = await service.register()
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    user = user_pb2.User(user_id=ada.user_id, disabled=True)
    await service.users.UpdateUser(user_pb2.UpdateUserRequest(user=user), metadata=admin)
    await reset(service, await reset_token_to(service, ada.email))
    disabled = ("PERMISSION_DENIED", "ACCOUNT_DISABLED")
    assert await refusal(service.create_session(ada.email, NEW_PASSWORD)) == disabled


async def test_a_reset_is_good_once_and_for_half_an_hour(service: UserService) -> None:
    ada = await service.register()
    token = await reset_token_to(service, ada.email)
    service.clock.ahead = timedelta(minutes=30)
    assert await refusal(reset(service, token)) == TOKEN_INVALID
    service.clock.ahead = timedelta(minutes=29)
    await reset(service, token)
    assert await refusal(reset(service, token, "a third password")) == TOKEN_INVALID
    await service.create_session(ada.email, NEW_PASSWORD)


async def test_a_reset_whose_answer_was_lost_is_answered_the_same_again(
    service: UserService, pool: Pool
) -> None:
    ada, request_id = await service.register(), str(uuid4())
    token = await reset_token_to(service, ada.email)
    await asyncio.gather(*(reset(service, token, request_id=request_id) for _ in range(3)))
    await reset(service, token, request_id=request_id)
    assert (await events_of(pool, ada.user_id)).count("PasswordChanged") == 1
    again = reset(service, token, "a third horse, and battery", request_id)
    assert await refusal(again) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert await refusal(reset(service, token)) == TOKEN_INVALID
    await service.create_session(ada.email, NEW_PASSWORD)


async def test_of_resets_at_the_same_moment_one_wins(service: UserService, pool: Pool) -> None:
    for _ in range(3):
        ada = await service.register()
        token = await reset_token_to(service, ada.email)
        passwords = [f"{NEW_PASSWORD} {number}" for number in range(4)]
        # Hashes are made one after the other: without this they would not meet.
        async with asyncio.timeout(PATIENCE_SECONDS), held(pool, ada.user_id):
            calls = [asyncio.ensure_future(reset(service, token, each)) for each in passwords]
            while await count_waiting(pool) < len(calls):  # noqa: ASYNC110  PostgreSQL tells nobody
                await asyncio.sleep(0.01)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        won = [each for each, outcome in zip(passwords, outcomes, strict=True) if outcome is None]
        assert len(won) == 1, outcomes
        lost = [await refusal(outcome) for outcome in outcomes if outcome is not None]
        assert set(lost) == {TOKEN_INVALID}
        await service.create_session(ada.email, won[0])
        assert (await events_of(pool, ada.user_id)).count("PasswordChanged") == 1


async def test_one_of_several_resets_makes_the_others_void_also_those_not_sent_yet(
    service: UserService,
) -> None:
    ada = await service.register()
    first = await reset_token_to(service, ada.email)
    second = await reset_token_to(service, ada.email)
    await ask_for_reset(service, ada.email)
    await reset(service, second)
    assert await refusal(reset(service, first, "a third password")) == TOKEN_INVALID
    assert await count_mails(service, ada.email, Kind.RESET_PASSWORD) == 2


async def test_a_reset_makes_confirmations_void(service: UserService) -> None:
    ada = await service.register()
    confirmation = await token_to(service, ada.email, Kind.CONFIRM_EMAIL)
    await reset(service, await reset_token_to(service, ada.email))
    assert await refusal(confirm(service, confirmation)) == TOKEN_INVALID


async def test_another_password_makes_a_reset_void_whoever_set_it(service: UserService, pool: Pool) -> None:
    ada = await service.register()
    token = await reset_token_to(service, ada.email)
    await ask_for_reset(service, ada.email)
    another = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"
    await pool.execute("UPDATE users SET password_hash = $2 WHERE user_id = $1", ada.user_id, another)
    assert await refusal(reset(service, token)) == TOKEN_INVALID
    # Nor is the one sent that was asked for before.
    assert await count_mails(service, ada.email, Kind.RESET_PASSWORD) == 1


async def test_a_token_is_good_for_its_own_purpose_person_and_address_alone(
    service: UserService, pool: Pool
) -> None:
    ada, ben = await service.register(), await service.register()
    confirmation = await token_to(service, ada.email, Kind.CONFIRM_EMAIL)
    token = await reset_token_to(service, ada.email)
    of_ben = await reset_token_to(service, ben.email)
    assert await refusal(reset(service, confirmation)) == TOKEN_INVALID
    assert await refusal(confirm(service, token)) == TOKEN_INVALID
    mixed = base64.urlsafe_b64encode(
        base64.urlsafe_b64decode(of_ben)[:16] + base64.urlsafe_b64decode(token)[16:]
    ).decode()
    for forged in (
        mixed,
        token[:-4] + "AAAA",
        token[:-1],
        f"{token}AAAA",
        "A" * 64,
        "ä" * 64,
        "=" * 64,
        "\0",
    ):
        assert await refusal(reset(service, forged)) == TOKEN_INVALID, forged
    await reset(service, token)


async def test_an_unknown_address_is_answered_as_a_known_one_and_nothing_is_sent(
    service: UserService, pool: Pool
) -> None:
    nobody = some_email()
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    operators = (await service.users.GetUser(user_pb2.GetUserRequest(user_id="me"), metadata=admin)).email
    ada = await service.register()
    gone = await service.register()
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=gone.metadata)
    for email, written in ((ada.email, 1), (nobody, 1), (operators, 1), (gone.email, 1)):
        before = await pool.fetchval("SELECT count(*) FROM outgoing_mails")
        await ask_for_reset(service, email)
        assert await pool.fetchval("SELECT count(*) FROM outgoing_mails") == before + written
    for email in (nobody, operators):
        assert await service.mails_to(email) == []
    assert await count_mails(service, gone.email, Kind.RESET_PASSWORD) == 0
    assert await count_mails(service, ada.email, Kind.RESET_PASSWORD) == 1
    # What nobody has leaves no row behind.
    assert await pool.fetchval("SELECT count(*) FROM outgoing_mails WHERE user_id IS NULL") == 0


async def test_an_account_has_three_resets_at_once_however_often_they_are_asked_for(
    service: UserService, pool: Pool
) -> None:
    ada = await service.register()
    await asyncio.gather(*(ask_for_reset(service, ada.email) for _ in range(20)))
    assert await count_mails(service, ada.email, Kind.RESET_PASSWORD) == MOST_AT_ONCE
    await ask_for_reset(service, ada.email)
    assert await count_mails(service, ada.email, Kind.RESET_PASSWORD) == MOST_AT_ONCE
    kept = "SELECT count(*) FROM outgoing_mails WHERE user_id = $1 AND kind = 'RESET_PASSWORD'"
    assert await pool.fetchval(kept, ada.user_id) == MOST_AT_ONCE
    # Whoever asked for those, the next one comes when they are good no more.
    service.clock.ahead = timedelta(minutes=29)
    await ask_for_reset(service, ada.email)
    assert await count_mails(service, ada.email, Kind.RESET_PASSWORD) == MOST_AT_ONCE
    service.clock.ahead = timedelta(minutes=30)
    await ask_for_reset(service, ada.email)
    assert await count_mails(service, ada.email, Kind.RESET_PASSWORD) == MOST_AT_ONCE + 1


async def mails_like(service: UserService, name: str) -> int:
    """Send what waits, and count the mails to a name with any tag."""
    await service.mails_to("")
    return sum(str(mail["To"]).startswith(name) for mail in service.all_mails())


async def close(service: UserService, person: Person) -> None:
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=person.metadata)


async def test_who_registers_again_and_again_with_anothers_address_fills_no_mailbox(
    service: UserService,
) -> None:
    name, domain = some_email().split("@")
    for number in range(MOST_AT_ONCE + 2):
        for address in (f"{name}@{domain}", f"{name.upper()}+{number}@{domain}"):
            stranger = await service.register(address)
            await ask_for_reset(service, address)
            await service.mails_to(address)
            await close(service, stranger)
    assert await mails_like(service, name) + await mails_like(service, name.upper()) == 2 * MOST_AT_ONCE


async def test_whose_mail_was_one_too_many_asks_for_another_an_hour_later(service: UserService) -> None:
    name, domain = some_email().split("@")
    for number in range(MOST_AT_ONCE):
        await service.register(f"{name}+{number}@{domain}")
        await service.mails_to("")
    ada = await service.register(f"{name}@{domain}")
    assert await service.mails_to(ada.email) == []
    assert await refusal(ask_for_confirmation(service, ada)) == ("RESOURCE_EXHAUSTED", "TOO_MANY_MAILS")
    service.clock.ahead = timedelta(hours=1)
    await ask_for_confirmation(service, ada)
    await confirm(service, await token_to(service, ada.email, Kind.CONFIRM_EMAIL))


async def test_a_stranger_with_a_tag_takes_no_reset_from_who_has_confirmed(service: UserService) -> None:
    ada = await service.register()
    await confirm(service, await token_to(service, ada.email, Kind.CONFIRM_EMAIL))
    tagged = ada.email.replace("@", "+1@")
    await service.register(tagged)
    for _ in range(MOST_AT_ONCE):
        await ask_for_reset(service, tagged)
    await reset(service, await reset_token_to(service, ada.email))


async def test_a_closed_account_takes_its_mails_and_tokens_with_it(service: UserService, pool: Pool) -> None:
    ada = await service.register()
    token = await reset_token_to(service, ada.email)
    await ask_for_reset(service, ada.email)
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=ada.metadata)
    assert await refusal(reset(service, token)) == TOKEN_INVALID
    left = await pool.fetchval("SELECT count(*) FROM outgoing_mails WHERE user_id = $1", ada.user_id)
    assert left == 0
    assert await count_mails(service, ada.email, Kind.RESET_PASSWORD) == 1


async def test_a_forged_token_costs_no_password_hash(
    service: UserService, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr("argon2.PasswordHasher.hash", lambda _, password: hashed.append(password))
    assert await refusal(reset(service, "A" * 64)) == TOKEN_INVALID
    assert hashed == []
    ada_email = some_email()
    monkeypatch.undo()
    await service.register(ada_email)
    await ask_for_reset(service, ada_email)
    await reset(service, await last_token(pool, MAIL_TOKENS, ada_email, Kind.RESET_PASSWORD))


async def test_a_password_of_nine_characters_is_refused_and_the_token_stays_good(
    service: UserService,
) -> None:
    ada = await service.register()
    token = await reset_token_to(service, ada.email)
    assert await refusal(reset(service, token, "too short")) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    await reset(service, token)


async def test_no_method_answers_with_anything(service: UserService) -> None:
    request = recovery_pb2.RequestPasswordResetRequest(email=some_email())
    answer = await service.recovery.RequestPasswordReset(request)
    assert answer.SerializeToString() == b""


@pytest.mark.parametrize("password", ["password123", "{email}", "Some Body Else"])
async def test_a_password_that_is_guessed_first_is_refused_and_the_token_stays_good(
    service: UserService, password: str
) -> None:
    email = some_email()
    await service.register(email, display_name="Some Body Else")
    token = await reset_token_to(service, email)
    refused = await refusal(reset(service, token, password.format(email=email)))
    assert refused == ("INVALID_ARGUMENT", "PASSWORD_TOO_COMMON")
    await reset(service, token)


async def test_an_operator_is_told_how_many_mails_wait_and_since_when(
    service: UserService, pool: Pool
) -> None:
    async def queue() -> recovery_pb2.MailQueue:
        answer: recovery_pb2.MailQueue = await service.operator_recovery.GetMailQueue(
            recovery_pb2.GetMailQueueRequest()
        )
        return answer

    # Other tests leave mails that could not be sent.
    await pool.execute("DELETE FROM outgoing_mails")
    ada = await service.register()
    waiting = await queue()
    assert waiting.waiting_count == 1
    assert waiting.HasField("oldest_create_time")
    await service.mails_to(ada.email)
    assert await queue() == recovery_pb2.MailQueue()
    refused = service.recovery.GetMailQueue(recovery_pb2.GetMailQueueRequest())
    assert await refusal(refused) == ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")
