"""`mesh explain` says what holds at each hop, and where it stands."""

import re

import pytest

from gateway.contract.protoc import ROOT
from gateway.explain import explain, explain_method, table
from gateway.find import MethodNotFound, find_method, read_contract
from services.rpc.policy import policy_of

# The server's answer comes first, and says why.
IDLE = ("ends after 35 s without a byte", "waits 30 s for the caller, then STREAM_IDLE")
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


def test_what_the_edge_keeps_is_explained() -> None:
    assert re.search(r"^ +kept here too, .* protos/\S+:\d+$", explain("GetProduct"), re.MULTILINE)
    for private in ("GetUser", "BatchGetProducts"):
        assert "kept here" not in explain(private)


def test_an_internal_method_has_no_route() -> None:
    text = explain("ReserveStock")
    assert "none: the edge answers as for an unknown method" in text
    assert "by certificate only: order" in text


def test_what_a_person_may_hold_is_explained() -> None:
    found = re.search(
        r"holds +(\d+) at once for each person, (\d+) units in all, (\d+) of", explain("ReserveStock")
    )
    limit = policy_of("/commerce.product.v1.InventoryService/ReserveStock").holds
    assert found is not None
    assert limit is not None
    assert tuple(map(int, found.groups())) == (limit.reservations, limit.units, limit.units_of_product)


def test_limits_of_streams_are_explained_where_they_hold() -> None:
    text = explain("ImportProducts")
    assert "4 at once for each caller, 20 in all, in each process, else TOO_MANY_CALLS or OVERLOADED" in text
    edge, server = (re.search(rf"^  idle +{words} .*protos/\S+:\d+$", text, re.MULTILINE) for words in IDLE)
    assert edge
    assert server
    assert edge.start() < server.start()


def test_an_unknown_method_suggests_near_names() -> None:
    with pytest.raises(MethodNotFound, match=r"no method PlaceOder; near it: .*OrderService/PlaceOrder"):
        explain("PlaceOder")


def test_every_method_can_be_explained() -> None:
    contract = read_contract()
    assert len(contract.methods) > 30
    for method in contract.methods:
        assert method.name in str(explain_method(contract, method))


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("GET /v1/products/{product_id}", "ProductService/GetProduct"),
        ("get /v1/products/0190e0c4-5f3e-7a51-9d7e-0a1b2c3d4e5f?fields=name", "ProductService/GetProduct"),
        ("/v1/products:search", "ProductService/SearchProducts"),
        ("POST /v1/orders", "OrderService/PlaceOrder"),
        ("POST /v1/orders/0190e0c4:cancel", "OrderService/CancelOrder"),
    ],
)
def test_a_method_is_found_by_its_rest_path(path: str, method: str) -> None:
    assert find_method(read_contract(), path).name.endswith(f".{method}")


def test_a_path_without_a_verb_that_several_methods_have_names_them() -> None:
    with pytest.raises(MethodNotFound, match=r"may be any of: .*ListOrders.*PlaceOrder"):
        find_method(read_contract(), "/v1/orders")


def test_an_unknown_path_suggests_near_paths() -> None:
    with pytest.raises(MethodNotFound, match=r"no method GET /v1/product; near it: .*GET /v1/products"):
        find_method(read_contract(), "GET /v1/product")


def test_the_table_has_every_method_with_its_path_and_its_callers() -> None:
    rows = {name: (paths, callers) for name, paths, callers in table(read_contract())}
    assert len(rows) == len(read_contract().methods)
    assert rows["ProductService/GetProduct"][1] == "anyone"
    assert rows["OrderService/PlaceOrder"] == ("POST /v1/orders", "customer, admin")
    followers = "user, product, order, gateway, operator, notifier"
    assert rows["EventFeed/Follow"] == ("", f"by certificate: {followers}")
