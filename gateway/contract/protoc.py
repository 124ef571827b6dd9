"""Runs protoc, offline: the contract's Python stubs and its descriptor set. Judges nothing."""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import protovalidate._gen.buf.validate.validate_pb as validate_descriptor
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"

VALIDATE_PROTO = "buf/validate/validate.proto"
# What errors carry; no file of the contract imports it, and the transcoder needs its descriptors.
ERROR_PROTOS = ("google/rpc/code.proto", "google/rpc/error_details.proto", "google/rpc/status.proto")


class ContractError(Exception):
    """The contract does not compile; the message has one line for each fault."""


def write_stubs(protos: Path, out: Path) -> None:
    """Write Python modules and their type stubs for the contract and for buf.validate.

    Raises:
        ContractError: protoc refuses the contract.
    """
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    _run(
        protos,
        out,
        f"--python_out={out}",
        f"--pyi_out={out}",
        f"--grpc_python_out={out}",
        f"--plugin=protoc-gen-mypy_grpc={plugin}",
        f"--mypy_grpc_out=quiet:{out}",
        *_contract_files(protos),
        VALIDATE_PROTO,
    )


def compile_descriptors(protos: Path, *, with_sources: bool = True) -> bytes:
    """Compile the contract with everything it imports and what errors carry.

    The bytes are protoc's own. Parsed and written again they would depend on which generated modules
    are loaded: options that are known then move before those that are not.

    Args:
        protos: The folder of the contract.
        with_sources: With places and comments, which people need and Envoy does not.

    Returns:
        A serialized FileDescriptorSet.

    Raises:
        ContractError: protoc refuses the contract.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contract.binpb"
        _run(
            protos,
            Path(folder),
            f"--descriptor_set_out={image}",
            "--include_imports",
            *(["--include_source_info"] if with_sources else []),
            *_contract_files(protos),
            VALIDATE_PROTO,
            *ERROR_PROTOS,
        )
        return image.read_bytes()


def _run(protos: Path, scratch: Path, *arguments: str) -> None:
    known = scratch / ".known.binpb"
    known.write_bytes(_known_descriptors().SerializeToString())
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={known}"),
        *(f"-I{protos}", f"-I{google_protos()}", *arguments),
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 our own words
    known.unlink()
    if finished.returncode != 0:
        raise ContractError(finished.stderr.strip())


def _contract_files(protos: Path) -> list[str]:
    return sorted(path.relative_to(protos).as_posix() for path in protos.rglob("*.proto"))


def google_protos() -> Path:
    """Find the folder in which googleapis-common-protos keeps `google/api/*.proto`."""
    spec = importlib.util.find_spec("google.rpc.status_pb2")
    if spec is None or spec.origin is None:
        raise ContractError("googleapis-common-protos is not installed: call `make install`")
    return Path(spec.origin).parents[2]


def _known_descriptors() -> descriptor_pb2.FileDescriptorSet:
    """Describe buf/validate/validate.proto: no wheel has its text, but one has its descriptor."""
    known = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, timestamp_pb2, field_mask_pb2):
        module.DESCRIPTOR.CopyToProto(known.file.add())
    known.file.add().ParseFromString(validate_descriptor._DESC.proto.to_binary())  # noqa: SLF001 only home
    return known
