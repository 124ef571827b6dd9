"""Orders on which work has stopped: `mesh orders parked` and `mesh orders retry`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from commerce.order.v1 import order_pb2, pipeline_pb2
from commerce.order.v1.pipeline_pb2_grpc import PipelineServiceStub
from rich.console import Console

from deploy.local.cli.running import running_mesh
from deploy.local.errors import MeshError
from deploy.local.shop import clients, json_calls

_SECONDS = 10.0
_PAGE = 100


def list_parked(data: Path, console: Console) -> None:
    """Show the orders that wait for an operator, the longest parked first.

    Raises:
        Refused: the service is away.
    """
    with _service(data) as stub:
        # A line each, as long as it is: ids are copied, and read by other programs.
        lines = [_line(each) for each in _parked(stub)]
    if not lines:
        console.print("No order is parked.")
        return
    for line in lines:
        console.print(line, markup=False)
    console.print("`mesh logs order` says more of each; `mesh orders retry ORDER_ID` has it tried again.")


def _line(parked: pipeline_pb2.ParkedOrder) -> str:
    state = order_pb2.OrderState.Name(parked.state).removeprefix("ORDER_STATE_")
    placed, since = parked.create_time.ToJsonString(), parked.park_time.ToJsonString()
    return f"{parked.order_id}  {state}  {parked.park_reason}  placed {placed}, parked {since}"


def retry(data: Path, order_ids: Sequence[str], console: Console, *, everything: bool) -> None:
    """Have parked orders tried again.

    Args:
        data: The data folder.
        order_ids: Which.
        console: Told of each.
        everything: All that are parked now, and none by name.

    Raises:
        MeshError: neither or both are named.
        Refused: there is no such order, or the service is away; those before it are tried again.
    """
    if bool(order_ids) is everything:
        raise MeshError("It is not clear which orders are meant.", "Name orders, or give --all.")
    with _service(data) as stub:
        # Before the first of them is tried, and perhaps parked, again.
        for order_id in order_ids or [each.order_id for each in _parked(stub)]:
            request = pipeline_pb2.RetryParkedOrderRequest(order_id=order_id)
            answer = stub.RetryParkedOrder(request, timeout=_SECONDS)
            console.print(f"{order_id} {'is tried again' if answer.was_parked else 'was not parked'}.")


def _parked(stub: PipelineServiceStub) -> Iterator[pipeline_pb2.ParkedOrder]:
    request = pipeline_pb2.ListParkedOrdersRequest(page_size=_PAGE)
    while True:
        page = stub.ListParkedOrders(request, timeout=_SECONDS)
        yield from page.parked_orders
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


@contextmanager
def _service(data: Path) -> Iterator[PipelineServiceStub]:
    """Open the order service as the operator.

    Raises:
        Refused: it is away, or refuses.
    """
    mesh = running_mesh(data)
    try:
        with clients.service_channel(mesh.layout, "order", mesh.operator) as channel:
            yield PipelineServiceStub(channel)
    except grpc.RpcError as error:
        raise json_calls.Refused(error) from error
