"""One person never sees another's, and cannot tell another's from nobody's."""

import asyncio
import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from commerce.order.v1 import order_pb2
from commerce.user.v1 import auth_pb2, user_pb2
from google.protobuf.descriptor import Descriptor

from services.rpc.policy import policies
from tests.contract.access_table import NAMING
from tests.support.calls import Outcome, descriptor
from tests.support.world import (
    AUTH,
    ORDERS,
    PASSWORD,
    USERS,
    World,
    final_order,
    log_in,
    new_product,
    order_of,
)

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

# Fields that name something which belongs to somebody, and in which methods.
OWNED_ID_FIELDS = {"user_id", "order_id", "session_id"}
# The one place where such a field is not a name but something the server sets.
SERVER_OWNED = {USERS + "CreateUser"}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")


async def test_every_method_with_an_id_of_somebodys_is_tried() -> None:
    with_ids = {
        method
        for method, policy in policies().items()
        if policy.exposed and OWNED_ID_FIELDS & set(_fields(descriptor(method).input_type))
    }
    assert with_ids - SERVER_OWNED == set(NAMING)


def _fields(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        yield field.name
        if field.message_type is not None and field.message_type.full_name.startswith("commerce."):
            yield from _fields(field.message_type)


@pytest.mark.parametrize("method", NAMING)
async def test_anothers_id_is_answered_as_one_that_does_not_exist(world: World, method: str) -> None:
    of_anna = {
        AUTH + "DeleteSession": world.anna.session_id,
        **{ORDERS + name: world.order_id for name in ("GetOrder", "CancelOrder", "ListOrderEvents")},
    }.get(method, world.anna.user_id)
    theirs, nobodys = await asyncio.gather(_all(world, method, of_anna), _all(world, method, str(uuid4())))
    for one, other in zip(theirs, nobodys, strict=True):
        assert one.code == ("OK" if method == ORDERS + "ListOrders" else "NOT_FOUND"), one
        assert world.anna.user_id not in str(one.responses)
        assert (one.verdict, one.message) == (other.verdict, other.message)
        assert _without_ids(one.text) == _without_ids(other.text)


async def _all(world: World, method: str, named: str) -> tuple[Outcome, ...]:
    request, token = NAMING[method](named), world.boris.token
    return await asyncio.gather(
        world.caller.call_rest(method, request, token),
        world.caller.call_grpc(method, request, token),
        world.caller.call_web(method, request, token),
        world.caller.call_direct(method, request, token),
    )


def _without_ids(text: str) -> str:
    return _TRACE_ID.sub("", _UUID.sub("", text))


async def test_the_right_etag_does_not_open_anothers_account_or_order(world: World) -> None:
    caller, anna, boris = world.caller, world.anna, world.boris
    read_user, read_order = (
        user_pb2.GetUserRequest(user_id=anna.user_id),
        order_pb2.GetOrderRequest(order_id=world.order_id),
    )
    user = (await caller.call_grpc(USERS + "GetUser", read_user, anna.token)).response
    order = (await caller.call_grpc(ORDERS + "GetOrder", read_order, anna.token)).response
    change = user_pb2.User(user_id=anna.user_id, display_name="Taken over", etag=user.etag)
    attempts = [
        (USERS + "UpdateUser", user_pb2.UpdateUserRequest(user=change)),
        (USERS + "DeleteUser", user_pb2.DeleteUserRequest(user_id=anna.user_id, etag=user.etag)),
        (ORDERS + "CancelOrder", order_pb2.CancelOrderRequest(order_id=order.order_id, etag=order.etag)),
    ]
    for method, request in attempts:
        assert (await caller.call_grpc(method, request, boris.token)).code == "NOT_FOUND", method
    assert (await caller.call_grpc(USERS + "GetUser", read_user, anna.token)).response == user
    assert (await caller.call_grpc(ORDERS + "GetOrder", read_order, anna.token)).response == order


async def test_anothers_request_id_places_an_order_of_ones_own(world: World) -> None:
    caller, request_id = world.caller, str(uuid4())
    request = order_of(world.product_id, request_id=request_id)
    annas, boriss = await asyncio.gather(
        caller.call_rest(ORDERS + "PlaceOrder", request, world.anna.token),
        caller.call_rest(ORDERS + "PlaceOrder", request, world.boris.token),
    )
    assert annas.response.user_id == world.anna.user_id
    assert boriss.response.user_id == world.boris.user_id
    assert annas.response.order_id != boriss.response.order_id


async def test_repeating_anothers_registration_does_not_return_their_account(world: World) -> None:
    request_id, email = str(uuid4()), f"{uuid4().hex}@example.com"
    first = user_pb2.CreateUserRequest(
        user=user_pb2.User(email=email, display_name="Anna"), password=PASSWORD, request_id=request_id
    )
    _ = (await world.caller.call_rest(USERS + "CreateUser", first)).response
    # Everything but the password, which only she knows.
    guess = user_pb2.CreateUserRequest(user=first.user, password="a guess of hers", request_id=request_id)
    outcome = await world.caller.call_rest(USERS + "CreateUser", guess)
    assert outcome.code in {"INVALID_ARGUMENT", "ALREADY_EXISTS"}, outcome


async def test_a_page_token_of_anothers_list_shows_nothing_of_theirs(world: World) -> None:
    caller = world.caller
    product = await new_product(caller, world.admin)
    placed = [
        await caller.call_rest(ORDERS + "PlaceOrder", order_of(product.product_id), world.anna.token)
        for _ in range(2)
    ]
    for each in placed:
        await final_order(caller, world.anna.token, each.response.order_id)
    await log_in(caller, world.anna.email)
    lists = {
        ORDERS + "ListOrders": order_pb2.ListOrdersRequest,
        AUTH + "ListSessions": auth_pb2.ListSessionsRequest,
    }
    for method, request in lists.items():
        page = (await caller.call_grpc(method, request(page_size=1), world.anna.token)).response
        assert page.next_page_token, method
        next_page = request(page_size=1, page_token=page.next_page_token)
        outcome = await caller.call_grpc(method, next_page, world.boris.token)
        assert outcome.code in {"OK", "INVALID_ARGUMENT"}, outcome
        assert world.anna.user_id not in str(outcome.responses), method
