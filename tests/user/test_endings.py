"""What ends a session or changes roles ends the access tokens too, as soon as the feed has told it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import grpc
import pytest
from commerce.user.v1 import auth_pb2, role_pb2, user_pb2

from tests.support.people import Person
from tests.support.refusals import SESSION_ENDED as ENDED
from tests.support.refusals import ends, refusal
from tests.user.conftest import PASSWORD, UserService

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

OK = ("OK", "")
# Ends tokens of somebody with two sessions, called with both.
Cause = Callable[[UserService, Person, Person], Awaitable[Any]]


async def log_out(service: UserService, first: Person, second: Person) -> None:
    request = auth_pb2.DeleteSessionRequest(session_id=first.session_id)
    await service.auth.DeleteSession(request, metadata=first.metadata)


async def end_the_other(service: UserService, first: Person, second: Person) -> None:
    request = auth_pb2.DeleteSessionRequest(session_id=first.session_id)
    await service.auth.DeleteSession(request, metadata=second.metadata)


async def end_all_others(service: UserService, first: Person, second: Person) -> None:
    await service.auth.EndSessions(
        auth_pb2.EndSessionsRequest(user_id="me", keep_current=True), metadata=second.metadata
    )


async def end_all(service: UserService, first: Person, second: Person) -> None:
    await service.auth.EndSessions(auth_pb2.EndSessionsRequest(user_id="me"), metadata=second.metadata)


async def change_password(service: UserService, first: Person, second: Person) -> None:
    request = auth_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="another horse, of another")
    await service.auth.ChangePassword(request, metadata=second.metadata)


async def use_a_refresh_token_twice(service: UserService, first: Person, second: Person) -> None:
    await service.refresh(first.refresh_token)
    with pytest.raises(grpc.aio.AioRpcError):
        await service.refresh(first.refresh_token)


async def log_in_more_often_than_one_may(service: UserService, first: Person, second: Person) -> None:
    await service.fetchval(
        """
        INSERT INTO sessions (user_id, create_time, last_use_time, expire_time)
        SELECT $1, now(), now(), now() + INTERVAL '30 days' FROM generate_series(1, 98)
        """,
        UUID(first.user_id),
    )
    await service.log_in(first.email)


async def close_the_account(service: UserService, first: Person, second: Person) -> None:
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=second.metadata)


async def change_roles(service: UserService, first: Person, second: Person) -> None:
    user = user_pb2.User(user_id=first.user_id, roles=[role_pb2.ROLE_SUPPORT])
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    await service.users.UpdateUser(user_pb2.UpdateUserRequest(user=user), metadata=admin)


async def disable(service: UserService, first: Person, second: Person) -> None:
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    await service.users.UpdateUser(disabling(first, disabled=True), metadata=admin)


def disabling(person: Person, *, disabled: bool) -> user_pb2.UpdateUserRequest:
    user = user_pb2.User(user_id=person.user_id, disabled=disabled)
    return user_pb2.UpdateUserRequest(user=user, update_mask={"paths": ["disabled"]})


async def change_the_name(service: UserService, first: Person, second: Person) -> None:
    user = user_pb2.User(user_id="me", display_name="Bea")
    await service.users.UpdateUser(user_pb2.UpdateUserRequest(user=user), metadata=second.metadata)


# What becomes of the first session's token, and of the second's.
CAUSES: list[tuple[Cause, tuple[str, str], tuple[str, str]]] = [
    (log_out, ENDED, OK),
    (end_the_other, ENDED, OK),
    (end_all_others, ENDED, OK),
    (end_all, ENDED, ENDED),
    (change_password, ENDED, OK),
    (use_a_refresh_token_twice, ENDED, OK),
    (log_in_more_often_than_one_may, ENDED, OK),
    (close_the_account, ENDED, ENDED),
    (change_roles, ENDED, ENDED),
    (disable, ENDED, ENDED),
    (change_the_name, OK, OK),
]


def me(service: UserService, person: Person) -> Awaitable[Any]:
    call: Awaitable[Any] = service.users.GetUser(
        user_pb2.GetUserRequest(user_id="me"), metadata=person.metadata
    )
    return call


async def verdict(service: UserService, person: Person) -> tuple[str, str]:
    try:
        await me(service, person)
    except grpc.aio.AioRpcError as error:
        return await refusal(error)
    return OK


@pytest.mark.parametrize(
    ("cause", "first_ends", "second_ends"), CAUSES, ids=lambda each: getattr(each, "__name__", "")
)
async def test_a_token_ends_with_what_it_stands_on_and_nobody_elses_does(
    service: UserService, cause: Cause, first_ends: tuple[str, str], second_ends: tuple[str, str]
) -> None:
    first, stranger = await service.register(), await service.register()
    second = await service.log_in(first.email)
    assert [await verdict(service, each) for each in (first, second, stranger)] == [OK] * 3
    await cause(service, first, second)
    for each, becomes in ((first, first_ends), (second, second_ends)):
        if becomes == ENDED:
            await ends(partial(me, service, each))
    outcomes = [await verdict(service, each) for each in (first, second, stranger)]
    assert outcomes == [first_ends, second_ends, OK]


async def test_a_token_refreshed_after_a_change_of_roles_works_and_has_them(service: UserService) -> None:
    person = await service.register()
    await change_roles(service, person, person)
    refreshed = await service.refresh(person.refresh_token)
    token = refreshed.tokens.access_token
    assert "users.read_any" in service.claims(token)["scope"].split()
    assert await verdict(service, replace(person, token=token)) == OK


async def test_a_disabled_account_logs_in_no_more_until_it_is_enabled_again(service: UserService) -> None:
    person = await service.register()
    await disable(service, person, person)
    disabled = ("PERMISSION_DENIED", "ACCOUNT_DISABLED")
    invalid = ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    assert await refusal(service.create_session(person.email)) == disabled
    # Who does not know the password is told what everybody is.
    assert await refusal(service.create_session(person.email, "not the password")) == invalid
    assert await refusal(service.refresh(person.refresh_token)) == (
        "UNAUTHENTICATED",
        "REFRESH_TOKEN_INVALID",
    )
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    enabled = await service.users.UpdateUser(disabling(person, disabled=False), metadata=admin)
    assert (enabled.disabled, enabled.etag) == (False, "3")
    assert await verdict(service, await service.log_in(person.email)) == OK
    assert await verdict(service, person) == ENDED


async def test_nobody_but_an_administrator_disables_or_enables(service: UserService) -> None:
    person = await service.register()
    call = service.users.UpdateUser(disabling(person, disabled=True), metadata=person.metadata)
    assert await refusal(call) == ("PERMISSION_DENIED", "DISABLING_NOT_ALLOWED")
    user = user_pb2.User(email="x" + person.email, disabled=True)
    registration = service.users.CreateUser(user_pb2.CreateUserRequest(user=user, password=PASSWORD))
    assert await refusal(registration) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_no_log_in_outlives_a_disabling_at_its_moment(service: UserService) -> None:
    for _ in range(5):
        person = await service.register()
        await asyncio.gather(
            disable(service, person, person),
            *(service.log_in(person.email) for _ in range(4)),
            return_exceptions=True,
        )
        live = await service.fetchval(
            "SELECT count(*) FROM sessions WHERE user_id = $1 AND end_time IS NULL", UUID(person.user_id)
        )
        assert live == 0
