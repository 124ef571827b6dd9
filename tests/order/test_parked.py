"""Orders that fail at each attempt for no fault of another party: put aside, told, and taken up again."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from commerce.order.v1 import order_pb2, pipeline_pb2, pipeline_pb2_grpc
from rich.console import Console
from structlog.testing import capture_logs
from structlog.typing import EventDict

from deploy.local.cli import orders
from deploy.local.errors import MeshError
from deploy.local.parts.certificates import Authority
from deploy.local.shop import clients, json_calls
from services.errors import Code, UpstreamError
from services.order.orders.domain import Order
from services.order.payments.provider import Outcome, PaymentRequestRefused
from services.rpc.tls import client_credentials, read_pem
from tests.order.conftest import Mesh, customer, describe, working
from tests.support.refusals import refusal
from tests.support.waiting import until

# What is said of a request as such.
OF_A_REQUEST = {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "ALREADY_EXISTS", "OUT_OF_RANGE"}
CONFIRMED = ("CONFIRMED", "CAPTURED", "UNSPECIFIED")
_WORKERS = "services.order.pipeline.workers."


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EventDict]]:
    """Three attempts, no time between them, and what the log says of them."""
    monkeypatch.setattr(_WORKERS + "_MOST_ERRORS", 3)
    monkeypatch.setattr(_WORKERS + "_MAX_DELAY_SECONDS", 0.01)
    with capture_logs() as entries:
        yield entries


@pytest.fixture
async def operator(mesh: Mesh, certificates: Authority) -> Any:
    credentials = client_credentials(read_pem(certificates.files("operator")))
    async with grpc.aio.secure_channel(f"127.0.0.1:{mesh.port}", credentials) as channel:
        yield pipeline_pb2_grpc.PipelineServiceStub(channel)


class Failing:
    """A provider's `authorize` that fails for one order, in a way, until it is mended."""

    def __init__(self, mesh: Mesh, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.order_id = ""
        self.attempts = 0
        self.is_mended = False
        authorize = mesh.provider.authorize

        async def fail_for_one(order: Order, token: str) -> Outcome:
            if str(order.order_id) != self.order_id or self.is_mended:
                return await authorize(order, token)
            self.attempts += 1
            raise error

        monkeypatch.setattr(mesh.provider, "authorize", fail_for_one)


async def parked(operator: Any) -> list[pipeline_pb2.ParkedOrder]:
    answer = await operator.ListParkedOrders(pipeline_pb2.ListParkedOrdersRequest())
    found: list[pipeline_pb2.ParkedOrder] = list(answer.parked_orders)
    return found


async def retry(operator: Any, order_id: str) -> bool:
    answer = await operator.RetryParkedOrder(pipeline_pb2.RetryParkedOrderRequest(order_id=order_id))
    was_parked: bool = answer.was_parked
    return was_parked


@pytest.mark.parametrize(
    "failure",
    [
        (RuntimeError("a bug, with what a person wrote"), "RuntimeError"),
        (PaymentRequestRefused("the payment provider answered 422"), "PAYMENT_REQUEST_REFUSED"),
    ],
    ids=["a bug", "a refusal"],
)
async def test_an_order_that_always_fails_is_parked_with_its_reason_and_goes_on_when_it_is_retried(
    mesh: Mesh,
    operator: Any,
    monkeypatch: pytest.MonkeyPatch,
    told: list[EventDict],
    failure: tuple[Exception, str],
) -> None:
    error, reason = failure
    anna, product, failing = customer(), await mesh.new_product(), Failing(mesh, monkeypatch, error)
    poison = await mesh.place(anna, product)
    failing.order_id = poison.order_id

    async def is_parked() -> bool:
        return bool(await parked(operator))

    async with working(mesh.pipeline):
        await until(is_parked)
        [found] = await parked(operator)
        assert (found.order_id, found.state, found.park_reason) == (
            poison.order_id,
            order_pb2.ORDER_STATE_PENDING,
            reason,
        )
        assert found.create_time == poison.create_time
        assert found.create_time.ToDatetime() < found.park_time.ToDatetime()
        neighbour = await mesh.place(anna, product)
        assert describe(await mesh.settled(anna, neighbour.order_id)) == CONFIRMED
        assert failing.attempts == 3
        [said] = [each for each in told if each["event"].startswith("an order is parked")]
        assert (said["log_level"], said["order_id"], said["reason"]) == ("error", poison.order_id, reason)
        # With all of its attempts.
        assert await retry(operator, poison.order_id)
        await until(is_parked)
        assert failing.attempts == 6
        failing.is_mended = True
        assert await retry(operator, poison.order_id)
        assert describe(await mesh.settled(anna, poison.order_id)) == CONFIRMED
        assert await parked(operator) == []
        # Settled: there is nothing to be tried any more.
        assert not await retry(operator, poison.order_id)
    assert await mesh.levels(product) == (98, 0, 2)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    "error",
    [TimeoutError(), *(UpstreamError(code, code, "of theirs") for code in Code if code not in OF_A_REQUEST)],
    ids=lambda error: str(error.code if isinstance(error, UpstreamError) else "no answer"),
)
async def test_an_order_that_meets_another_party_which_does_not_work_is_never_parked(
    mesh: Mesh, operator: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing = Failing(mesh, monkeypatch, error)
    failing.order_id = (await mesh.place(customer(), await mesh.new_product())).order_id

    async def was_tried_often() -> bool:
        return failing.attempts > 6

    async with working(mesh.pipeline):
        await until(was_tried_often)
    assert await parked(operator) == []


@pytest.mark.usefixtures("told")
async def test_errors_are_counted_in_a_row(
    mesh: Mesh, operator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bugs, a provider that is away, two bugs: never three in a row."""
    anna = customer()
    order = await mesh.place(anna, await mesh.new_product())
    authorize = mesh.provider.authorize
    failures = [KeyError(), KeyError(), TimeoutError(), KeyError(), KeyError()]

    async def fail_five_times(order: Order, token: str) -> Outcome:
        if failures:
            raise failures.pop()
        return await authorize(order, token)

    monkeypatch.setattr(mesh.provider, "authorize", fail_five_times)
    async with working(mesh.pipeline):
        assert describe(await mesh.settled(anna, order.order_id)) == CONFIRMED


async def test_a_parked_order_can_be_cancelled(mesh: Mesh, operator: Any) -> None:
    anna, product = customer(), await mesh.new_product()
    order = await mesh.place(anna, product)
    await mesh.park(order.order_id)
    await mesh.cancel(anna, order.order_id)
    async with working(mesh.pipeline):
        final = await mesh.settled(anna, order.order_id)
    assert describe(final) == ("CANCELLED", "VOIDED", "REQUESTED")
    assert await parked(operator) == []
    assert await mesh.levels(product) == (100, 0, 0)


async def test_parked_orders_are_listed_in_pages_and_others_are_left_alone(mesh: Mesh, operator: Any) -> None:
    anna, product = customer(), await mesh.new_product()
    placed = [(await mesh.place(anna, product)).order_id for _ in range(6)]
    for order_id in placed[:5]:
        await mesh.park(order_id)
    # Two of one moment are told apart by their ids.
    await mesh.pool.execute("UPDATE order_tasks SET park_time = now() WHERE due_time = 'infinity'")
    found: list[str] = []
    request = pipeline_pb2.ListParkedOrdersRequest(page_size=2)
    while True:
        page = await operator.ListParkedOrders(request)
        found += [each.order_id for each in page.parked_orders]
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert found == sorted(placed[:5])
    assert not await retry(operator, placed[5])
    assert await refusal(retry(operator, str(uuid4()))) == ("NOT_FOUND", "ORDER_NOT_FOUND")


@pytest.fixture
def mesh_orders(mesh: Mesh, certificates: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mesh orders` calls the order service of these tests, which has no data folder."""
    credentials = client_credentials(read_pem(certificates.files("operator")))

    @contextmanager
    def service_channel(*_: object) -> Iterator[grpc.Channel]:
        with grpc.secure_channel(f"127.0.0.1:{mesh.port}", credentials) as channel:
            yield channel

    monkeypatch.setattr(clients, "service_channel", service_channel)
    monkeypatch.setattr(orders, "running_mesh", lambda _: Running())


class Running:
    layout = operator = None


async def printed(command: Callable[..., None], *args: Any, **options: Any) -> str:
    out = StringIO()
    console = Console(file=out, width=80, soft_wrap=True)
    # A thread of its own: the service runs in this one.
    await asyncio.to_thread(partial(command, Path(), *args, console, **options))
    return out.getvalue()


@pytest.mark.usefixtures("mesh_orders")
async def test_operators_see_and_retry_parked_orders_by_the_command(mesh: Mesh) -> None:
    assert "No order is parked." in await printed(orders.list_parked)
    anna, product = customer(), await mesh.new_product()
    placed = [(await mesh.place(anna, product)).order_id for _ in range(2)]
    for order_id in placed:
        await mesh.park(order_id, "KeyError")
    shown = await printed(orders.list_parked)
    assert all(f"{order_id}  PENDING  KeyError" in shown for order_id in placed)
    told = await printed(orders.retry, placed[:1], everything=False)
    assert told == f"{placed[0]} is tried again.\n"
    assert await printed(orders.retry, placed[:1], everything=False) == f"{placed[0]} was not parked.\n"
    assert await printed(orders.retry, [], everything=True) == f"{placed[1]} is tried again.\n"
    for named, everything in (([], False), (placed, True)):
        with pytest.raises(MeshError, match="not clear which orders"):
            await printed(orders.retry, named, everything=everything)
    with pytest.raises(json_calls.Refused):
        await printed(orders.retry, [str(uuid4())], everything=False)
