"""What an address may spend on queries."""

import pytest

from gateway.app.graphql.budgets import MOST_ADDRESSES, MOST_QUERIES, Budgets, Places
from gateway.app.graphql.cost import MOST_COST
from gateway.app.graphql.refusals import TooManyQueries, TooMuchToDo


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_one_dearest_query_and_fills_in_a_second() -> None:
    clock = Clock()
    budgets = Budgets(1.0, clock)
    budgets.spend("192.0.2.1", MOST_COST)
    clock.now = 0.25
    with pytest.raises(TooManyQueries) as refusal:
        budgets.spend("192.0.2.1", MOST_COST / 2)
    assert refusal.value.retry_after_seconds == 0.25
    clock.now = 0.5
    budgets.spend("192.0.2.1", MOST_COST / 2)
    # It holds no more than that, however long nothing is spent.
    clock.now = 100.0
    budgets.spend("192.0.2.1", MOST_COST)
    with pytest.raises(TooManyQueries):
        budgets.spend("192.0.2.1", 1)


def test_a_network_of_ipv6_has_one_bucket_and_other_addresses_have_theirs() -> None:
    budgets = Budgets(1.0, Clock())
    budgets.spend("2001:db8::1", MOST_COST)
    with pytest.raises(TooManyQueries):
        budgets.spend("2001:db8::2", 1)
    budgets.spend("2001:db8:0:1::1", MOST_COST)


@pytest.mark.parametrize(("scale", "at_once"), [(0.1, 1), (3.0, 3)])
def test_a_place_multiplies_it_and_never_below_one_query(scale: float, at_once: int) -> None:
    clock = Clock()
    budgets = Budgets(scale, clock)
    for _ in range(at_once):
        budgets.spend("192.0.2.1", MOST_COST)
    with pytest.raises(TooManyQueries) as refusal:
        budgets.spend("192.0.2.1", 100)
    assert refusal.value.retry_after_seconds == pytest.approx(0.1 / scale, abs=0.001)


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    budgets = Budgets(1.0, Clock())
    for number in range(MOST_ADDRESSES + 1):
        budgets.spend(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", MOST_COST)
    assert len(budgets._left) == MOST_ADDRESSES
    with pytest.raises(TooManyQueries):
        budgets.spend("10.0.0.1", 1)


def test_places_are_bounded_in_all_and_given_back() -> None:
    places = Places()
    taken = [places.take(f"192.0.2.{number}") for number in range(MOST_QUERIES)]
    for each in taken:
        each.__enter__()
    with pytest.raises(TooMuchToDo), places.take("198.51.100.1"):
        pass
    for each in taken:
        each.__exit__(None, None, None)
    assert not places._taken
