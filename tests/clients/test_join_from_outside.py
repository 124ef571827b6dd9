"""A service from outside joins a running mesh: docs/join-from-outside.md, and examples/notifier."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import commerce_mesh_client as client
import pytest
from commerce.product.v1 import inventory_pb2, inventory_pb2_grpc
from commerce_mesh_client import connect

from tests.clients.callers import identity_of
from tests.clients.tools import install_into
from tests.conftest import ROOT
from tests.end_to_end.readme import missing_line, read_commands, rewriting_for, run_session
from tests.support.mesh import Mesh
from tests.support.net import PRODUCT_ID
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = [pytest.mark.clients, pytest.mark.stack]


@pytest.fixture(scope="module")
def python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the client alone."""
    [wheel] = dist.glob("*.whl")
    return install_into(tmp_path_factory.mktemp("notifier") / "venv", wheel) / "python"


@pytest.mark.usefixtures("python")
def test_every_block_of_the_page_prints_what_it_says(stack: Stack) -> None:
    commands = read_commands((ROOT / "docs" / "join-from-outside.md").read_text(encoding="utf-8"))
    rewriting = rewriting_for(stack.place)
    texts = [rewriting.command(each.text) for each in commands]
    results = run_session(texts, ROOT, {"MESH_DATA": str(stack.data_dir)})
    for command, result in zip(commands, results, strict=True):
        told = f"$ {command.text}\n{result.output}\n(exit code {result.exit_code})"
        assert result.exit_code == 0, told
        assert missing_line([rewriting.output(line) for line in command.output], result.output) is None, told


async def test_notifier_outlives_its_peers_and_itself(stack: Stack, python: Path, tmp_path: Path) -> None:
    mesh = Mesh(stack.place)
    mesh.mesh("certs", "issue", "notifier")
    with notifier(mesh, python, tmp_path) as process:
        await order_and_await_notice(mesh, tmp_path)
        for name in ("order", "product"):
            killed = mesh.kill(name)
            await mesh.await_replaced(killed)
        await mesh.await_healthy()
        await order_and_await_notice(mesh, tmp_path)
        process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(mesh.mesh, "smoke")
    with notifier(mesh, python, tmp_path):
        await order_and_await_notice(mesh, tmp_path)
    assert notices(tmp_path) == placed(mesh)


async def test_notifier_may_do_what_the_contract_says_and_no_more(stack: Stack, tmp_path: Path) -> None:
    stack.mesh("certs", "issue", "notifier")
    address = stack.place.address("product")
    async with connect("product", address, identity=identity_of(stack.files("notifier"))) as products:
        assert [each async for each in products.follow(until_caught_up=True)]
        line = inventory_pb2.ReserveStockLine(product_id=PRODUCT_ID, quantity=1)
        request = inventory_pb2.ReserveStockRequest(order_id=PRODUCT_ID, lines=[line])
        with pytest.raises(client.PermissionDenied) as raised:
            await inventory_pb2_grpc.InventoryServiceStub(products).ReserveStock(request)
    assert raised.value.reason == "CALLER_NOT_ALLOWED"


async def test_name_that_the_contract_does_not_have_may_not_follow(stack: Stack, tmp_path: Path) -> None:
    stack.mesh("certs", "issue", "stranger", "--out", str(tmp_path))
    identity = client.Identity.from_files(*(tmp_path / each for each in ("ca.crt", "tls.crt", "tls.key")))
    async with connect("order", stack.place.address("order"), identity=identity) as orders:
        with pytest.raises(client.PermissionDenied) as raised:
            await anext(orders.follow())
    assert raised.value.reason == "CALLER_NOT_ALLOWED"


@contextmanager
def notifier(mesh: Mesh, python: Path, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the notifier for the life of a block; it is killed at its end."""
    files = mesh.files("notifier")
    command = [python, ROOT / "examples" / "notifier" / "notifier.py", files.cert.parent, folder]
    addresses = {f"MESH_{name.upper()}": address for name, address in mesh.targets.items()}
    with subprocess.Popen(command, env={**os.environ, **addresses}) as process:
        try:
            yield process
            assert process.poll() is None or process.returncode == -signal.SIGKILL
        finally:
            process.kill()


async def order_and_await_notice(mesh: Mesh, folder: Path) -> None:
    await asyncio.to_thread(mesh.mesh, "smoke")
    expected = await asyncio.to_thread(placed, mesh)

    async def are_written() -> bool:
        return expected <= notices(folder)

    await until(are_written)


def placed(mesh: Mesh) -> set[str]:
    """Return the ids of all orders in the feed."""
    lines = mesh.mesh("events", "order", "--after", "0", "-n", "100000").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    return {str(each["data"]["orderId"]) for each in events if each["type"] == "OrderPlaced"}


def notices(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "notices").glob("*.txt")}
