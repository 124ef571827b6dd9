"""REST, gRPC and gRPC-Web reach the same methods, and nothing else."""

import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import product_pb2

from tests.gateway.backends import MISSING_ID, PRODUCT_ID, Backends, Signer
from tests.gateway.callers import native, rest, web
from tests.gateway.conftest import RunningEdge

GET_PRODUCT = "commerce.product.v1.ProductService/GetProduct"


async def test_the_three_protocols_get_the_same_product(edge: RunningEdge) -> None:
    request = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
    over_rest = await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}")
    over_grpc = product_pb2.Product.FromString((await native(edge, GET_PRODUCT, request)).body)
    over_web = product_pb2.Product.FromString((await web(edge, GET_PRODUCT, request)).body)
    assert over_rest.http == 200
    assert over_rest.body["productId"] == over_grpc.product_id == over_web.product_id == PRODUCT_ID
    assert over_rest.body["price"] == {"currencyCode": "USD", "units": "9007199254740993", "nanos": 5}
    assert over_grpc.price.units == over_web.price.units == 9007199254740993


async def test_a_services_error_is_the_same_over_every_protocol(edge: RunningEdge) -> None:
    request = product_pb2.GetProductRequest(product_id=MISSING_ID)
    over_rest = await rest(edge, "GET", f"/v1/products/{MISSING_ID}")
    assert over_rest.http == 404
    assert over_rest.headers["content-type"] == "application/json"
    assert over_rest.outcome == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
    assert (await native(edge, GET_PRODUCT, request)).outcome == over_rest.outcome
    assert (await web(edge, GET_PRODUCT, request)).outcome == over_rest.outcome


async def test_query_parameters_are_read_in_camel_and_snake_case(edge: RunningEdge) -> None:
    for path in ("/v1/products?pageSize=7&brand=a+b", "/v1/products?page_size=7&brand=a%20b"):
        assert (await rest(edge, "GET", path)).body["nextPageToken"] == "7 a b"


async def test_repeated_query_parameters_are_a_list(edge: RunningEdge) -> None:
    answer = await rest(edge, "GET", f"/v1/products:batchGet?productIds={PRODUCT_ID}&productIds={MISSING_ID}")
    assert [product["productId"] for product in answer.body["products"]] == [PRODUCT_ID, MISSING_ID]


async def test_an_update_mask_and_a_path_variable_reach_the_request(
    edge: RunningEdge, signer: Signer
) -> None:
    token = signer.token("users.write")
    answer = await rest(
        edge, "PATCH", "/v1/users/me?updateMask=displayName", token=token, body={"displayName": "x"}
    )
    assert (answer.body["userId"], answer.body["displayName"]) == ("me", "display_name")


async def test_an_empty_answer_is_an_empty_object(edge: RunningEdge, signer: Signer) -> None:
    answer = await rest(edge, "DELETE", f"/v1/products/{PRODUCT_ID}", token=signer.token("products.write"))
    assert (answer.http, answer.body) == (200, {})


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/"),
        ("POST", f"/v1/orders/{PRODUCT_ID}:ship"),
        ("GET", f"/v1/products/{PRODUCT_ID}/more"),
        # The gRPC path is no second REST path.
        ("POST", f"/{GET_PRODUCT}"),
        # Hidden, and of another package.
        ("POST", "/commerce.product.v1.InventoryService/ReserveStock"),
        ("POST", "/grpc.health.v1.Health/Check"),
    ],
)
async def test_an_unknown_path_is_not_found(edge: RunningEdge, verb: str, path: str) -> None:
    answer = await rest(edge, verb, path)
    assert answer.http == 404
    assert answer.outcome == ("UNIMPLEMENTED", "METHOD_UNKNOWN")


@pytest.mark.parametrize(
    "method",
    [
        "commerce.product.v1.InventoryService/ReserveStock",
        "commerce.user.v1.AuthService/IssueOperatorToken",
        "commerce.event.v1.EventFeed/Follow",
        "grpc.health.v1.Health/Watch",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "commerce.product.v1.ProductService/Nothing",
        f"{GET_PRODUCT}?with=query",
        f"{GET_PRODUCT}/more",
    ],
)
async def test_hidden_and_unknown_methods_are_alike(edge: RunningEdge, signer: Signer, method: str) -> None:
    token = signer.token("users.read products.write inventory.write orders.write")
    for call in (native, web):
        answer = await call(edge, method, token=token)
        assert answer.outcome == ("UNIMPLEMENTED", "METHOD_UNKNOWN")
        # The edge said so by itself: no route, and so no limit, was found.
        assert "x-ratelimit-limit" not in answer.headers


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("GET", f"/v1/products/{PRODUCT_ID}?colour=red", None),
        ("GET", "/v1/products?pageSize=many", None),
        ("POST", "/v1/products", '{"product": '),
        ("POST", "/v1/products", '{"product": {"sku": 7}}'),
        ("POST", "/v1/products", "[]"),
    ],
)
async def test_what_cannot_be_read_is_an_invalid_request(
    edge: RunningEdge, signer: Signer, verb: str, path: str, body: str | None
) -> None:
    answer = await rest(edge, verb, path, token=signer.token("products.write"), body=body)
    assert (answer.http, *answer.outcome) == (400, "INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_enums_are_names(edge: RunningEdge, signer: Signer) -> None:
    answer = await rest(edge, "GET", f"/v1/orders/{PRODUCT_ID}", token=signer.token("orders.read"))
    assert answer.body["state"] == order_pb2.OrderState.Name(order_pb2.ORDER_STATE_CONFIRMED)


async def test_a_client_stream_passes_through(edge: RunningEdge, signer: Signer) -> None:
    import grpc  # noqa: PLC0415

    async with grpc.aio.insecure_channel(edge.target) as channel:
        call: grpc.aio.StreamUnaryMultiCallable[bytes, bytes]
        call = channel.stream_unary("/commerce.product.v1.ProductService/ImportProducts")
        row = product_pb2.ImportProductsRequest(
            product=product_pb2.Product(sku="s" * 60_000)
        ).SerializeToString()
        metadata = (("authorization", f"Bearer {signer.token('products.write')}"),)
        answer = await call(iter([row] * 20), metadata=metadata, timeout=10)
    assert product_pb2.ImportProductsResponse.FromString(answer).created_count == 20


async def test_forged_headers_do_not_reach_a_service(edge: RunningEdge, backends: Backends) -> None:
    forged = {
        "x-user-id": "eve",
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-client-cert": "URI=spiffe://commerce.local/operator",
        "x-envoy-original-path": "/secret",
        "baggage": "user=eve",
        "cookie": "a=b",
    }
    answer = await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}", headers={**forged, "traceparent": TRACE})
    assert answer.http == 200
    seen = backends.seen.metadata
    assert not {"x-user-id", "x-forwarded-client-cert", "x-envoy-original-path", "baggage", "cookie"} & set(
        seen
    )
    assert "10.0.0.1" not in seen.get("x-forwarded-for", "")
    assert seen["traceparent"] == TRACE
    assert seen["x-request-id"] == answer.headers["x-request-id"]


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_an_own_request_id_is_not_taken_over(edge: RunningEdge) -> None:
    answer = await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}", headers={"x-request-id": "mine"})
    assert answer.headers["x-request-id"] != "mine"
