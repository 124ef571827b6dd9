"""Methods that want a recent log-in, and how a session has one again."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from commerce.user.v1 import auth_pb2, role_pb2, second_factor_pb2, user_pb2

from services.rpc.policy import policies
from tests.support.people import Person
from tests.support.refusals import error_of, refusal
from tests.user.conftest import PASSWORD, UserService
from tests.user.test_second_factor import REQUIRED, code_now, confirm_address, turn_on

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

STEP_UP = ("UNAUTHENTICATED", "STEP_UP_REQUIRED")
Call = Callable[[UserService, Person], Awaitable[Any]]


async def enrol(service: UserService, person: Person) -> Any:
    await confirm_address(service, person)
    request = second_factor_pb2.EnrolTotpRequest()
    return await service.second_factor.EnrolTotp(request, metadata=person.metadata)


def remove(service: UserService, person: Person) -> Awaitable[Any]:
    request = second_factor_pb2.RemoveTotpRequest(user_id="me")
    call: Awaitable[Any] = service.second_factor.RemoveTotp(request, metadata=person.metadata)
    return call


def close(service: UserService, person: Person) -> Awaitable[Any]:
    request = user_pb2.DeleteUserRequest(user_id="me")
    call: Awaitable[Any] = service.users.DeleteUser(request, metadata=person.metadata)
    return call


async def of_long_ago(service: UserService, person: Person) -> Person:
    """The same person, with a session that logged in six minutes ago and was refreshed just now."""
    await service.fetchval(
        """
        UPDATE sessions
           SET auth_time = now() - INTERVAL '6 minutes'
         WHERE session_id = $1::text::uuid
        """,
        person.session_id,
    )
    tokens = (await service.refresh(person.refresh_token)).tokens
    return replace(person, token=tokens.access_token, refresh_token=tokens.refresh_token)


async def reauthenticate(
    service: UserService, person: Person, password: str = PASSWORD, **codes: str
) -> Person:
    request = auth_pb2.ReauthenticateRequest(password=password, **codes)
    answer = await service.auth.Reauthenticate(request, metadata=person.metadata)
    return replace(person, token=answer.access_token)


@pytest.mark.parametrize("call", [enrol, remove, close], ids=lambda each: each.__name__)
async def test_an_old_log_in_is_asked_for_again_and_then_good(service: UserService, call: Call) -> None:
    old = await of_long_ago(service, await service.register())
    error = await error_of(call(service, old))
    assert (error.code, error.reason) == STEP_UP
    assert error.metadata["max_age_seconds"] == "300"
    await call(service, await reauthenticate(service, old))


async def test_the_refusal_says_what_is_missing_in_the_words_of_rfc_9470(service: UserService) -> None:
    old = await of_long_ago(service, await service.register())
    call = service.second_factor.EnrolTotp(second_factor_pb2.EnrolTotpRequest(), metadata=old.metadata)
    trailing = dict(await call.trailing_metadata() or ())
    assert 'error="insufficient_user_authentication"' in trailing["www-authenticate"]
    assert trailing["www-authenticate"].endswith("max_age=300")


async def test_a_refresh_is_no_log_in(service: UserService) -> None:
    old = await of_long_ago(service, await service.register())
    tokens = (await service.refresh(old.refresh_token)).tokens
    assert await refusal(remove(service, replace(old, token=tokens.access_token))) == STEP_UP


async def test_roles_and_what_is_anothers_want_a_recent_log_in_and_ones_name_does_not(
    service: UserService,
) -> None:
    service.clock.ahead = -timedelta(minutes=6)
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    service.clock.ahead = timedelta()
    old = await of_long_ago(service, await service.register())
    roles = user_pb2.User(user_id=old.user_id, roles=[role_pb2.ROLE_ADMIN])
    request = user_pb2.UpdateUserRequest(user=roles)
    assert await refusal(service.users.UpdateUser(request, metadata=admin)) == STEP_UP
    end = auth_pb2.EndSessionsRequest(user_id=old.user_id, keep_current=True)
    assert await refusal(service.auth.EndSessions(end, metadata=admin)) == STEP_UP
    name = user_pb2.UpdateUserRequest(user=user_pb2.User(user_id="me", display_name="Ada"))
    await service.users.UpdateUser(name, metadata=old.metadata)
    await service.auth.EndSessions(end, metadata=old.metadata)


async def test_a_session_shows_its_second_factor_again_too(service: UserService) -> None:
    person = await service.register()
    secret, _ = await turn_on(service, person)
    assert await refusal(reauthenticate(service, person)) == REQUIRED
    again = await reauthenticate(service, person, totp_code=code_now(service, secret))
    assert service.claims(again.token)["amr"] == ["pwd", "otp", "mfa"]


async def test_a_wrong_password_is_told_in_words_of_its_own_and_counted(service: UserService) -> None:
    person = await service.register()
    for n in range(10):
        wrong = await error_of(reauthenticate(service, person, f"wrong {n}"))
        assert (wrong.code, wrong.reason) == ("INVALID_ARGUMENT", "PASSWORD_WRONG")
        assert [each.field for each in wrong.violations] == ["password"]
    assert (await refusal(reauthenticate(service, person)))[1] == "LOGIN_THROTTLED"
    # Strangers' and this session's failures are apart: its person logs in elsewhere.
    await service.log_in(person.email)


async def test_every_method_that_wants_a_recent_log_in_says_so() -> None:
    wanting = {
        name.rpartition("/")[2] for name, each in policies().items() if each.step_up_seconds is not None
    }
    assert wanting == {"DeleteUser", "EnrolTotp", "ConfirmTotp", "RemoveTotp", "UpdateUser", "EndSessions"}


async def test_a_device_that_logged_in_before_is_not_kept_out_by_strangers(service: UserService) -> None:
    person = await service.register()
    mark = (await service.create_session(person.email)).device_token
    wrong = auth_pb2.CreateSessionRequest(email=person.email, password="wrong")
    for _ in range(10):
        await refusal(service.auth.CreateSession(wrong))
    throttled = ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")
    assert await refusal(service.create_session(person.email)) == throttled
    other = await service.register()
    anothers = (await service.create_session(other.email)).device_token
    for token in (anothers, mark[:-4] + "AAAA", "%%%"):
        request = auth_pb2.CreateSessionRequest(email=person.email, password=PASSWORD, device_token=token)
        assert await refusal(service.auth.CreateSession(request)) == throttled
    request = auth_pb2.CreateSessionRequest(email=person.email, password=PASSWORD, device_token=mark)
    await service.auth.CreateSession(request)


@pytest.mark.parametrize("ends", ["ChangePassword", "EndSessions"])
async def test_a_mark_ends_with_the_sessions_of_its_person(service: UserService, ends: str) -> None:
    person, password = await service.register(), PASSWORD
    old = (await service.create_session(person.email)).device_token
    if ends == "ChangePassword":
        password = "a wholly other password"
        change = auth_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password=password)
        await service.auth.ChangePassword(change, metadata=person.metadata)
    else:
        end = auth_pb2.EndSessionsRequest(user_id="me")
        await service.auth.EndSessions(end, metadata=person.metadata)
    new = (await service.create_session(person.email, password)).device_token
    for _ in range(10):
        await refusal(service.create_session(person.email, "wrong"))
    requests = [
        auth_pb2.CreateSessionRequest(email=person.email, password=password, device_token=mark)
        for mark in (old, new)
    ]
    assert (await refusal(service.auth.CreateSession(requests[0])))[1] == "LOGIN_THROTTLED"
    await service.auth.CreateSession(requests[1])
