"""What a query may have and cost is judged before anything is done that costs more than reading it once."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from graphql import get_introspection_query

from gateway.app.graphql import shape
from gateway.app.graphql.cost import MOST_COST, Costs
from gateway.app.graphql.documents import MOST_KEPT, Document, Documents
from gateway.app.graphql.endpoint import _variables
from gateway.app.graphql.introspection import MOST_KEPT as MOST_ANSWERS
from gateway.app.graphql.introspection import SchemaAnswers
from gateway.app.graphql.schema import load_schema
from gateway.app.graphql.trusted import query_list
from gateway.graphql.fields import FIELD_WEIGHT
from services.errors import ServiceError

SCHEMA, COSTS = load_schema()
HASH = "0" * 64


def documents(*, tells_schema: bool = True, trusted: Mapping[str, str] | None = None) -> Documents:
    return Documents(SCHEMA, tells_schema=tells_schema, trusted=trusted)


def read(text: str) -> Document:
    return asyncio.run(documents().find(text, None))


def refused(text: str) -> tuple[str, str]:
    """Why a query is refused, and what there is too much of."""
    with pytest.raises(ServiceError) as refusal:
        read(text)
    return refusal.value.reason, refusal.value.metadata.get("of", "")


def fragments(count: int, body: str) -> str:
    """As many fragments, each with the next one spread in it as `body` says."""
    made = [f"fragment f{i} on Product {{ {body.replace('NEXT', f'...f{i + 1}')} }}" for i in range(count)]
    return " ".join([*made, f"fragment f{count} on Product {{ sku }}"])


PRODUCT = "{ product(productId: 1) { %s } }"
LARGE = {
    "bytes": PRODUCT % ("sku" + " " * shape.MOST_BYTES),
    "tokens": PRODUCT % ("sku " * shape.MOST_TOKENS),
    "aliases": PRODUCT % " ".join(f"a{i}: sku" for i in range(shape.MOST_ALIASES + 1)),
    "directives": PRODUCT % ("sku" + " @skip(if: false)" * (shape.MOST_DIRECTIVES + 1)),
    "operations": " ".join(f"query q{i} {{ __typename }}" for i in range(shape.MOST_OPERATIONS + 1)),
    "fragments": f"{PRODUCT % '...f0'} {fragments(shape.MOST_FRAGMENTS, 'NEXT')}",
    "fields": PRODUCT % ("sku name brand etag " * 126),
    "fields of one name": PRODUCT % ("sku " * 101),
    "digits of a number": "{ products(first: %s) { nodes { sku } } }" % ("9" * 5_000),
}


@pytest.mark.parametrize("of", LARGE)
def test_a_query_with_too_much_of_something_is_refused_with_its_name(of: str) -> None:
    assert refused(LARGE[of]) == ("QUERY_TOO_LARGE", of)


def test_a_query_at_each_limit_is_read() -> None:
    read(PRODUCT % " ".join(f"a{i}: sku" for i in range(shape.MOST_ALIASES)))
    read(PRODUCT % ("sku " * 99))
    read(" ".join(f"query q{i} {{ __typename }}" for i in range(shape.MOST_OPERATIONS)))


def test_fields_that_lie_too_deep_are_refused() -> None:
    def nested(levels: int) -> str:
        return PRODUCT % ("category { " + "parent { " * levels + "etag" + " }" * (levels + 1))

    # product, category and etag stand around them.
    read(nested(shape.MOST_DEPTH - 3))
    assert refused(nested(shape.MOST_DEPTH - 2)) == ("QUERY_TOO_DEEP", "")


@pytest.mark.parametrize("bracket", ["{a", "(a:", "[", "{a(b:{c:["])
def test_brackets_that_would_exhaust_the_parser_are_refused_before_it_runs(bracket: str) -> None:
    assert refused("{ a(b: " + bracket * 300) == ("QUERY_TOO_DEEP", "")


def test_fields_behind_fragments_count_as_if_they_stood_there() -> None:
    """Each spreads the next one twice: 2^20 fields out of a few hundred bytes."""
    deeper = fragments(5, "category { products { nodes { NEXT } } }")
    assert refused(f"{PRODUCT % '...f0'} {deeper}") == ("QUERY_TOO_DEEP", "")
    assert refused(f"{PRODUCT % '...f0'} {fragments(20, 'NEXT NEXT')}") == ("QUERY_TOO_LARGE", "fields")


def test_a_fragment_that_contains_itself_is_refused() -> None:
    circle = (
        "fragment a on Product { category { products { nodes { ...b } } } } fragment b on Product { ...a }"
    )
    assert refused(f"{PRODUCT % '...a'} {circle}")[0] == "INVALID_REQUEST"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{ sku }",
        "query { product(productId: 1) { nothing } }",
        "mutation { __typename }",
        "{ products {} }",
    ],
)
def test_what_is_no_query_of_the_schema_is_refused(text: str) -> None:
    assert refused(text)[0] == "INVALID_REQUEST"


def cost_of(text: str, variables: Mapping[str, object] | None = None) -> float:
    document = read(text)
    operation = document.operation(None)
    return COSTS.check(operation, document.fragments, _variables(SCHEMA, operation, dict(variables or {})))


def test_a_page_costs_its_call_and_each_field_of_each_object() -> None:
    fields = "nodes { sku price { amount } } pageInfo { endCursor }"
    text = f"query ($n: Int! = 10) {{ products(first: $n) {{ {fields} }} }}"
    # products, nodes, pageInfo and endCursor once; sku, price and amount of each.
    assert cost_of(text) == pytest.approx(100 + (4 + 3 * 10) * FIELD_WEIGHT)
    assert cost_of(text, {"n": 20}) == pytest.approx(100 + (4 + 3 * 20) * FIELD_WEIGHT)


def test_calls_for_many_objects_cost_one_each_hundred_and_calls_for_each_cost_theirs() -> None:
    fields = (3 + 50 * 2) * FIELD_WEIGHT
    stock = "{ categories(first: 50) { nodes { parent { etag } } pageInfo { __typename } } }"
    assert cost_of(stock) == pytest.approx(20 + 50 + fields + FIELD_WEIGHT)
    many = "{ categories(first: 10) { nodes { children(first: 1) { nodes { etag } } } } }"
    assert cost_of(many) == pytest.approx(20 + 10 * 20 + (2 + 10 * 3) * FIELD_WEIGHT)


def test_lists_that_may_come_at_different_moments_share_no_call() -> None:
    products = "products(first: 5) { nodes { category { parent { etag } } } }"
    fields = (2 + 4 * 2 + 4 * 5 * 3) * FIELD_WEIGHT
    # ListCategories, then for each category ListProducts, its products' categories and their parents.
    assert cost_of(f"{{ categories(first: 4) {{ nodes {{ {products} }} }} }}") == pytest.approx(
        20 + 4 * (100 + 50 + 50) + fields
    )


def test_a_question_for_the_schema_costs_what_its_answer_has() -> None:
    assert cost_of('{ __type(name: "Money") { name fields { name } } }') == pytest.approx(5 * FIELD_WEIGHT)
    assert cost_of('{ __type(name: "Nothing") { name } }') == pytest.approx(FIELD_WEIGHT)
    assert cost_of("{ __schema { types { __typename } } }") == pytest.approx(
        (2 + len(SCHEMA.type_map)) * FIELD_WEIGHT
    )
    # What every tool asks is within the limit.
    assert MOST_COST / 4 < cost_of(get_introspection_query()) < MOST_COST / 2


def test_a_query_does_not_ask_for_the_schema_many_times() -> None:
    below = "types { fields { type { ofType { ofType { name } } } args { description } } }"
    with pytest.raises(ServiceError) as refusal:
        cost_of("{ " + " ".join(f"a{i}: __schema {{ {below} }}" for i in range(20)) + " }")
    assert (refusal.value.reason, refusal.value.metadata["cost"]) == ("QUERY_TOO_COSTLY", str(MOST_COST + 1))


async def test_the_answer_to_a_question_for_the_schema_is_made_once() -> None:
    answers, document = SchemaAnswers(SCHEMA), await documents().find(get_introspection_query(), None)
    first = await answers.answer(document, "IntrospectionQuery", {})
    assert first.data
    assert await answers.answer(document, "IntrospectionQuery", {}) is first
    assert await answers.answer(document, "IntrospectionQuery", {"any": 1}) is not first
    for number in range(MOST_ANSWERS):
        other = await documents().find(f"query q{number} {{ __schema {{ __typename }} }}", None)
        await answers.answer(other, f"q{number}", {})
    assert len(answers._kept) == MOST_ANSWERS
    assert await answers.answer(document, "IntrospectionQuery", {}) is not first


def test_what_a_directive_leaves_out_counts_too() -> None:
    skipped = "{ product(productId: 1) { sku @skip(if: true) } }"
    assert cost_of(skipped) == cost_of("{ product(productId: 1) { sku } }")


@pytest.mark.parametrize(
    "text",
    [
        "{ categories(first: 100) { nodes { products(first: 100) { nodes { sku } } } } }",
        "query ($n: Int! = 100) { categories(first: $n) { nodes { children { nodes { etag } } } } }",
        "{ categories { nodes { ...a } } } fragment a on Category { ... { products { nodes { sku } } } }",
        "{ " + " ".join(f"a{i}: products {{ nodes {{ sku }} }}" for i in range(10)) + " }",
    ],
)
def test_a_query_that_costs_too_much_is_refused_before_a_call_is_made(text: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        cost_of(text)
    assert refusal.value.reason == "QUERY_TOO_COSTLY"
    assert float(refusal.value.metadata["cost"]) > MOST_COST


@pytest.mark.parametrize("first", [0, -1, 101, 2**31 - 1])
def test_a_page_larger_than_the_contract_has_it_or_of_nothing_is_refused(first: int) -> None:
    """A page of a negative size would make a query cheaper."""
    with pytest.raises(ServiceError) as refusal:
        cost_of(f"{{ products(first: {first}) {{ nodes {{ sku }} }} }}")
    assert [each.field for each in refusal.value.violations] == ["first"]


@pytest.mark.parametrize("count", [0, 101])
def test_a_list_of_ids_is_as_long_as_the_contract_has_it(count: int) -> None:
    with pytest.raises(ServiceError) as refusal:
        cost_of(f"{{ productsById(productIds: [{'1 ' * count}]) {{ sku }} }}")
    assert [each.field for each in refusal.value.violations] == ["productIds"]


def test_every_field_that_a_call_answers_costs_something() -> None:
    free = [name for name, rule in COSTS.rules.items() if rule.batch > 1 and not rule.weight]
    assert free == []
    assert all(COSTS.rules["Query", name].weight for name in SCHEMA.type_map["Query"].fields)  # type: ignore[attr-defined]
    assert Costs.of(SCHEMA).rules == COSTS.rules


def test_the_schema_is_told_where_the_place_says_so_and_nowhere_else() -> None:
    text = get_introspection_query()
    assert read(text).asks_for_schema
    for hidden in (
        text,
        '{ __type(name: "Product") { name } }',
        "{ ...a } fragment a on Query { __schema { __typename } }",
    ):
        with pytest.raises(ServiceError) as refusal:
            asyncio.run(documents(tells_schema=False).find(hidden, None))
        assert refusal.value.reason == "INTROSPECTION_OFF"
    asyncio.run(documents(tells_schema=False).find("{ __typename }", None))


def test_where_the_schema_is_not_told_no_refusal_suggests_names_of_it() -> None:
    for tells_schema, told in ((True, True), (False, False)):
        with pytest.raises(ServiceError) as refusal:
            asyncio.run(documents(tells_schema=tells_schema).find("{ produkt { sku } }", None))
        [error] = refusal.value.errors  # type: ignore[attr-defined]
        assert ("product" in error.message) is told


def test_the_schema_is_asked_for_by_itself() -> None:
    """Its answer is made in one go, in a thread where no call can be awaited."""
    for text in (
        "{ __schema { __typename } suggestProducts(query: 1) { name } }",
        "{ ...a __schema { __typename } } fragment a on Query { ... { categories { nodes { etag } } } }",
    ):
        assert refused(text)[0] == "INVALID_REQUEST"


def test_lists_of_the_schema_in_one_another_are_refused() -> None:
    deep = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"
    assert refused(deep)[0] == "INVALID_REQUEST"


async def test_a_query_that_was_sent_with_its_hash_is_known_by_it() -> None:
    known, text = documents(), "{ __typename }"
    digest = hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(ServiceError) as refusal:
        await known.find(None, digest)
    assert (refusal.value.reason, str(refusal.value)) == (
        "PERSISTED_QUERY_NOT_FOUND",
        "PersistedQueryNotFound",
    )
    found = await known.find(text, digest)
    assert await known.find(None, digest) is found


async def test_a_hash_of_another_query_is_refused_and_keeps_nothing() -> None:
    known = documents()
    with pytest.raises(ServiceError, match="not that of the query"):
        await known.find("{ __typename }", HASH)
    with pytest.raises(ServiceError) as refusal:
        await known.find(None, HASH)
    assert refusal.value.reason == "PERSISTED_QUERY_NOT_FOUND"


async def test_of_many_queries_the_last_ones_are_kept() -> None:
    known = documents()
    texts = [f"query q{number} {{ __typename }}" for number in range(MOST_KEPT + 1)]
    first = await known.find(texts[0], None)
    for text in texts[1:-1]:
        await known.find(text, None)
    assert await known.find(texts[0], None) is first
    await known.find(texts[-1], None)
    assert await known.find(texts[0], None) is first
    assert len(known._unnamed) == MOST_KEPT


async def test_queries_without_hashes_take_nothing_from_those_with_them() -> None:
    known, text = documents(), "{ __typename }"
    digest = hashlib.sha256(text.encode()).hexdigest()
    found = await known.find(text, digest)
    for number in range(MOST_KEPT + 1):
        await known.find(f"query q{number} {{ __typename }}", None)
    assert await known.find(None, digest) is found


async def test_where_there_is_a_list_nothing_else_is_answered() -> None:
    text = "{ __typename }"
    digest = hashlib.sha256(text.encode()).hexdigest()
    known = documents(trusted={digest: text})
    assert await known.find(None, digest) is await known.find(text, None)
    for other, name in (("{ again: __typename }", None), (None, HASH)):
        with pytest.raises(ServiceError) as refusal:
            await known.find(other, name)
        assert refusal.value.reason == "QUERY_NOT_TRUSTED"


def test_a_list_of_queries_is_read_with_their_hashes_and_refused_with_others(tmp_path: Path) -> None:
    file, text = tmp_path / "queries.json", "{ __typename }"
    good = {hashlib.sha256(text.encode()).hexdigest(): text}
    file.write_text(json.dumps(good))
    assert query_list(str(file)) == good
    refused: tuple[object, ...] = ({}, [], {HASH: text}, {HASH: 1})
    for bad in refused:
        file.write_text(json.dumps(bad))
        with pytest.raises(ValueError, match="names"):
            query_list(str(file))
