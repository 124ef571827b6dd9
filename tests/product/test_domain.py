"""The rules of the catalogue and of stock, without I/O."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from services.errors import EtagMismatch, InvalidArgument
from services.etags import check_etag
from services.product.catalogue.domain import (
    Price,
    Product,
    ProductDetails,
    ProductNotFound,
    change,
    changed_fields,
    check_details,
)
from services.product.categories.domain import (
    CategoryCycle,
    CategoryPathInvalid,
    check_move,
    check_name,
    check_path,
)
from services.product.inventory.domain import Kind, Movement, OutOfStock
from services.product.reservations.decisions import (
    CurrencyMixed,
    HoldTooLarge,
    PriceChanged,
    TooManyHolds,
    check_lines,
    check_prospect,
    check_room,
    check_shares,
    check_size,
    decide_holds,
)
from services.product.reservations.domain import (
    Holding,
    HoldRequest,
    Line,
    MostHeld,
    Offer,
    Prospect,
    Reservation,
    ReservationChanged,
    ReservationMismatch,
    ReservationNotFound,
    ReservationReleased,
    State,
    check_committed,
    check_repeat,
    movements,
    note_backordered,
    sum_quantities,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PRICE = Price(Decimal("0.0002"), "USD")
A, B, C = (UUID(int=number) for number in (1, 2, 3))
DETAILS = ProductDetails(
    sku="AD1866",
    name="Converter",
    description="",
    brand="",
    category_id=None,
    price=PRICE,
    attributes={},
    image_urls=(),
    active=True,
)
PRODUCT = Product(A, DETAILS, version=3, create_time=NOW, update_time=NOW)


def line(product_id: UUID, quantity: int = 1, currency: str = "USD") -> Line:
    return Line(product_id, quantity, "sku", "name", Price(Decimal(1), currency))


def reservation(state: State, *lines: Line) -> Reservation:
    return Reservation(C, state, version=1, expire_time=NOW, update_time=NOW, lines=lines)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sku": ""}, "sku"),
        ({"sku": " AD1866"}, "sku"),
        ({"sku": "AD\0"}, "sku"),
        ({"name": " \t"}, "name"),
        ({"description": "a\0b"}, "description"),
        ({"brand": "\0"}, "brand"),
        ({"attributes": {"a\0": "b"}}, "attributes"),
        ({"attributes": {"a": "\0"}}, "attributes"),
        ({"image_urls": ("http://a/\0",)}, "image_urls"),
        ({"price": Price(Decimal(0), "")}, "price"),
    ],
)
def test_details_that_cannot_be_kept_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_details(replace(DETAILS, **changes))
    assert {violation.field for violation in refused.value.violations} == {f"product.{field}"}


def test_a_price_below_a_cent_is_kept_exactly() -> None:
    check_details(DETAILS)
    assert DETAILS.price.amount == Decimal("0.0002")


def test_every_violation_is_named_at_once() -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_details(replace(DETAILS, sku="", name=""))
    assert [violation.field for violation in refused.value.violations] == ["product.sku", "product.name"]


def test_a_change_touches_only_the_fields_it_names() -> None:
    after = change(PRODUCT, {"name": "New", "active": False})
    assert after == replace(PRODUCT, details=replace(DETAILS, name="New", active=False))
    assert changed_fields(DETAILS, after.details) == ["name", "active"]


def test_prices_that_differ_only_in_trailing_zeros_are_no_change() -> None:
    after = change(PRODUCT, {"price": Price(Decimal("0.000200000"), "USD")})
    assert changed_fields(DETAILS, after.details) == []


def test_an_etag_must_be_the_current_one_where_it_is_given() -> None:
    check_etag("", PRODUCT.etag)
    check_etag("3", PRODUCT.etag)
    with pytest.raises(EtagMismatch):
        check_etag("2", PRODUCT.etag)


def test_category_names_that_differ_in_white_space_are_one() -> None:
    assert check_name("  Cell \t Phones\n") == "Cell Phones"
    assert check_path([" A  B", "C "]) == ("A B", "C")


@pytest.mark.parametrize("name", ["", " \u3000 ", "a\0b"])
def test_a_category_needs_a_name(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_name(name)


@pytest.mark.parametrize("path", [["A", " "], ["x" * 201], ["\0"], ["A"] * 21])
def test_a_category_path_that_cannot_be_kept_is_refused(path: list[str]) -> None:
    with pytest.raises(CategoryPathInvalid):
        check_path(path)


def test_a_category_cannot_move_below_itself() -> None:
    check_move(A, [B, C])
    with pytest.raises(CategoryCycle):
        check_move(A, [B, A])


def test_lines_of_one_product_are_summed_and_ordered_by_product() -> None:
    assert list(sum_quantities([(C, 1), (A, 2), (C, 3)]).items()) == [(A, 2), (C, 4)]


@pytest.mark.parametrize(
    ("former", "state", "deltas"),
    [
        (None, State.HELD, (Kind.RESERVED, -2, 2, 0)),
        (State.EXPIRED, State.HELD, (Kind.RESERVED, -2, 2, 0)),
        (State.HELD, State.COMMITTED, (Kind.COMMITTED, 0, -2, 2)),
        (State.EXPIRED, State.COMMITTED, (Kind.COMMITTED, -2, 0, 2)),
        (State.HELD, State.RELEASED, (Kind.RELEASED, 2, -2, 0)),
        (State.COMMITTED, State.RELEASED, (Kind.RELEASED, 2, 0, -2)),
        (State.HELD, State.EXPIRED, (Kind.EXPIRED, 2, -2, 0)),
    ],
)
def test_a_new_state_moves_the_units_to_its_place(
    former: State | None, state: State, deltas: tuple[Kind, int, int, int]
) -> None:
    [moved] = movements(reservation(state, line(A, 2)), former)
    assert moved == Movement(A, *deltas, order_id=C)


@pytest.mark.parametrize(
    ("former", "state"), [(State.EXPIRED, State.RELEASED), (None, State.RELEASED), (State.HELD, State.HELD)]
)
def test_units_that_stay_in_their_place_make_no_movement(former: State | None, state: State) -> None:
    assert movements(reservation(state, line(A)), former) == []


def asked(wanted: dict[UUID, int], **fields: Any) -> HoldRequest:
    defaults: dict[str, Any] = {"holder_id": A, "ttl": timedelta(seconds=30), "expected": None}
    return HoldRequest(C, wanted=wanted, **(defaults | fields))


def prospect(**free: int) -> Prospect:
    """Products A and B at 12.345 dollars, so much of each free."""
    ids = {"a": A, "b": B}
    price = Price(Decimal("12.345"), "USD")
    offers = {ids[name]: Offer(name, f"Product {name}", price, units) for name, units in free.items()}
    return Prospect(is_reserved=False, held=Holding(0, 0), offers=offers)


def test_a_reservation_lacks_no_product() -> None:
    with pytest.raises(ProductNotFound) as refused:
        check_lines(asked({A: 1, C: 1, B: 1}), reservation(State.HELD, line(A)))
    assert refused.value.metadata == {"product_id": str(B)}


def test_a_reservation_has_one_currency() -> None:
    with pytest.raises(CurrencyMixed):
        check_lines(asked({A: 1, B: 1}), reservation(State.HELD, line(A), line(B, currency="EUR")))


def test_what_would_be_refused_is_refused_before_it_is_written() -> None:
    check_prospect(asked({A: 2, B: 1}), prospect(a=2, b=1), {})
    with pytest.raises(ProductNotFound):
        check_prospect(asked({A: 2, B: 1}), prospect(a=2), {})
    with pytest.raises(OutOfStock) as refused:
        check_prospect(asked({A: 2, B: 1}), prospect(a=2, b=0), {})
    assert refused.value.metadata == {"product_id": str(B), "requested": "1"}


@pytest.mark.parametrize(("expected", "agreed"), [("37.04", True), ("37.035", False), ("37.03", False)])
def test_the_total_that_was_agreed_to_is_that_of_the_rounded_lines(expected: str, *, agreed: bool) -> None:
    request = asked({A: 3}, expected=Price(Decimal(expected), "USD"))
    if agreed:
        check_prospect(request, prospect(a=3), {})
        return
    with pytest.raises(PriceChanged) as refused:
        check_prospect(request, prospect(a=3), {})
    assert refused.value.metadata == {"total": "37.04", "currency_code": "USD"}


def test_another_currency_is_another_total() -> None:
    with pytest.raises(PriceChanged):
        check_prospect(asked({A: 3}, expected=Price(Decimal("37.04"), "EUR")), prospect(a=3), {})


MOST = MostHeld(reservations=2, units=10, units_of_product=6)


@pytest.mark.parametrize(
    ("held", "units", "fits"),
    [((0, 0), 10, True), ((1, 4), 6, True), ((1, 4), 7, False), ((2, 2), 1, False)],
)
def test_a_person_holds_so_much_and_no_more(held: tuple[int, int], units: int, *, fits: bool) -> None:
    request = asked({A: units - 1, B: 1} if units > 1 else {A: units})
    if fits:
        check_room(request, Holding(*held), MOST)
        return
    with pytest.raises(TooManyHolds) as refused:
        check_room(request, Holding(*held), MOST)
    assert refused.value.metadata == {"max_reservations": "2", "max_units": "10"}
    check_room(asked(dict(request.wanted), holder_id=None), Holding(*held), MOST)


def test_an_order_larger_than_a_person_may_hold_is_a_wrong_request() -> None:
    check_size(asked({A: 9, B: 1}), MOST)
    with pytest.raises(HoldTooLarge) as refused:
        check_size(asked({A: 9, B: 2}), MOST)
    assert [each.field for each in refused.value.violations] == ["lines"]


@pytest.mark.parametrize(
    ("limit", "held", "units", "refused"),
    [
        (0, 2, 4, None),
        (0, 2, 5, TooManyHolds),
        (0, 0, 7, HoldTooLarge),
        (8, 2, 6, None),
        (3, 2, 2, TooManyHolds),
        (3, 0, 4, HoldTooLarge),
    ],
)
def test_a_person_holds_so_much_of_a_product_and_no_more(
    limit: int, held: int, units: int, refused: type[Exception] | None
) -> None:
    offer = Offer("a", "Product a", PRICE, 1000, hold_limit=limit)
    request, others = asked({A: units, B: 1}), Holding(1, held + 4, {A: held, B: 4})
    if refused is None:
        check_shares(request, others, {A: offer}, MOST)
        return
    with pytest.raises(refused) as caught:
        check_shares(request, others, {A: offer}, MOST)
    metadata = caught.value.metadata  # type: ignore[attr-defined]
    assert metadata == {"product_id": str(A), "max_units_of_product": str(limit or 6)}
    check_shares(asked({A: units}, holder_id=None), others, {A: offer}, MOST)


def test_of_orders_taken_together_the_last_lack_what_is_not_in_the_house() -> None:
    taken = [reservation(State.HELD, line(A, 3), line(B, 1)), reservation(State.HELD, line(A, 4))]
    noted = note_backordered(taken, {A: -5, B: 0})
    assert [[each.backordered for each in one.lines] for one in noted] == [[1, 0], [4]]
    # More was backordered before.
    noted = note_backordered(taken, {A: -50, B: -1})
    assert [[each.backordered for each in one.lines] for one in noted] == [[3, 1], [4]]
    assert note_backordered(taken, {A: 0, B: 7}) == taken


def test_of_orders_decided_together_the_first_come_gets_the_last_units() -> None:
    wanted = ({A: 2}, {A: 2, B: 1}, {A: 1, B: 1})
    requests = [replace(asked(each), order_id=UUID(int=place)) for place, each in enumerate(wanted)]
    prospects = {each.order_id: prospect(a=3, b=1) for each in requests}
    first, second, third = decide_holds(requests, prospects, MostHeld(20, 100, 100)).values()
    assert first == (Line(A, 2, "a", "Product a", Price(Decimal("12.345"), "USD")),)
    assert isinstance(second, OutOfStock)
    assert second.metadata == {"product_id": str(A), "requested": "2"}
    # What was refused took nothing.
    assert isinstance(third, tuple)
    assert [(line.product_id, line.quantity) for line in third] == [(A, 1), (B, 1)]


def test_of_orders_decided_together_those_of_one_person_count_for_one_another() -> None:
    anna, boris = UUID(int=7), UUID(int=8)
    people = (anna, anna, boris, anna, None, None)
    requests = [
        replace(asked({A: 40}), order_id=UUID(int=place), holder_id=holder)
        for place, holder in enumerate(people)
    ]
    held = replace(prospect(a=1000), held=Holding(1, 20))
    prospects = {each.order_id: held for each in requests}
    for most, fitting in (
        (MostHeld(20, 100, 100), (0, 1, 2, 4, 5)),
        (MostHeld(2, 100, 100), (0, 2, 4, 5)),
        (MostHeld(20, 100, 50), (0, 2, 4, 5)),
    ):
        decided = decide_holds(requests, prospects, most)
        refused = [each for each in decided.values() if isinstance(each, TooManyHolds)]
        assert len(refused) == len(requests) - len(fitting)
        assert [place for place, each in enumerate(decided.values()) if isinstance(each, tuple)] == list(
            fitting
        )


def test_only_the_same_lines_may_be_reserved_again() -> None:
    held = reservation(State.HELD, line(A, 2))
    check_repeat(asked({A: 2}), held)
    for other in ({A: 3}, {B: 2}, {A: 2, B: 1}):
        with pytest.raises(ReservationMismatch):
            check_repeat(asked(other), held)


def test_nothing_is_reserved_again_after_its_release() -> None:
    with pytest.raises(ReservationReleased):
        check_repeat(asked({A: 2}), reservation(State.RELEASED))


def test_only_a_committed_reservation_needs_no_commit() -> None:
    committed = reservation(State.COMMITTED, line(A))
    assert check_committed(C, committed) is committed
    for state, error in (
        (None, ReservationNotFound),
        (State.RELEASED, ReservationReleased),
        (State.HELD, ReservationChanged),
    ):
        with pytest.raises(error):
            check_committed(C, reservation(state) if state else None)
