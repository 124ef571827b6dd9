"""generated/ is a function of the contract, and of nothing else."""

import json
from pathlib import Path
from typing import get_args

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from gateway import generate
from gateway.contract.protoc import PROTOS
from services.roster import NAMES
from services.rpc.status import Detail
from tests.gateway.tiny import Tiny


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fresh") / "generated"
    generate.generate(PROTOS, out)
    return out


def test_two_runs_write_the_same_bytes(fresh: Path, tmp_path: Path) -> None:
    again = tmp_path / "generated"
    generate.generate(PROTOS, again)
    assert generate.stale_files(fresh, again) == []
    assert len(list(fresh.rglob("*_pb2_grpc.pyi"))) > 5


def test_what_is_committed_is_current(fresh: Path) -> None:
    assert generate.stale_files(fresh, generate.GENERATED) == []


def test_a_stale_file_is_named_and_then_removed(fresh: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    generate.replace_generated(fresh, kept)
    (kept / "commerce" / "old").mkdir()
    (kept / "commerce" / "old" / "old_pb2.py").write_text("old = True")
    (kept / "openapi.json").write_text("{}")
    assert generate.stale_files(fresh, kept) == ["commerce/old/old_pb2.py", "openapi.json"]
    generate.replace_generated(fresh, kept)
    assert generate.stale_files(fresh, kept) == []
    assert not (kept / "commerce" / "old").exists()


def test_a_refused_contract_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "generated"
    kept.mkdir()
    (kept / "openapi.json").write_text("{}")
    tiny = Tiny.write(tmp_path, ("      deadline: {seconds: 2}\n", ""))
    monkeypatch.setattr(generate, "PROTOS", tiny.protos)
    monkeypatch.setattr(generate, "GENERATED", kept)
    monkeypatch.setattr("sys.argv", ["generate"])
    assert generate.main() == 1
    assert "has no deadline" in capsys.readouterr().err
    assert [path.name for path in kept.iterdir()] == ["openapi.json"]


@pytest.mark.parametrize("detail", get_args(Detail), ids=lambda detail: detail.DESCRIPTOR.name)
def test_the_edge_knows_every_type_that_errors_carry(fresh: Path, detail: type[Message]) -> None:
    image = FileDescriptorSet.FromString((fresh / "envoy" / "transcoder.binpb").read_bytes())
    known = {f"{file.package}.{message.name}" for file in image.file for message in file.message_type}
    assert detail.DESCRIPTOR.full_name in known


@pytest.mark.parametrize("service", NAMES)
def test_client_configs_retry_only_what_may_be_repeated(fresh: Path, service: str) -> None:
    contract = generate.read_contract(PROTOS)
    repeatable = {method.name for method in contract.methods if method.repeatable}
    config = json.loads((fresh / "clients" / f"{service}.json").read_text())
    retried = {
        f"{each['service']}/{each['method']}" for entry in config["methodConfig"] for each in entry["name"]
    }
    assert retried
    assert retried <= repeatable
    assert "timeout" not in json.dumps(config)
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert config["healthCheckConfig"] == {"serviceName": ""}


@pytest.mark.parametrize("service", NAMES)
async def test_grpc_accepts_the_client_configs(fresh: Path, service: str) -> None:
    """gRPC finds fault with a service config at the first call only."""
    config = (fresh / "clients" / f"{service}.json").read_text()
    async with grpc.aio.insecure_channel("127.0.0.1:1", options=[("grpc.service_config", config)]) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        call = channel.unary_unary("/commerce.order.v1.OrderService/GetOrder")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call(b"", timeout=5)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "connect" in (failure.value.details() or "").lower()
