"""A call that is given up at any await of the chain around its method leaves nothing of it taken."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import grpc
import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.product.v1 import product_pb2, product_pb2_grpc
from grpc_health.v1 import health, health_pb2_grpc

from deploy.local.parts.certificates import Authority
from services.rpc.identity import TokenVerifier
from services.rpc.interceptors import Chain
from services.rpc.tls import ServerCertificates
from tests.attacks.cancelling import CutOff, Moment
from tests.support.net import FEED, PRODUCT_ID, PRODUCTS, Net, from_address
from tests.support.tokens import AUDIENCE, ISSUER, Tokens, knowing
from tests.support.waiting import PATIENCE_SECONDS

# No method of the servicer below waits often.
MOST_SUSPENSIONS = 40

GET = product_pb2.GetProductRequest(product_id=PRODUCT_ID).SerializeToString()
ROW = product_pb2.ImportProductsRequest(row_number=1).SerializeToString()
FOLLOW = event_pb2.FollowRequest().SerializeToString()


class Products(product_pb2_grpc.ProductServiceServicer):
    async def GetProduct(self, request: Any, context: Any) -> product_pb2.Product:
        await asyncio.sleep(0)
        return product_pb2.Product(etag="1")

    async def ImportProducts(self, request_iterator: Any, context: Any) -> product_pb2.ImportProductsResponse:
        count = len([each async for each in request_iterator])
        return product_pb2.ImportProductsResponse(created_count=count)


class Feed(event_pb2_grpc.EventFeedServicer):
    async def Follow(self, request: Any, context: Any) -> AsyncIterator[event_pb2.FollowResponse]:
        for position in range(3):
            yield event_pb2.FollowResponse(position=position)


class Cutting(grpc.aio.ServerInterceptor):
    """Stands before the chain, and cancels each call at its `at`-th await."""

    def __init__(self) -> None:
        self.at = 0
        self.moment = Moment.BEGUN
        # Whether the last call had so many awaits; set once it has ended.
        self.ended: asyncio.Future[bool]

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._cut(handler.stream_stream), None, handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(self._cut(handler.stream_unary))

    def _cut(self, behavior: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def cut(requests: Any, context: Any) -> Any:
            work = CutOff(behavior(requests, context), self.at, self.moment)
            task = asyncio.current_task()
            assert task is not None
            # After the chain's own callbacks: what it gives back at a call's end has been given back.
            try:
                return await work
            finally:
                task.add_done_callback(lambda _: self.ended.set_result(work.was_reached))

        return cut


class Guarded:
    """A server whose calls are cut off, with the chain that is looked at."""

    def __init__(self, chain: Chain, cutting: Cutting, tokens: Tokens) -> None:
        self.chain = chain
        self.cutting = cutting
        self._tokens = tokens

    async def survives(self, call: Callable[[], Any]) -> bool:
        """Cut a call off, see that nothing of it is left, and return whether it had so many awaits."""
        # Its token is new to the verifier: that waits for keys.
        self.chain.verifier = knowing(TokenVerifier(ISSUER, AUDIENCE, self._keys))
        self.cutting.ended = asyncio.get_running_loop().create_future()
        running = call()
        async with asyncio.timeout(PATIENCE_SECONDS):
            was_reached = await self.cutting.ended
        # gRPC tells its caller nothing of a call that was cancelled.
        running.cancel()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await running.code()
        assert self.left() == [], f"cut off at await {self.cutting.at}, {self.cutting.moment.name}"
        return was_reached

    def left(self) -> list[str]:
        """Name what is still counted."""
        rooms = {"arriving": self.chain.arriving, "working": self.chain.working}
        rooms |= {method: each.__self__._room for method, each in self._methods()}
        places = [
            (f"{name}, {kind}", each)
            for name, room in rooms.items()
            for kind, each in (("people", room.people), ("services", room.services))
        ]
        places.append(("waiting", self.chain.queues.waiting))
        taken = [name for name, each in places if each.free < each.total or each._taken]
        return taken + ["a turn"] * len(self.chain.queues._queues) + ["a stream"] * len(self.chain._streams)

    def _methods(self) -> list[tuple[str, Any]]:
        handlers: dict[str, Any] = dict(self.chain._handlers)
        return [(name, each.stream_unary or each.stream_stream) for name, each in handlers.items()]

    async def _keys(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        return await self._tokens.keys()


async def rows() -> AsyncIterator[bytes]:
    for _ in range(2):
        yield ROW


Call = Callable[[Any, Tokens], Any]
CALLS: dict[str, Call] = {
    "a read": lambda to, _: to.unary_unary(f"/{PRODUCTS}/GetProduct")(
        GET, metadata=from_address("192.0.2.1"), timeout=PATIENCE_SECONDS
    ),
    "a read with a token": lambda to, tokens: to.unary_unary(f"/{PRODUCTS}/GetProduct")(
        GET, metadata=tokens.bearer("orders.read")
    ),
    "a stream of rows": lambda to, tokens: to.stream_unary(f"/{PRODUCTS}/ImportProducts")(
        rows(), metadata=tokens.bearer("products.write")
    ),
    "a health check": lambda to, _: to.unary_unary("/grpc.health.v1.Health/Check")(b""),
}
SERVICES_CALLS: dict[str, Call] = {
    "a service's read": lambda to, _: to.unary_unary(f"/{PRODUCTS}/GetProduct")(GET),
    "a feed": lambda to, _: to.unary_stream(f"/{FEED}/Follow")(FOLLOW),
}


@pytest.fixture
async def guarded_port(certificates: Authority, tokens: Tokens) -> AsyncIterator[tuple[Guarded, int]]:
    chain, cutting = Chain(tokens.verifier(), 200), Cutting()
    server = grpc.aio.server(interceptors=[cutting, chain])
    product_pb2_grpc.add_ProductServiceServicer_to_server(cast(Any, Products)(), server)
    event_pb2_grpc.add_EventFeedServicer_to_server(Feed(), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_secure_port(
        "127.0.0.1:0", ServerCertificates(certificates.files("product")).credentials()
    )
    await server.start()
    yield Guarded(chain, cutting, tokens), port
    await server.stop(None)


@pytest.mark.parametrize("name", [*CALLS, *SERVICES_CALLS])
async def test_a_cancellation_at_any_await_of_the_chain_leaves_no_place_taken(
    guarded_port: tuple[Guarded, int], net: Net, tokens: Tokens, name: str
) -> None:
    guarded, port = guarded_port
    channel = await net.bare_channel("edge" if name in CALLS else "order", port)
    call = (CALLS | SERVICES_CALLS)[name]
    for moment in Moment:
        guarded.cutting.moment, guarded.cutting.at = moment, 1
        while await guarded.survives(lambda: call(channel, tokens)):
            guarded.cutting.at += 1
            assert guarded.cutting.at < MOST_SUSPENSIONS
        assert guarded.cutting.at > 1, "it never waited"
