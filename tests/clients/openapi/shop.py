"""Shops over REST with a client that was made from the OpenAPI document, and prints what it saw as JSON."""

import json
import sys
from uuid import UUID, uuid4

from shop_client import AuthenticatedClient, Client
from shop_client.api.auth_service import auth_service_create_session
from shop_client.api.order_service import (
    order_service_cancel_order,
    order_service_get_order,
    order_service_list_orders,
    order_service_place_order,
)
from shop_client.api.product_service import product_service_search_products
from shop_client.api.user_service import user_service_create_user
from shop_client.models import (
    CancelOrderRequest,
    CreateSessionRequest,
    CreateSessionResponse,
    CreateUserRequest,
    ErrorInfo,
    ListOrdersResponse,
    NewUser,
    Order,
    PlaceOrderLineInput,
    PlaceOrderRequest,
    SearchProductsResponse,
    Status,
    User,
)

url = sys.argv[1]
email, password = f"{uuid4()}@example.com", str(uuid4())
guest = Client(base_url=url)
user = user_service_create_user.sync(
    client=guest, body=CreateUserRequest(user=NewUser(email=email), password=password)
)
assert isinstance(user, User), user
session = auth_service_create_session.sync(
    client=guest, body=CreateSessionRequest(email=email, password=password)
)
assert isinstance(session, CreateSessionResponse), session
client = AuthenticatedClient(base_url=url, token=session.tokens.access_token)

found = product_service_search_products.sync(client=guest, query="coffee", page_size=1)
assert isinstance(found, SearchProductsResponse), found
lines = [PlaceOrderLineInput(product_id=found.products[0].product_id, quantity=2)]
order = order_service_place_order.sync(
    client=client, body=PlaceOrderRequest(request_id=uuid4(), lines=lines, payment_token="tok_ok")
)
assert isinstance(order, Order), order
listed = order_service_list_orders.sync(client=client, page_size=5)
assert isinstance(listed, ListOrdersResponse), listed
cancelled = order_service_cancel_order.sync(order.order_id, client=client, body=CancelOrderRequest())
assert isinstance(cancelled, Order), cancelled
missing = order_service_get_order.sync(uuid4(), client=client)
assert isinstance(missing, Status), missing

print(
    json.dumps(
        {
            "email": user.email == email,
            "placed": order.state.value,
            "listed": order.order_id in [each.order_id for each in listed.orders],
            "cancelled": cancelled.state.value,
            "missing": next(each.reason for each in missing.details if isinstance(each, ErrorInfo)),
            "typed": isinstance(order.order_id, UUID),
        }
    )
)
