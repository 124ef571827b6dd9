"""PipelineService: for operators, the orders on which work has stopped."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import grpc
from commerce.order.v1 import pipeline_pb2, pipeline_pb2_grpc

from services.order.orders.store import get_order
from services.order.pipeline import store
from services.order.pipeline.store import Parked
from services.order.pipeline.workers import Pipeline
from services.rpc.fields import timestamp
from services.storage.paging import Pages
from services.storage.postgres import Pool, connection

Context = grpc.aio.ServicerContext[Any, Any]


class _ParkedKey(NamedTuple):
    park_time: datetime
    order_id: UUID


class PipelineServicer(pipeline_pb2_grpc.PipelineServiceServicer):
    """What an operator sees of the queue, and does with it."""

    def __init__(self, pool: Pool, pages: Pages, pipeline: Pipeline) -> None:
        self._pool = pool
        self._pages = pages
        self._pipeline = pipeline

    async def ListParkedOrders(
        self, request: pipeline_pb2.ListParkedOrdersRequest, context: Context
    ) -> pipeline_pb2.ListParkedOrdersResponse:
        """List parked orders, the longest parked first."""
        page = self._pages.open(request, _ParkedKey)
        async with connection(self._pool) as conn:
            found = await store.list_parked(conn, page.after, page.limit)
        parked, token = await page.cut(
            found, _parked_message, lambda each: _ParkedKey(each.park_time, each.order_id)
        )
        return pipeline_pb2.ListParkedOrdersResponse(parked_orders=parked, next_page_token=token)

    async def RetryParkedOrder(
        self, request: pipeline_pb2.RetryParkedOrderRequest, context: Context
    ) -> pipeline_pb2.RetryParkedOrderResponse:
        """Have a parked order tried again."""
        order_id = UUID(request.order_id)
        async with connection(self._pool) as conn:
            was_parked = await store.retry_task(conn, order_id)
            if not was_parked:
                await get_order(conn, order_id)
        if was_parked:
            self._pipeline.wake()
        return pipeline_pb2.RetryParkedOrderResponse(was_parked=was_parked)


def _parked_message(parked: Parked) -> pipeline_pb2.ParkedOrder:
    return pipeline_pb2.ParkedOrder(
        order_id=str(parked.order_id),
        state=f"ORDER_STATE_{parked.state}",
        park_reason=parked.reason,
        park_time=timestamp(parked.park_time),
        create_time=timestamp(parked.create_time),
    )
