"""A process from READY to its end: it drains, loses no call, and says what is wrong when it cannot start."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.product.v1 import product_pb2, product_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from deploy.local.parts.certificates import Authority
from services.rpc import server
from tests.conftest import ROOT
from tests.support.net import PRODUCT_ID, PRODUCTS, Net, from_address, scripted, stub_of
from tests.support.ports import free_port
from tests.support.refusals import refusal
from tests.support.tokens import Tokens
from tests.support.waiting import PATIENCE_SECONDS

GET = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
TELLING = product_pb2.GetProductRequest(product_id="11111111-0000-7000-8000-000000000000")
BUG = product_pb2.GetProductRequest(product_id="00000000-0000-7000-8000-7351c0ffee00")


@dataclass
class Process:
    """A running small service."""

    child: asyncio.subprocess.Process
    port: int
    states: "asyncio.Queue[str]"

    async def stop(self, number: int = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """Ask it to stop; return its status and the lines of its log."""
        self.child.send_signal(number)
        return await self.end()

    async def end(self) -> tuple[int, list[dict[str, Any]]]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, log = await self.child.communicate()
        assert self.child.returncode is not None
        return self.child.returncode, [json.loads(line) for line in log.decode().splitlines()]


Start = Callable[..., Any]


@pytest.fixture
def environ(certificates: Authority) -> dict[str, str]:
    files = certificates.files("product")
    return {
        "PATH": os.environ["PATH"],
        "COMMERCE_TLS_CERT_FILE": str(files.cert),
        "COMMERCE_TLS_KEY_FILE": str(files.key),
        "COMMERCE_TLS_CA_FILE": str(files.ca),
        "COMMERCE_DRAIN_SECONDS": "0",
        "COMMERCE_REUSE_PORT": "1",
    }


@pytest.fixture
async def start(environ: dict[str, str], tmp_path: Path) -> AsyncIterator[Start]:
    children: list[asyncio.subprocess.Process] = []

    async def start(port: int, *, is_ready: bool = True, **changed: str) -> Process:
        path = str(tmp_path / f"notify{len(children)}")
        states: asyncio.Queue[str] = asyncio.Queue()
        notify = _listen(path, states)
        settings = {"COMMERCE_LISTEN_ADDRESS": f"127.0.0.1:{port}", "NOTIFY_SOCKET": path} | changed
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.rpc.small_service",
            env=environ | settings,
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        children.append(child)
        if is_ready:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await states.get() == "READY=1"
        del notify
        return Process(child, port, states)

    yield start
    for child in children:
        if child.returncode is None:
            child.kill()
            await child.communicate()


def _listen(path: str, states: "asyncio.Queue[str]") -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(path)
    receiver.setblocking(False)
    loop = asyncio.get_running_loop()
    loop.add_reader(receiver, lambda: states.put_nowait(receiver.recv(100).decode()))
    return receiver


async def test_sigterm_drains_and_ends_with_status_0(start: Start, net: Net) -> None:
    process: Process = await start(free_port(), COMMERCE_GRACE_SECONDS=str(PATIENCE_SECONDS))
    channel = await net.bare_channel("order", process.port)
    stream = stub_of(event_pb2_grpc.EventFeedStub, channel).Follow(event_pb2.FollowRequest())
    await stream.initial_metadata()
    # As a stream in: of a unary call grpc.aio tells the headers only with the answer.
    running = channel.unary_stream(f"/{PRODUCTS}/GetProduct")(TELLING.SerializeToString())
    await running.initial_metadata()
    assert not running.done()
    started = time.monotonic()
    status, log = await process.stop()
    assert status == 0
    assert time.monotonic() - started < PATIENCE_SECONDS / 2, "an open stream held the server up"
    answers = [product_pb2.Product.FromString(each) async for each in running]
    assert [each.product_id for each in answers] == [TELLING.product_id]
    assert await refusal(anext(aiter(stream))) == ("UNAVAILABLE", "SERVICE_UNAVAILABLE")
    assert process.states.get_nowait() == "STOPPING=1"
    events = [line["event"] for line in log if line["event"] in {"serving", "loop ended", "closed"}]
    assert events == ["serving", "loop ended", "closed"]


async def test_what_is_to_be_finished_is_not_cut_off_by_the_bound_on_closing(
    net: Net, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_to_stop = asyncio.Event()
    asked_to_stop.set()
    monkeypatch.setattr(server, "stop_signal", lambda: asked_to_stop)
    monkeypatch.setattr(server, "settle", lambda: None)
    monkeypatch.setattr(server, "_CLOSE_SECONDS", 0.0)
    done = []

    async def work() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        done.append("finished")

    async def close() -> None:
        done.append("closing")
        await asyncio.Event().wait()

    settings = net.settings("product")
    await server.serve(
        "product",
        settings,
        register=scripted(),
        verifier=tokens.verifier(),
        finish=[work],
        on_close=[close],
    )
    assert done == ["finished", "closing"]


async def test_process_may_open_as_many_files_as_the_system_allows() -> None:
    program = """
import resource
from services.process import run
files = resource.RLIMIT_NOFILE
_, most = resource.getrlimit(files)
resource.setrlimit(files, (256, most))
async def main():
    assert resource.getrlimit(files) == (most, most)
run(main)
"""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT)
    assert await child.wait() == 0


async def test_replacing_workers_on_one_port_loses_no_call(start: Start, net: Net) -> None:
    port = free_port()
    workers = [await start(port), await start(port)]
    done = asyncio.Event()
    answered: set[str] = set()

    async def call_on() -> int:
        calls = 0
        products = stub_of(product_pb2_grpc.ProductServiceStub, await net.channel("order", "product", port))
        while not done.is_set():
            answered.add((await products.GetProduct(GET)).etag)
            calls += 1
        return calls

    callers = [asyncio.create_task(call_on()) for _ in range(6)]
    for worker in workers:
        await start(port)
        status, _ = await worker.stop()
        assert status == 0
    await asyncio.sleep(0.2)
    done.set()
    assert sum(await asyncio.gather(*callers)) > 50
    assert len(answered) >= 2


async def test_taken_port_is_told_and_ends_with_status_1(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        process: Process = await start(holder.getsockname()[1], is_ready=False, COMMERCE_REUSE_PORT="0")
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, output = await process.child.communicate()
    assert process.child.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{process.port}" in output.decode()
    assert "Traceback" not in output.decode()


async def test_log_has_one_line_a_call_with_its_trace_and_nothing_that_was_sent(
    start: Start, net: Net, tokens: Tokens
) -> None:
    process: Process = await start(free_port())
    channel = await net.bare_channel("edge", process.port)
    products = stub_of(product_pb2_grpc.ProductServiceStub, channel)
    trace = "0af7651916cd43dd8448eb211c80319c"
    traced = ("traceparent", f"00-{trace}-b7ad6b7169203331-01")
    await products.GetProduct(GET, metadata=(traced, *from_address("192.0.2.1")))
    with pytest.raises(grpc.aio.AioRpcError):
        await products.GetProduct(BUG)
    _, log = await process.stop(signal.SIGINT)
    calls = [line for line in log if line["event"] == "call"]
    assert [(line["code"], line["reason"], line["caller"]) for line in calls] == [
        ("OK", "", "edge"),
        ("INTERNAL", "INTERNAL", "edge"),
    ]
    assert calls[0]["trace_id"] == trace
    (bug,) = [line for line in log if line["event"] == "call failed unexpectedly"]
    assert bug["trace_id"] == calls[1]["trace_id"]
    assert bug["exception"][0] == "builtins.RuntimeError"
    assert any("small_service.py" in line for line in bug["exception"])
    assert "7351c0ffee" not in json.dumps(log)


async def test_what_the_edge_asks_for_itself_leaves_a_line_only_where_it_fails(
    start: Start, net: Net
) -> None:
    process: Process = await start(free_port())
    edge = stub_of(product_pb2_grpc.ProductServiceStub, await net.bare_channel("edge", process.port))
    order = stub_of(product_pb2_grpc.ProductServiceStub, await net.bare_channel("order", process.port))
    await edge.GetProduct(GET)
    with pytest.raises(grpc.aio.AioRpcError):
        await edge.GetProduct(BUG)
    await edge.GetProduct(GET, metadata=from_address("192.0.2.1"))
    await order.GetProduct(GET)
    _, log = await process.stop()
    calls = [(line["caller"], line["code"]) for line in log if line["event"] == "call"]
    assert calls == [("edge", "INTERNAL"), ("edge", "OK"), ("order", "OK")]


@pytest.mark.parametrize("allowed", ["1n", "1u", "50m"])
async def test_call_whose_deadline_has_passed_leaves_a_line_that_names_its_caller_and_no_error(
    start: Start, net: Net, allowed: str
) -> None:
    process: Process = await start(free_port())
    channel = await net.bare_channel("edge", process.port)
    for method in (f"/{PRODUCTS}/GetProduct", f"/{PRODUCTS}/Nothing"):
        for _ in range(40):
            call = channel.unary_unary(method)(GET.SerializeToString(), metadata=(("grpc-timeout", allowed),))
            assert await call.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED}
    _, log = await process.stop()
    assert [line for line in log if line["level"] not in {"info", "warning"}] == []
    calls = {(line["caller"], line["code"]) for line in log if line["event"] == "call"}
    assert calls == {("edge", "DEADLINE_EXCEEDED")}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.raw = b""

    async def Export(self, request: Any, _: Any) -> Any:
        self.raw += request.SerializeToString()
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    collector = Collector()
    server = grpc.aio.server()
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield collector, f"http://127.0.0.1:{port}"
    await server.stop(None)


async def test_collector_gets_the_spans_of_calls_and_nothing_that_was_sent(
    start: Start, net: Net, collector: tuple[Collector, str]
) -> None:
    kept, endpoint = collector
    process: Process = await start(free_port(), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    products = stub_of(product_pb2_grpc.ProductServiceStub, await net.bare_channel("edge", process.port))
    trace = "0af7651916cd43dd8448eb211c80319c"
    await products.GetProduct(GET, metadata=(("traceparent", f"00-{trace}-b7ad6b7169203331-01"),))
    with pytest.raises(grpc.aio.AioRpcError):
        await products.GetProduct(BUG)
    _, log = await process.stop()
    ok, failed = (span for span in kept.spans if span.name.endswith("GetProduct"))
    assert (ok.trace_id.hex(), ok.parent_span_id.hex()) == (trace, "b7ad6b7169203331")
    attributes = {each.key: each.value for each in ok.attributes}
    assert attributes["rpc.service"].string_value == PRODUCTS
    assert attributes["rpc.grpc.status_code"].int_value == 0
    assert (ok.status.code, failed.status.code) == (Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR)
    assert failed.trace_id.hex() in {line.get("trace_id") for line in log}
    assert b"7351c0ffee" not in kept.raw


async def test_collector_that_is_away_holds_nobody_up(start: Start, net: Net) -> None:
    process: Process = await start(free_port(), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    products = stub_of(product_pb2_grpc.ProductServiceStub, await net.bare_channel("edge", process.port))
    await products.GetProduct(GET)
    started = time.monotonic()
    status, _ = await process.stop()
    assert status == 0
    assert time.monotonic() - started < 5
