"""Python and the edge's Lua tell the same callers apart by their addresses."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from gateway.edge.arrival import NETWORK_SCRIPT
from gateway.edge.extension import extension, filter_config, http_filter
from services.networks import network_of
from tests.gateway.conftest import ENVOY
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

# As inet_ntop(3) writes them, and so Envoy.
ADDRESSES = (
    "192.0.2.1",
    "192.0.2.2",
    "::ffff:192.0.2.1",
    "::",
    "::1",
    "::2:0:0:0:1",
    "1::",
    "2001:db8::",
    "2001:db8::1",
    "2001:db8::1:0:0:1",
    "2001:db8:0:1::1",
    "2001:db8:0:1:1:1:1:1",
    "2001:db8:1::1",
    "2001:db8:1:2::1",
    "2001:db8:1:2:3:4:5:6",
    "2001:db8:1:2:ffff:ffff:ffff:ffff",
    "2001:db8:1:3::1",
    "fe80::1",
    "64:ff9b::c000:201",
)
_CONNECTION_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ANSWER = """
function envoy_on_request(handle)
  handle:respond({[":status"] = "200"}, network(handle:headers():get("x-address")))
end
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An Envoy whose script answers with the network of the address in a header."""
    folder, port = tmp_path_factory.mktemp("networks"), free_port()
    (folder / "bootstrap.json").write_text(json.dumps(_bootstrap(port)))
    command: list[str | Path] = [ENVOY, "-c", folder / "bootstrap.json", "--disable-hot-restart"]
    command += ["--concurrency", "1", "--log-level", "warning"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)


def _bootstrap(port: int) -> dict[str, Any]:
    source = {"inline_string": NETWORK_SCRIPT.read_text(encoding="utf-8") + _ANSWER}
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        _CONNECTION_MANAGER,
        stat_prefix="networks",
        route_config={"name": "none"},
        http_filters=[
            http_filter("lua", filter_config("lua.v3.Lua", default_source_code=source)),
            http_filter("router", filter_config("router.v3.Router")),
        ],
    )
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [manager]}],
    }
    return {"static_resources": {"listeners": [listener]}}


def _asked(url: str, address: str) -> str:
    shown = f"[{address}]:1234" if ":" in address else f"{address}:1234"
    request = urllib.request.Request(url, headers={"x-address": shown})  # noqa: S310 ours
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 ours
                return str(answer.read().decode())
        except urllib.error.URLError:
            # It does not listen yet.
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


def test_lua_and_python_tell_the_same_callers_apart(url: str) -> None:
    in_lua = {address: _asked(url, address) for address in ADDRESSES}
    in_python = {address: network_of(address) for address in ADDRESSES}
    differing = [
        (one, other)
        for one, other in combinations(ADDRESSES, 2)
        if (in_lua[one] == in_lua[other]) != (in_python[one] == in_python[other])
    ]
    assert differing == [], in_lua
    assert 5 < len(set(in_python.values())) < len(ADDRESSES)
