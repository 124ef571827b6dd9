"""`mesh explain` says what holds at each hop, and where it stands."""

import re

import pytest

from gateway.explain import MethodNotFound, explain
from gateway.protoc import ROOT

FULL = "commerce.order.v1.OrderService/PlaceOrder"


@pytest.mark.parametrize(
    "name", [FULL, "OrderService.PlaceOrder", "OrderService/PlaceOrder", "PlaceOrder", "placeorder"]
)
def test_a_method_is_found_by_full_and_short_names(name: str) -> None:
    assert explain(name) == explain(FULL)


def test_every_hop_is_explained_with_the_lines_of_the_contract() -> None:
    text = explain("GetOrder")
    for hop in ("at the edge", "in its clients", "in its server"):
        assert hop in text
    for title, word in (
        ("REST", "get:"),
        ("access", "scoped:"),
        ("rate limit", "rate_limit:"),
        ("deadline", "deadline:"),
        ("cache", "cache:"),
        ("retries", "max_attempts:"),
        ("repeatable", "idempotency_level"),
        ("ownership", "scoped:"),
    ):
        found = re.search(rf"^  {title} .* (protos/\S+):(\d+)$", text, re.MULTILINE)
        assert found, title
        assert word in (ROOT / found[1]).read_text().splitlines()[int(found[2]) - 1]


def test_an_internal_method_has_no_route() -> None:
    text = explain("ReserveStock")
    assert "none: the edge answers as for an unknown method" in text
    assert "by certificate only: order" in text


def test_an_unknown_method_suggests_near_names() -> None:
    with pytest.raises(MethodNotFound, match=r"no method PlaceOder; near it: .*OrderService/PlaceOrder"):
        explain("PlaceOder")


def test_every_method_can_be_explained() -> None:
    from gateway.explain import _IMAGE, _read, explain_method  # noqa: PLC0415
    from gateway.protoc import PROTOS  # noqa: PLC0415

    contract = _read(_IMAGE, PROTOS)
    assert len(contract.methods) > 30
    for method in contract.methods:
        assert method.name in str(explain_method(contract, method))
