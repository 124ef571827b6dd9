"""Codes and decisions that wait: void by whatever ends their person's sessions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from commerce.user.v1 import auth_pb2, role_pb2, user_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from tests.support.people import Person
from tests.support.refusals import refusal
from tests.user.conftest import UserService
from tests.user.test_oauth import CONSENT_OVER, GRANT_INVALID, Flow, new_flow
from tests.user.test_password_change import HASH_OF_ANOTHER, give_hash
from tests.user.test_second_factor import enrol, turn_on

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def end_all(service: UserService, person: Person) -> None:
    await service.auth.EndSessions(auth_pb2.EndSessionsRequest(user_id="me"), metadata=person.metadata)


async def end_others(service: UserService, person: Person) -> None:
    request = auth_pb2.EndSessionsRequest(user_id="me", keep_current=True)
    await service.auth.EndSessions(request, metadata=person.metadata)


async def disable_and_enable(service: UserService, person: Person) -> None:
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    for disabled in (True, False):
        user = user_pb2.User(user_id=person.user_id, disabled=disabled)
        request = user_pb2.UpdateUserRequest(user=user, update_mask=FieldMask(paths=["disabled"]))
        await service.users.UpdateUser(request, metadata=admin)


async def add_second_factor(service: UserService, person: Person) -> None:
    await turn_on(service, person)


@pytest.mark.parametrize(
    "change", [end_all, end_others, disable_and_enable, add_second_factor], ids=lambda each: each.__name__
)
async def test_what_ends_sessions_ends_codes_and_decisions_that_wait(
    service: UserService, change: Callable[[UserService, Person], Awaitable[None]]
) -> None:
    flow, person = await new_flow(service), await service.register()
    code, consent = await flow.code(person), await flow.consent(person)
    await change(service, person)
    assert await refusal(flow.exchange(code)) == GRANT_INVALID
    assert await refusal(flow.decide(consent)) == CONSENT_OVER


async def test_a_code_without_the_second_factor_is_void_once_there_is_one(service: UserService) -> None:
    """However it came to the account: here as a process of another version would write it."""
    flow, person = await new_flow(service), await service.register()
    code = await flow.code(person)
    await enrol(service, person)
    turned_on = "UPDATE totp_secrets SET confirm_time = now() WHERE user_id = $1"
    await service.fetchval(turned_on, person.user_id)
    assert await refusal(flow.exchange(code)) == GRANT_INVALID


async def test_a_code_is_void_once_the_account_has_another_password(service: UserService) -> None:
    """However it came to the account, as above."""
    flow, person = await new_flow(service), await service.register()
    code = await flow.code(person)
    await give_hash(service, person, HASH_OF_ANOTHER)
    assert await refusal(flow.exchange(code)) == GRANT_INVALID


async def exchanged(flow: Flow, code: str) -> Any:
    return (await asyncio.gather(flow.exchange(code), return_exceptions=True))[0]


async def test_no_exchange_beside_the_end_of_all_sessions_leaves_one(service: UserService) -> None:
    flow, person = await new_flow(service), await service.register()
    for _ in range(5):
        codes = [await flow.code(person) for _ in range(3)]
        await asyncio.gather(end_others(service, person), *(exchanged(flow, code) for code in codes))
        left = await service.fetchval(
            "SELECT count(*) FROM sessions WHERE user_id = $1 AND client_id IS NOT NULL AND end_time IS NULL",
            person.user_id,
        )
        assert left == 0
