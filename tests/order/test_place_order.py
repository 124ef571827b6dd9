"""PlaceOrder: held stock, fixed prices, and one answer to one request, whatever happens."""

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from uuid import UUID, uuid4

import grpc
import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import inventory_pb2
from google.type.money_pb2 import Money

from services.errors import Code, UpstreamError
from services.order.orders.domain import order_id_of
from services.rpc.fields import to_decimal, to_money
from services.rpc.status import from_rpc_error
from tests.order.conftest import Mesh, customer, describe, new_request
from tests.support.people import Person
from tests.support.refusals import error_of, refusal


async def count_orders(mesh: Mesh, who: Person) -> int:
    count: int = await mesh.pool.fetchval("SELECT count(*) FROM orders WHERE user_id = $1", who.user_id)
    return count


async def test_an_order_is_priced_from_its_reservation(mesh: Mesh) -> None:
    anna = customer()
    lamp, cable = await mesh.new_product(price="0.015"), await mesh.new_product(price="12.345")
    request = new_request([(lamp, 1), (cable, 3), (lamp, 2)])
    order = await mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    totals = {line.product_id: (line.quantity, to_decimal(line.line_total)) for line in order.lines}
    assert totals == {lamp: (3, Decimal("0.04")), cable: (3, Decimal("37.04"))}
    assert order.total == Money(currency_code="USD", units=37, nanos=80_000_000)
    assert describe(order) == ("PENDING", "PENDING", "UNSPECIFIED")
    assert order.user_id == str(anna.user_id)
    assert order.order_id == str(order_id_of(UUID(anna.user_id), UUID(request.request_id)))
    assert await mesh.levels(lamp) == (97, 3, 0)


async def test_retry_with_same_request_id_returns_the_same_order(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    request = new_request([(product, 2)])
    first = await mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    await mesh.cancel(anna, first.order_id)
    again = await mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    assert again.SerializeToString() == first.SerializeToString()
    assert await count_orders(mesh, anna) == 1
    assert await mesh.levels(product) == (98, 2, 0)


async def test_a_request_id_in_capitals_is_the_same_request(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    request = new_request([(product, 1)])
    first = await mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    request.request_id = request.request_id.upper()
    again = await mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    assert again.order_id == first.order_id


async def test_another_persons_equal_request_id_is_another_order(mesh: Mesh) -> None:
    anna, boris, product = customer(), customer(), await mesh.new_product()
    request = new_request([(product, 1)])
    first = await mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    second = await mesh.orders.PlaceOrder(request, metadata=boris.metadata)
    assert first.order_id != second.order_id


async def test_a_reused_request_id_is_refused_and_changes_nothing(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    request = new_request([(product, 2)])
    await mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    for change in ({"payment_token": "tok_other"}, {"expected_total": to_money(Decimal(25), "USD")}):
        other = order_pb2.PlaceOrderRequest()
        other.CopyFrom(request)
        other.MergeFrom(order_pb2.PlaceOrderRequest(**change))
        call = mesh.orders.PlaceOrder(other, metadata=anna.metadata)
        assert await refusal(call) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert await count_orders(mesh, anna) == 1
    assert await mesh.levels(product) == (98, 2, 0)


async def test_of_two_requests_racing_for_one_id_one_is_refused(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    request_id = str(uuid4())
    calls = [
        mesh.orders.PlaceOrder(
            new_request([(product, quantity)], request_id=request_id), metadata=anna.metadata
        )
        for quantity in (1, 2)
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    orders = [each for each in outcomes if isinstance(each, order_pb2.Order)]
    refused = [from_rpc_error(each).reason for each in outcomes if isinstance(each, grpc.aio.AioRpcError)]
    assert refused == ["REQUEST_ID_REUSED"]
    quantity = orders[0].lines[0].quantity
    assert await mesh.levels(product) == (100 - quantity, quantity, 0)


async def test_240_callers_on_12_keys_place_12_orders_and_pay_12_times(running_mesh: Mesh) -> None:
    product = await running_mesh.new_product(units=1000)
    people = [customer() for _ in range(12)]
    requests = [new_request([(product, 2)]) for _ in people]

    async def call(number: int) -> bytes:
        who, request = people[number % 12], requests[number % 12]
        while True:
            try:
                order = await running_mesh.orders.PlaceOrder(request, metadata=who.metadata)
            except grpc.aio.AioRpcError as error:
                assert from_rpc_error(error).reason == "OVERLOADED"  # noqa: PT017
                await asyncio.sleep(0.05)
            else:
                return bytes(order.SerializeToString())

    answers = await asyncio.gather(*(call(number) for number in range(240)))
    assert len(set(answers)) == 12
    orders = [order_pb2.Order.FromString(answer) for answer in set(answers)]
    owners = {who.user_id: who for who in people}
    for order in orders:
        final = await running_mesh.settled(owners[order.user_id], order.order_id)
        assert describe(final)[0] == "CONFIRMED"
    effects = await running_mesh.sandbox.effects()
    for order in orders:
        assert effects[order.order_id] == [("authorize", Decimal(25)), ("capture", Decimal(25))]
    assert await running_mesh.levels(product) == (976, 0, 24)


async def assert_refused_for_good(
    mesh: Mesh, who: Person, request: order_pb2.PlaceOrderRequest, code_and_reason: tuple[str, str]
) -> dict[str, str]:
    """Refused now, and again in the same words; there is no order. Its metadata."""
    first = await error_of(mesh.orders.PlaceOrder(request, metadata=who.metadata))
    assert (str(first.code), first.reason) == code_and_reason
    for _ in range(2):
        again = await error_of(mesh.orders.PlaceOrder(request, metadata=who.metadata))
        assert (again.code, again.reason) == (first.code, first.reason)
        assert (again.message, again.metadata) == (first.message, first.metadata)
    assert await count_orders(mesh, who) == 0
    return dict(first.metadata)


async def test_out_of_stock_is_replayed_even_when_stock_has_come(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product(units=1)
    request = new_request([(product, 2)])
    call = mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    assert await refusal(call) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
    await mesh.adjust(product, 10)
    metadata = await assert_refused_for_good(mesh, anna, request, ("FAILED_PRECONDITION", "OUT_OF_STOCK"))
    assert metadata["product_id"] == product
    assert await mesh.levels(product) == (11, 0, 0)


async def test_an_unknown_product_is_refused_for_good(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    request = new_request([(product, 1), (str(uuid4()), 1)])
    await assert_refused_for_good(mesh, anna, request, ("NOT_FOUND", "PRODUCT_NOT_FOUND"))
    assert await mesh.levels(product) == (100, 0, 0)


async def test_products_of_two_currencies_are_refused_for_good(mesh: Mesh) -> None:
    anna = customer()
    request = new_request([(await mesh.new_product(), 1), (await mesh.new_product(currency="EUR"), 1)])
    await assert_refused_for_good(mesh, anna, request, ("FAILED_PRECONDITION", "CURRENCY_MIXED"))


async def test_a_changed_price_is_refused_for_good_and_gives_the_stock_back(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product(price="12.50")
    request = new_request([(product, 2)], expected_total=to_money(Decimal(24), "USD"))
    metadata = await assert_refused_for_good(mesh, anna, request, ("FAILED_PRECONDITION", "PRICE_CHANGED"))
    assert metadata == {"total": "25.00", "currency_code": "USD"}
    await mesh.change_price(product, "12.00")
    await assert_refused_for_good(mesh, anna, request, ("FAILED_PRECONDITION", "PRICE_CHANGED"))
    assert await mesh.levels(product) == (100, 0, 0)


async def test_the_agreed_price_is_taken(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product(price="12.50")
    order = await mesh.place(anna, product, 2, expected_total=to_money(Decimal(25), "USD"))
    assert order.total == to_money(Decimal(25), "USD")


async def test_racing_callers_get_one_answer_where_the_first_was_refused(mesh: Mesh) -> None:
    """Sold out for some, back in stock for others: whoever is written first answers for all."""
    anna, product = customer(), await mesh.new_product(units=1)
    for _ in range(10):
        request = new_request([(product, 1)])
        blocker = await mesh.place(customer(), product)
        calls = [mesh.orders.PlaceOrder(request, metadata=anna.metadata) for _ in range(6)]
        pending = [asyncio.ensure_future(as_future(call)) for call in calls]
        await mesh.adjust(product, 1)
        answers = {await each for each in pending}
        assert len(answers) == 1
        placed = [answer for answer in answers if answer != "OUT_OF_STOCK"]
        assert await mesh.levels(product) == ((0, 2, 0) if placed else (1, 1, 0))
        for order_id in [blocker.order_id, *placed]:
            await release(mesh, [str(order_id)])
        await mesh.adjust(product, -1)


async def as_future(call: grpc.aio.UnaryUnaryCall) -> str:  # type: ignore[type-arg]
    try:
        return str((await call).order_id)
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason


async def release(mesh: Mesh, order_ids: Iterable[str]) -> None:
    for order_id in order_ids:
        await mesh.inventory.ReleaseReservation(inventory_pb2.ReleaseReservationRequest(order_id=order_id))


async def test_a_crash_between_hold_and_order_is_healed_by_the_retry(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, product = customer(), await mesh.new_product()
    request = new_request([(product, 3)])

    async def crash(*_: object) -> None:
        raise OSError("the process was killed")

    with monkeypatch.context() as patched:
        patched.setattr("services.order.orders.store.append_placed", crash)
        await error_of(mesh.orders.PlaceOrder(request, metadata=anna.metadata))
    assert await count_orders(mesh, anna) == 0
    assert await mesh.levels(product) == (97, 3, 0)
    order = await mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    assert describe(order)[0] == "PENDING"
    assert await mesh.levels(product) == (97, 3, 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("UNAVAILABLE", "SERVICE_UNAVAILABLE"),
        ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
        ("RESOURCE_EXHAUSTED", "OVERLOADED"),
        ("INTERNAL", "INTERNAL"),
    ],
)
async def test_what_is_no_answer_is_not_kept(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    anna, product = customer(), await mesh.new_product()
    request = new_request([(product, 1)])

    async def fail(*_: object, **__: object) -> None:
        raise UpstreamError(Code(code), reason, "not now")

    with monkeypatch.context() as patched:
        patched.setattr(mesh.inventory, "BatchReserveStock", fail)
        call = mesh.orders.PlaceOrder(request, metadata=anna.metadata)
        assert await refusal(call) == (code, reason)
    order = await mesh.orders.PlaceOrder(request, metadata=anna.metadata)
    assert describe(order)[0] == "PENDING"


async def test_no_database_connection_is_held_while_the_stock_is_held(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, product = customer(), await mesh.new_product()
    reserve = mesh.inventory.BatchReserveStock
    idle = []

    async def look(request: object, **options: object) -> object:
        idle.append(mesh.pool.get_idle_size() == mesh.pool.get_size())
        return await reserve(request, **options)

    monkeypatch.setattr(mesh.inventory, "BatchReserveStock", look)
    await mesh.place(anna, product)
    assert idle == [True]


async def test_an_order_needs_a_token_with_the_scope(mesh: Mesh) -> None:
    request = new_request([(str(uuid4()), 1)])
    assert await refusal(mesh.orders.PlaceOrder(request)) == ("UNAUTHENTICATED", "TOKEN_MISSING")
