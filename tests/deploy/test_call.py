"""`mesh call` and `mesh events` on a whole running mesh."""

import io
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from deploy.local.cli import call as commands_call
from deploy.local.cli import events as commands_events
from deploy.local.errors import MeshError
from tests.support.stack import MESH, Stack
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.stack

SEARCH = '{"query": "coffee", "pageSize": 1}'
SKU = "BOK-CFE-02"

Call = Callable[..., Any]
Events = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def call(stack: Stack, capsys: pytest.CaptureFixture[str]) -> Call:
    """Do what `mesh call` does, and return what it prints."""

    def make(method: str, text: str = "{}", *, role: str | None = None, direct: bool = False) -> Any:
        commands_call.call(stack.data_dir, method, text, role=role, direct=direct)
        return json.loads(capsys.readouterr().out)

    return make


@pytest.fixture
def events(stack: Stack, capsys: pytest.CaptureFixture[str]) -> Events:
    """Do what `mesh events` does, and return what it prints."""

    def make(service: str | None = None, *, after: int | None = None, lines: int = 50) -> Any:
        commands_events.events(stack.data_dir, service, follow=False, after=after, lines=lines)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return make


@pytest.mark.parametrize("direct", [False, True])
def test_call_prints_the_answer_through_the_edge_and_direct(call: Call, direct: bool) -> None:
    assert call("SearchProducts", SEARCH, direct=direct)["products"][0]["sku"] == SKU


@pytest.mark.parametrize("direct", [False, True])
def test_call_prints_no_field_that_a_mask_leaves_out(call: Call, direct: bool) -> None:
    masked = SEARCH.replace("{", '{"readMask": "sku,active", ')
    assert call("SearchProducts", masked, direct=direct)["products"] == [{"sku": SKU, "active": True}]
    [whole] = call("SearchProducts", SEARCH, direct=direct)["products"]
    assert {"brand", "description", "attributes", "imageUrls"} <= whole.keys()
    masked = json.dumps({"productId": whole["productId"], "readMask": "price"})
    assert call("GetProduct", masked, direct=direct).keys() == {"price"}


@pytest.mark.parametrize("direct", [False, True])
def test_call_as_a_role_may_what_the_role_may(call: Call, direct: bool) -> None:
    assert "orders" in call("OrderService/ListOrders", '{"pageSize": 1}', role="support", direct=direct)
    with pytest.raises(MeshError, match=r"UNAUTHENTICATED TOKEN_MISSING: ") as refusal:
        call("OrderService/ListOrders", direct=direct)
    assert "request id: " in refusal.value.remedy
    assert "ListOrders is for customer, support, merchant, admin; --as ROLE" in refusal.value.remedy


def test_a_refusal_ends_with_1_and_is_told_on_stderr_alone(stack: Stack) -> None:
    refused = stack.mesh("call", "ListOrders", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "UNAUTHENTICATED TOKEN_MISSING: " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_call_reads_its_message_from_a_file_and_from_stdin(
    stack: Stack, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = stack.data_dir / "request.json"
    file.write_text(SEARCH)
    monkeypatch.setattr("sys.stdin", io.StringIO(SEARCH))
    for given in (f"@{file}", "-"):
        assert call("SearchProducts", given)["products"][0]["sku"] == SKU
    with pytest.raises(MeshError, match=r"none\.json cannot be read"):
        call("ListProducts", "@none.json")


def test_a_refusal_names_each_field(call: Call) -> None:
    with pytest.raises(MeshError, match="INVALID_ARGUMENT INVALID_REQUEST: ") as refusal:
        call("PlaceOrder", '{"lines": [{"quantity": -1}]}', role="customer")
    assert "\n  lines[0].quantity: must be greater than or equal to 1" in refusal.value.remedy


@pytest.mark.parametrize(
    ("method", "direct", "said"),
    [
        ("ReserveStock", True, "Only order may call"),
        ("ReserveStock", False, "Only order may call"),
        ("IssueOperatorToken", False, "The edge has no route"),
        ("EventFeed/Follow", True, "Every service serves"),
        ("PlacOrder", False, "near it: commerce.order.v1.OrderService/PlaceOrder"),
    ],
)
def test_what_the_contract_does_not_let_through_is_said_before_a_call(
    call: Call, method: str, direct: bool, said: str
) -> None:
    with pytest.raises(MeshError, match=said):
        call(method, direct=direct)


def test_an_internal_method_of_the_operator_can_be_called_direct(call: Call) -> None:
    assert call("IssueOperatorToken", '{"role": "ROLE_SUPPORT"}', direct=True)["accessToken"]


def test_a_stream_of_messages_is_sent(call: Call) -> None:
    rows = '{"rowNumber": "1", "product": {}} {"rowNumber": "2", "product": {}}'
    assert call("ImportProducts", rows, role="merchant")["failedCount"] == "2"


def test_events_are_the_last_ones_or_those_behind_a_position(events: Events) -> None:
    first = events("product", after=0, lines=3)
    assert [event["position"] for event in first] == ["1", "2", "3"]
    assert first[0]["data"]["@type"].endswith(f"commerce.product.v1.{first[0]['type']}")
    last = events("product", lines=2)
    assert events("product", after=int(last[0]["position"])) == last[1:]


def test_events_say_where_to_go_on(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    commands_events.events(stack.data_dir, "product", follow=False, after=5, lines=2)
    assert "--after 7" in capsys.readouterr().err


def test_events_of_all_services_stand_in_the_order_of_time(stack: Stack, events: Events) -> None:
    stack.mesh("smoke")
    found = events(lines=5)
    assert {event["source"] for event in found} == {"user", "product", "order"}
    assert found == sorted(found, key=lambda event: event["occurTime"])


@pytest.mark.parametrize(
    ("service", "after", "said"),
    [
        ("basket", None, "There is no service basket"),
        (None, 3, "A position is one of a service"),
        ("order", 1_000_000, "POSITION_UNKNOWN"),
    ],
)
def test_events_that_are_not_there_are_refused(
    events: Events, service: str | None, after: int | None, said: str
) -> None:
    with pytest.raises(MeshError, match=said):
        events(service, after=after)


@pytest.mark.alone
def test_following_events_goes_on_over_a_restart(stack: Stack) -> None:
    stack.mesh("smoke")
    program = [str(MESH), "events", "order", "-f", "-n", "1", "--data", str(stack.data_dir)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        before = json.loads(following.stdout.readline())
        stack.mesh("restart", "order")
        stack.mesh("smoke")
        after = json.loads(following.stdout.readline())
        following.terminate()
        following.wait(PATIENCE_SECONDS)
    assert int(after["position"]) == int(before["position"]) + 1
