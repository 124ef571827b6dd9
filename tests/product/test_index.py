"""The index of searches: never behind what it shows, written by one process, made anew if useless."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from commerce.product.v1 import product_pb2

from services.product.inventory import store as stock_store
from services.product.inventory.events import stock_adjusted
from services.product.search.index import documents, reader, store
from services.product.search.index.engine import IndexEngine
from services.product.search.index.reader import IndexReader
from services.product.search.index.writer import IndexUpkeep
from services.product.search.servicer import Searches
from services.roster import EDGE
from services.rpc.fields import to_money
from services.rpc.identity import anonymous, set_caller
from services.storage.events import append_events
from services.storage.paging import Pages
from services.storage.postgres import Pool, transaction
from services.storage.replica import Reads
from tests.conftest import DatabaseHandle
from tests.product.test_hand_queries import OnlyByName, found, number_events
from tests.product.test_vocabulary import delete, load

PAGES = Pages([b"page tokens of these tests"])


@pytest.fixture
def handle(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    """A catalogue of its own."""
    return database("product")


@pytest.fixture
async def pool(handle: DatabaseHandle) -> AsyncIterator[Pool]:
    pool = await handle.pool()
    yield pool
    await pool.close()


@pytest.fixture
async def upkeep(pool: Pool, tmp_path: Path) -> AsyncIterator[IndexUpkeep]:
    made = IndexUpkeep(pool, IndexReader(tmp_path / "index"))
    yield made
    await made.close()


@pytest.fixture
def searches(pool: Pool, upkeep: IndexUpkeep) -> Searches:
    """Searches that the index answers, or nobody."""
    made = Searches(Reads(pool), PAGES, IndexEngine(pool, upkeep._reader))
    made._table = OnlyByName(Reads(pool))
    return made


async def catch_up(handle: DatabaseHandle, pool: Pool, upkeep: IndexUpkeep) -> None:
    await number_events(pool, handle)
    while await upkeep.follow():
        pass


def position(upkeep: IndexUpkeep) -> int:
    assert upkeep._reader.snapshot is not None
    return upkeep._reader.snapshot.cursor.position


async def brands(searches: Searches, query: str) -> dict[str, int]:
    request = product_pb2.SearchProductsRequest(query=query, facets=["brand"])
    answer = await searches.search(request)
    assert answer.total_size == len(answer.products)
    return {each.value: each.count for each in answer.facets[0].values}


async def test_what_is_written_is_found_so_at_once_and_also_when_the_index_has_it(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep, searches: Searches
) -> None:
    await load(pool, {"A": "Red lamp", "B": "Blue lamp", "D": "!!!"}, brand="Old")
    await catch_up(handle, pool, upkeep)
    assert await found(searches, "B") == ["B"]
    assert await found(searches, "!!!") == ["D"]
    before = position(upkeep)
    await load(pool, {"C": "Green lamp"}, brand="New")
    await load(pool, {"A": "Red lantern"}, brand="Old")

    async def check() -> None:
        assert await found(searches, "lamp") in (["B", "C"], ["C", "B"])
        assert await found(searches, "green lamp") == ["C"]
        assert await found(searches, "lantern") == ["A"]
        assert await brands(searches, "lamp") == {"Old": 1, "New": 1}

    await check()
    assert position(upkeep) == before
    await catch_up(handle, pool, upkeep)
    assert position(upkeep) > before
    await check()


async def test_what_is_hidden_or_deleted_is_told_by_nothing_at_once(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep, searches: Searches
) -> None:
    await load(pool, {"A": "Red lamp", "B": "Blue lamp", "C": "Green lamp"}, brand="Maker")
    await catch_up(handle, pool, upkeep)
    await load(pool, {"A": "Red lamp"}, brand="Maker", active=False)
    await delete(pool, "B")
    for _ in ("at once", "once the index has it"):
        assert await found(searches, "lamp") == ["C"]
        assert await found(searches, "A") == []
        assert await brands(searches, "lamp") == {"Maker": 1}
        typed = await searches.suggest(product_pb2.SuggestProductsRequest(query="lam"))
        assert [each.name for each in typed.suggestions] == ["Green lamp"]
        await catch_up(handle, pool, upkeep)


async def test_what_is_in_stock_follows_the_log(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep, searches: Searches
) -> None:
    await load(pool, {"A": "Red lamp", "B": "Blue lamp"})
    await catch_up(handle, pool, upkeep)
    assert await found(searches, "lamp", in_stock=True) == []
    [product_id] = [UUID(str(await pool.fetchval("SELECT product_id FROM products WHERE sku = 'A'")))]
    async with transaction(pool) as conn:
        stock = await stock_store.adjust_stock(conn, product_id, 3, "came in")
        await append_events(conn, [stock_adjusted(stock, 3, "came in")])
    await catch_up(handle, pool, upkeep)
    assert await found(searches, "lamp", in_stock=True) == ["A"]


async def test_the_table_answers_while_there_is_no_index_or_it_is_far_behind(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = IndexEngine(pool, upkeep._reader)
    searches = Searches(Reads(pool), PAGES, engine)
    asked: list[bool] = []

    async def answer(question: Any) -> Any:
        told = await IndexEngine.answer(engine, question)
        asked.append(told is not None)
        return told

    monkeypatch.setattr(engine, "answer", answer)
    monkeypatch.setattr(store, "_FRESH", 2)
    await load(pool, {"A": "Red lamp"})
    assert await found(searches, "lamp") == ["A"]
    await catch_up(handle, pool, upkeep)
    assert await found(searches, "lamp") == ["A"]
    await load(pool, {"B": "Blue lamp", "C": "Green lamp", "D": "Grey lamp"})
    assert set(await found(searches, "lamp")) == {"A", "B", "C", "D"}
    assert asked == [False, True, False]


async def test_a_page_of_the_table_is_followed_by_one_of_the_table(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep
) -> None:
    await load(pool, {f"S{number}": f"Lamp {number}" for number in range(5)})
    request = product_pb2.SearchProductsRequest(query="lamp", page_size=3)
    set_caller(anonymous(EDGE))
    first = await Searches(Reads(pool), PAGES).search(request)
    await catch_up(handle, pool, upkeep)
    request.page_token = first.next_page_token
    second = await Searches(Reads(pool), PAGES, IndexEngine(pool, upkeep._reader)).search(request)
    assert sorted(each.sku for each in (*first.products, *second.products)) == [f"S{n}" for n in range(5)]


async def next_page(searches: Searches, request: Any, before: Any) -> list[str]:
    request.page_token = before.next_page_token
    set_caller(anonymous(EDGE))
    return [each.sku for each in (await searches.search(request)).products]


async def test_the_table_goes_on_after_the_last_hit_of_the_index(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(pool, {f"S{number}": "Steel bolt" for number in range(9)})
    await catch_up(handle, pool, upkeep)
    monkeypatch.setattr(store, "_FRESH", 0)
    searches = Searches(Reads(pool), PAGES, IndexEngine(pool, upkeep._reader))
    for order_by in ("", "price"):
        request = product_pb2.SearchProductsRequest(query="steel", page_size=3, order_by=order_by)
        set_caller(anonymous(EDGE))
        first = await searches.search(request)
        await load(pool, {f"L{order_by}": "Lamp"})
        skus = [each.sku for each in first.products]
        assert skus + await next_page(searches, request, first) == [f"S{number}" for number in range(6)]
        await catch_up(handle, pool, upkeep)


async def test_pages_of_the_index_repeat_and_leave_out_nothing_though_words_become_more_common(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep, searches: Searches
) -> None:
    others = {f"L{number}": "Lamp" for number in range(40)}
    await load(pool, {f"S{number}": "Steel bolt" for number in range(9)} | others)
    await catch_up(handle, pool, upkeep)
    for number, query in enumerate(("steel", "steel bolt")):
        for name in ("Steel of another length", "Lamp"):
            request = product_pb2.SearchProductsRequest(query=query, page_size=3)
            set_caller(anonymous(EDGE))
            first = await searches.search(request)
            await load(pool, {f"{name}-{number}": name})
            await catch_up(handle, pool, upkeep)
            skus = [each.sku for each in first.products]
            assert skus + await next_page(searches, request, first) == [f"S{each}" for each in range(6)]


async def test_pages_keep_the_weights_of_words_for_what_the_index_does_not_know_yet(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep, searches: Searches
) -> None:
    bolts = {f"S{number}": "Steel bolt" for number in range(9)}
    await load(pool, bolts | {f"L{number}": "Lamp" for number in range(40)})
    await catch_up(handle, pool, upkeep)
    request = product_pb2.SearchProductsRequest(query="steel", page_size=3)
    set_caller(anonymous(EDGE))
    await load(pool, bolts, price=to_money(Decimal(7), "USD"))
    first = await searches.search(request)
    await load(pool, {f"M{number}": "Lamp" for number in range(9)})
    await catch_up(handle, pool, upkeep)
    await load(pool, bolts, price=to_money(Decimal(8), "USD"))
    skus = [each.sku for each in first.products]
    assert skus + await next_page(searches, request, first) == [f"S{number}" for number in range(6)]


async def test_one_process_writes_and_another_takes_over_when_it_ends(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep
) -> None:
    await load(pool, {"A": "Red lamp"})
    await catch_up(handle, pool, upkeep)
    other = IndexUpkeep(pool, IndexReader(upkeep._reader.folder))
    await load(pool, {"B": "Blue lamp"})
    await number_events(pool, handle)
    assert await other.follow() == 0
    assert position(other) == position(upkeep)
    await upkeep.close()
    assert await other.follow() > 0
    assert position(other) > position(upkeep)
    await other.close()


async def test_of_a_folder_that_was_deleted_one_process_makes_the_next_index(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep
) -> None:
    await load(pool, {"A": "Red lamp"})
    await catch_up(handle, pool, upkeep)
    shutil.rmtree(upkeep._reader.folder)
    other = IndexUpkeep(pool, IndexReader(upkeep._reader.folder))
    await other.follow()
    assert await upkeep.follow() == 0
    assert (upkeep._lock, other._lock is None) == (None, False)
    await other.close()


async def test_an_index_that_is_broken_or_of_another_version_is_made_anew(
    pool: Pool,
    handle: DatabaseHandle,
    upkeep: IndexUpkeep,
    searches: Searches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await load(pool, {"A": "Red lamp"})
    await catch_up(handle, pool, upkeep)
    names = [upkeep._reader.current()]
    for harm in ("broken", "another version", "unfinished"):
        await upkeep.close()
        if harm == "broken":
            (upkeep._reader.folder / names[-1] / "meta.json").write_text("{")
        elif harm == "another version":
            monkeypatch.setattr(reader, "VERSION", documents.VERSION + 1)
            monkeypatch.setattr("services.product.search.index.writer.VERSION", documents.VERSION + 1)
        else:
            (upkeep._reader.folder / "current").unlink()
            (upkeep._reader.folder / "left over").mkdir()
        await catch_up(handle, pool, upkeep)
        assert upkeep._reader.current() not in names
        names.append(upkeep._reader.current())
        assert await found(searches, "lamp") == ["A"]
        assert [each.name for each in upkeep._reader.folder.iterdir() if each.is_dir()] == names[-1:]


async def test_an_index_of_another_log_is_made_anew(
    pool: Pool,
    handle: DatabaseHandle,
    upkeep: IndexUpkeep,
    searches: Searches,
    database: Callable[[str], DatabaseHandle],
) -> None:
    """As after a restore: the log ends sooner, or goes on otherwise."""
    other_handle = database("product")
    other = await other_handle.pool()
    await load(other, {"X": "Old lamp"})
    stranger = IndexUpkeep(other, IndexReader(upkeep._reader.folder))
    await catch_up(other_handle, other, stranger)
    await stranger.close()
    await other.close()
    await load(pool, {"A": "Red lamp"})
    await catch_up(handle, pool, upkeep)
    assert await found(searches, "lamp") == ["A"]


async def test_searches_go_on_while_the_index_is_written(
    pool: Pool, handle: DatabaseHandle, upkeep: IndexUpkeep, searches: Searches
) -> None:
    """A race: each of many new products is found at each moment, by the index or beside it."""
    await load(pool, {"S0": "Lamp"})
    await catch_up(handle, pool, upkeep)

    async def follow() -> None:
        while True:
            await upkeep.follow()
            await asyncio.sleep(0)

    following = asyncio.create_task(follow())
    for number in range(1, 20):
        await load(pool, {f"S{number}": "Lamp"})
        await number_events(pool, handle)
        assert set(await found(searches, "lamp")) == {f"S{each}" for each in range(number + 1)}
    following.cancel()
