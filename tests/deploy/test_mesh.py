"""The `mesh` command on a whole running mesh."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from commerce.product.v1.product_pb2 import ListProductsRequest
from commerce.product.v1.product_pb2_grpc import ProductServiceStub
from rich.console import Console

from deploy.local.cli import logs as commands_logs
from deploy.local.errors import MeshError
from deploy.local.shop import clients, rest
from gateway.contract.protoc import ROOT
from services.roster import NAMES
from tests.conftest import RunningCluster
from tests.support.ports import free_port
from tests.support.slowness import Control
from tests.support.stack import MESH, Stack, free_port_offset, running_stack
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.stack

ROTATIONS = 3
READY_SECONDS = 10.0


def status(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.mesh("status", "--json").stdout)
    return found


def pids(stack: Stack) -> dict[str, int]:
    return {part["name"]: part["pid"] for part in status(stack)["parts"]}


def test_every_part_is_healthy(stack: Stack) -> None:
    found = status(stack)
    names = {"postgres", "valkey", "payment", *NAMES, "app", "edge"}
    assert {part["name"] for part in found["parts"]} == names
    assert all(part["healthy"] and part["state"] == "ready" for part in found["parts"])
    assert stack.rest_url.replace("127.0.0.1", "localhost") in found["urls"].values()


@pytest.mark.parametrize("how", ["--detach", "--workers=1"])
def test_a_second_up_says_that_it_runs_and_where(stack: Stack, how: str) -> None:
    before = pids(stack)
    said = stack.mesh("up", how).stdout
    assert "already runs" in said
    assert str(stack.place.ports["edge"]) in said
    assert pids(stack) == before


def test_another_mesh_on_the_same_ports_is_refused_by_name(stack: Stack, tmp_path: Path) -> None:
    offset = str(stack.place.port_offset)
    program = [str(MESH), "up", "--detach", "--data", str(tmp_path / "other"), "--port-offset", offset]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert str(stack.place.ports["edge"]) in done.stderr
    assert "envoy" in done.stderr
    assert "--port-offset" in done.stderr
    assert "Traceback" not in done.stderr


def test_smoke_places_an_order_and_reads_it_confirmed(stack: Stack) -> None:
    said = stack.mesh("smoke").stdout
    assert "CONFIRMED" in said
    assert stack.mesh("smoke").returncode == 0


def test_seeding_again_leaves_what_was_edited_and_sets_it_back_when_asked(stack: Stack) -> None:
    token = stack.token("merchant")
    found = rest.call("GET", f"{stack.rest_url}/v1/products:search?query=coffee&page_size=1")["products"][0]
    url = f"{stack.rest_url}/v1/products/{found['productId']}"
    rest.call("PATCH", f"{url}?update_mask=name", {"name": "Edited"}, token=token)
    assert "nothing changed" in stack.mesh("seed").stdout
    assert rest.call("GET", url)["name"] == "Edited"
    assert "1 updated" in stack.mesh("seed", "--again").stdout
    assert rest.call("GET", url)["name"] == found["name"]


def test_logs_without_a_mesh_say_so(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="No mesh runs from") as refusal:
        commands_logs.show(tmp_path / "none", Console(), None, lines=1, follow=False)
    assert "mesh up" in refusal.value.remedy


def test_import_reports_each_row_and_exits_with_1_where_some_are_refused(
    stack: Stack, tmp_path: Path
) -> None:
    path, report = tmp_path / "rows.jsonl", tmp_path / "report.csv"
    rows = [
        {"sku": f"{tmp_path.name}-1", "name": "Kettle", "price": "12.50"},
        {"sku": f"{tmp_path.name}-2", "name": "Kettle", "price": "free"},
        {"sku": f"{tmp_path.name}-3", "name": "", "title": "", "price": "1"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    first = stack.mesh("import", str(path), "--report", str(report), check=False)
    assert first.returncode == 1
    assert "1 created, 0 updated, 0 unchanged, 2 refused" in first.stdout
    lines = report.read_text().splitlines()
    assert lines[1].startswith(f"1,1,{tmp_path.name}-1,created,")
    assert lines[2].startswith(f"2,2,{tmp_path.name}-2,refused,price,free,PRICE_INVALID,")
    assert lines[3].startswith(f"3,3,{tmp_path.name}-3,refused,name,,NAME_MISSING,")
    again = stack.mesh("import", str(path), check=False)
    assert "0 created, 0 updated, 1 unchanged, 2 refused" in again.stdout


def test_a_plan_says_what_an_import_would_do_and_imports_nothing(stack: Stack, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "imports.md").read_text(encoding="utf-8")
    plan, by_mapping = [line.split()[2:] for line in page.splitlines() if line.startswith("$ mesh ")]
    text = f"id,title,price\n{tmp_path.name},Kettle,€9.99\n"
    (tmp_path / "acme.csv").write_text(text, encoding="utf-8")
    unknown = stack.mesh("import", "acme.csv", check=False, folder=tmp_path)
    assert (unknown.returncode, "--plan" in unknown.stderr) == (1, True)
    for _ in range(2):
        said = stack.mesh(*plan, folder=tmp_path).stdout
        assert "nothing was imported; it would be: 1 rows: 1 created" in said
    assert "1 created" in stack.mesh(*by_mapping, folder=tmp_path).stdout
    assert "1 unchanged" in stack.mesh(*by_mapping, folder=tmp_path).stdout


def test_a_token_of_an_unknown_role_names_the_known_ones(stack: Stack) -> None:
    done = stack.mesh("token", "--role", "king", check=False)
    assert done.returncode == 1
    assert "customer, support, merchant, admin" in done.stderr


def test_logs_show_one_part_or_say_which_there_are(stack: Stack) -> None:
    assert "user" in stack.mesh("logs", "user", "-n", "5").stdout
    done = stack.mesh("logs", "usre", check=False)
    assert done.returncode == 1
    assert "user" in done.stderr


def test_explaining_an_unknown_method_names_those_near_it() -> None:
    done = subprocess.run([str(MESH), "explain", "PlaceOrders"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "OrderService/PlaceOrder" in done.stderr
    assert "Traceback" not in done.stderr


def test_explaining_an_unknown_reason_names_those_near_it() -> None:
    done = subprocess.run([str(MESH), "explain", "OUT_OF_STOK"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Near it: OUT_OF_STOCK" in done.stderr
    known = subprocess.run([str(MESH), "explain", "out_of_stock"], capture_output=True, text=True, check=True)
    assert "FAILED_PRECONDITION" in known.stdout


def test_a_cache_that_does_not_answer_is_told_before_the_mesh_runs_without_it(tmp_path: Path) -> None:
    """Else log-ins would not be throttled, and nobody would know."""
    options = ["--data", str(tmp_path), f"--port-offset={free_port_offset()}"]
    program = [str(MESH), "up", *options, f"--redis-url=redis://localhost:{free_port()}"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "The cache that --redis-url names does not answer." in done.stderr


def test_commands_without_a_mesh_say_how_to_start_one(tmp_path: Path) -> None:
    for arguments in (["status"], ["token", "--role", "admin"], ["certs"]):
        program = [str(MESH), *arguments, "--data", str(tmp_path / "none")]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "mesh up" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()


def test_secrets_are_read_by_their_owner_only_and_never_shown(stack: Stack) -> None:
    secrets = [path for path in stack.place.secrets.iterdir() if path.is_file()]
    assert len(secrets) >= 10
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    shown += stack.place.state.read_text() + "".join(
        path.read_text(errors="replace") for path in stack.place.logs.glob("*.log")
    )
    assert not [path.name for path in secrets if path.read_text().strip() in shown]


@pytest.mark.alone
async def test_certificates_are_rotated_under_load_without_a_failed_call(stack: Stack) -> None:
    """Over the edge, whose client certificate changes, and straight to a service, whose own does."""
    stop = asyncio.Event()
    calls = [
        asyncio.create_task(_call_rest(stack, stop)),
        asyncio.create_task(_call_service(stack, stop)),
    ]
    serials = set()
    for _ in range(ROTATIONS):
        await asyncio.to_thread(stack.mesh, "certs", "rotate")
        serials.add(stack.files("product").cert.read_bytes())
        await asyncio.sleep(2)
    stop.set()
    for succeeded, failures in await asyncio.gather(*calls):
        assert failures == []
        assert succeeded > 10
    assert len(serials) == ROTATIONS


async def _call_rest(stack: Stack, stop: asyncio.Event) -> tuple[int, list[str]]:
    url = f"{stack.rest_url}/v1/products?page_size=1"
    succeeded, failures = 0, []
    while not stop.is_set():
        try:
            await asyncio.to_thread(rest.call, "GET", url)
            succeeded += 1
        except MeshError as error:
            failures.append(error.message)
    return succeeded, failures


async def _call_service(stack: Stack, stop: asyncio.Event) -> tuple[int, list[str]]:
    """Open a new connection for each call, so that each shows and meets the newest certificates."""
    succeeded, failures = 0, []
    while not stop.is_set():
        credentials = clients.credentials(stack.files("operator"))
        options = clients.options("product")
        async with grpc.aio.secure_channel(stack.targets["product"], credentials, options) as channel:
            try:
                await ProductServiceStub(channel).ListProducts(ListProductsRequest(page_size=1), timeout=10)
                succeeded += 1
            except grpc.aio.AioRpcError as error:
                failures.append(f"{error.code()}: {error.details()}")
    return succeeded, failures


@pytest.mark.parametrize("part", ["valkey", "payment", "edge"])
def test_a_killed_part_is_ready_again_within_ten_seconds(stack: Stack, part: str) -> None:
    killed = next(each for each in stack.state.parts if each.name == part)
    assert killed.identity is not None
    control, killed_at = Control.start(), time.monotonic()
    killed.identity.send(signal.SIGKILL)
    while True:
        now = next(each for each in stack.state.parts if each.name == part)
        took = time.monotonic() - killed_at
        if now.state == "ready" and now.identity != killed.identity:
            break
        assert took < PATIENCE_SECONDS, f"{part} is not back: {now}"
        time.sleep(0.02)
    # Ten seconds of an idle machine: the control's start was slowed by the same load.
    assert took < READY_SECONDS * control.slowness(), f"{part} is back after {took:.2f} s"
    stack.mesh("status")


@pytest.fixture(scope="module")
def outside(stack: Stack, postgres_cluster: RunningCluster) -> Iterator[Stack]:
    """A second mesh of two workers each, whose database, cache and provider belong to others."""
    password = quote((stack.place.secret("valkey")).read_text(), safe="")
    options = (
        "--workers=2",
        f"--postgres-url={postgres_cluster.superuser_dsn}",
        f"--redis-url=redis://:{password}@{stack.place.address('valkey')}/3",
        f"--payment-url=http://{stack.place.address('payment')}",
        f"--payment-api-key-file={stack.place.secret('payment_api_key')}",
    )
    with running_stack(*options) as running:
        yield running


@pytest.mark.alone
def test_outside_parts_replace_our_own_beside_another_running_mesh(stack: Stack, outside: Stack) -> None:
    names = {part["name"] for part in status(outside)["parts"]}
    assert names == {*(f"{name}-{number}" for name in NAMES for number in (1, 2)), "app", "edge"}
    assert "CONFIRMED" in outside.mesh("smoke").stdout
    status(stack)


@pytest.mark.alone
def test_workers_are_replaced_one_by_one(outside: Stack) -> None:
    before = pids(outside)
    said = outside.mesh("restart", "order").stdout
    after = pids(outside)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"order-1", "order-2"}
    assert said.index("order-1") < said.index("order-2")


@pytest.mark.alone
def test_down_ends_one_mesh_and_leaves_the_other(stack: Stack, outside: Stack) -> None:
    processes = [outside.state.supervisor, *outside.state.processes]
    assert len(processes) == 9
    assert "Stopped." in outside.mesh("down").stdout
    assert not any(process.is_alive() for process in processes)
    assert "No mesh runs" in outside.mesh("down").stdout
    status(stack)


@pytest.mark.long
def test_a_replica_follows(tmp_path: Path) -> None:
    with running_stack("--replica") as running:
        assert "postgres-replica" in pids(running)
        running.mesh("restart", "postgres-replica")
        running.mesh("smoke")
