"""What is done of a match, inside its caller's transaction: product, record and log together.

Locks are taken in one order: the match, products by their ids, records by theirs. An import locks products
before records too.
"""

from dataclasses import replace
from uuid import UUID

from services.errors import VersionConflict
from services.product.catalogue import store as product_store
from services.product.catalogue.domain import Product
from services.product.catalogue.events import product_updated
from services.product.suppliers import match_store, store
from services.product.suppliers.events import match_rejected, match_undone, products_merged
from services.product.suppliers.records import Match, State, check_merge, decided
from services.storage.events import NewEvent, append_events
from services.storage.postgres import Connection


async def accept(conn: Connection, match_id: UUID) -> Match:
    """Merge the own product of a match's record into the product of the other.

    Its stock stays with it: what orders hold or have bought is never moved.

    Raises:
        MatchNotFound: there is no such match.
        MatchDecided: it was rejected or undone.
        MergeBlocked: something would be lost.
        ProductNotFound: one of the products was deleted.
        VersionConflict: the other record moved at the same moment.
    """
    match = await match_store.lock_match(conn, match_id)
    if match.state is State.ACCEPTED:
        return match
    if match.state is not State.PROPOSED:
        raise decided(match)
    wanted = sorted({match.record.own_product_id, match.other.product_id})
    products = {each: await product_store.lock_product(conn, each) for each in wanted}
    records = await store.lock_records(conn, [match.record.record_id, match.other.record_id])
    record, other = records[match.record.record_id], records[match.other.record_id]
    if other.product_id != match.other.product_id:
        raise VersionConflict("the other record was matched at the same moment; repeat the command")
    companions, held = await store.read_burden(conn, record)
    is_for_sale = products[other.product_id].details.active
    check_merge(record, other, companions=companions, held=held, is_for_sale=is_for_sale)
    own = products[record.own_product_id]
    happened = await _sell(conn, own, is_for_sale=False)
    await store.move_record(conn, record, other.product_id)
    merged = await match_store.decide_match(conn, match, State.ACCEPTED, was_active=own.details.active)
    await append_events(conn, [*happened, products_merged(merged)])
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
    await append_events(conn, [match_rejected(rejected)])
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
    await store.move_record(conn, record, record.own_product_id)
    happened = await _sell(conn, own, is_for_sale=bool(match.was_active))
    undone = await match_store.decide_match(conn, match, State.UNDONE, was_active=match.was_active)
    await append_events(conn, [*happened, match_undone(undone, str(record.product_id))])
    return undone


async def _sell(conn: Connection, product: Product, *, is_for_sale: bool) -> list[NewEvent]:
    """Put a locked product on sale or take it out, where that is a change."""
    if product.details.active == is_for_sale:
        return []
    wanted = replace(product, details=replace(product.details, active=is_for_sale))
    [written] = await product_store.update_products(conn, [wanted])
    return [product_updated(written, ["active"])]
