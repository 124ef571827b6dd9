"""A query's calls: how many there are, whose they are, how long they may take, what is told of failures.

The app's own channel, to servers with the whole chain of checks, whose methods do what a test says.
"""

import asyncio
import gc
import json
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from commerce.product.v1 import category_pb2, inventory_pb2, product_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import money_pb2
from graphql import execute, parse
from starlette.requests import Request
from starlette.responses import Response

from gateway.app.graphql import endpoint as graphql_endpoint
from gateway.app.graphql.budgets import MOST_OF_ADDRESS
from gateway.app.graphql.calls import Calls
from gateway.app.graphql.endpoint import GraphQLEndpoint
from gateway.app.graphql.schema import load_schema
from gateway.app.graphql.turns import Turns
from services.product.catalogue.domain import ProductNotFound
from tests.support.net import Net
from tests.support.tokens import Tokens

NOW = Timestamp(seconds=1_800_000_000)
PRICE = money_pb2.Money(currency_code="EUR", units=12, nanos=500_000_000)
CATEGORIES = [str(uuid4()) for _ in range(3)]
MISSING = str(uuid4())
JSON = "application/json"
TWO = "query a { __typename } query b { __typename }"
ANSWER = "application/graphql-response+json"


def some_product(number: int) -> product_pb2.Product:
    return product_pb2.Product(
        product_id=str(uuid4()),
        sku=f"SKU-{number}",
        category_id=CATEGORIES[number % 3] if number % 4 else "",
        price=PRICE,
        create_time=NOW,
        update_time=NOW,
    )


@dataclass
class Shop:
    """A product service that notes its calls."""

    products: list[product_pb2.Product]
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[list[str]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    seconds_left: float = 0.0

    async def ListProducts(self, request: Any, context: Any) -> product_pb2.ListProductsResponse:
        self.calls["ListProducts"] += 1
        self.metadata = dict(context.invocation_metadata())
        self.seconds_left = context.time_remaining()
        return product_pb2.ListProductsResponse(products=self.products[: request.page_size])

    async def GetProduct(self, request: Any, _: Any) -> product_pb2.Product:
        self.calls["GetProduct"] += 1
        if request.product_id == MISSING:
            raise ProductNotFound("there is none", metadata={"product_id": MISSING})
        return product_pb2.Product(product_id=request.product_id, sku="SKU", price=PRICE)

    async def BatchGetCategories(self, request: Any, _: Any) -> category_pb2.BatchGetCategoriesResponse:
        self.calls["BatchGetCategories"] += 1
        self.asked.append(list(request.category_ids))
        return category_pb2.BatchGetCategoriesResponse(
            categories=(
                category_pb2.Category(category_id=each, display_name=each, parent_id=CATEGORIES[0])
                for each in request.category_ids
            )
        )

    async def BatchGetStock(self, request: Any, _: Any) -> inventory_pb2.BatchGetStockResponse:
        self.calls["BatchGetStock"] += 1
        self.asked.append(list(request.product_ids))
        return inventory_pb2.BatchGetStockResponse(
            stocks=(inventory_pb2.Stock(product_id=each, free=7) for each in request.product_ids)
        )


Ask = Callable[..., Awaitable[tuple[int, dict[str, Any]]]]


@pytest.fixture
def shop() -> Shop:
    return Shop([some_product(number) for number in range(100)])


@pytest.fixture
async def ask(net: Net, shop: Shop) -> Ask:
    """Send a query to an app before that service."""
    names = ("ListProducts", "GetProduct", "BatchGetCategories", "BatchGetStock")
    server = await net.start("product", **{name: getattr(shop, name) for name in names})
    channel = await net.channel("gateway", "product", server.port)
    endpoint = GraphQLEndpoint(channel, tells_schema=True, trusted=None)

    async def send(query: str, **headers: str) -> tuple[int, dict[str, Any]]:
        answer = await endpoint.query(request_of(json.dumps({"query": query}).encode(), **headers))
        return answer.status_code, told(answer)

    return send


def request_of(body: bytes, **headers: str) -> Request:
    sent = {"x_app_content_type": JSON, "accept": ANSWER, "x_request_id": "the-call", **headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
    return Request({"type": "http", "method": "POST", "headers": named}, receive)


def told(answer: Response) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(bytes(answer.body))
    return content


RELATED = "{ products(first: 50) { nodes { sku category { displayName parent { etag } } stock { free } } } }"


async def test_fifty_products_with_category_and_stock_are_three_calls(
    ask: Ask, shop: Shop, tokens: Tokens
) -> None:
    [(_, token)] = tokens.bearer("inventory.read")
    wanted = (
        "{ products(first: 50) { nodes { productId category { displayName } stock { productId free } } } }"
    )
    status, answer = await ask(wanted, authorization=token)
    assert (status, answer.get("errors")) == (200, None)
    assert shop.calls == {"ListProducts": 1, "BatchGetCategories": 1, "BatchGetStock": 1}
    assert answer["extensions"]["cost"]["calls"] == 3
    for node, product in zip(answer["data"]["products"]["nodes"], shop.products, strict=False):
        assert node["stock"] == {"productId": product.product_id, "free": "7"}
        named = node["category"]
        assert (named["displayName"] if named else "") == product.category_id


async def test_each_id_is_asked_for_once_and_those_further_down_together(
    ask: Ask, shop: Shop, tokens: Tokens
) -> None:
    [(_, token)] = tokens.bearer("inventory.read")
    await ask(RELATED, authorization=token)
    assert shop.calls == {"ListProducts": 1, "BatchGetCategories": 2, "BatchGetStock": 1}
    assert sorted(map(len, shop.asked)) == [1, 3, 50]
    assert all(len(set(ids)) == len(ids) for ids in shop.asked)


async def test_a_query_without_related_objects_is_one_call(ask: Ask, shop: Shop) -> None:
    await ask("{ products(first: 100) { edges { node { sku price { amount } } cursor } } }")
    assert shop.calls == {"ListProducts": 1}


async def test_a_service_learns_whose_call_it_is_and_of_which_trace(
    ask: Ask, shop: Shop, tokens: Tokens
) -> None:
    [(_, token)] = tokens.bearer("inventory.read")
    await ask("{ products { nodes { sku } } }", authorization=token, x_forwarded_for="203.0.113.7")
    assert shop.metadata["authorization"] == token
    assert shop.metadata["x-forwarded-for"] == "203.0.113.7"


async def test_a_service_learns_which_write_its_answer_must_have(ask: Ask, shop: Shop) -> None:
    await ask("{ products { nodes { sku } } }", x_written="product-7")
    assert shop.metadata["x-written"] == "product-7"
    await ask("{ products { nodes { sku } } }")
    assert "x-written" not in shop.metadata


async def test_an_empty_name_of_an_operation_is_none(net: Net) -> None:
    endpoint = GraphQLEndpoint(await net.channel("gateway", "product", 1), tells_schema=True, trusted=None)
    for query, status in (("{ __typename }", 200), ("query a { __typename }", 200), (TWO, 400)):
        sent = {"query": query, "operationName": ""}
        answer = await endpoint.query(request_of(json.dumps(sent).encode()))
        assert answer.status_code == status
        assert status == 400 or told(answer)["data"] == {"__typename": "Query"}


async def test_an_address_gets_by_queries_what_it_gets_of_a_method(ask: Ask, shop: Shop) -> None:
    """ListProducts may be called ten times a second."""
    five = "{ " + " ".join(f"a{number}: products {{ nodes {{ sku }} }}" for number in range(5)) + " }"
    statuses = [(await ask(five, x_forwarded_for="203.0.113.7"))[0] for _ in range(3)]
    assert statuses == [200, 429, 429]
    assert shop.calls["ListProducts"] == 5
    assert (await ask(five, x_forwarded_for="203.0.113.8"))[0] == 200


async def test_an_address_that_spent_too_much_learns_when_to_come_back(net: Net) -> None:
    endpoint = GraphQLEndpoint(
        await net.channel("gateway", "product", 1), tells_schema=True, trusted=None, scale=0.1
    )
    query = json.dumps({"query": "{ __schema { types { name fields { name args { name } } } } }"}).encode()
    answers = [await endpoint.query(request_of(query, accept="*/*")) for _ in range(30)]
    refused = next(answer for answer in answers if answer.status_code != 200)
    [error] = told(refused)["errors"]
    assert (refused.status_code, error["extensions"]["reason"]) == (429, "RATE_LIMITED")
    assert 0 < error["extensions"]["retryAfterSeconds"] <= int(refused.headers["retry-after"])


async def test_queries_at_once_of_an_address_are_bounded_and_leave_places_to_others(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.Event()
    monkeypatch.setattr(Turns, "settled", lambda _: never.wait())
    stuck = "{ products(first: 1) { nodes { a: stock { free } } } }"

    async def ask_stuck() -> tuple[int, dict[str, Any]]:
        return await ask(stuck, x_forwarded_for="203.0.113.7")

    queries = [asyncio.create_task(ask_stuck()) for _ in range(MOST_OF_ADDRESS + 1)]
    done, waiting = await asyncio.wait(queries, return_when=asyncio.FIRST_COMPLETED)
    [refused] = [query.result() for query in done]
    assert (refused[0], refused[1]["errors"][0]["extensions"]["reason"]) == (429, "OVERLOADED")
    assert (await ask("{ __typename }", x_forwarded_for="203.0.113.8"))[0] == 200
    never.set()
    assert {query[0] for query in await asyncio.gather(*waiting)} <= {200, 429}
    assert (await ask("{ __typename }", x_forwarded_for="203.0.113.9"))[0] == 200


async def test_an_answer_with_too_many_characters_is_refused_and_not_sent(ask: Ask, shop: Shop) -> None:
    """A short query asks for the same text many times, under other names."""
    for product in shop.products:
        product.description = "d" * 10_000
    whole = await ask("{ products(first: 100) { nodes { description } } }")
    assert (whole[0], whole[1].get("errors")) == (200, None)
    aliases = " ".join(f"a{number}: description" for number in range(3))
    status, answer = await ask(f"{{ products(first: 100) {{ nodes {{ {aliases} }} }} }}")
    assert (status, "data" in answer) == (400, False)
    assert answer["errors"][0]["extensions"]["metadata"]["of"] == "characters in its answer"


async def test_a_call_gets_what_is_left_of_the_querys_time(
    ask: Ask, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphql_endpoint, "_DEADLINE_SECONDS", 2.0)
    await ask("{ products { nodes { sku } } }")
    assert 0 < shop.seconds_left < 2.0


async def test_a_query_that_does_not_finish_ends_and_says_so(
    ask: Ask, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The channel is connected, so that the time goes by where it shall.
    await ask("{ products { nodes { sku } } }")
    never = asyncio.Event()
    monkeypatch.setattr(graphql_endpoint, "_DEADLINE_SECONDS", 1.0)
    monkeypatch.setattr(Turns, "settled", lambda _: never.wait())
    status, answer = await ask(RELATED)
    [error] = answer["errors"]
    assert (status, error["extensions"]["reason"]) == (504, "DEADLINE_EXCEEDED")
    assert "data" not in answer


async def test_a_query_that_is_given_up_leaves_nothing_that_complains() -> None:
    schema, _ = load_schema()
    with warnings.catch_warnings(record=True) as told_of:
        warnings.simplefilter("always")
        async with asyncio.TaskGroup() as tasks:
            result = execute(
                schema,
                parse("{ a: products { nodes { sku } } b: categories { nodes { etag } } }"),
                None,
                Calls({}, (), tasks),
            )
            assert isinstance(result, Coroutine)
            answer = tasks.create_task(result)
            # It has begun, and what it waits for has not.
            await asyncio.sleep(0)
            answer.cancel()
        del result, answer
        gc.collect()
    assert [str(each.message) for each in told_of] == []


async def test_a_failed_field_is_null_and_the_others_are_there(ask: Ask) -> None:
    there, missing = (f'product(productId: "{each}") {{ sku }}' for each in (uuid4(), MISSING))
    status, answer = await ask(f"{{ there: {there} not: {missing} }}")
    assert (status, answer["data"]) == (200, {"there": {"sku": "SKU"}, "not": None})
    [error] = answer["errors"]
    assert (error["path"], error["message"]) == (["not"], "there is none")
    assert error["extensions"] == {
        "code": "NOT_FOUND",
        "reason": "PRODUCT_NOT_FOUND",
        "metadata": {"product_id": MISSING},
        "requestId": "the-call",
    }


async def test_a_rule_of_the_contract_is_told_with_its_field(ask: Ask) -> None:
    _, answer = await ask('{ product(productId: "none") { sku } }')
    [error] = answer["errors"]
    assert error["extensions"]["reason"] == "INVALID_REQUEST"
    assert [each["field"] for each in error["extensions"]["violations"]] == ["product_id"]


async def test_a_fault_of_ours_keeps_its_text_to_itself(ask: Ask) -> None:
    """The product has no time, which the contract says is always there."""
    status, answer = await ask(f'{{ product(productId: "{uuid4()}") {{ createTime }} }}')
    [error] = answer["errors"]
    assert (status, answer["data"], error["message"]) == (200, {"product": None}, "something went wrong here")
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("INTERNAL", "INTERNAL")


async def test_of_many_failed_fields_a_hundred_are_told(ask: Ask) -> None:
    _, answer = await ask("{ products(first: 100) { nodes { a: stock { free } b: stock { free } } } }")
    assert len(answer["errors"]) == 100
    assert {each["extensions"]["reason"] for each in answer["errors"]} == {"TOKEN_MISSING"}


BAD_BODIES = {
    "no JSON": b"{",
    "a list": b'[{"query": "{ __typename }"}]',
    "a text": b'"{ __typename }"',
    "no query": b"{}",
    "a query of another kind": b'{"query": 1}',
    "variables of another kind": b'{"query": "{ __typename }", "variables": []}',
    "half a character": b'{"query": "{ __typename }", "variables": {"a": "\\ud800"}}',
    "brackets": b'{"query": "{ __typename }", "variables": {"a": ' + b"[" * 5_000,
    "a long number": b'{"query": "{ __typename }", "variables": {"a": ' + b"1" * 6_000 + b"}}",
    "an unknown operation": b'{"query": "{ __typename }", "operationName": "none"}',
    "another version of hashes": b'{"extensions": {"persistedQuery": {"version": 2}}}',
    "a hash that is none": b'{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "A"}}}',
    "a variable that does not fit": b'{"query": "query ($n: Int!) { products(first: $n) { __typename } }"}',
}


@pytest.mark.parametrize("bad", BAD_BODIES)
async def test_a_request_that_is_none_is_refused(net: Net, bad: str) -> None:
    endpoint = GraphQLEndpoint(await net.channel("gateway", "product", 1), tells_schema=True, trusted=None)
    answer = await endpoint.query(request_of(BAD_BODIES[bad]))
    assert answer.status_code == 400
    assert [each["extensions"]["reason"] for each in told(answer)["errors"]] == ["INVALID_REQUEST"]
    assert "data" not in told(answer)


async def test_a_body_over_the_limit_is_refused_without_the_edge_too(net: Net) -> None:
    endpoint = GraphQLEndpoint(await net.channel("gateway", "product", 1), tells_schema=True, trusted=None)
    answer = await endpoint.query(request_of(b" " * 20_000))
    assert answer.status_code == 413
    assert told(answer)["errors"][0]["extensions"]["reason"] == "REQUEST_TOO_LARGE"


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_what_other_sites_pages_may_send_unasked_is_no_query(net: Net, kind: str) -> None:
    endpoint = GraphQLEndpoint(await net.channel("gateway", "product", 1), tells_schema=True, trusted=None)
    answer = await endpoint.query(request_of(b'{"query": "{ __typename }"}', x_app_content_type=kind))
    assert answer.status_code == 415


async def test_statuses_tell_of_the_query_only_those_who_know_the_answers_type(net: Net) -> None:
    endpoint = GraphQLEndpoint(await net.channel("gateway", "product", 1), tells_schema=True, trusted=None)
    wrong = b'{"query": "{ nothing }"}'
    known = await endpoint.query(request_of(wrong, accept=f"{ANSWER}, {JSON}"))
    assert (known.status_code, known.media_type) == (400, ANSWER)
    other = await endpoint.query(request_of(wrong, accept="*/*"))
    assert (other.status_code, other.media_type, told(other)) == (200, JSON, told(known))


async def test_each_piece_of_an_answer_waits_for_its_turn_and_others_come_between() -> None:
    turns, others, seen = Turns(), 0, []

    async def piece(number: int) -> None:
        await turns.take(number)
        seen.append(others)

    async def other() -> None:
        nonlocal others
        while len(seen) < 10:
            others += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(piece(number) for number in range(10)), other())
    assert seen == sorted(set(seen)), "two pieces were made without anybody between them"


async def test_lists_of_objects_are_made_in_turns(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Counter[str]()
    take = Turns.take

    async def counted(self: Turns, piece: Any) -> Any:
        taken[type(piece).__name__] += 1
        return await take(self, piece)

    monkeypatch.setattr(Turns, "take", counted)
    await ask("{ products(first: 30) { nodes { sku category { etag } } edges { cursor } } }")
    loaded = sum(1 for number in range(30) if number % 4)
    assert taken == {"Product": 30, "_Edge": 30, "NoneType": loaded}
