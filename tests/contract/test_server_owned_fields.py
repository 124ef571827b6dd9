"""What the server sets, nobody else sets."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from commerce.product.v1 import category_pb2, inventory_pb2, product_pb2
from commerce.user.v1 import role_pb2, user_pb2
from google.api import field_behavior_pb2
from google.protobuf.message import Message

from services.rpc.policy import policies
from tests.contract.access_table import RULES, ByRole
from tests.support.calls import Outcome, descriptor, has_rest_path
from tests.support.world import (
    CATEGORIES,
    INVENTORY,
    PASSWORD,
    PRODUCTS,
    ROLES,
    USERS,
    World,
    new_customer,
    new_person,
)

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

FORGED_TIME = datetime(2001, 2, 3, tzinfo=UTC)
FORGED_TEXT = "018f0000-0000-7000-8000-000000000001"


def _new_product() -> product_pb2.Product:
    price = {"currency_code": "EUR", "units": 1}
    return product_pb2.Product(sku=f"OWN-{uuid4().hex[:12]}", name="Forged", price=price)


# A request of each method that takes a resource, good but for what is forged in it.
REQUESTS: Mapping[str, Callable[[World], Message]] = {
    USERS + "CreateUser": lambda w: user_pb2.CreateUserRequest(
        user=user_pb2.User(email=f"{uuid4().hex}@example.com"), password=PASSWORD
    ),
    USERS + "UpdateUser": lambda w: user_pb2.UpdateUserRequest(
        user=user_pb2.User(user_id="me", display_name="Somebody")
    ),
    PRODUCTS + "CreateProduct": lambda w: product_pb2.CreateProductRequest(product=_new_product()),
    PRODUCTS + "UpdateProduct": lambda w: product_pb2.UpdateProductRequest(
        product=product_pb2.Product(product_id=w.product_id, description="Somewhat new")
    ),
    PRODUCTS + "ImportProducts": lambda w: product_pb2.ImportProductsRequest(
        row_number=1, product=_new_product()
    ),
    CATEGORIES + "CreateCategory": lambda w: category_pb2.CreateCategoryRequest(
        category=category_pb2.Category(display_name=f"Forged {uuid4().hex}")
    ),
    CATEGORIES + "UpdateCategory": lambda w: category_pb2.UpdateCategoryRequest(
        category=category_pb2.Category(category_id=w.category_id, display_name=f"Renamed {uuid4().hex}")
    ),
    INVENTORY + "CreateLocation": lambda w: inventory_pb2.CreateLocationRequest(
        location=inventory_pb2.Location(display_name=f"Forged {uuid4().hex}")
    ),
    INVENTORY + "UpdateLocation": lambda w: inventory_pb2.UpdateLocationRequest(
        location=inventory_pb2.Location(location_id=w.location_id, display_name=f"Renamed {uuid4().hex}")
    ),
}
# Says which resource is meant, so it is given and not set.
NAMES = {
    (USERS + "UpdateUser", "user_id"),
    (PRODUCTS + "UpdateProduct", "product_id"),
    (CATEGORIES + "UpdateCategory", "category_id"),
    (INVENTORY + "UpdateLocation", "location_id"),
}


def _server_owned(method: str) -> list[str]:
    """Name the fields of a method's resource that the contract calls output-only."""
    return [
        field.name
        for taken in _resources(descriptor(method).input_type)
        for field in taken.message_type.fields
        if field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        and (method, field.name) not in NAMES
    ]


def _resources(request: Any) -> Iterator[Any]:
    for field in request.fields:
        if field.message_type is not None and field.message_type.full_name.startswith("commerce."):
            yield field


FORGERIES = [(method, name) for method in REQUESTS for name in _server_owned(method)]


async def test_every_method_that_takes_server_owned_fields_is_tried() -> None:
    taking = {method for method, policy in policies().items() if policy.exposed and _server_owned(method)}
    assert taking == set(REQUESTS)


@pytest.mark.parametrize(("method", "name"), FORGERIES)
async def test_server_owned_field_cannot_be_set_by_any_role(world: World, method: str, name: str) -> None:
    rule = RULES[method]
    roles = sorted(rule.roles) if isinstance(rule, ByRole) else ROLES
    outcomes = await asyncio.gather(*(_forge(world, method, name, role) for role in roles))
    for outcome in (each for pair in outcomes for each in pair):
        assert outcome.code in {"OK", "INVALID_ARGUMENT"}, outcome
        for response in outcome.responses:
            assert _forged(response, name) is False, outcome


async def _forge(world: World, method: str, name: str, role: str) -> list[Outcome]:
    token = world.roles[role].token
    calls = [world.caller.call_grpc(method, _with_forgery(world, method, name), token)]
    if has_rest_path(method):
        calls.append(world.caller.call_rest(method, _with_forgery(world, method, name), token))
    return list(await asyncio.gather(*calls))


def _with_forgery(world: World, method: str, name: str) -> Message:
    request = REQUESTS[method](world)
    resource: Any = getattr(request, next(_resources(request.DESCRIPTOR)).name)
    field = resource.DESCRIPTOR.fields_by_name[name]
    if field.message_type is not None:
        getattr(resource, name).FromDatetime(FORGED_TIME)
    elif field.is_repeated:
        getattr(resource, name).append(FORGED_TEXT)
    else:
        setattr(resource, name, FORGED_TEXT)
    return request


def _forged(response: Any, name: str) -> bool:
    # The import answers with counts alone; it is looked up below.
    value = getattr(response, name, None)
    if value is None or isinstance(value, str):
        return value == FORGED_TEXT
    return FORGED_TEXT in value if hasattr(value, "append") else value.ToDatetime().year == FORGED_TIME.year


async def test_import_ignores_the_id_and_times_of_a_row(world: World) -> None:
    product = _new_product()
    product.product_id, product.etag, product.active = FORGED_TEXT, FORGED_TEXT, True
    product.create_time.FromDatetime(FORGED_TIME)
    row = product_pb2.ImportProductsRequest(row_number=1, product=product)
    report = (await world.caller.call_grpc(PRODUCTS + "ImportProducts", row, world.admin)).response
    assert (report.created_count, report.failed_count) == (1, 0), report
    wanted = product_pb2.ListProductsRequest(sku=product.sku)
    found = (await world.caller.call_rest(PRODUCTS + "ListProducts", wanted)).response.products[0]
    assert found.product_id != FORGED_TEXT
    assert found.etag != FORGED_TEXT
    assert found.create_time.ToDatetime(UTC) != FORGED_TIME


@pytest.mark.parametrize("role", ["customer", "support", "merchant"])
async def test_nobody_but_an_administrator_gives_roles(world: World, role: str) -> None:
    somebody = await new_person(world.caller, world.admin, role)
    for mask in (["roles"], ["*"], []):
        user = user_pb2.User(user_id="me", display_name="Somebody", roles=[role_pb2.ROLE_ADMIN])
        request = user_pb2.UpdateUserRequest(user=user)
        request.update_mask.paths.extend(mask)
        for call in (world.caller.call_rest, world.caller.call_grpc):
            outcome = await call(USERS + "UpdateUser", request, somebody.token)
            granted = outcome.responses[0].roles if outcome.responses else []  # type: ignore[attr-defined]
            assert role_pb2.ROLE_ADMIN not in granted, outcome
            assert outcome.code in {"OK", "PERMISSION_DENIED"}, outcome


async def test_registering_with_roles_is_refused(world: World) -> None:
    user = user_pb2.User(email=f"{uuid4().hex}@example.com", roles=[role_pb2.ROLE_ADMIN])
    request = user_pb2.CreateUserRequest(user=user, password=PASSWORD)
    for call in (world.caller.call_rest, world.caller.call_grpc):
        assert (await call(USERS + "CreateUser", request)).code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("path", ["user_id", "email", "create_time", "update_time", "etag", "password"])
async def test_a_mask_does_not_open_a_server_owned_field(world: World, path: str) -> None:
    person = await new_customer(world.caller)
    user = user_pb2.User(user_id="me", email="taken@example.com")
    request = user_pb2.UpdateUserRequest(user=user)
    request.update_mask.paths.append(path)
    outcome = await world.caller.call_grpc(USERS + "UpdateUser", request, person.token)
    assert outcome.code == "INVALID_ARGUMENT", outcome


async def test_the_path_decides_whose_account_is_changed_not_the_body(world: World) -> None:
    body = {"userId": world.anna.user_id, "displayName": "Renamed by the body"}
    await world.caller.send("PATCH", "/v1/users/me", json_body=body, token=world.boris.token)
    read = user_pb2.GetUserRequest(user_id="me")
    anna = (await world.caller.call_rest(USERS + "GetUser", read, world.anna.token)).response
    assert anna.display_name != "Renamed by the body"


async def test_an_order_belongs_to_who_places_it_whatever_the_body_says(world: World) -> None:
    body = {
        "requestId": str(uuid4()),
        "lines": [{"productId": world.product_id, "quantity": 1, "unitPrice": {"units": "0"}}],
        "paymentToken": "tok_ok",
        "userId": world.anna.user_id,
        "state": "ORDER_STATE_CONFIRMED",
        "total": {"currencyCode": "EUR", "units": "0"},
    }
    outcome = await world.caller.send("POST", "/v1/orders", json_body=body, token=world.boris.token)
    assert outcome.code in {"OK", "INVALID_ARGUMENT"}, outcome
    assert world.anna.user_id not in outcome.text
