"""AuthService through a real server and channel, with the real interceptor, PostgreSQL and Valkey."""

import asyncio
import base64
from datetime import timedelta
from uuid import UUID, uuid4

import jwt
import pytest
from commerce.user.v1 import auth_pb2, role_pb2, user_pb2

from deploy.local.shop.clients import bearer
from services.rpc.policy import scopes_of_role
from services.storage.postgres import Pool
from tests.support.refusals import error_of, refusal
from tests.support.tokens import AUDIENCE, ISSUER
from tests.user.conftest import PASSWORD, UserService, some_email

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

INVALID = ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
REUSED = ("UNAUTHENTICATED", "REFRESH_TOKEN_REUSED")
SESSION_NOT_FOUND = ("NOT_FOUND", "SESSION_NOT_FOUND")


async def test_who_logs_in_gets_a_session_and_tokens_that_work(service: UserService) -> None:
    registered = await service.register()
    answer = await service.create_session(registered.email.upper())
    assert (answer.session.user_id, answer.tokens.token_type) == (registered.user_id, "Bearer")
    assert answer.tokens.expires_in_seconds == 900
    claims = service.claims(answer.tokens.access_token)
    assert (claims["sub"], claims["sid"]) == (registered.user_id, answer.session.session_id)
    assert set(claims["scope"].split()) == scopes_of_role(role_pb2.ROLE_CUSTOMER)
    assert claims["exp"] - claims["iat"] == 900
    me = await service.users.GetUser(
        user_pb2.GetUserRequest(user_id="me"), metadata=bearer(answer.tokens.access_token)
    )
    assert me.user_id == registered.user_id


async def test_a_wrong_password_and_an_unknown_email_get_one_answer(service: UserService) -> None:
    person = await service.register()
    wrong = await error_of(service.create_session(person.email, "wrong password"))
    unknown = await error_of(service.create_session(some_email()))
    assert (wrong.code, wrong.reason) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    assert (wrong.code, wrong.reason, wrong.message) == (unknown.code, unknown.reason, unknown.message)


async def test_an_operators_account_does_not_log_in(service: UserService) -> None:
    await service.operator_metadata(role_pb2.ROLE_ADMIN)
    for password in (PASSWORD, "x"):
        call = service.create_session("admin@operator.commerce.local", password)
        assert await refusal(call) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")


async def test_control_characters_in_an_email_are_refused(service: UserService) -> None:
    assert await refusal(service.create_session("nul\0@example.com")) == (
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
    )


async def test_ten_failures_close_the_door_to_an_account_also_for_its_owner(service: UserService) -> None:
    person, other = await service.register(), await service.register()
    failures = await asyncio.gather(
        *(service.create_session(person.email, f"wrong {n}") for n in range(12)), return_exceptions=True
    )
    reasons = [(await error_of(each)).reason for each in failures if isinstance(each, BaseException)]
    assert sorted(reasons) == ["CREDENTIALS_INVALID"] * 10 + ["LOGIN_THROTTLED"] * 2
    refused = await error_of(service.create_session(person.email.upper()))
    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")
    assert refused.retry_after_seconds is not None
    assert 0 < refused.retry_after_seconds <= 900
    await service.log_in(other.email)


async def test_an_unknown_email_is_throttled_like_a_known_one(service: UserService) -> None:
    email = some_email()
    for _ in range(10):
        assert await refusal(service.create_session(email)) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    assert await refusal(service.create_session(email)) == ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")


async def test_a_log_in_forgets_the_failures_before_it(service: UserService) -> None:
    person = await service.register()
    for _ in range(3):
        for _ in range(9):
            await refusal(service.create_session(person.email, "wrong password"))
        await service.log_in(person.email)


async def test_losing_valkey_stops_no_log_in(service_without_valkey: UserService) -> None:
    person = await service_without_valkey.register()
    for _ in range(11):
        call = service_without_valkey.create_session(person.email, "wrong password")
        assert await refusal(call) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    await service_without_valkey.log_in(person.email)


async def test_a_refresh_gives_a_new_pair_and_prolongs_the_session(service: UserService) -> None:
    person = await service.register()
    service.clock.ahead = timedelta(days=29)
    answer = await service.refresh(person.refresh_token)
    assert answer.session.session_id == person.session_id
    assert answer.session.last_use_time.ToDatetime() > answer.session.create_time.ToDatetime()
    assert answer.tokens.refresh_token != person.refresh_token
    service.clock.ahead = timedelta(days=58)
    again = await service.refresh(answer.tokens.refresh_token)
    assert service.claims(again.tokens.access_token)["sid"] == person.session_id


async def test_a_refresh_token_expires_after_thirty_days(service: UserService) -> None:
    person = await service.register()
    service.clock.ahead = timedelta(days=30, seconds=1)
    assert await refusal(service.refresh(person.refresh_token)) == INVALID


async def test_a_token_used_twice_ends_its_session_for_both(service: UserService) -> None:
    person = await service.register()
    successor = (await service.refresh(person.refresh_token)).tokens.refresh_token
    assert await refusal(service.refresh(person.refresh_token)) == REUSED
    assert await refusal(service.refresh(successor)) == INVALID
    reason = await service.fetchval(
        "SELECT end_reason FROM sessions WHERE session_id = $1::text::uuid", person.session_id
    )
    assert reason == "TOKEN_REUSED"


async def test_reuse_ends_no_other_session(service: UserService) -> None:
    person = await service.register()
    other = await service.log_in(person.email)
    await service.refresh(person.refresh_token)
    await refusal(service.refresh(person.refresh_token))
    await service.refresh(other.refresh_token)


async def test_of_ten_at_once_at_most_one_gets_a_successor_and_the_family_is_dead(
    service: UserService,
) -> None:
    for _ in range(5):
        person = await service.register()
        answers = await asyncio.gather(
            *(service.refresh(person.refresh_token) for _ in range(10)), return_exceptions=True
        )
        won = [each for each in answers if not isinstance(each, BaseException)]
        lost = {await refusal(each) for each in answers if isinstance(each, BaseException)}
        assert (len(won), lost) == (1, {REUSED})
        assert await refusal(service.refresh(won[0].tokens.refresh_token)) == INVALID
        successors = await service.fetchval(
            "SELECT count(*) FROM refresh_tokens WHERE session_id = $1::text::uuid", person.session_id
        )
        assert successors == 2


async def test_an_unknown_refresh_token_is_refused(service: UserService) -> None:
    assert await refusal(service.refresh("x" * 43)) == INVALID


async def test_the_database_holds_no_refresh_token(service: UserService) -> None:
    person = await service.register()
    hashes = await service.fetchval(
        "SELECT array_agg(token_hash) FROM refresh_tokens WHERE session_id = $1::text::uuid",
        person.session_id,
    )
    assert [len(each) for each in hashes] == [32]
    assert base64.urlsafe_b64decode(person.refresh_token + "=") not in hashes


async def test_people_see_their_live_sessions_newest_first_in_pages(service: UserService) -> None:
    first = await service.register()
    second, third = await service.log_in(first.email), await service.log_in(first.email)
    await end(service, first.token, second.session_id)
    page = await service.auth.ListSessions(auth_pb2.ListSessionsRequest(page_size=1), metadata=first.metadata)
    rest = await service.auth.ListSessions(
        auth_pb2.ListSessionsRequest(user_id="me", page_size=1, page_token=page.next_page_token),
        metadata=first.metadata,
    )
    ids = [session.session_id for session in (*page.sessions, *rest.sessions)]
    assert ids == [third.session_id, first.session_id]
    assert not rest.next_page_token


async def test_a_page_token_opens_no_other_persons_list(service: UserService) -> None:
    ada, bea = await service.register(), await service.register()
    await service.log_in(ada.email)
    page = await service.auth.ListSessions(auth_pb2.ListSessionsRequest(page_size=1), metadata=ada.metadata)
    call = service.auth.ListSessions(
        auth_pb2.ListSessionsRequest(page_token=page.next_page_token), metadata=bea.metadata
    )
    assert await refusal(call) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_logging_out_ends_the_session_once(service: UserService) -> None:
    person = await service.register()
    other = await service.log_in(person.email)
    await end(service, person.token, person.session_id)
    assert await refusal(service.refresh(person.refresh_token)) == INVALID
    assert await refusal(end(service, other.token, person.session_id)) == SESSION_NOT_FOUND


async def test_another_persons_session_is_answered_as_one_that_does_not_exist(service: UserService) -> None:
    ada, bea = await service.register(), await service.register()
    of_another = await error_of(end(service, ada.token, bea.session_id))
    of_nobody = await error_of(end(service, ada.token, str(uuid4())))
    assert (of_another.code, of_another.reason) == SESSION_NOT_FOUND
    assert of_another.message == of_nobody.message
    await service.refresh(bea.refresh_token)


async def test_an_administrator_ends_anyones_session(service: UserService) -> None:
    person = await service.register()
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    await service.auth.DeleteSession(
        auth_pb2.DeleteSessionRequest(session_id=person.session_id), metadata=admin
    )
    assert await refusal(service.refresh(person.refresh_token)) == INVALID


async def test_the_published_key_verifies_a_token(service: UserService) -> None:
    person = await service.register()
    (key,) = (await service.auth.GetJwks(auth_pb2.GetJwksRequest())).keys
    header = jwt.get_unverified_header(person.token)
    assert (header["kid"], header["typ"], header["alg"]) == (key.kid, "at+jwt", "EdDSA")
    fields = {"kty": key.kty, "crv": key.crv, "x": key.x, "alg": key.alg, "use": key.use}
    claims = jwt.decode(
        person.token, jwt.PyJWK(fields), algorithms=["EdDSA"], issuer=ISSUER, audience=AUDIENCE
    )
    assert claims["sub"] == person.user_id


@pytest.mark.parametrize("role", [role_pb2.ROLE_ADMIN, role_pb2.ROLE_MERCHANT])
async def test_an_operator_gets_a_token_of_a_role_for_one_account(
    service: UserService, role: role_pb2.Role
) -> None:
    request = auth_pb2.IssueOperatorTokenRequest(role=role)
    answers = await asyncio.gather(*(service.operator.IssueOperatorToken(request) for _ in range(5)))
    assert len({answer.user_id for answer in answers}) == 1
    claims = service.claims(answers[0].access_token)
    assert claims["sub"] == answers[0].user_id
    assert frozenset(claims["scope"].split()) == scopes_of_role(role)
    assert claims["exp"] - claims["iat"] == answers[0].expires_in_seconds == 900
    events = await service.fetchval(
        "SELECT array_agg(type) FROM events WHERE stream = 'user/' || $1", answers[0].user_id
    )
    assert events == ["UserCreated"]


async def test_only_an_operators_certificate_gets_an_operators_token(service: UserService) -> None:
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    request = auth_pb2.IssueOperatorTokenRequest(role=role_pb2.ROLE_ADMIN)
    for metadata in (None, admin):
        call = service.auth.IssueOperatorToken(request, metadata=metadata)
        assert await refusal(call) == ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")


async def end(service: UserService, access_token: str, session_id: str) -> None:
    request = auth_pb2.DeleteSessionRequest(session_id=session_id)
    await service.auth.DeleteSession(request, metadata=bearer(access_token))


async def test_logging_in_again_and_again_leaves_a_bounded_number_of_sessions(service: UserService) -> None:
    person = await service.register()
    await service.fetchval(
        """
        INSERT INTO sessions (user_id, create_time, last_use_time, expire_time)
        SELECT $1, now(), now(), now() + INTERVAL '30 days' FROM generate_series(1, 200)
        """,
        UUID(person.user_id),
    )
    newest = await asyncio.gather(*(service.log_in(person.email) for _ in range(5)))
    live = await service.fetchval(
        "SELECT array_agg(session_id::text) FROM sessions WHERE user_id = $1 AND end_time IS NULL",
        UUID(person.user_id),
    )
    assert len(live) == 100
    assert {each.session_id for each in newest} <= set(live)
    assert await refusal(service.refresh(person.refresh_token)) == INVALID, "the oldest ended first"
    await service.refresh(newest[0].refresh_token)


async def test_a_session_that_a_process_of_before_began_for_a_disabled_account_is_not_refreshed(
    service: UserService, pool: Pool
) -> None:
    person = await service.register()
    # Nothing but the row: such a process knows of no sessions to end.
    await pool.execute("UPDATE users SET disabled = TRUE WHERE user_id = $1", person.user_id)
    assert (await refusal(service.refresh(person.refresh_token)))[1] == "REFRESH_TOKEN_INVALID"


async def test_devices_are_forgotten_with_the_account(service: UserService, pool: Pool) -> None:
    person = await service.register()
    over = await service.log_in(person.email)
    await service.auth.DeleteSession(
        auth_pb2.DeleteSessionRequest(session_id=over.session_id), metadata=person.metadata
    )
    select = "SELECT device FROM sessions WHERE user_id = $1"
    assert all(row["device"] for row in await pool.fetch(select, person.user_id))
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=person.metadata)
    assert {row["device"] for row in await pool.fetch(select, person.user_id)} == {""}
