"""The client for Python installed by itself, as callers have it, against a running mesh."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from commerce.order.v1.order_pb2 import GetOrderRequest, ListOrdersRequest
from commerce.order.v1.order_pb2_grpc import OrderServiceStub
from commerce_mesh_client import Token, connect

from deploy.local.parts.certificates import PUBLIC
from tests.clients.tools import HERE, run
from tests.support.stack import Stack

pytestmark = [pytest.mark.clients, pytest.mark.stack]

PROGRAMS = HERE / "python"
# What pip and venv put there themselves, and what grpcio needs.
BESIDE_IT = {"pip", "setuptools", "typing_extensions"}
KILLS = 4
EVENTS_BEFORE_A_KILL = 5


def test_client_alone_calls_the_mesh_through_both_doors(stack: Stack, alone: Path, tmp_path: Path) -> None:
    files = stack.files("operator")
    place = {
        "addresses": stack.targets,
        "edge_tls": stack.https_url.removeprefix("https://"),
        "token": stack.token("support"),
        "ca": str(files.ca),
        "cert": str(files.cert),
        "key": str(files.key),
        "edge_ca": str(stack.files(PUBLIC).ca),
    }
    printed = run((alone / "python", PROGRAMS / "shop.py"), json.dumps(place), folder=tmp_path)
    seen = json.loads(printed)
    assert seen["sku"] == seen["blocking"]
    assert seen["missing"] == ["NotFound", "PRODUCT_NOT_FOUND", [], True]
    assert seen["malformed"] == ["InvalidArgument", "INVALID_REQUEST", ["product_id"], True]
    assert seen["followed"]
    assert seen["positions_have_no_gaps"]
    assert seen["of_the_server"] == []
    named = {"commerce-mesh-client", "googleapis-common-protos", "grpcio", "protobuf"}
    assert set(seen["installed"]) - BESIDE_IT == named


async def test_client_whose_process_checks_health_too_calls_through_the_edge(stack: Stack) -> None:
    """The edge answers no health checks, which gRPC makes once a process has imported them."""
    assert "grpc_health.v1.health" in sys.modules
    await asyncio.to_thread(stack.mesh, "smoke")
    token = Token.over_tls(stack.token("support"), stack.files(PUBLIC).ca)
    async with connect("order", stack.https_url.removeprefix("https://"), identity=token) as orders:
        stub = OrderServiceStub(orders)
        listed = await stub.ListOrders(ListOrdersRequest(page_size=1))
        [order] = listed.orders
        found = await stub.GetOrder(GetOrderRequest(order_id=order.order_id))
    assert found.order_id == order.order_id


def test_keeper_that_is_killed_again_and_again_has_each_event_once(
    stack: Stack, alone: Path, tmp_path: Path
) -> None:
    files, database = stack.files("operator"), tmp_path / "kept.db"
    program: list[str | Path] = [
        alone / "python",
        PROGRAMS / "keeper.py",
        database,
        "product",
        stack.targets["product"],
    ]
    command = [*program, files.ca, files.cert, files.key]
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
            assert keeper.stdout is not None
            told = [keeper.stdout.readline() for _ in range(EVENTS_BEFORE_A_KILL)]
            keeper.send_signal(signal.SIGKILL)
        assert all(told), "it ended before it was killed"
        assert keeper.returncode == -signal.SIGKILL
    run(command, folder=tmp_path)
    kept = sqlite3.connect(database).execute("SELECT position FROM kept ORDER BY position").fetchall()
    log = stack.mesh("events", "product", "--after", "0", "-n", "100000").stdout.splitlines()
    assert [position for (position,) in kept] == [int(json.loads(line)["position"]) for line in log]
