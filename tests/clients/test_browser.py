"""A page in a real browser calls the edge across origins, over REST and gRPC-Web."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commerce.product.v1 import product_pb2
from google.rpc import error_details_pb2, status_pb2

from gateway.generate import GENERATED
from tests.clients.browser_tools import Site, find_chromium, page_open, shown
from tests.clients.conftest import PROGRAMS_OF_NPM
from tests.clients.test_javascript import SHOPPED
from tests.clients.tools import HERE, install_with_npm, run
from tests.support.stack import Stack, running_stack
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.clients

FOLDER = HERE / "browser"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site of two origins: `localhost` may read the answers of a mesh, `127.0.0.1` may not."""
    find_chromium()
    pages = {"/": (FOLDER / "shop.html").read_bytes(), "/shop.js": (FOLDER / "shop.js").read_bytes()}
    with (
        closing(Site(pages)) as site,
        running_stack("--cors-origin", f"http://localhost:{site.port}") as stack,
    ):
        request = product_pb2.SearchProductsRequest(query="coffee", page_size=1)
        config = {
            "edge": stack.rest_url,
            "search": base64.b64encode(request.SerializeToString()).decode(),
            "stranger": f"127.0.0.1:{site.port}",
        }
        site.files["/config.json"] = json.dumps(config).encode()
        yield site


def open_page(site: Site, host: str, folder: Path, path: str = "/") -> dict[str, Any]:
    """Open a page of one of the origins; return what it saw."""
    with page_open(f"http://{host}:{site.port}{path}", folder):
        seen: dict[str, Any] = json.loads(site.reports.get(timeout=PATIENCE_SECONDS))
    assert "failed" not in seen, seen["failed"]
    return seen


@pytest.mark.stack
def test_a_page_of_an_origin_that_is_named_shops(site: Site, tmp_path: Path) -> None:
    seen = open_page(site, "localhost", tmp_path)
    made = seen["registered"]
    assert (made["status"], made["body"]["displayName"]) == (201, "Ada")
    assert made["headers"]["location"] == f"/v1/users/{made['body']['userId']}"
    assert seen["me"]["headers"] == {"etag": '"1"', "x-request-id": seen["trace"]}
    assert seen["same"]["status"] == 304
    assert (seen["changed"]["status"], seen["changed"]["body"]["displayName"]) == (200, "Eve")
    assert (seen["late"]["status"], reason(seen["late"]["body"])) == (412, "ETAG_MISMATCH")
    found = product_pb2.SearchProductsResponse.FromString(first_message(seen["found"]["body"]))
    assert found.products[0].sku == "BOK-CFE-02"
    refused = seen["refused"]["headers"]
    assert (refused["grpc-status"], "access token" in refused["grpc-message"]) == ("16", True)
    assert grpc_reason(refused["grpc-status-details-bin"]) == "TOKEN_MISSING"


@pytest.mark.stack
def test_a_page_of_another_origin_reads_nothing(site: Site, tmp_path: Path) -> None:
    assert open_page(site, "127.0.0.1", tmp_path) == {"read": "TypeError"}


@pytest.mark.stack
def test_a_page_with_the_client_for_javascript_shops(site: Site, javascript: Path, tmp_path: Path) -> None:
    esbuild = install_with_npm(PROGRAMS_OF_NPM) / "esbuild"
    run((esbuild, "out/page.js", "--bundle", "--format=esm", "--outfile=bundle.js"), folder=javascript)
    site.files["/bundle.js"] = (javascript / "bundle.js").read_bytes()
    site.files["/client.html"] = b'<!doctype html><script type="module" src="/bundle.js"></script>'
    seen = open_page(site, "localhost", tmp_path, "/client.html")
    # It may have been paid for in between.
    assert seen.pop("cancelled") in {"CANCELLING", "CANCELLED"}
    unreachable = {"code": "Unavailable", "reason": "", "fields": [], "named": False}
    assert seen == {**SHOPPED, "unreachable": unreachable}


@pytest.mark.stack
def test_the_page_that_shows_the_document_shows_every_operation(stack: Stack, tmp_path: Path) -> None:
    # The fragment has one of them unfolded.
    page, said = shown(f"{stack.rest_url}/docs#/OrderService/OrderService_PlaceOrder", tmp_path)
    document = json.loads((GENERATED / "openapi.json").read_text(encoding="utf-8"))
    operations = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert {name for name in operations if f'-{name}"' not in page} == set()
    assert "Try it out" in page
    assert "Content Security Policy" not in said


@pytest.mark.stack
def test_the_page_that_asks_graphql_shows_its_editor(stack: Stack, tmp_path: Path) -> None:
    page, said = shown(f"{stack.rest_url}/graphiql", tmp_path)
    assert "graphiql-container" in page
    assert "Content Security Policy" not in said


def first_message(body: str) -> bytes:
    """Return the first message of a gRPC-Web answer, in base64."""
    raw = base64.b64decode(body)
    return raw[5 : 5 + int.from_bytes(raw[1:5], "big")]


def reason(body: Any) -> str:
    return str(body["details"][0]["reason"])


def grpc_reason(details: str) -> str:
    status = status_pb2.Status.FromString(base64.b64decode(details + "=="))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return str(info.reason)
