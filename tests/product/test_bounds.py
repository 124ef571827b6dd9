"""What one call of the catalogue may cost, whoever makes it and whatever merchants have put in."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from commerce.product.v1 import category_pb2, product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.product.catalogue.domain import MAX_TEXT_BYTES
from services.product.categories.domain import MAX_DEPTH
from services.product.search.vocabulary import read_words
from services.product.search.words import MAX_FORMS, MAX_WORDS
from services.storage.paging import MAX_PAGE_BYTES
from tests.conftest import DatabaseHandle
from tests.product.conftest import Shop, some_product
from tests.support.refusals import error_of, refusal

TOO_DEEP = ("FAILED_PRECONDITION", "CATEGORY_TOO_DEEP")
INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
# As large as a product that the contract lets through.
HUGE = {f"name {number}": "x" * 2000 for number in range(30)}
# What gRPC's clients take of a refusal.
TRAILER_BYTES = 8192


def row(**fields: Any) -> product_pb2.ImportProductsRequest:
    return product_pb2.ImportProductsRequest(row_number=1, product=some_product(**fields))


async def test_words_beyond_the_first_sixteen_cost_nothing_and_count_nothing(shop: Shop) -> None:
    words = [f"w{uuid4().hex[:6]}" for _ in range(60)]
    product = await shop.create(name=" ".join(words[:16]))
    for query in (" ".join(words[:16]), " ".join(words), "%".join(words)):
        assert [each.product_id for each in (await shop.search(query)).products] == [product.product_id]
    assert not (await shop.search(" ".join(words[16:] + words[:16]))).products
    async with shop.pool.acquire() as conn:
        for query in (" ".join(words), "%".join(words), "$".join("abcdefghijklmnopqrstuvwxyz0123456789")):
            asked, _ = await read_words(conn, query)
            assert len(asked) == MAX_WORDS
            assert all(len(word.forms) <= MAX_FORMS for word in asked)


async def test_a_common_word_is_ranked_over_a_thousand_products_and_no_more(shop: Shop) -> None:
    word = f"w{uuid4().hex[:8]}"
    report = await shop.load(row(name=f"{word} {number}", sku=f"{word}-{number}") for number in range(1010))
    assert report.created_count == 1010
    exact = await shop.create(name=word)
    seen: list[str] = []
    page_token = ""
    while True:
        page = await shop.search(word, page_size=100, page_token=page_token)
        seen += [each.product_id for each in page.products]
        page_token = page.next_page_token
        if not page_token:
            break
    # The name that is the whole query is found among any number of hits.
    assert seen[0] == exact.product_id
    assert len(seen) == len(set(seen)) == 1001


async def test_searches_that_hang_end_and_leave_the_others_their_connections(
    shop: Shop, product_database: DatabaseHandle
) -> None:
    category = await shop.create_category(f"C {uuid4()}")
    request = category_pb2.GetCategoryRequest(category_id=category.category_id)
    owner = await asyncpg.connect(product_database.owner_dsn)
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")
            searches = [asyncio.create_task(error_of(shop.search("anything"))) for _ in range(40)]
            ended: list[str] = []
            for search in searches:
                search.add_done_callback(lambda done: ended.append(done.result().reason))
            # Who is refused is refused at once: the others still hang.
            first, _ = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED)
            answers = await asyncio.gather(*(shop.categories.GetCategory(request) for _ in range(20)))
            assert not all(search.done() for search in searches)
            errors = await asyncio.gather(*searches)
    finally:
        await owner.close()
    assert all(answer == category for answer in answers)
    assert {search.result().reason for search in first} == {"OVERLOADED"}
    overloaded = [error for error in errors if error.reason == "OVERLOADED"]
    assert all(error.retry_after_seconds for error in overloaded)
    # Where the last of them came late, some that hung had ended, and left their places to others.
    last_refused = len(ended) - 1 - ended[::-1].index("OVERLOADED")
    left = sum(reason != "OVERLOADED" for reason in ended[:last_refused])
    assert 40 - 16 - left <= len(overloaded) <= 40 - 16
    slow = [error.reason for error in errors if error not in overloaded]
    assert slow.count("SEARCH_TOO_SLOW") >= 4
    assert set(slow) <= {"SEARCH_TOO_SLOW", "DEADLINE_EXCEEDED"}


async def test_a_page_of_huge_products_ends_by_bytes(shop: Shop) -> None:
    brand, word = f"Brand {uuid4()}", f"w{uuid4().hex[:8]}"
    rows = [row(brand=brand, name=f"{word} {number}", attributes=HUGE) for number in range(40)]
    assert (await shop.load(rows)).created_count == 40
    lists: list[Any] = [
        (shop.products.ListProducts, product_pb2.ListProductsRequest(brand=brand, page_size=100)),
        (shop.products.SearchProducts, product_pb2.SearchProductsRequest(query=word, page_size=100)),
    ]
    for method, request in lists:
        seen: list[str] = []
        while True:
            page = await method(request)
            assert len(page.products) >= 1
            assert page.ByteSize() <= MAX_PAGE_BYTES * 1.01, "the field's own bytes are not counted"
            seen += [each.sku for each in page.products]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert sorted(seen) == sorted(each.product.sku for each in rows)


async def test_a_batch_of_huge_products_is_refused_and_a_smaller_one_is_not(shop: Shop) -> None:
    product = await shop.create(attributes=HUGE)
    for count in (3, 100):
        request = product_pb2.BatchGetProductsRequest(product_ids=[product.product_id] * count)
        if count == 3:
            assert len((await shop.products.BatchGetProducts(request)).products) == count
        else:
            assert await refusal(shop.products.BatchGetProducts(request)) == (
                "RESOURCE_EXHAUSTED",
                "BATCH_TOO_LARGE",
            )


async def test_a_product_does_not_grow_past_what_one_request_may_bring(shop: Shop) -> None:
    product = await shop.create(attributes=HUGE)
    room = MAX_TEXT_BYTES - len("".join((product.sku, product.name, *HUGE, *HUGE.values())))

    async def describe(text: str) -> product_pb2.Product:
        changed = product_pb2.Product(product_id=product.product_id, description=text)
        mask = FieldMask(paths=["description"])
        request = product_pb2.UpdateProductRequest(product=changed, update_mask=mask)
        updated: product_pb2.Product = await shop.products.UpdateProduct(request, metadata=shop.writer)
        return updated

    assert await refusal(describe("x" * (room - 1) + "é")) == ("INVALID_ARGUMENT", "PRODUCT_TOO_LARGE")
    assert await shop.get(product.product_id) == product
    assert (await describe("x" * room)).description == "x" * room


async def test_what_a_refusal_quotes_fits_into_its_trailers(shop: Shop) -> None:
    """A refusal that is larger looks like a service that is down."""
    long = "é" * 25_000
    update = product_pb2.UpdateProductRequest(
        product=product_pb2.Product(product_id=str(uuid4())), update_mask=FieldMask(paths=[long])
    )
    calls: list[Awaitable[Any]] = [
        shop.products.BatchGetProducts(product_pb2.BatchGetProductsRequest(product_ids=[""] * 3500)),
        shop.products.BatchGetProducts(product_pb2.BatchGetProductsRequest(product_ids=[""] * 100)),
        shop.products.UpdateProduct(update, metadata=shop.writer),
        shop.create(attributes={long: "a"}),
    ]
    for call in calls:
        error = await error_of(call)
        assert (str(error.code), error.reason) == INVALID
        assert error.violations
        said = sum(len(each.field.encode()) + len(each.description.encode()) for each in error.violations)
        assert len(error.message.encode()) + said < TRAILER_BYTES / 2


async def test_a_report_on_an_import_does_not_repeat_what_was_sent(shop: Shop) -> None:
    rows = [row(sku="x" * 60_000), row(attributes={"k" * 60_000: "v"})] * 100
    report = await shop.load(rows)
    assert report.failed_count == len(report.issues) == 200
    assert report.ByteSize() < 200 * 1024


async def chain(shop: Shop, length: int) -> list[str]:
    """The ids of a category, one in it, one in that, and so on."""
    ids = [""]
    for number in range(length):
        ids.append((await shop.create_category(f"{number} {uuid4()}", ids[-1])).category_id)
    return ids[1:]


def moved(shop: Shop, category_id: str, parent_id: str) -> Awaitable[category_pb2.Category]:
    request = category_pb2.UpdateCategoryRequest(
        category=category_pb2.Category(category_id=category_id, parent_id=parent_id)
    )
    call: Awaitable[category_pb2.Category] = shop.categories.UpdateCategory(request, metadata=shop.writer)
    return call


async def test_a_category_is_never_deeper_than_the_bound(shop: Shop) -> None:
    deep = await chain(shop, MAX_DEPTH)
    assert await refusal(shop.create_category("one more", deep[-1])) == TOO_DEEP
    [single] = await chain(shop, 1)
    assert await refusal(moved(shop, single, deep[-1])) == TOO_DEEP
    # A subtree counts with its height.
    pair = await chain(shop, 2)
    assert await refusal(moved(shop, pair[0], deep[-2])) == TOO_DEEP
    assert len((await moved(shop, pair[0], deep[-3])).path) == MAX_DEPTH - 1
    assert await refusal(shop.create_category("one more", pair[1])) == TOO_DEEP
    # What moves up makes room below.
    await moved(shop, pair[0], deep[0])
    await shop.create_category("room again", pair[1])
    await check_depths(shop)


async def test_categories_made_while_those_above_move_are_not_too_deep(shop: Shop) -> None:
    for _ in range(10):
        deep, moving = await chain(shop, MAX_DEPTH - 2), await chain(shop, 2)
        outcomes = await asyncio.gather(
            moved(shop, moving[0], deep[-1]),
            shop.create_category(f"below {uuid4()}", moving[1]),
            shop.create_category(f"below {uuid4()}", moving[1]),
            return_exceptions=True,
        )
        assert any(isinstance(each, category_pb2.Category) for each in outcomes)
        assert any(isinstance(each, BaseException) for each in outcomes), "not all of them fit"
        await check_depths(shop)


async def check_depths(shop: Shop) -> None:
    """Compare what the schema has noted with the tree as it is."""
    [(deepest, wrong)] = await shop.pool.fetch(
        """
        WITH RECURSIVE down AS (
            SELECT category_id, 1 AS depth FROM categories WHERE parent_id IS NULL
             UNION ALL
            SELECT c.category_id, down.depth + 1
              FROM down JOIN categories c ON c.parent_id = down.category_id
        )
        SELECT max(down.depth), count(*) FILTER (WHERE down.depth <> c.depth)
          FROM down JOIN categories c USING (category_id)
        """
    )
    assert (deepest <= MAX_DEPTH, wrong) == (True, 0)


async def test_a_tree_that_was_deeper_before_can_be_read(
    shop: Shop, product_database: DatabaseHandle
) -> None:
    owner = await asyncpg.connect(product_database.owner_dsn)
    ids: list[UUID | None] = [None]
    try:
        async with owner.transaction():
            await owner.execute("ALTER TABLE categories DISABLE TRIGGER USER")
            for number in range(60):
                ids.append(
                    await owner.fetchval(
                        """
                        INSERT INTO categories (parent_id, display_name)
                        VALUES ($1, $2)
                        RETURNING category_id
                        """,
                        ids[-1],
                        f"{number} {uuid4()}",
                    )
                )
            await owner.execute("ALTER TABLE categories ENABLE TRIGGER USER")
        request = category_pb2.GetCategoryRequest(category_id=str(ids[-1]))
        category = await shop.categories.GetCategory(request)
        assert [name.partition(" ")[0] for name in category.path] == [str(number) for number in range(40, 60)]
        listed = await shop.categories.ListCategories(
            category_pb2.ListCategoriesRequest(parent_id=category.parent_id)
        )
        assert list(listed.categories) == [category]
    finally:
        await owner.execute("DELETE FROM categories WHERE category_id = ANY($1)", ids[1:])
        await owner.close()


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "ftp://example.com/1.jpg",
        "http:/1.jpg",
        "https://",
        "https:///1.jpg",
        "https://example.com@evil.example/1.jpg",
        "//example.com/1.jpg",
        "1.jpg",
        'https://example.com/"><script>',
    ],
)
async def test_an_image_is_at_an_http_url_with_a_host(shop: Shop, url: str) -> None:
    assert await refusal(shop.create(image_urls=["https://example.com/1.jpg", url])) == INVALID
    product = await shop.create(image_urls=["HTTPS://example.com:8443/a?b=c#d", "http://[::1]/1"])
    update = product_pb2.UpdateProductRequest(
        product=product_pb2.Product(product_id=product.product_id, image_urls=[url])
    )
    assert await refusal(shop.products.UpdateProduct(update, metadata=shop.writer)) == INVALID
    [issue] = (await shop.load([row(image_urls=[url])])).issues
    assert issue.reason == "INVALID_REQUEST"


@pytest.mark.parametrize("mark", ["\0", "\x1b[2J", "\x7f", "\x9b2J", "\u202egpj.exe", "\u2066", "\b"])
@pytest.mark.parametrize("field", ["sku", "name", "brand", "description", "attributes"])
async def test_text_that_shows_as_another_is_refused(shop: Shop, field: str, mark: str) -> None:
    text = f"a{mark}b"
    fields: dict[str, Any] = {field: {text: "x"} if field == "attributes" else text}
    assert await refusal(shop.create(**fields)) == INVALID
    [issue] = (await shop.load([row(**fields)])).issues
    assert issue.reason == "INVALID_REQUEST"


async def test_names_of_categories_hold_no_such_text_either(shop: Shop) -> None:
    assert await refusal(shop.create_category("a\u202eb")) == INVALID
    [issue] = (
        await shop.load([product_pb2.ImportProductsRequest(product=some_product(), category_path=["a\x1bb"])])
    ).issues
    assert issue.reason == "CATEGORY_PATH_INVALID"
    # Real names have these: other scripts, a direction mark, what is left of a trade mark.
    for name in ("内置", "\u200eabc", "Apple\x99"):
        assert (await shop.create(name=name)).name == name
