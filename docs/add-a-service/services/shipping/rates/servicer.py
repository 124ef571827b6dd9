"""ShippingService: messages to rates and back."""

from typing import Any

import grpc
from commerce.shipping.v1 import shipping_pb2, shipping_pb2_grpc

from services.rpc.fields import to_money
from services.shipping.rates import store
from services.storage.postgres import Pool, connection

Context = grpc.aio.ServicerContext[Any, Any]


class ShippingServicer(shipping_pb2_grpc.ShippingServiceServicer):
    """What it costs to send things."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def GetQuote(self, request: shipping_pb2.GetQuoteRequest, context: Context) -> shipping_pb2.Quote:
        """Say what a parcel costs."""
        async with connection(self._pool) as conn:
            rate = await store.get_rate(conn, request.weight_grams)
        return shipping_pb2.Quote(price=to_money(rate.price, rate.currency), up_to_grams=rate.up_to_grams)
