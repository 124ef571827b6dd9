"""GraphQL over the real edge: it gives what REST gives, to the same people, and refuses in the same words."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from commerce.product.v1 import product_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.type import money_pb2

from gateway.app.graphql.requests import LARGEST_BODY_BYTES
from tests.conftest import Stack
from tests.support.calls import Outcome
from tests.support.waiting import until
from tests.support.world import PRODUCTS, World, new_product

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

PATH = "/graphql"
# The methods in a call's lines of the log.
_OF_THE_SERVICE = re.compile(r'"method":"/commerce\.product\.v1\.\w+/(\w+)"')
# Each field of the message, as the schema has it.
FIELDS = " ".join(
    f"{each.json_name} {{ currencyCode amount }}" if each.name == "price" else str(each.json_name)
    for each in product_pb2.Product.DESCRIPTOR.fields
)


async def send(world: World, body: object, token: str | None = None, **headers: str) -> Outcome:
    return await world.caller.send("POST", PATH, json_body=body, token=token, headers=headers)


async def ask(
    world: World, query: str, variables: Mapping[str, object] | None = None, token: str | None = None
) -> dict[str, Any]:
    answer = await send(world, {"query": query, "variables": variables or {}}, token)
    assert answer.http_status == 200, answer.text
    content: dict[str, Any] = json.loads(answer.text)
    return content


def reasons(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(each["extensions"]["code"], each["extensions"]["reason"]) for each in answer["errors"]]


def as_rest(product: dict[str, Any]) -> dict[str, Any]:
    """A product as REST writes it: money alone is written in another way."""
    price = product["price"]
    units, _, decimals = price["amount"].partition(".")
    nanos = int(decimals.ljust(9, "0"))
    return {**product, "price": {"currencyCode": price["currencyCode"], "units": units, "nanos": nanos}}


async def every_page(world: World, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        answer = json.loads((await world.caller.send("GET", f"{path}?pageSize=100&pageToken={token}")).text)
        found += answer["products"]
        token = answer["nextPageToken"]
        if not token:
            return found


async def test_it_gives_for_each_product_what_rest_gives(world: World) -> None:
    page_info = "pageInfo { hasNextPage hasPreviousPage endCursor }"
    wanted = f"nodes {{ {FIELDS} }} {page_info}"
    query = f"query ($after: String) {{ products(first: 50, after: $after) {{ {wanted} }} }}"
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = (await ask(world, query, {"after": after}))["data"]["products"]
        found += page["nodes"]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        after = page["pageInfo"]["endCursor"]
        assert page["pageInfo"]["hasNextPage"] is (after is not None)
        if after is None:
            break
    of_rest = await every_page(world, "/v1/products")
    assert len(of_rest) > 50
    assert list(map(as_rest, found)) == of_rest
    one = (await ask(world, f'{{ product(productId: "{world.product_id}") {{ {FIELDS} }} }}'))["data"][
        "product"
    ]
    read = await world.caller.send("GET", f"/v1/products/{world.product_id}")
    assert as_rest(one) == json.loads(read.text)


async def test_an_amount_has_the_decimals_of_its_currency_at_least(world: World) -> None:
    amounts = {("EUR", 12, 500_000_000): "12.50", ("JPY", 7, 0): "7", ("USD", 0, 1_234_000): "0.001234"}
    for (currency, units, nanos), written in amounts.items():
        price = money_pb2.Money(currency_code=currency, units=units, nanos=nanos)
        made = product_pb2.Product(sku=f"PRICE-{uuid4()}", name="Of a price", price=price, active=True)
        request = product_pb2.CreateProductRequest(product=made)
        product = (await world.caller.call_rest(PRODUCTS + "CreateProduct", request, world.admin)).response
        query = f'{{ product(productId: "{product.product_id}") {{ price {{ amount }} }} }}'
        assert (await ask(world, query))["data"]["product"]["price"]["amount"] == written


async def test_search_gives_the_products_and_facets_that_rest_gives(world: World) -> None:
    fields = "nodes { sku } totalSize totalSizeIsLeast facets { facet values { value count } }"
    query = f'{{ searchProducts(query: "coffee", facets: ["brand", "in_stock"]) {{ {fields} }} }}'
    found = (await ask(world, query))["data"]["searchProducts"]
    read = await world.caller.send("GET", "/v1/products:search?query=coffee&facets=brand&facets=in_stock")
    of_rest = json.loads(read.text)
    assert [each["sku"] for each in found.pop("nodes")] == [each["sku"] for each in of_rest.pop("products")]
    del of_rest["nextPageToken"]
    assert found == of_rest
    suggested = (await ask(world, '{ suggestProducts(query: "cof") { productId name } }'))["data"]
    read = await world.caller.send("GET", "/v1/products:suggest?query=cof")
    assert suggested["suggestProducts"] == json.loads(read.text)["suggestions"] != []


async def test_categories_are_a_tree_to_walk_in(world: World) -> None:
    below = "children { nodes { displayName parent { categoryId } } } products(first: 1) { nodes { sku } }"
    roots = (
        f"{{ categories(rootsOnly: true, first: 4) {{ nodes {{ categoryId parent {{ etag }} {below} }} }} }}"
    )
    answer = await ask(world, roots)
    assert "errors" not in answer
    nodes = answer["data"]["categories"]["nodes"]
    assert {node["parent"]["etag"] if node["parent"] else None for node in nodes} == {None}
    children = [(node, child) for node in nodes for child in node["children"]["nodes"]]
    assert children
    assert all(child["parent"]["categoryId"] == node["categoryId"] for node, child in children)


async def test_a_page_goes_on_in_its_own_list_alone(world: World) -> None:
    first = (await ask(world, "{ products(first: 2) { edges { cursor } pageInfo { endCursor } } }"))["data"]
    cursors = [edge["cursor"] for edge in first["products"]["edges"]]
    assert cursors == [None, first["products"]["pageInfo"]["endCursor"]]
    query = 'query ($after: String) { products(after: $after, brand: "none") { nodes { sku } } }'
    assert reasons(await ask(world, query, {"after": cursors[1]})) == [
        ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    ]


async def test_related_objects_of_fifty_products_are_three_calls_of_the_service(
    world: World, stack: Stack
) -> None:
    query = "{ products(first: 50) { nodes { sku category { displayName } stock { free } } } }"
    answer = await send(world, {"query": query}, world.roles["merchant"].token)
    nodes = json.loads(answer.text)["data"]["products"]["nodes"]
    assert len(nodes) == 50
    assert all(node["stock"] for node in nodes)
    calls: list[str] = []

    async def all_are_told() -> bool:
        lines = stack.mesh("logs", "--request", answer.headers["x-request-id"]).stdout
        calls[:] = sorted(_OF_THE_SERVICE.findall(lines))
        return len(calls) >= 3

    await until(all_are_told)
    assert calls == ["BatchGetCategories", "BatchGetStock", "ListProducts"]


async def test_stock_is_for_whom_rest_gives_it(world: World) -> None:
    one = f'(productId: "{world.product_id}")'
    query = f"{{ stock{one} {{ free }} product{one} {{ stock {{ free }} }} }}"
    path = f"/v1/products/{world.product_id}/stock"
    for token in (None, world.anna.token):
        refused = await world.caller.send("GET", path, token=token)
        assert reasons(await ask(world, query, token=token)) == [refused.verdict, refused.verdict]
    told = await ask(world, query, token=world.roles["merchant"].token)
    read = await world.caller.send("GET", path, token=world.roles["merchant"].token)
    assert told["data"]["stock"]["free"] == told["data"]["product"]["stock"]["free"]
    assert told["data"]["stock"]["free"] == json.loads(read.text)["free"]


async def test_a_product_that_is_hidden_is_not_there_but_for_staff(world: World) -> None:
    product = await new_product(world.caller, world.admin)
    request = product_pb2.UpdateProductRequest(
        product=product_pb2.Product(product_id=product.product_id), update_mask=FieldMask(paths=["active"])
    )
    assert (await world.caller.call_rest(PRODUCTS + "UpdateProduct", request, world.admin)).code == "OK"
    path = f"/v1/products/{product.product_id}"
    one = f'product(productId: "{product.product_id}") {{ sku }}'
    many = f'productsById(productIds: ["{world.product_id}", "{product.product_id}"]) {{ sku }}'
    listed = f'products(sku: "{product.sku}", showInactive: true) {{ nodes {{ sku }} }}'
    for token in (None, world.anna.token):
        hidden = await world.caller.send("GET", path, token=token)
        lists = await world.caller.send(
            "GET", f"/v1/products?sku={product.sku}&showInactive=true", token=token
        )
        answer = await ask(world, f"{{ {one} {many} {listed} }}", token=token)
        assert sorted(reasons(answer)) == sorted([hidden.verdict, hidden.verdict, lists.verdict])
        assert answer["data"] == {"product": None, "productsById": None, "products": None}
    seen = (await ask(world, f"{{ {one} {listed} }}", token=world.roles["merchant"].token))["data"]
    assert seen == {"product": {"sku": product.sku}, "products": {"nodes": [{"sku": product.sku}]}}


async def test_a_token_that_is_no_good_is_refused_at_the_edge_as_everywhere(world: World) -> None:
    for token in ("no.good.token", world.expired_token):
        answer = await send(world, {"query": "{ __typename }"}, token)
        elsewhere = await world.caller.send("GET", f"/v1/products/{world.product_id}", token=token)
        assert (answer.http_status, answer.verdict) == (401, elsewhere.verdict)


async def test_the_answer_has_the_calls_id_and_so_has_each_error(world: World) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    sent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = await send(world, {"query": '{ product(productId: "none") { sku } }'}, None, **sent)
    assert answer.headers["x-request-id"] == trace
    assert [each["extensions"]["requestId"] for each in json.loads(answer.text)["errors"]] == [trace]


async def test_a_query_sent_once_with_its_hash_is_asked_for_by_it(world: World) -> None:
    query = '{ searchProducts(query: "coffee", first: 1) { nodes { sku } } }'
    name = hashlib.sha256(query.encode()).hexdigest()
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": name}}
    unknown = json.loads((await send(world, {"extensions": extensions})).text)
    assert reasons(unknown) == [("NOT_FOUND", "PERSISTED_QUERY_NOT_FOUND")]
    assert unknown["errors"][0]["message"] == "PersistedQueryNotFound"
    whole = json.loads((await send(world, {"query": query, "extensions": extensions})).text)
    assert json.loads((await send(world, {"extensions": extensions})).text) == whole


async def test_the_edge_takes_no_larger_body_and_no_other_verb(world: World) -> None:
    large = await send(world, {"query": "{ __typename }" + " " * LARGEST_BODY_BYTES})
    assert (large.http_status, large.reason) == (413, "REQUEST_TOO_LARGE")
    for verb in ("GET", "PUT", "DELETE"):
        other = await world.caller.send(verb, PATH)
        assert (other.http_status, other.headers["allow"]) == (405, "POST")


async def test_limits_are_told_by_their_reasons(world: World) -> None:
    costly = "{ categories(first: 100) { nodes { products { nodes { sku } } } } }"
    deep = "{ product(productId: 1) { category " + "{ parent " * 12 + "{ etag" + " }" * 15
    large = "{ " + " ".join(f"a{number}: __typename" for number in range(60)) + " }"
    known = {"accept": "application/graphql-response+json"}
    for query, reason in ((costly, "QUERY_TOO_COSTLY"), (deep, "QUERY_TOO_DEEP"), (large, "QUERY_TOO_LARGE")):
        answer = await send(world, {"query": query}, None, **known)
        assert answer.http_status == 400
        assert answer.headers["content-type"] == known["accept"]
        assert reasons(json.loads(answer.text)) == [("INVALID_ARGUMENT", reason)]


async def test_graphiql_comes_from_the_edge_alone_and_learns_the_schema(world: World) -> None:
    page = await world.caller.send("GET", "/graphiql")
    assert page.http_status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "unsafe" not in policy
    links = [part.split('"')[0] for part in page.text.replace("href=", "src=").split('src="')[1:]]
    files = [link for link in links if not link.startswith("data:")]
    assert files
    for link in files:
        assert link.startswith("/graphiql/")
        assert (await world.caller.send("GET", link)).http_status == 200
    schema = await ask(world, "{ __schema { queryType { fields { name } } } }")
    assert {"name": "products"} in schema["data"]["__schema"]["queryType"]["fields"]
