"""Reading, listing and cancelling orders, and whose they are."""

from typing import Any
from uuid import uuid4

import pytest
from commerce.event.v1 import event_pb2
from commerce.order.v1 import events_pb2, order_pb2
from google.protobuf import message_factory
from google.protobuf.timestamp_pb2 import Timestamp

from services.order.orders import store
from tests.order.conftest import Mesh, customer, describe, support, working
from tests.support.people import Person, person
from tests.support.refusals import error_of, refusal

MISSING = ("NOT_FOUND", "ORDER_NOT_FOUND")


async def list_orders(mesh: Mesh, who: Person, **fields: object) -> order_pb2.ListOrdersResponse:
    request = order_pb2.ListOrdersRequest(**fields)  # type: ignore[arg-type]
    response: order_pb2.ListOrdersResponse = await mesh.orders.ListOrders(request, metadata=who.metadata)
    return response


async def list_events(
    mesh: Mesh, who: Person, order_id: str, **fields: object
) -> order_pb2.ListOrderEventsResponse:
    request = order_pb2.ListOrderEventsRequest(order_id=order_id, **fields)  # type: ignore[arg-type]
    response: order_pb2.ListOrderEventsResponse = await mesh.orders.ListOrderEvents(
        request, metadata=who.metadata
    )
    return response


async def test_an_order_is_read_as_it_was_placed(mesh: Mesh) -> None:
    anna = customer()
    placed = await mesh.place(anna, await mesh.new_product(), 2)
    assert await mesh.get(anna, placed.order_id) == placed


async def test_anothers_order_is_answered_as_a_missing_one(mesh: Mesh) -> None:
    anna, boris = customer(), customer()
    order = await mesh.place(anna, await mesh.new_product())
    for call in (mesh.get, mesh.cancel, lambda who, order_id: list_events(mesh, who, order_id)):
        theirs = await error_of(call(boris, order.order_id))
        missing = await error_of(call(boris, str(uuid4())))
        assert (str(theirs.code), theirs.reason) == MISSING
        assert (missing.code, missing.reason, missing.message, missing.metadata) == (
            theirs.code,
            theirs.reason,
            theirs.message,
            theirs.metadata,
        )
    assert describe(await mesh.get(anna, order.order_id))[0] == "PENDING"


async def test_support_sees_and_cancels_anyones_order(mesh: Mesh) -> None:
    anna, helper = customer(), support()
    order = await mesh.place(anna, await mesh.new_product())
    assert await mesh.get(helper, order.order_id) == order
    assert describe(await mesh.cancel(helper, order.order_id))[0] == "CANCELLING"


async def test_a_list_holds_ones_own_orders_newest_first_page_by_page(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    await mesh.place(customer(), product)
    orders = [await mesh.place(anna, product) for _ in range(5)]
    listed: list[order_pb2.Order] = []
    page_token = ""
    for expected in (2, 2, 1):
        page = await list_orders(mesh, anna, page_size=2, page_token=page_token)
        assert len(page.orders) == expected
        listed += page.orders
        page_token = page.next_page_token
    assert page_token == ""
    assert listed == orders[::-1]


async def test_a_list_is_filtered_by_state_and_person(running_mesh: Mesh) -> None:
    mesh, anna, helper = running_mesh, customer(), support()
    product = await mesh.new_product()
    paid = await mesh.place(anna, product)
    declined = await mesh.place(anna, product, 1, "tok_declined")
    for order in (paid, declined):
        await mesh.settled(anna, order.order_id)
    for who, fields in ((anna, {}), (helper, {"user_id": anna.user_id})):
        page = await list_orders(mesh, who, state=order_pb2.ORDER_STATE_CONFIRMED, **fields)
        assert [order.order_id for order in page.orders] == [paid.order_id]
    everyones = await list_orders(mesh, helper, state=order_pb2.ORDER_STATE_CANCELLED, page_size=1)
    assert [order.order_id for order in everyones.orders] == [declined.order_id]
    newest = await list_orders(mesh, helper, page_size=2)
    assert [order.order_id for order in newest.orders] == [declined.order_id, paid.order_id]


async def test_a_list_is_filtered_by_the_time_of_placing(mesh: Mesh) -> None:
    """From a moment, and before another one: of an order's own, which has microseconds, also between two."""
    anna, helper, product = customer(), support(), await mesh.new_product()
    first, second, third = [await mesh.place(anna, product) for _ in range(3)]
    for who, of in ((anna, {}), (helper, {"user_id": str(anna.user_id)})):
        listed = await list_orders(
            mesh, who, create_time_from=second.create_time, create_time_before=third.create_time, **of
        )
        assert list(listed.orders) == [second]
        later = Timestamp(seconds=second.create_time.seconds, nanos=second.create_time.nanos + 1)
        listed = await list_orders(mesh, who, create_time_from=later, **of)
        assert list(listed.orders) == [third]
        listed = await list_orders(mesh, who, create_time_before=later, page_size=1, **of)
        assert list(listed.orders) == [second]
        token = listed.next_page_token
        listed = await list_orders(mesh, who, create_time_before=later, page_token=token, page_size=2, **of)
        assert list(listed.orders) == [first]
        assert not listed.next_page_token
    both = {"create_time_from": first.create_time, "create_time_before": second.create_time}
    assert list((await list_orders(mesh, helper, state="ORDER_STATE_PENDING", **both)).orders) == [first]
    assert list((await list_orders(mesh, helper, **both)).orders) == [first]


async def test_a_time_that_cannot_be_is_refused(mesh: Mesh) -> None:
    for seconds in (-1, 253_402_300_800):
        failed = await error_of(list_orders(mesh, customer(), create_time_from=Timestamp(seconds=seconds)))
        assert (str(failed.code), failed.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert [each.field for each in failed.violations] == ["create_time_from"]


async def test_anothers_list_is_empty_as_an_unknown_persons_is(mesh: Mesh) -> None:
    anna, boris = customer(), customer()
    await mesh.place(anna, await mesh.new_product())
    for user_id in (anna.user_id, str(uuid4())):
        assert list((await list_orders(mesh, boris, user_id=str(user_id))).orders) == []


async def test_a_page_token_works_in_its_own_list_only(mesh: Mesh) -> None:
    anna, boris, product = customer(), customer(), await mesh.new_product()
    order = await mesh.place(anna, product)
    await mesh.place(anna, product)
    theirs = (await list_orders(mesh, anna, page_size=1)).next_page_token
    invalid = ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    pending = order_pb2.ORDER_STATE_PENDING
    assert await refusal(list_orders(mesh, anna, page_token=theirs, state=pending)) == invalid
    assert await refusal(list_orders(mesh, boris, page_token=theirs)) == invalid
    assert await refusal(list_orders(mesh, anna, page_token=theirs[:-2])) == invalid
    assert await refusal(list_events(mesh, anna, order.order_id, page_token=theirs)) == invalid


async def test_events_tell_what_happened_as_messages_of_the_contract(running_mesh: Mesh) -> None:
    mesh, anna = running_mesh, customer()
    order = await mesh.place(anna, await mesh.new_product(), 2)
    await mesh.settled(anna, order.order_id)
    first = await list_events(mesh, anna, order.order_id, page_size=3)
    rest = await list_events(mesh, anna, order.order_id, page_size=3, page_token=first.next_page_token)
    assert rest.next_page_token == ""
    events = [*first.events, *rest.events]
    assert [event.version for event in events] == [1, 2, 3, 4, 5]
    assert {event.stream for event in events} == {f"order/{order.order_id}"}
    data = {event.type: unpack(event) for event in events}
    placed, captured = data["OrderPlaced"], data["PaymentCaptured"]
    assert (placed.user_id, list(placed.lines), placed.total) == (
        anna.user_id,
        list(order.lines),
        order.total,
    )
    assert captured.amount == order.total
    assert captured.payment_id == data["PaymentAuthorized"].payment_id != ""


def unpack(event: event_pb2.Event) -> Any:
    descriptor = events_pb2.DESCRIPTOR.message_types_by_name[event.type]
    message = message_factory.GetMessageClass(descriptor)()
    assert event.data.Unpack(message)
    return message


async def test_cancelling_a_pending_order_gives_its_stock_back(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    order = await mesh.place(anna, product, 3)
    answer = await mesh.cancel(anna, order.order_id)
    assert describe(answer) == ("CANCELLING", "VOIDED", "REQUESTED")
    async with working(mesh.pipeline):
        final = await mesh.settled(anna, order.order_id)
    assert describe(final) == ("CANCELLED", "VOIDED", "REQUESTED")
    assert await mesh.levels(product) == (100, 0, 0)
    assert await mesh.sandbox.kinds(order.order_id) == []


async def test_cancelling_a_confirmed_order_refunds_it(running_mesh: Mesh) -> None:
    mesh, anna = running_mesh, customer()
    product = await mesh.new_product()
    order = await mesh.place(anna, product, 3)
    await mesh.settled(anna, order.order_id)
    await mesh.cancel(anna, order.order_id)
    final = await mesh.settled(anna, order.order_id)
    assert describe(final) == ("CANCELLED", "REFUNDED", "REQUESTED")
    assert await mesh.levels(product) == (100, 0, 0)
    assert await mesh.sandbox.kinds(order.order_id) == ["authorize", "capture", "refund"]


async def test_cancelling_again_changes_nothing(running_mesh: Mesh) -> None:
    mesh, anna = running_mesh, customer()
    order = await mesh.place(anna, await mesh.new_product())
    await mesh.cancel(anna, order.order_id)
    final = await mesh.settled(anna, order.order_id)
    events = await mesh.event_types(order.order_id)
    assert await mesh.cancel(anna, order.order_id) == final
    # As a retry would that lost its first answer.
    assert await mesh.cancel(anna, order.order_id, etag=order.etag) == final
    assert await mesh.event_types(order.order_id) == events


async def test_cancelling_with_a_stale_etag_is_refused(running_mesh: Mesh) -> None:
    mesh, anna = running_mesh, customer()
    order = await mesh.place(anna, await mesh.new_product())
    confirmed = await mesh.settled(anna, order.order_id)
    stale = mesh.cancel(anna, order.order_id, etag=order.etag)
    assert await refusal(stale) == ("ABORTED", "ETAG_MISMATCH")
    assert describe(await mesh.get(anna, order.order_id))[0] == "CONFIRMED"
    cancelled = await mesh.cancel(anna, order.order_id, etag=confirmed.etag)
    assert describe(cancelled)[0] == "CANCELLING"


async def test_a_declined_order_keeps_its_reason_when_cancelled(running_mesh: Mesh) -> None:
    mesh, anna = running_mesh, customer()
    order = await mesh.place(anna, await mesh.new_product(), 1, "tok_declined")
    await mesh.settled(anna, order.order_id)
    assert describe(await mesh.cancel(anna, order.order_id))[2] == "PAYMENT_DECLINED"


async def test_the_etag_is_sent_as_metadata_too(mesh: Mesh) -> None:
    anna = customer()
    order = await mesh.place(anna, await mesh.new_product())
    call = mesh.orders.GetOrder(order_pb2.GetOrderRequest(order_id=order.order_id), metadata=anna.metadata)
    assert dict(await call.trailing_metadata())["etag"] == f'"{order.etag}"'


@pytest.mark.parametrize("scope", ["orders.read", "orders.write"])
async def test_each_method_needs_its_scope(mesh: Mesh, scope: str) -> None:
    who = person(scope)
    request = order_pb2.CancelOrderRequest(order_id=str(uuid4()))
    cancel = await refusal(mesh.orders.CancelOrder(request, metadata=who.metadata))
    read = await refusal(mesh.get(who, str(uuid4())))
    missing_scope = ("PERMISSION_DENIED", "SCOPE_MISSING")
    assert (read, cancel) == (
        (MISSING, missing_scope) if scope == "orders.read" else (missing_scope, MISSING)
    )


async def test_a_page_of_long_orders_ends_early_and_the_next_goes_on(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_LISTED_LINES", 3)
    anna, product = customer(), await mesh.new_product()
    placed = [(await mesh.place(anna, product)).order_id for _ in range(7)]
    seen, token, pages = [], "", 0
    while token or not pages:
        page = await list_orders(mesh, anna, page_token=token, page_size=100)
        seen += [order.order_id for order in page.orders]
        token, pages = page.next_page_token, pages + 1
    assert seen == placed[::-1]
    assert pages == 3
