"""The rules of the catalogue and of stock, without I/O."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from services.errors import EtagMismatch, InvalidArgument
from services.product.domain import (
    CategoryCycle,
    CategoryPathInvalid,
    CurrencyMixed,
    OutOfStock,
    ProductNotFound,
    ReservationChanged,
    ReservationMismatch,
    ReservationNotFound,
    ReservationReleased,
)
from services.product.domain_categories import check_move, check_name, check_path
from services.product.domain_inventory import (
    Kind,
    Line,
    Movement,
    Reservation,
    State,
    check_committed,
    check_lines,
    check_repeat,
    movements,
    out_of_stock,
    sum_lines,
)
from services.product.domain_products import (
    Price,
    Product,
    ProductDetails,
    change,
    changed_fields,
    check_details,
    check_etag,
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
    assert list(sum_lines([(C, 1), (A, 2), (C, 3)]).items()) == [(A, 2), (C, 4)]


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


def test_a_reservation_lacks_no_product() -> None:
    with pytest.raises(ProductNotFound) as refused:
        check_lines(reservation(State.HELD, line(A)), {A: 1, C: 1, B: 1})
    assert refused.value.metadata == {"product_id": str(B)}


def test_a_reservation_has_one_currency() -> None:
    with pytest.raises(CurrencyMixed):
        check_lines(reservation(State.HELD, line(A), line(B, currency="EUR")), {A: 1, B: 1})


def test_only_the_same_lines_may_be_reserved_again() -> None:
    held = reservation(State.HELD, line(A, 2))
    check_repeat(held, {A: 2})
    for other in ({A: 3}, {B: 2}, {A: 2, B: 1}):
        with pytest.raises(ReservationMismatch):
            check_repeat(held, other)


def test_nothing_is_reserved_again_after_its_release() -> None:
    with pytest.raises(ReservationReleased):
        check_repeat(reservation(State.RELEASED), {A: 2})


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


def test_out_of_stock_names_the_product_and_what_was_wanted_of_it() -> None:
    taken = movements(reservation(State.HELD, line(A, 2), line(B, 5)), None)
    error = out_of_stock(taken, {B})
    assert isinstance(error, OutOfStock)
    assert error.metadata == {"product_id": str(B), "requested": "5"}
