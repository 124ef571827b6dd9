"""Small real servers of our own contract behind a real edge, and the keys that sign tokens for them."""

import asyncio
import base64
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import jwt
from commerce.order.v1 import order_pb2, order_pb2_grpc
from commerce.product.v1 import category_pb2, category_pb2_grpc, product_pb2, product_pb2_grpc
from commerce.user.v1 import auth_pb2, auth_pb2_grpc, user_pb2, user_pb2_grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import empty_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from google.type import money_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from deploy.local.parts.certificates import Authority
from services.roster import NAMES
from services.settings import TlsFiles
from tests.support.tokens import AUDIENCE, ISSUER
from tests.support.waiting import PATIENCE_SECONDS

PRODUCT_ID = "0198c0de-0000-7000-8000-000000000001"
MISSING_ID = "0198c0de-0000-7000-8000-000000000404"
SLOW_ID = "0198c0de-0000-7000-8000-000000000999"
BARE_ID = "0198c0de-0000-7000-8000-000000000008"
# Brands of a list that tells the time when it was made, and of one with a kilobyte for each row asked for.
CLOCK, LARGE = "clock", "large"
FLAKY_ID = "0198c0de-0000-7000-8000-000000000503"

# Under what names a service is asked for its health, one of them hidden from people.
NAMED = {
    "user": ("commerce.user.v1.UserService", "commerce.user.v1.AuthService", "commerce.event.v1.EventFeed"),
    "product": ("commerce.product.v1.ProductService", "commerce.event.v1.EventFeed"),
    "order": ("commerce.order.v1.OrderService", "commerce.event.v1.EventFeed"),
}

# With these, an order has changed since, or is being changed by another.
PAST_ETAG, OTHER_ETAG = "past", "other"


class Signer:
    """Signs access tokens and shows its public key."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def token(
        self, scope: str = "users.read", subject: str = "ada", lifetime_seconds: int = 600, **claims: Any
    ) -> str:
        now = int(time.time())
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "scope": scope,
            "iat": now,
            "exp": now + lifetime_seconds,
            **claims,
        }
        return jwt.encode(payload, self._key, "EdDSA", {"kid": "test", "typ": "at+jwt"})

    def jwks(self) -> auth_pb2.Jwks:
        raw = base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw()).rstrip(b"=").decode()
        key = auth_pb2.Jwk(kty="OKP", crv="Ed25519", x=raw, kid="test", alg="EdDSA", use="sig")
        return auth_pb2.Jwks(keys=[key])


@dataclass
class Seen:
    """What the servers saw of the calls that reached them."""

    calls: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    remaining_seconds: float = 0.0
    request: Any = None

    def note(self, method: str, context: "grpc.aio.ServicerContext[Any, Any]", request: Any = None) -> None:
        self.calls.append(method)
        self.request = request
        self.metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self.remaining_seconds = context.time_remaining()


class Auth(auth_pb2_grpc.AuthServiceServicer):
    def __init__(self, signer: Signer, seen: Seen) -> None:
        self._signer = signer
        self._seen = seen

    async def GetJwks(self, request: auth_pb2.GetJwksRequest, context: Any) -> auth_pb2.Jwks:
        self._seen.note("GetJwks", context)
        return self._signer.jwks()


class Users(user_pb2_grpc.UserServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def GetUser(self, request: user_pb2.GetUserRequest, context: Any) -> user_pb2.User:
        self._seen.note("GetUser", context)
        return user_pb2.User(user_id=request.user_id, email="ada@example.com")

    async def UpdateUser(self, request: user_pb2.UpdateUserRequest, context: Any) -> user_pb2.User:
        self._seen.note("UpdateUser", context, request)
        user = user_pb2.User(display_name=",".join(request.update_mask.paths))
        user.user_id = request.user.user_id
        return user


class Products(product_pb2_grpc.ProductServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._failures: dict[str, int] = {}

    async def GetProduct(self, request: product_pb2.GetProductRequest, context: Any) -> product_pb2.Product:
        self._seen.note("GetProduct", context, request)
        if request.product_id == MISSING_ID:
            await refuse(context, code_pb2.NOT_FOUND, "PRODUCT_NOT_FOUND", "there is no such product")
        if request.product_id == BARE_ID:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
        if request.product_id == SLOW_ID:
            await asyncio.sleep(10)
        if request.product_id == FLAKY_ID:
            await self._fail_once(request.product_id, context)
        context.set_trailing_metadata((("etag", '"7"'),))
        price = money_pb2.Money(currency_code="USD", units=9_007_199_254_740_993, nanos=5)
        return product_pb2.Product(
            product_id=request.product_id, sku="DRILL", name="n" * 1000, price=price, etag="7"
        )

    async def BatchGetProducts(
        self, request: product_pb2.BatchGetProductsRequest, context: Any
    ) -> product_pb2.BatchGetProductsResponse:
        self._seen.note("BatchGetProducts", context)
        products = [product_pb2.Product(product_id=each) for each in request.product_ids]
        return product_pb2.BatchGetProductsResponse(products=products)

    async def ListProducts(
        self, request: product_pb2.ListProductsRequest, context: Any
    ) -> product_pb2.ListProductsResponse:
        self._seen.note("ListProducts", context)
        if request.brand == CLOCK:
            # Long enough for all who read at once to ask too, if nobody kept them from it.
            await asyncio.sleep(0.05)
            return product_pb2.ListProductsResponse(next_page_token=repr(time.time()))
        size = 1000 * request.page_size if request.brand == LARGE else 0
        return product_pb2.ListProductsResponse(
            next_page_token=f"{request.page_size} {request.brand}{request.page_token}" + "x" * size
        )

    async def CreateProduct(
        self, request: product_pb2.CreateProductRequest, context: Any
    ) -> product_pb2.Product:
        self._seen.note("CreateProduct", context, request)
        if request.product.sku == "FLAKY":
            await self._fail_once(request.request_id, context)
        product = product_pb2.Product(product_id=PRODUCT_ID)
        product.MergeFrom(request.product)
        return product

    async def UpdateProduct(
        self, request: product_pb2.UpdateProductRequest, context: Any
    ) -> product_pb2.Product:
        self._seen.note("UpdateProduct", context, request)
        return request.product

    async def DeleteProduct(self, request: product_pb2.DeleteProductRequest, context: Any) -> empty_pb2.Empty:
        self._seen.note("DeleteProduct", context, request)
        return empty_pb2.Empty()

    async def ImportProducts(self, requests: Any, context: Any) -> product_pb2.ImportProductsResponse:
        count = 0
        async for _ in requests:
            count += 1
        return product_pb2.ImportProductsResponse(created_count=count)

    async def _fail_once(self, key: str, context: Any) -> None:
        self._failures[key] = self._failures.get(key, 0) + 1
        if self._failures[key] == 1:
            await refuse(context, code_pb2.UNAVAILABLE, "SERVICE_UNAVAILABLE", "not now")


class Categories(category_pb2_grpc.CategoryServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def GetCategory(
        self, request: category_pb2.GetCategoryRequest, context: Any
    ) -> category_pb2.Category:
        self._seen.note("GetCategory", context)
        return category_pb2.Category(category_id=request.category_id)


class Orders(order_pb2_grpc.OrderServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def GetOrder(self, request: order_pb2.GetOrderRequest, context: Any) -> order_pb2.Order:
        self._seen.note("GetOrder", context)
        return order_pb2.Order(order_id=request.order_id, state=order_pb2.ORDER_STATE_CONFIRMED)

    async def PlaceOrder(self, request: order_pb2.PlaceOrderRequest, context: Any) -> order_pb2.Order:
        self._seen.note("PlaceOrder", context, request)
        return order_pb2.Order(order_id=request.request_id)

    async def CancelOrder(self, request: order_pb2.CancelOrderRequest, context: Any) -> order_pb2.Order:
        self._seen.note("CancelOrder", context, request)
        if request.etag == PAST_ETAG:
            await refuse(context, code_pb2.ABORTED, "ETAG_MISMATCH", "it changed")
        if request.etag == OTHER_ETAG:
            await refuse(context, code_pb2.ABORTED, "VERSION_CONFLICT", "another was first")
        return order_pb2.Order(order_id=request.order_id, etag=request.etag)


async def refuse(context: Any, code: int, reason: str, message: str) -> None:
    status = status_pb2.Status(code=code, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="commerce.local"))
    await context.abort_with_status(rpc_status.to_status(status))


def _partial(servicer: Any, *knows: object) -> Any:
    """Make a servicer of the methods that tests call; its types ask for all that there are."""
    return servicer(*knows)


class Backends:
    """The three services on ports of their own, in a thread of their own."""

    def __init__(self, certificates: Authority, signer: Signer) -> None:
        self._certificates = certificates
        self._signer = signer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: dict[str, grpc.aio.Server] = {}
        self._health: dict[str, health.aio.HealthServicer] = {}
        self.seen = Seen()
        # Apart: the edge asks whenever it wants.
        self.seen_of_keys = Seen()
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        self._thread.start()
        for service in NAMES:
            self.start_service(service)

    def start_service(self, service: str, identity: str | None = None) -> None:
        self._run(lambda: self._start(service, self._certificates.files(identity or service)))

    def stop_service(self, service: str) -> None:
        self._run(lambda: self._servers[service].stop(0.2))

    def say_of(self, service: str, name: str, status: int) -> None:
        """Have a service answer so when it is asked for its health under a name."""
        self._run(lambda: self._health[service].set(name, status))

    def stop(self) -> None:
        for service in self._servers:
            self.stop_service(service)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self, service: str, files: TlsFiles) -> None:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._register(service, server)
        self._health[service] = checks = health.aio.HealthServicer()
        for name in ("", *NAMED[service]):
            await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        credentials = grpc.ssl_server_credentials(
            [(files.key.read_bytes(), files.cert.read_bytes())],
            root_certificates=files.ca.read_bytes(),
            require_client_auth=True,
        )
        address = f"127.0.0.1:{self.ports.get(service, 0)}"
        self.ports[service] = server.add_secure_port(address, credentials)
        await server.start()
        self._servers[service] = server

    def _register(self, service: str, server: grpc.aio.Server) -> None:
        if service == "user":
            auth = _partial(Auth, self._signer, self.seen_of_keys)
            auth_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
            user_pb2_grpc.add_UserServiceServicer_to_server(_partial(Users, self.seen), server)
        elif service == "product":
            product_pb2_grpc.add_ProductServiceServicer_to_server(_partial(Products, self.seen), server)
            categories = _partial(Categories, self.seen)
            category_pb2_grpc.add_CategoryServiceServicer_to_server(categories, server)
        else:
            order_pb2_grpc.add_OrderServiceServicer_to_server(_partial(Orders, self.seen), server)

    def _run(self, work: Callable[[], Awaitable[Any]]) -> None:
        async def run() -> None:
            await work()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=PATIENCE_SECONDS)
