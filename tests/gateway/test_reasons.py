"""The contract's catalogue holds each reason for which calls are refused here, and no other."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from google.rpc import code_pb2

import services
from gateway import failures
from gateway.contract.reasons import Reason, catalogue, methods_of, own_reasons
from gateway.explain import explain
from gateway.failures import Failure
from gateway.find import read_contract
from gateway.openapi.document import document
from gateway.reasons import explain_reason, find_reason, page
from services.errors import ServiceError, UpstreamError
from services.rpc.policy import policies

CONTRACT = read_contract()
# The order pipeline meets two, and answers no caller; an import tells of the third in a row's issues.
NEVER_TOLD = frozenset({"PAYMENT_PROVIDER_UNAVAILABLE", "PAYMENT_REQUEST_REFUSED", "CATEGORY_PATH_INVALID"})


def kinds_of(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for each in kind.__subclasses__():
        yield each
        yield from kinds_of(each)


def told_by_services() -> dict[str, set[str]]:
    """Return the reasons of all failures that services and the app can raise, each with its codes."""
    importlib.import_module("gateway.app.graphql.refusals")
    for module in pkgutil.walk_packages(services.__path__, "services."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[str, set[str]] = {}
    for kind in kinds_of(ServiceError):
        # What others are derived from is not raised itself, unless it says why.
        is_base = kind.__module__ == "services.errors" and kind.reason == kind.code
        if not is_base and kind is not UpstreamError:
            found.setdefault(kind.reason, set()).add(kind.code)
    return found


def told_by_the_edge() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in vars(failures).values():
        if isinstance(each, Failure):
            found.setdefault(each.reason, set()).add(code_pb2.Code.Name(each.code))
    return found


def test_the_catalogue_holds_each_reason_with_its_code_and_no_other() -> None:
    told = told_by_services()
    for reason, codes in told_by_the_edge().items():
        told.setdefault(reason, set()).update(codes)
    told["INTERNAL"] = {ServiceError.code}
    told["DEADLINE_EXCEEDED"] = {"DEADLINE_EXCEEDED"}
    listed = {reason.name: {reason.code} for reason in catalogue(CONTRACT)}
    assert listed == {reason: codes for reason, codes in told.items() if reason not in NEVER_TOLD}


@pytest.mark.parametrize("reason", catalogue(CONTRACT), ids=lambda reason: reason.name)
def test_each_reason_is_given_by_a_method_and_explained(reason: Reason) -> None:
    assert methods_of(CONTRACT, reason) or reason.kind == "GRAPHQL"
    assert reason.when in page(CONTRACT)
    assert reason.help in page(CONTRACT)
    text = explain_reason(CONTRACT, reason)
    for part in (reason.name, reason.code, reason.when, reason.help, str(reason.place)):
        assert part in text
    assert find_reason(CONTRACT, reason.name.lower()) is reason


def test_a_method_is_explained_with_its_reasons() -> None:
    text = explain("PlaceOrder")
    for name in ("OUT_OF_STOCK", "TOO_MANY_HOLDS", "TOKEN_MISSING", "REQUEST_ID_REUSED"):
        assert name in text
    assert "STREAM_IDLE" not in text
    assert find_reason(CONTRACT, "NO_SUCH_REASON") is None


def test_an_operation_names_its_reasons_in_the_document() -> None:
    operation = document(CONTRACT)["paths"]["/v1/orders"]["post"]
    assert {"OUT_OF_STOCK", "TOKEN_MISSING", "RATE_LIMITED"} <= set(operation["x-reasons"])
    assert "STREAM_IDLE" not in operation["x-reasons"]
    assert "- `OUT_OF_STOCK`: " in operation["description"]


def test_servers_know_the_reasons_of_their_methods() -> None:
    for method in CONTRACT.methods:
        reasons = policies()[f"/{method.name}"].reasons
        assert {reason.name for reason in own_reasons(CONTRACT, method)} <= reasons
        assert "INTERNAL" in reasons
    assert "OUT_OF_STOCK" not in policies()["/commerce.order.v1.OrderService/GetOrder"].reasons
