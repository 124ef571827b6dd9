"""What a transaction does to reservations: of one order, or of a group of orders at once.

Every change first wins the reservations' rows, in the order of their ids, then tells the log and moves the
stock: a hot product's row is locked for one statement and the commit. All writers take these locks in
this order, so that none waits for another in a ring.
"""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from services.errors import ServiceError
from services.product.inventory import store as stock_store
from services.product.locations import store as location_store
from services.product.reservations import places_store, store
from services.product.reservations.decisions import check_lines, check_room, check_shares, decide_holds
from services.product.reservations.domain import (
    HoldRequest,
    MostHeld,
    Prospect,
    Reservation,
    ReservationChanged,
    State,
    check_committed,
    check_repeat,
    movements,
    note_backordered,
    takes_stock,
)
from services.product.reservations.events import reservation_changed
from services.product.reservations.places import allot_all
from services.storage.events import append_events
from services.storage.postgres import Connection

Outcome = Reservation | ServiceError | None


async def reserve_together(
    conn: Connection, requests: Sequence[HoldRequest], most: MostHeld
) -> list[Outcome]:
    """Hold for many orders that have no reservation yet.

    What would have the others wait is left to be done alone: what asks for the same order again, and what is
    of a person whose holds are being judged elsewhere.

    Raises:
        ReservationChanged: an order got a reservation meanwhile.
        OutOfStock: stock went elsewhere meanwhile.
    """
    first = {request.order_id: request for request in reversed(requests)}
    holders = {request.holder_id for request in requests if request.holder_id is not None}
    judged = {None, *await store.try_lock_holders(conn, holders)} if holders else {None}
    asked = [each for each in requests if each is first[each.order_id] and each.holder_id in judged]
    if not asked:
        return [None] * len(requests)
    prospects = await store.read_prospects(conn, asked)
    fresh = [each for each in asked if not prospects[each.order_id].is_reserved]
    decided = await _hold(conn, fresh, prospects, most)
    if len(decided) < len(fresh):
        # Those that were refused may have been refused for its sake.
        raise ReservationChanged("an order was reserved at the same moment")
    return [decided.get(each.order_id) if each is first[each.order_id] else None for each in requests]


async def reserve_alone(conn: Connection, asked: HoldRequest, most: MostHeld) -> Reservation:
    """Hold for one order; the same again prolongs the same reservation, or holds anew where it has ended."""
    if asked.holder_id is not None:
        await store.lock_holder(conn, asked.holder_id)
    prospects = await store.read_prospects(conn, [asked])
    prospect = prospects[asked.order_id]
    if prospect.is_reserved:
        return await _reserve_again(conn, asked, prospect, most)
    decided = (await _hold(conn, [asked], prospects, most)).get(asked.order_id)
    if isinstance(decided, ServiceError):
        raise decided
    # None: the same call was faster.
    return decided or await _reserve_again(conn, asked, prospect, most)


async def commit_together(conn: Connection, order_ids: Sequence[UUID]) -> list[Outcome]:
    """Sell what is held; what is not held takes stock again or is refused, and is left to be done alone."""
    return await _change_together(conn, order_ids, State.COMMITTED, (State.HELD,))


async def commit_alone(conn: Connection, order_id: UUID) -> Reservation:
    """Turn a hold into a sale; one that has expired takes its stock again."""
    # What is still held is sold, also past its time: whoever wins the row decides.
    reservation = await _change(conn, order_id, State.COMMITTED, (State.HELD, State.EXPIRED))
    return reservation or check_committed(order_id, await store.find_reservation(conn, order_id))


async def release_together(conn: Connection, order_ids: Sequence[UUID]) -> list[Outcome]:
    """Give stock back; an order that has nothing to give back is left to be done alone."""
    return await _change_together(conn, order_ids, State.RELEASED, _RELEASABLE)


async def release_alone(conn: Connection, order_id: UUID) -> Reservation:
    """Give an order's stock back for good, or note that it can never have any."""
    released = await _change(conn, order_id, State.RELEASED, _RELEASABLE)
    if released is not None:
        return released
    # A ReserveStock that comes late, or is running now, meets this row: it either fails or is released.
    nothing = await store.insert_released(conn, order_id)
    if nothing is not None:
        await append_events(conn, [reservation_changed(nothing)])
        return nothing
    released = await _change(conn, order_id, State.RELEASED, _RELEASABLE)
    return released or await store.get_reservation(conn, order_id)


async def are_unlocked(conn: Connection, requests: Sequence[HoldRequest]) -> list[bool]:
    """Say of each whether nobody has the levels of its products at this moment."""
    wanted = {product_id for request in requests for product_id in request.wanted}
    locked = await stock_store.find_locked(conn, wanted)
    return [locked.isdisjoint(request.wanted) for request in requests]


async def are_orders_unlocked(conn: Connection, order_ids: Sequence[UUID]) -> list[bool]:
    """Say of each whether nobody has its reservation, or the levels of its products, at this moment."""
    wanted = await store.find_wanted(conn, order_ids)
    products = {product_id for each in wanted.values() if each is not None for product_id in each}
    locked = await stock_store.find_locked(conn, products)
    needed = [wanted.get(order_id, frozenset()) for order_id in order_ids]
    return [each is not None and locked.isdisjoint(each) for each in needed]


async def expire(conn: Connection, limit: int) -> int:
    """End up to `limit` holds whose time is over, and return how many."""
    expired = await store.expire_reservations(conn, limit)
    await _record(conn, [(reservation, State.HELD) for reservation in expired])
    return len(expired)


_RELEASABLE = (State.HELD, State.COMMITTED, State.EXPIRED)


async def _hold(
    conn: Connection, requests: Sequence[HoldRequest], prospects: dict[UUID, Prospect], most: MostHeld
) -> dict[UUID, Reservation | ServiceError]:
    """Return what became of each, by order_id; not of those whose order has got a reservation meanwhile."""
    # A refused order costs a read: it leaves no rows, and no log of rows that were taken back.
    decided = decide_holds(requests, prospects, most)
    refused = {order_id: each for order_id, each in decided.items() if isinstance(each, ServiceError)}
    lines = {order_id: each for order_id, each in decided.items() if not isinstance(each, ServiceError)}
    accepted = [request for request in requests if request.order_id in lines]
    held = await store.insert_reservations(conn, accepted, lines) if accepted else []
    spread = {
        product_id
        for request in accepted
        for product_id in request.wanted
        if prospects[request.order_id].offers[product_id].is_spread
    }
    held = await _place(conn, held, spread)
    held = await _record(conn, [(reservation, None) for reservation in held])
    return refused | {reservation.order_id: reservation for reservation in held}


async def _reserve_again(
    conn: Connection, asked: HoldRequest, prospect: Prospect, most: MostHeld
) -> Reservation:
    order_id = asked.order_id
    check_repeat(asked, await store.get_reservation(conn, order_id))
    renewed = await store.renew_lapsed(conn, order_id, asked.ttl)
    if renewed is not None:
        check_room(asked, prospect.held, most)
        check_shares(asked, prospect.held, prospect.offers, most)
        check_lines(asked, renewed[0])
        [reservation] = await _record(conn, await _place_anew(conn, [renewed]))
        return reservation
    await store.prolong(conn, order_id, asked.ttl)
    # Read after the attempt: another call may have changed it in between.
    kept = await store.get_reservation(conn, order_id)
    check_repeat(asked, kept)
    check_lines(asked, kept)
    return kept


async def _change_together(
    conn: Connection, order_ids: Sequence[UUID], to: State, former: Sequence[State]
) -> list[Outcome]:
    changed = await store.change_states(conn, set(order_ids), to, former)
    by_order = {reservation.order_id: reservation for reservation in await _record(conn, changed)}
    return [by_order.get(order_id) for order_id in order_ids]


async def _change(conn: Connection, order_id: UUID, to: State, former: Sequence[State]) -> Reservation | None:
    changed = await store.change_states(conn, [order_id], to, former)
    recorded = await _record(conn, await _place_anew(conn, changed))
    return recorded[0] if recorded else None


async def _place_anew(
    conn: Connection, changed: Sequence[tuple[Reservation, State | None]]
) -> list[tuple[Reservation, State | None]]:
    """Choose locations again for what takes stock that it had given back."""
    taken = [reservation for reservation, former in changed if takes_stock(reservation, former)]
    products = {line.product_id for reservation in taken for line in reservation.lines}
    placed = {each.order_id: each for each in await _place(conn, taken, products)}
    return [(placed.get(reservation.order_id, reservation), former) for reservation, former in changed]


async def _place(
    conn: Connection, taken: Sequence[Reservation], spread: Collection[UUID]
) -> list[Reservation]:
    """Choose the locations from which stock is taken; `spread` are the products that may lie elsewhere."""
    if not spread:
        return list(taken)
    levels = await location_store.read_levels(conn, spread)
    stock = await stock_store.find_levels(conn, spread)
    placed = allot_all(taken, {each: (stock[each], levels.get(each, [])) for each in stock})
    if placed != list(taken):
        await places_store.write_places(conn, placed)
    return placed


async def _record(conn: Connection, changed: Iterable[tuple[Reservation, State | None]]) -> list[Reservation]:
    """Tell of reservations that are new, or were in another state, and move their stock.

    Returns:
        The reservations, with the units that are not in the house: only the levels' rows tell, once they are
        this transaction's.
    """
    changed = list(changed)
    if not changed:
        return []
    told = [reservation_changed(reservation) for reservation, _ in changed]
    moved = [move for reservation, former in changed for move in movements(reservation, former)]
    free = await stock_store.apply_movements(conn, moved, told)
    taken = [reservation for reservation, former in changed if takes_stock(reservation, former)]
    noted = note_backordered(taken, free)
    if noted != taken:
        await places_store.write_backordered(conn, noted)
    by_order = {reservation.order_id: reservation for reservation in noted}
    return [by_order.get(reservation.order_id, reservation) for reservation, _ in changed]
