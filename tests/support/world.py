"""People, products and an order in a running mesh, for the tests that call it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
from commerce.order.v1 import order_pb2
from commerce.product.v1 import category_pb2, inventory_pb2, product_pb2
from commerce.user.v1 import auth_pb2, user_pb2
from cryptography.hazmat.primitives import serialization
from google.type import money_pb2

from tests.support.calls import Caller, Outcome
from tests.support.people import Person
from tests.support.tokens import AUDIENCE, ISSUER
from tests.support.waiting import PATIENCE_SECONDS

USERS = "/commerce.user.v1.UserService/"
AUTH = "/commerce.user.v1.AuthService/"
RECOVERY = "/commerce.user.v1.RecoveryService/"
OAUTH = "/commerce.user.v1.OAuthService/"
PRIVACY = "/commerce.user.v1.PrivacyService/"
SECOND_FACTOR = "/commerce.user.v1.SecondFactorService/"
AUDIT = "/commerce.user.v1.AuditService/"
PRODUCTS = "/commerce.product.v1.ProductService/"
CATEGORIES = "/commerce.product.v1.CategoryService/"
MATCHES = "/commerce.product.v1.MatchService/"
INVENTORY = "/commerce.product.v1.InventoryService/"
ORDERS = "/commerce.order.v1.OrderService/"
LEDGER = "/commerce.order.v1.LedgerService/"
PIPELINE = "/commerce.order.v1.PipelineService/"
FEED = "/commerce.event.v1.EventFeed/"

ROLES = ("customer", "support", "merchant", "admin")
PASSWORD = "correct horse battery staple"
UNITS_IN_STOCK = 900
HOUR = 3600
_TOO_BUSY = frozenset({"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"})


@dataclass(frozen=True)
class Signer:
    """The mesh's own key, for tokens that it would never issue."""

    kid: str
    key_file: Path

    def sign(self, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a token that differs from a good one in these; a claim that is None is left out."""
        now = int(time.time())
        good = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(uuid4()),
            "sid": str(uuid4()),
            "scope": "users.read users.write orders.read orders.write",
            "jti": str(uuid4()),
            "iat": now - 1,
            "exp": now + HOUR,
        }
        payload = {name: value for name, value in {**good, **claims}.items() if value is not None}
        key = serialization.load_pem_private_key(self.key_file.read_bytes(), None)
        headers = {"typ": "at+jwt", "kid": self.kid, **(header or {})}
        return jwt.encode(payload, key, algorithm="EdDSA", headers=headers)  # type: ignore[arg-type]

    def expired(self) -> str:
        """Sign a token that was good until an hour ago."""
        now = int(time.time())
        return self.sign(iat=now - 2 * HOUR, exp=now - HOUR)


# Well within the shortest `step_up.max_age` of the contract.
_LATELY_SECONDS = 120.0


@dataclass(frozen=True)
class World:
    """What a mesh holds for a test: everything in it was made over its own API."""

    caller: Caller
    signer: Signer
    # The accounts that operators' tokens speak for.
    roles: dict[str, Person]
    # Two customers. The order, and the sessions, are Anna's.
    anna: Person
    boris: Person
    category_id: str
    product_id: str
    location_id: str
    sku: str
    order_id: str
    expired_token: str

    @property
    def admin(self) -> str:
        """An administrator's token."""
        return self.roles["admin"].token


class Worlds:
    """A world whose people have logged in lately: some methods want that, and a busy machine takes long."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._logged_in_at = time.monotonic()

    @property
    def first(self) -> World:
        """It as it was built, for who asks nothing of those methods."""
        return self._world

    async def now(self) -> World:
        """Return it, with tokens of a new log-in where the last was some time ago."""
        if time.monotonic() - self._logged_in_at > _LATELY_SECONDS:
            self._logged_in_at = time.monotonic()
            old = self._world
            roles = {role: await operator_token(old.caller, role) for role in ROLES}
            anna, boris = await asyncio.gather(_again(old.caller, old.anna), _again(old.caller, old.boris))
            self._world = replace(old, roles=roles, anna=anna, boris=boris)
        return self._world


async def _again(caller: Caller, person: Person) -> Person:
    session = await log_in(caller, person.email)
    return replace(person, token=session.tokens.access_token, session_id=session.session.session_id)


async def build_world(caller: Caller, signing_key: Path) -> World:
    """Fill a mesh with two people, a product in stock and a confirmed order."""
    roles = {role: await operator_token(caller, role) for role in ROLES}
    admin = roles["admin"].token
    signer = await signer_of(caller, signing_key)
    category = await new_category(caller, admin)
    product = await new_product(caller, admin, category_id=category.category_id)
    anna, boris = await asyncio.gather(new_customer(caller), new_customer(caller))
    order = await place_order(caller, anna.token, product.product_id)
    await final_order(caller, anna.token, order.order_id)
    return World(
        caller=caller,
        signer=signer,
        roles=roles,
        anna=anna,
        boris=boris,
        category_id=category.category_id,
        product_id=product.product_id,
        location_id=await new_location(caller, admin),
        sku=product.sku,
        order_id=order.order_id,
        expired_token=signer.expired(),
    )


async def signer_of(caller: Caller, signing_key: Path) -> Signer:
    """Sign as the mesh does whose key this is."""
    jwks = (await caller.call_rest(AUTH + "GetJwks", auth_pb2.GetJwksRequest())).response
    return Signer(jwks.keys[0].kid, signing_key)


async def insist(send: Callable[[], Awaitable[Outcome]]) -> Any:
    """Return the answer to a call that only prepares, sent anew while the machine is too busy for it.

    Args:
        send: Makes and sends a request; each time another one where it may not be repeated.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while (outcome := await send()).code in _TOO_BUSY and time.monotonic() < give_up_at:  # noqa: ASYNC110  a call
        await asyncio.sleep(0.1)
    return outcome.response


async def operator_token(caller: Caller, role: str) -> Person:
    """Ask for a role's token as an operator does."""
    request = auth_pb2.IssueOperatorTokenRequest(role=f"ROLE_{role.upper()}")
    issued = await caller.call_direct(AUTH + "IssueOperatorToken", request, identity="operator")
    return Person(issued.response.user_id, issued.response.access_token)


async def new_customer(caller: Caller) -> Person:
    """Register somebody and log in."""

    def create() -> Awaitable[Outcome]:
        user = user_pb2.User(email=f"{uuid4().hex}@example.com", display_name="Somebody")
        request = user_pb2.CreateUserRequest(user=user, password=PASSWORD)
        return caller.call_rest(USERS + "CreateUser", request)

    created: user_pb2.User = await insist(create)
    session = await log_in(caller, created.email)
    return Person(
        created.user_id,
        session.tokens.access_token,
        email=created.email,
        session_id=session.session.session_id,
    )


async def new_person(caller: Caller, admin: str, role: str) -> Person:
    """Register somebody, let an administrator give them a role instead of customer, and log in again."""
    person = await new_customer(caller)
    request = user_pb2.UpdateUserRequest(
        user=user_pb2.User(user_id=person.user_id, roles=[f"ROLE_{role.upper()}"])
    )
    request.update_mask.paths.append("roles")
    _ = (await caller.call_rest(USERS + "UpdateUser", request, admin)).response
    return await _again(caller, person)


async def log_in(caller: Caller, email: str) -> auth_pb2.CreateSessionResponse:
    """Log somebody in once more."""
    request = auth_pb2.CreateSessionRequest(email=email, password=PASSWORD)
    session: auth_pb2.CreateSessionResponse = await insist(
        lambda: caller.call_rest(AUTH + "CreateSession", request)
    )
    return session


async def new_location(caller: Caller, token: str) -> str:
    """Add a place where stock may lie, and return its id."""
    location = inventory_pb2.Location(display_name=f"Test {uuid4().hex}")
    request = inventory_pb2.CreateLocationRequest(location=location)
    made: inventory_pb2.Location = (
        await caller.call_rest(INVENTORY + "CreateLocation", request, token)
    ).response
    return made.location_id


async def new_category(caller: Caller, token: str) -> category_pb2.Category:
    """Add a category at the root."""
    request = category_pb2.CreateCategoryRequest(
        category=category_pb2.Category(display_name=f"Test {uuid4().hex}")
    )
    category: category_pb2.Category = (
        await caller.call_rest(CATEGORIES + "CreateCategory", request, token)
    ).response
    return category


async def new_product(
    caller: Caller, token: str, *, category_id: str = "", units: int = UNITS_IN_STOCK
) -> product_pb2.Product:
    """Add a product that is for sale, with stock."""

    def create() -> Awaitable[Outcome]:
        request = product_pb2.CreateProductRequest(product=_some_product(category_id))
        return caller.call_rest(PRODUCTS + "CreateProduct", request, token)

    created: product_pb2.Product = await insist(create)
    if units:
        adjustment = inventory_pb2.AdjustStockRequest(
            product_id=created.product_id, delta=units, request_id=str(uuid4())
        )
        await insist(lambda: caller.call_rest(INVENTORY + "AdjustStock", adjustment, token))
    return created


def _some_product(category_id: str) -> product_pb2.Product:
    sku = f"TEST-{uuid4().hex[:12].upper()}"
    return product_pb2.Product(
        sku=sku,
        name=f"Test lamp {sku}",
        category_id=category_id,
        price=money_pb2.Money(currency_code="EUR", units=12, nanos=500_000_000),
        active=True,
    )


def order_of(product_id: str, quantity: int = 1, request_id: str = "") -> order_pb2.PlaceOrderRequest:
    """Ask for one line of a product, paid with the sandbox's token that is accepted."""
    return order_pb2.PlaceOrderRequest(
        request_id=request_id or str(uuid4()),
        lines=[order_pb2.PlaceOrderLine(product_id=product_id, quantity=quantity)],
        payment_token="tok_ok",
    )


async def place_order(caller: Caller, token: str, product_id: str) -> order_pb2.Order:
    """Place an order over REST."""
    outcome = await caller.call_rest(ORDERS + "PlaceOrder", order_of(product_id), token)
    order: order_pb2.Order = outcome.response
    return order


async def final_order(caller: Caller, token: str, order_id: str) -> order_pb2.Order:
    """Read an order over gRPC until it is CONFIRMED or CANCELLED."""
    final = (order_pb2.ORDER_STATE_CONFIRMED, order_pb2.ORDER_STATE_CANCELLED)
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        request = order_pb2.GetOrderRequest(order_id=order_id)
        order: order_pb2.Order = (await caller.call_grpc(ORDERS + "GetOrder", request, token)).response
        if order.state in final:
            return order
        assert time.monotonic() < give_up_at, f"still {order_pb2.OrderState.Name(order.state)}"
        await asyncio.sleep(0.1)
