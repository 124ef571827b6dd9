"""The archive of the contract: whole, the same each time, and enough for buf without a network."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from gateway.contract.protoc import ContractError
from gateway.contract.text import proto_text
from gateway.export import write_archive
from gateway.generate import GENERATED
from tests.conftest import ROOT

PROGRAMS = ROOT / ".venv" / "bin"
# Whoever tried to fetch something would fail: nobody listens there, and nothing is kept from before.
NO_NETWORK = {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
GENERATE = """\
version: v2
plugins:
  - local: protoc-gen-mypy
    out: stubs
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The archive, unpacked."""
    with tarfile.open(write_archive(tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = (each for each in tmp_path.iterdir() if each.is_dir())
    return folder


def buf(tree: Path, *arguments: str) -> None:
    home = {"HOME": str(tree.parent), "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    done = subprocess.run(
        [PROGRAMS / "buf", *arguments],
        cwd=tree,
        env={**home, **NO_NETWORK},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def described(path: Path) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Return the files of a descriptor set, without places and without names that follow from others."""
    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file
    for file in files:
        file.ClearField("source_code_info")
    return {file.name: file for file in files if not file.name.startswith("google/protobuf/")}


def test_buf_compiles_it_to_the_contracts_own_descriptors(tree: Path) -> None:
    buf(tree, "build", "-o", "built.binpb", "--as-file-descriptor-set")
    assert described(tree / "built.binpb") == described(GENERATED / "commerce.binpb")


def test_buf_generates_from_it(tree: Path) -> None:
    (tree / "buf.gen.yaml").write_text(GENERATE)
    buf(tree, "generate")
    assert (tree / "stubs" / "commerce" / "order" / "v1" / "order_pb2.pyi").exists()
    assert (tree / "stubs" / "buf" / "validate" / "validate_pb2.pyi").exists()


def test_it_says_how_callers_retry_and_how_buf_writes_other_languages(tree: Path) -> None:
    for config in (GENERATED / "clients").iterdir():
        assert (tree / "service_configs" / config.name).read_bytes() == config.read_bytes()
    for language in ("go", "java"):
        name = f"buf.gen.{language}.yaml"
        assert (tree / name).read_bytes() == (ROOT / "clients" / "protos" / name).read_bytes()


def test_two_archives_of_different_times_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_archive(tmp_path / "first")
    monkeypatch.setattr("time.time", lambda: 1.0)
    second = write_archive(tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "file",
    [
        descriptor_pb2.FileDescriptorProto(name="a.proto", syntax="proto3"),
        descriptor_pb2.FileDescriptorProto(
            name="a.proto", service=[descriptor_pb2.ServiceDescriptorProto(name="S")]
        ),
        descriptor_pb2.FileDescriptorProto(
            name="a.proto",
            message_type=[
                descriptor_pb2.DescriptorProto(
                    name="M", nested_type=[descriptor_pb2.DescriptorProto(name="N")]
                )
            ],
        ),
    ],
    ids=["proto3", "service", "nested"],
)
def test_what_cannot_be_written_is_refused(file: descriptor_pb2.FileDescriptorProto) -> None:
    with pytest.raises(ContractError):
        proto_text(file)
