"""ShippingService through a real server, channel and database."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest
from commerce.shipping.v1 import shipping_pb2, shipping_pb2_grpc

from services.rpc.server import running_server
from services.shipping.rates.servicer import ShippingServicer
from tests.conftest import DatabaseHandle
from tests.support.net import Net, stub_of
from tests.support.refusals import refusal
from tests.support.tokens import TOKENS


@pytest.fixture
async def shipping(database: Callable[[str], DatabaseHandle], net: Net) -> AsyncIterator[Any]:
    pool = await database("shipping").pool()

    def register(server: grpc.aio.Server) -> Sequence[str]:
        shipping_pb2_grpc.add_ShippingServiceServicer_to_server(ShippingServicer(pool), server)
        return ["commerce.shipping.v1.ShippingService"]

    settings = net.settings("shipping")
    async with running_server(settings, register=register, verifier=TOKENS.verifier()) as running:
        yield stub_of(shipping_pb2_grpc.ShippingServiceStub, await net.bare_channel("edge", running.port))
    await pool.close()


@pytest.mark.parametrize(("grams", "up_to"), [(1, 1000), (1000, 1000), (1001, 5000), (31500, 31500)])
async def test_a_parcel_has_the_first_rate_that_takes_its_weight(
    shipping: Any, grams: int, up_to: int
) -> None:
    quote = await shipping.GetQuote(shipping_pb2.GetQuoteRequest(weight_grams=grams))
    assert (quote.up_to_grams, quote.price.currency_code) == (up_to, "EUR")


async def test_what_nobody_carries_has_no_rate(shipping: Any) -> None:
    too_heavy, nothing = (shipping_pb2.GetQuoteRequest(weight_grams=grams) for grams in (31501, 0))
    assert await refusal(shipping.GetQuote(too_heavy)) == ("FAILED_PRECONDITION", "PARCEL_TOO_HEAVY")
    assert await refusal(shipping.GetQuote(nothing)) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
