"""The client for JavaScript as it is installed: what is in it, what it keeps of the contract, and a shop."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from deploy.local.parts.certificates import PUBLIC
from tests.clients.conftest import NPM_PACKAGE, compile_with, pack
from tests.clients.tools import run
from tests.conftest import ROOT
from tests.support.stack import Stack

pytestmark = pytest.mark.clients

# What a server said that refuses as it is told to (javascript/rules.ts).
SAID = {"reason": "MADE_UP", "metadata": {"sku": "A"}}
SHOPPED = {
    "name": "Ada",
    "sku": "BOK-CFE-02",
    "placed": "PENDING",
    "listed": True,
    "missing": {"code": "NotFound", "reason": "ORDER_NOT_FOUND", "fields": [], "named": True},
    "malformed": {
        "code": "InvalidArgument",
        "reason": "INVALID_REQUEST",
        "fields": ["order_id"],
        "named": True,
    },
    "tokenless": {"code": "Unauthenticated", "reason": "TOKEN_MISSING", "fields": [], "named": True},
}
GUIDE = (NPM_PACKAGE / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def seen(javascript: Path) -> dict[str, Any]:
    """What the client makes of a server that fails as it is told to."""
    printed: dict[str, Any] = json.loads(run(("node", "out/rules.js"), folder=javascript))
    return printed


@pytest.mark.stack
@pytest.mark.parametrize("protocol", ["grpc", "grpc-web"])
@pytest.mark.parametrize("is_secure", [False, True])
def test_installed_package_shops(stack: Stack, javascript: Path, protocol: str, is_secure: bool) -> None:
    door = (stack.https_url, protocol, stack.files(PUBLIC).ca) if is_secure else (stack.rest_url, protocol)
    seen = json.loads(run(("node", "out/node.js"), *door, folder=javascript))
    # It may have been paid for in between.
    assert seen.pop("cancelled") in {"CANCELLING", "CANCELLED"}
    assert seen == SHOPPED


def test_calls_keep_the_contract(seen: dict[str, Any]) -> None:
    of_the_contract, of_the_caller = seen["deadlines"]
    assert 0 < of_the_contract <= 5_000 < of_the_caller <= 60_000
    assert seen["tokens"] == ["Bearer first", "Bearer second"]
    assert seen["mended"] == seen["stopping"] == {"answered": True, "asked": 2}
    assert seen["given_up"] == {"code": "Unavailable", "asked": 3, **SAID}
    assert seen["as_often_as_its_method_says"] == {"code": "Unavailable", "asked": 4, **SAID}
    assert seen["not_to_be_repeated"] == {"code": "Unavailable", "asked": 1, **SAID}
    assert seen["not_of_a_kind_that_passes"] == {"code": "NotFound", "asked": 1, **SAID}
    waiting = {"code": "Unavailable", "asked": 1, "retryAfter": 3600.5, **SAID}
    assert seen["asked_to_wait_too_long"] == waiting
    # A hundred tokens, one for each failure; retries stop at fifty (gRFC A6).
    # What succeeds gives a tenth back each: 200 let retries go on.
    assert seen["throttled"] == [3] * 16 + [2] + [1] * 13 + [3]
    assert seen["shared"] >= 500


def test_errors_of_no_service_are_told_in_the_same_way(seen: dict[str, Any]) -> None:
    silent = {"reason": "", "metadata": {}}
    assert seen["late"] == {"code": "DeadlineExceeded", **silent}
    assert seen["cancelled"] == {"code": "Canceled", **silent}
    assert seen["cancelled_in_a_pause"] == {"code": "Canceled", "asked": 1, **silent}
    assert seen["unreachable"] == {"code": "Unavailable", **silent}
    ended = {"answers": 1, "code": "OutOfRange", "reason": "POSITION_UNKNOWN", "metadata": {}}
    assert seen["followed"] == ended
    assert seen["unsendable"] == "the token has characters that no header carries"
    assert seen["without_token"] == [
        {"code": code, **silent} for code in ("DeadlineExceeded", "Canceled", "Unknown")
    ]


def test_no_time_and_no_address_is_taken_for_another(seen: dict[str, Any]) -> None:
    month = 30 * 24 * 3600.0
    waiting = {"code": "Unavailable", "asked": 1, "retryAfter": month + 0.5, **SAID}
    assert seen["asked_to_wait_for_a_month"] == waiting
    assert seen["refused_addresses"] == [
        "Invalid URL",
        "baseUrl begins with http:// or https://",
        "baseUrl names no user: give a token",
    ]


def test_package_holds_types_and_licence_and_no_second_copy_of_google_protobuf(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {each.name.removeprefix("package/") for each in archive}
    assert {"LICENSE", "README.md", "package.json", "dist/node.d.ts", "dist/browser.d.ts"} <= names
    assert "dist/generated/commerce/order/v1/order_pb.d.ts" in names
    assert [name for name in names if "google/protobuf" in name] == []
    assert {name.split("/")[0] for name in names} == {"LICENSE", "README.md", "package.json", "dist"}


def test_two_builds_are_the_same_also_by_make_clients(tarball: Path, tmp_path: Path) -> None:
    assert pack(tmp_path).read_bytes() == tarball.read_bytes()
    made = tmp_path / "made"
    said = run(("make", "clients", f"DIST={made}"), folder=ROOT)
    assert "is left out" not in said
    assert (made / tarball.name).read_bytes() == tarball.read_bytes()
    endings = sorted(path.name.rpartition(".")[2] for path in made.iterdir())
    # Of Python the sdist and the wheel, and the archive of the contract.
    assert endings == ["gz", "gz", "tgz", "whl"], endings


@pytest.mark.stack
def test_quick_start_of_the_readme_runs(stack: Stack, javascript: Path, tmp_path: Path) -> None:
    [block] = re.findall(r"^```ts\n(.*?)^```$", GUIDE, re.M | re.S)
    (tmp_path / "package.json").write_bytes((javascript / "package.json").read_bytes())
    (tmp_path / "node_modules").symlink_to(javascript / "node_modules")
    (tmp_path / "guide.ts").write_text(block.replace("http://localhost:8080", stack.rest_url))
    compile_with(tmp_path)
    printed = run(("node", "out/guide.js"), folder=tmp_path)
    assert re.fullmatch(r"PENDING\nNotFound ORDER_NOT_FOUND \S+\n", printed)
