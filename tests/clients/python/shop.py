"""What a caller who installed commerce-mesh-client alone does: reads, is refused, follows, at both doors.

Its argument is a JSON object with `addresses` by service, `edge_tls`, `token`, and the files `ca`, `cert`,
`key` and `edge_ca`. Prints what it saw, as JSON.
"""

import asyncio
import importlib.util
import json
import sys
from importlib.metadata import distributions
from typing import Any

from commerce.order.v1.order_pb2 import ListOrdersRequest
from commerce.order.v1.order_pb2_grpc import OrderServiceStub
from commerce.product.v1.product_pb2 import GetProductRequest, ListProductsRequest
from commerce.product.v1.product_pb2_grpc import ProductServiceStub
from commerce_mesh_client import CallError, Identity, Token, connect, connect_blocking, deadline

OF_THE_SERVER = (
    "services",
    "gateway",
    "deploy",
    "asyncpg",
    "redis",
    "structlog",
    "opentelemetry",
    "grpc_health",
)


async def shop(place: dict[str, Any]) -> dict[str, Any]:
    identity = Identity.from_files(place["ca"], place["cert"], place["key"])
    token = Token.over_tls(place["token"], place["edge_ca"])
    addresses = place["addresses"]
    seen: dict[str, Any] = {}
    async with connect("product", addresses["product"], identity=identity) as products:
        stub = ProductServiceStub(products)
        with deadline(20.0):
            listed = await stub.ListProducts(ListProductsRequest(page_size=1))
        seen["sku"] = listed.products[0].sku
        seen["missing"] = await refusal(stub, "01890a5d-ac96-774b-bcce-b302099a8059")
        seen["malformed"] = await refusal(stub, "x")
        followed = [event async for event in products.follow(until_caught_up=True)]
        seen["positions_have_no_gaps"] = [each.position for each in followed] == list(
            range(1, len(followed) + 1)
        )
        seen["followed"] = bool(followed)
    async with connect("order", place["edge_tls"], identity=token) as orders:
        answer = await OrderServiceStub(orders).ListOrders(ListOrdersRequest(page_size=1))
        seen["orders"] = len(answer.orders)
    with connect_blocking("product", addresses["product"], identity=identity) as blocking:
        request = GetProductRequest(product_id=listed.products[0].product_id)
        seen["blocking"] = ProductServiceStub(blocking).GetProduct(request).sku
    return seen


async def refusal(stub: Any, product_id: str) -> Any:
    try:
        await stub.GetProduct(GetProductRequest(product_id=product_id))
    except CallError as error:
        fields = [each.field for each in error.violations]
        return [type(error).__name__, error.reason, fields, bool(error.request_id)]
    return None


def main() -> None:
    seen = asyncio.run(shop(json.loads(sys.argv[1])))
    seen["of_the_server"] = [each for each in OF_THE_SERVER if importlib.util.find_spec(each) is not None]
    seen["installed"] = sorted(each.name for each in distributions())
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
