"""A first order, end to end: over REST as a shop would place it, then read over gRPC."""

import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import grpc
from commerce.order.v1.order_pb2 import GetOrderRequest, Order, OrderState
from commerce.order.v1.order_pb2_grpc import OrderServiceStub

from deploy.local.errors import MeshError
from deploy.local.layout import Layout
from deploy.local.shop import clients, rest
from deploy.local.shop.rest import RestError
from services.money import amount_of

_SEARCHED = "coffee"
_PAYMENT_TOKEN = "tok_ok"  # noqa: S105  the sandbox's name for a card that works
_CONFIRM_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.1
_CALL_TIMEOUT_SECONDS = 5.0

# Told after each step: what was done, its result, and the seconds it took.
OnStep = Callable[[str, str, float], None]


@dataclass
class _Customer:
    """One customer's way through the shop; each step leaves here what the next needs."""

    layout: Layout
    email: str
    password: str
    token: str = ""
    products: list[dict[str, Any]] = field(default_factory=list)
    order_id: str = ""

    def call(self, verb: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return rest.call(verb, f"http://{self.layout.address('edge')}{path}", body, token=self.token or None)


def run(layout: Layout, on_step: OnStep) -> None:
    """Register, log in, search, order, and wait for the confirmation.

    Raises:
        MeshError: a step failed.
    """
    customer = _Customer(layout, f"smoke-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(16))
    for what, step in _STEPS:
        started_at = time.monotonic()
        try:
            result = step(customer)
        except MeshError as error:
            raise MeshError(f"The smoke test failed at “{what}”: {error.message}", error.remedy) from error
        on_step(what, result, time.monotonic() - started_at)


def _register(customer: _Customer) -> str:
    person = {"email": customer.email, "displayName": "Smoke Test"}
    user = customer.call("POST", "/v1/users", {"user": person, "password": customer.password})
    return f"user {user['userId']}"


def _log_in(customer: _Customer) -> str:
    login = {"email": customer.email, "password": customer.password}
    tokens = customer.call("POST", "/v1/sessions", login)["tokens"]
    customer.token = tokens["accessToken"]
    return f"a token for {tokens['expiresInSeconds']} s"


def _search(customer: _Customer) -> str:
    answer = customer.call("GET", "/v1/products:search?" + urlencode({"query": _SEARCHED}))
    customer.products = answer.get("products", [])
    if not customer.products:
        raise MeshError(f"The shop has no {_SEARCHED}.", "Fill it with `mesh seed`.")
    return f"{len(customer.products)} products, first “{customer.products[0]['name']}”"


def _place_order(customer: _Customer) -> str:
    for product in customer.products:
        lines = [{"productId": product["productId"], "quantity": 1}]
        body = {"requestId": str(uuid.uuid4()), "lines": lines, "paymentToken": _PAYMENT_TOKEN}
        try:
            order = customer.call("POST", "/v1/orders", body)
        except RestError as error:
            if error.reason != "OUT_OF_STOCK":
                raise
        else:
            customer.order_id = order["orderId"]
            return f"order {customer.order_id}, {_amount(order['total'])}"
    raise MeshError(f"All {_SEARCHED} is sold out.", "Take stock in with InventoryService.AdjustStock.")


def _amount(money: dict[str, Any]) -> str:
    amount = amount_of(int(money.get("units", 0)), money.get("nanos", 0))
    return f"{amount:.2f} {money['currencyCode']}"


def _await_confirmed(customer: _Customer) -> str:
    give_up_at = time.monotonic() + _CONFIRM_PATIENCE_SECONDS
    with clients.edge_channel(customer.layout) as channel:
        stub = OrderServiceStub(channel)
        while (order := _get_order(stub, customer)).state == OrderState.ORDER_STATE_PENDING:
            if time.monotonic() > give_up_at:
                break
            time.sleep(_POLL_SECONDS)
    state = OrderState.Name(order.state).removeprefix("ORDER_STATE_")
    if order.state != OrderState.ORDER_STATE_CONFIRMED:
        raise MeshError(f"The order is {state}, not CONFIRMED.", "See `mesh logs order`.")
    return state


def _get_order(stub: OrderServiceStub, customer: _Customer) -> Order:
    request = GetOrderRequest(order_id=customer.order_id)
    try:
        return stub.GetOrder(request, metadata=clients.bearer(customer.token), timeout=_CALL_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        raise MeshError(f"{error.code().name}: {error.details()}", "See `mesh logs order`.") from error


_STEPS: tuple[tuple[str, Callable[[_Customer], str]], ...] = (
    ("register a customer", _register),
    ("log in", _log_in),
    (f"search for “{_SEARCHED}”", _search),
    ("place an order over REST", _place_order),
    ("read it over gRPC", _await_confirmed),
)
