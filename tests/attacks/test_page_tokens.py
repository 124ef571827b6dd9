"""Page tokens that were not given: each list of the contract refuses them, whoever made them and how."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from commerce.order.v1 import order_pb2
from commerce.product.v1 import category_pb2, inventory_pb2, match_pb2, product_pb2
from commerce.user.v1 import audit_pb2, auth_pb2, user_pb2
from google.protobuf.message import Message
from google.type import money_pb2

from services.rpc.policy import policies
from services.storage.paging import IdKey, Pages
from tests.support.calls import Caller, Outcome, Target, call_at_pace, descriptor, open_caller
from tests.support.people import Person
from tests.support.stack import Stack
from tests.support.waiting import until
from tests.support.world import (
    AUDIT,
    AUTH,
    CATEGORIES,
    INVENTORY,
    MATCHES,
    ORDERS,
    PRODUCTS,
    USERS,
    final_order,
    new_location,
    new_product,
    operator_token,
    place_order,
)

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

REFUSED = ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
# Every name that a list was ever sorted by, each with a value that no list is sorted by.
NAMES = ("id", "user_id", "session_id", "create_time", "update_time", "order_id", "version", "exact", "rank")
WRONG_TYPES: tuple[Any, ...] = ("x", 2**70, None, {"uuid": str(UUID(int=0))}, {"time": "0001-01-01"}, [])


@dataclass(frozen=True)
class Lists:
    """What each list has at least two rows of."""

    caller: Caller
    admin: Person
    customer: Person
    product_id: str
    order_id: str
    # A product with records of several suppliers.
    place_of_records: str


@dataclass(frozen=True)
class Listing:
    """A list of the contract, as somebody asks for it."""

    request: Any
    token: str | None
    # What its tokens were once checked with, when anyone could make them.
    name: str


def listings(lists: Lists) -> Mapping[str, Listing]:
    admin, customer = lists.admin.token, lists.customer.token
    return {
        PRODUCTS + "ListProducts": Listing(
            product_pb2.ListProductsRequest(page_size=1), None, "products '' '' '' False"
        ),
        PRODUCTS + "SearchProducts": Listing(
            product_pb2.SearchProductsRequest(query="test lamp", page_size=1), None, "search '' 'test lamp'"
        ),
        CATEGORIES + "ListCategories": Listing(
            category_pb2.ListCategoriesRequest(page_size=1), None, "categories '' False"
        ),
        MATCHES + "ListMatches": Listing(
            match_pb2.ListMatchesRequest(state=match_pb2.MATCH_STATE_ACCEPTED, page_size=1), admin, ""
        ),
        MATCHES + "ListSupplierRecords": Listing(
            match_pb2.ListSupplierRecordsRequest(product_id=lists.place_of_records, page_size=1), admin, ""
        ),
        INVENTORY + "ListStockMovements": Listing(
            inventory_pb2.ListStockMovementsRequest(product_id=lists.product_id, page_size=1),
            admin,
            f"movements {lists.product_id}",
        ),
        INVENTORY + "ListLocations": Listing(inventory_pb2.ListLocationsRequest(page_size=1), admin, ""),
        ORDERS + "ListOrders": Listing(
            order_pb2.ListOrdersRequest(page_size=1),
            customer,
            f"orders user={lists.customer.user_id} state=None",
        ),
        ORDERS + "ListOrderEvents": Listing(
            order_pb2.ListOrderEventsRequest(order_id=lists.order_id, page_size=1),
            customer,
            f"events of {lists.order_id}",
        ),
        USERS + "ListUsers": Listing(user_pb2.ListUsersRequest(page_size=1), admin, "ListUsers"),
        AUTH + "ListSessions": Listing(
            auth_pb2.ListSessionsRequest(page_size=1), customer, f"ListSessions/{lists.customer.user_id}"
        ),
        AUDIT + "ListAuditEvents": Listing(
            audit_pb2.ListAuditEventsRequest(user_id=lists.customer.user_id, page_size=1), customer, ""
        ),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lists(guarded: Stack) -> AsyncIterator[Lists]:
    async with open_caller(Target.of(guarded.place)) as caller:
        # Not through the doors where people register and log in: those count.
        admin, customer = await operator_token(caller, "admin"), await operator_token(caller, "customer")
        await operator_token(caller, "customer")
        product = await new_product(caller, admin.token)
        await new_product(caller, admin.token)
        orders = [await place_order(caller, customer.token, product.product_id) for _ in range(2)]
        for order in orders:
            await final_order(caller, customer.token, order.order_id)
        for _ in range(2):
            await new_location(caller, admin.token)
        place = await match_records(caller, admin.token)
        lists = Lists(caller, admin, customer, product.product_id, orders[0].order_id, place)
        listing = listings(lists)[AUDIT + "ListAuditEvents"]

        async def are_told() -> bool:
            page = await caller.call_grpc(AUDIT + "ListAuditEvents", listing.request, listing.token)
            return bool(page.response.next_page_token)

        # The audit log is some moments behind.
        await until(are_told)
        yield lists


async def match_records(caller: Caller, token: str) -> str:
    """Have records of three suppliers matched to one product; return it."""
    model = {"model": uuid4().hex}
    for _ in range(3):
        supplier = uuid4().hex
        product = product_pb2.Product(
            sku=f"{supplier}-1",
            name="Lamp",
            brand="Lux",
            price=money_pb2.Money(currency_code="EUR", units=1),
            attributes=model,
            active=True,
        )
        row = product_pb2.ImportProductsRequest(row_number=1, product=product, supplier=supplier)
        assert (await caller.call_grpc(PRODUCTS + "ImportProducts", row, token)).code == "OK"
    request = match_pb2.FindMatchesRequest()
    while not (await caller.call_grpc(MATCHES + "FindMatches", request, token)).response.is_done:
        pass
    merged = match_pb2.ListMatchesRequest(state=match_pb2.MATCH_STATE_ACCEPTED, page_size=1)
    [match] = (await caller.call_grpc(MATCHES + "ListMatches", merged, token)).response.matches
    return str(match.record.product_id)


async def test_every_list_of_the_contract_is_attacked(lists: Lists) -> None:
    # Behind those that the edge hides stand an operator's own calls.
    exposed = [method for method, policy in policies().items() if policy.exposed]
    paged = {method for method in exposed if "page_token" in descriptor(method).input_type.fields_by_name}
    assert paged == set(listings(lists))


METHODS = (
    *(PRODUCTS + name for name in ("ListProducts", "SearchProducts")),
    CATEGORIES + "ListCategories",
    *(MATCHES + name for name in ("ListMatches", "ListSupplierRecords")),
    *(INVENTORY + name for name in ("ListStockMovements", "ListLocations")),
    *(ORDERS + name for name in ("ListOrders", "ListOrderEvents")),
    USERS + "ListUsers",
    AUTH + "ListSessions",
    AUDIT + "ListAuditEvents",
)


@pytest.mark.parametrize("method", METHODS)
async def test_a_token_that_was_not_given_is_refused(lists: Lists, method: str) -> None:
    all_listings = listings(lists)
    listing = all_listings[method]
    first = await call(lists, "gRPC", method, listing.request, listing.token)
    given = first.response.next_page_token
    others = {
        other: (await call(lists, "gRPC", other, each.request, each.token)).response.next_page_token
        for other, each in all_listings.items()
        if other != method
    }
    assert given
    assert all(others.values()), f"one page is all: {[other for other, token in others.items() if not token]}"
    for token in (*forgeries(given, listing), await self_signed(listing), *others.values()):
        for protocol in ("gRPC", "REST"):
            outcome = await call(lists, protocol, method, with_token(listing.request, token), listing.token)
            assert outcome.verdict == REFUSED, (protocol, token, outcome)
    # They are refused for what they are: the true one still opens its page, once over each protocol.
    for protocol in ("gRPC", "REST"):
        outcome = await call(lists, protocol, method, with_token(listing.request, given), listing.token)
        assert outcome.response != first.response


async def test_a_personal_token_works_for_nobody_else(lists: Lists) -> None:
    for name, request in (
        (ORDERS + "ListOrders", order_pb2.ListOrdersRequest(user_id=lists.customer.user_id, page_size=1)),
        (ORDERS + "ListOrderEvents", listings(lists)[ORDERS + "ListOrderEvents"].request),
        (AUTH + "ListSessions", auth_pb2.ListSessionsRequest(user_id=lists.customer.user_id, page_size=1)),
    ):
        given = (await call(lists, "gRPC", name, request, lists.customer.token)).response.next_page_token
        # The administrator may see the list, and gets tokens of their own.
        outcome = await call(lists, "gRPC", name, with_token(request, given), lists.admin.token)
        assert outcome.verdict == REFUSED, name


async def self_signed(listing: Listing) -> str:
    """A token that is well made, with another key."""
    page = Pages([b"a key that I made up"]).open(listing.request, IdKey)
    _, token = await page.cut([user_pb2.User()] * page.limit, lambda row: row, lambda _: IdKey(uuid4()))
    return token


def forgeries(given: str, listing: Listing) -> Iterator[str]:
    """Tokens that somebody makes who has seen the source and a token that was given, but not the key."""
    for place in (0, len(given) // 2, len(given) - 1):
        yield given[:place] + ("A" if given[place] != "A" else "B") + given[place + 1 :]
    yield from (given[:-1], given[:20], given * 2, given + "=", "x", "é", "%00", "../..", "'; --")
    for value in WRONG_TYPES:
        yield checked(json.dumps(dict.fromkeys(NAMES, value)).encode(), listing.name)
    yield checked(b"[]", listing.name)
    yield checked(b"\xff", listing.name)


def checked(body: bytes, name: str) -> str:
    """A token with a checksum, as they were before they were signed."""
    check = hashlib.sha256(name.encode() + b"\0" + body).digest()[:12]
    return base64.urlsafe_b64encode(check + body).decode().rstrip("=")


def with_token(request: Any, page_token: str) -> Any:
    changed = type(request)()
    changed.CopyFrom(request)
    changed.page_token = page_token
    return changed


async def call(lists: Lists, protocol: str, method: str, request: Message, token: str | None) -> Outcome:
    """Call over a protocol at the pace that the edge allows one address."""
    send = lists.caller.call_rest if protocol == "REST" else lists.caller.call_grpc
    return await call_at_pace(send, method, request, token)
