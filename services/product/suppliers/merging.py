"""What is done of a match, inside its caller's transaction: product, record and log together.

Locks are taken in one order: the match, products by their ids, records by theirs, the level of stock. A match
is added only under the locks of its products and records (`lock_pair`): it refers to both records, and who
moves one of them would wait for it. An import locks products before records too; a reservation locks levels,
and no products.
"""

from dataclasses import dataclass, replace
from uuid import UUID

from services.errors import VersionConflict
from services.product.catalogue import store as product_store
from services.product.catalogue.domain import Product
from services.product.catalogue.events import product_updated
from services.product.freshness import record as record_events
from services.product.inventory import store as stock_store
from services.product.suppliers import match_store, store
from services.product.suppliers.events import match_rejected, match_undone, products_merged
from services.product.suppliers.records import Match, Record, State, check_merge, decided
from services.storage.events import NewEvent
from services.storage.postgres import Connection


@dataclass(frozen=True)
class Pair:
    """Two locked records, and the locked own product of the first; the product of the other is locked too."""

    record: Record
    other: Record
    own: Product
    # Whether the product of the other is.
    is_for_sale: bool


async def lock_pair(conn: Connection, record_id: UUID, other_id: UUID) -> Pair:
    """Lock all that a merge of two records changes, but for the level of stock.

    Raises:
        ProductNotFound: one of the products was deleted.
        VersionConflict: one of the records moved at the same moment.
    """
    seen = await store.find_records(conn, [record_id, other_id])
    wanted = sorted({seen[record_id].own_product_id, seen[other_id].product_id})
    products = {each: await product_store.lock_product(conn, each) for each in wanted}
    records = await store.lock_records(conn, [record_id, other_id])
    record, other = records[record_id], records[other_id]
    if not {record.own_product_id, other.product_id} <= products.keys():
        raise VersionConflict("a record was matched at the same moment; repeat the command")
    is_for_sale = products[other.product_id].details.active
    return Pair(record, other, products[record.own_product_id], is_for_sale)


async def accept(conn: Connection, match_id: UUID) -> Match:
    """Merge the own product of a match's record into the product of the other.

    Its stock stays with it: what orders hold or have bought is never moved.

    Raises:
        MatchNotFound: there is no such match.
        MatchDecided: it was rejected or undone.
        MergeBlocked: something would be lost.
        ProductNotFound: one of the products was deleted.
        VersionConflict: one of the records moved at the same moment.
    """
    match = await match_store.lock_match(conn, match_id)
    if match.state is State.ACCEPTED:
        return match
    if match.state is not State.PROPOSED:
        raise decided(match)
    pair = await lock_pair(conn, match.record.record_id, match.other.record_id)
    companions = await store.count_companions(conn, pair.record)
    held = await stock_store.set_merged(conn, pair.own.product_id, is_merged=True)
    check_merge(pair.record, pair.other, companions=companions, held=held, is_for_sale=pair.is_for_sale)
    happened = await _sell(conn, pair.own, is_for_sale=False)
    await store.move_record(conn, pair.record, pair.other.product_id)
    merged = await match_store.decide_match(conn, match, State.ACCEPTED, was_active=pair.own.details.active)
    await record_events(conn, [*happened, products_merged(merged)])
    return merged


async def reject(conn: Connection, match_id: UUID) -> Match:
    """Say that two records are not one product; the next best of the record is asked about next.

    Raises:
        MatchNotFound: there is no such match.
        MatchDecided: it was accepted.
    """
    match = await match_store.lock_match(conn, match_id)
    if match.state is State.REJECTED:
        return match
    if match.state is not State.PROPOSED:
        raise decided(match)
    rejected = await match_store.decide_match(conn, match, State.REJECTED, was_active=None)
    await store.compare_again(conn, match.record.record_id)
    await record_events(conn, [match_rejected(rejected)])
    return rejected


async def undo(conn: Connection, match_id: UUID) -> Match:
    """Give a record its own product back, for sale as it was.

    Raises:
        MatchNotFound: there is no such match.
        MatchDecided: it is not merged.
    """
    match = await match_store.lock_match(conn, match_id)
    if match.state is State.UNDONE:
        return match
    if match.state is not State.ACCEPTED:
        raise decided(match)
    own = await product_store.lock_product(conn, match.record.own_product_id)
    record = (await store.lock_records(conn, [match.record.record_id]))[match.record.record_id]
    await stock_store.set_merged(conn, own.product_id, is_merged=False)
    await store.move_record(conn, record, record.own_product_id)
    happened = await _sell(conn, own, is_for_sale=bool(match.was_active))
    undone = await match_store.decide_match(conn, match, State.UNDONE, was_active=match.was_active)
    await record_events(conn, [*happened, match_undone(undone, str(record.product_id))])
    return undone


async def _sell(conn: Connection, product: Product, *, is_for_sale: bool) -> list[NewEvent]:
    """Put a locked product on sale or take it out, where that is a change."""
    if product.details.active == is_for_sale:
        return []
    wanted = replace(product, details=replace(product.details, active=is_for_sale))
    [written] = await product_store.update_products(conn, [wanted])
    return [product_updated(written, ["active"])]
