"""Search: every product is found by its name, whatever the name and the query are made of."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from commerce.product.v1 import product_pb2

from services.product.search.store import Filters, search_products
from services.product.search.vocabulary import read_words
from services.product.search.words import question_of
from services.storage.postgres import connection
from tests.product.conftest import Shop
from tests.product.real_rows import bestbuy_rows
from tests.support.refusals import refusal

DATA = Path(__file__).parents[3] / "shared" / "data"


async def names(shop: Shop, query: str, **fields: Any) -> list[str]:
    return [each.name for each in (await shop.search(query, **fields)).products]


@pytest.mark.parametrize(
    "name",
    [
        'Insignia™ - Apple® iPhone® 6" Charge-and-Sync Cable {}',
        "AC/DC {} - AT&T 4' USB 3.0 (Unlocked) | !x & y:* <-> z",
        '- {} -not "quoted" OR minus',
        "Frē {} Waterproof",
        "内置基准源 {}，可编程增益",  # noqa: RUF001  real names have it
        "The Who {}",
        "{}",
    ],
)
async def test_a_whole_name_finds_its_product_first(shop: Shop, name: str) -> None:
    name = name.format(uuid4().hex[:8])
    # By the share of its words the shorter one would win.
    await shop.create(name=f"{name} new")
    await shop.create(name=name, description=" ".join(f"word{number}" for number in range(300)))
    assert (await names(shop, name))[0] == name
    assert (await names(shop, name.upper()))[0] == name


@pytest.mark.parametrize("name", ["™", "!!!", "the", "- & -", "?"])
async def test_names_without_a_word_are_found_too(shop: Shop, name: str) -> None:
    sku = f"odd-{uuid4()}"
    await shop.create(name=name, sku=sku)
    assert name in await names(shop, name, page_size=100)
    assert await names(shop, sku) == [name]


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("Apple® iPhone® {} Case", "iphone {} cases"),
        ("Charge/Sync {} Cable", "sync {}"),
        ("LifeProof {} Frē", "fre {}"),
        ("T-Mobile {}", "mobile {}"),
        ("Speakers {} of the house", "speaker {}"),
        ("{} running shoes", "run {} shoe"),
    ],
)
async def test_words_are_found_in_any_form(shop: Shop, name: str, query: str) -> None:
    word = f"q{uuid4().hex[:8]}"
    await shop.create(name=name.format(word))
    # Behind it comes what has some of the words.
    await shop.create(name=word)
    assert (await names(shop, query.format(word)))[0] == name.format(word)


async def test_who_has_all_words_comes_before_who_has_most_and_stop_words_do_not_count(shop: Shop) -> None:
    first, second, third = (f"q{uuid4().hex[:8]}" for _ in range(3))
    await shop.create(name=f"{first} {second}")
    await shop.create(name=f"Of this and that {second} {third}, {first}", description="long " * 100)
    await shop.create(name=f"{third}")
    found = [f"Of this and that {second} {third}, {first}", f"{first} {second}"]
    assert await names(shop, f"the {first} of a {second} and {third}") == found
    assert await names(shop, f"{first} {second}") == found[::-1]
    # Of two words, what has one is shown where nothing has both.
    assert await names(shop, f"{third} {uuid4().hex[:8]}x") == [third, found[0]]


async def test_the_name_counts_for_more_than_the_description(shop: Shop) -> None:
    word = f"q{uuid4().hex[:8]}"
    await shop.create(name="In its text", description=f"goes with {word}")
    await shop.create(name="Of its brand", brand=word)
    await shop.create(name=f"Own {word}")
    assert await names(shop, word) == [f"Own {word}", "Of its brand", "In its text"]


async def test_pages_of_a_search_meet_without_gap_or_repetition(shop: Shop) -> None:
    word = f"q{uuid4().hex[:8]}"
    wanted = {(await shop.create(name=f"{word} {'x ' * (number % 3)}")).product_id for number in range(11)}
    exact = await shop.create(name=word)
    seen: list[str] = []
    page_token = ""
    while True:
        page = await shop.search(word, page_size=4, page_token=page_token)
        seen += [each.product_id for each in page.products]
        page_token = page.next_page_token
        if not page_token:
            break
    assert seen[0] == exact.product_id
    assert sorted(seen) == sorted(wanted | {exact.product_id})
    request = product_pb2.SearchProductsRequest(query="other", page_token="x")
    assert (await refusal(shop.products.SearchProducts(request)))[1] == "PAGE_TOKEN_INVALID"


async def test_a_query_that_cannot_be_text_is_refused(shop: Shop) -> None:
    assert await refusal(shop.search("a\0b")) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared catalogues")
@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.long)])
async def test_each_bestbuy_product_is_found_by_its_name_on_the_first_page(shop: Shop, every: int) -> None:
    rows = bestbuy_rows(DATA)
    report = await shop.load(rows)
    assert report.failed_count == 0
    lost = []
    async with connection(shop.pool) as conn:
        # As over a large catalogue: by the index.
        await conn.execute("SET enable_seqscan = off")
        for row in rows[::every]:
            name = row.product.name
            question = question_of(*await read_words(conn, name))
            found, _, _ = await search_products(conn, name, question, Filters(), limit=25)
            if row.product.sku not in {each.product.details.sku for each in found}:
                lost.append(row.product.name)
    assert lost == []
