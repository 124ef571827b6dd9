"""Packs the contract with all that it imports: `python -m gateway.export FOLDER`.

Tools that read the archive need no network.
"""

import gzip
import io
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from google.protobuf import descriptor_pb2

from gateway.contract.protoc import PROTOS, ROOT, google_protos
from gateway.contract.text import proto_text

_IMAGE = ROOT / "generated" / "commerce.binpb"
# Every compiler brings these itself.
_EVERYWHERE = "google/protobuf/"
_OURS = "commerce/"
_VALIDATE = "buf/validate/"
# How callers retry, and buf's templates for their languages: as they are.
_AS_THEY_ARE = (
    ("service_configs", ROOT / "generated" / "clients", "*.json"),
    ("", ROOT / "clients" / "protos", "buf.gen.*.yaml"),
)
# What buf reads first; other tools are told the folder.
_BUF_YAML = b"version: v2\nmodules:\n  - path: protos\n"
_README = """\
# The contract of Commerce Mesh

`protos/` holds the contract and all that it imports, but for google/protobuf, which compilers bring
themselves. `buf build` and `buf generate` work in this folder; tell other tools that imports begin in
`protos/`. `buf generate --template buf.gen.go.yaml` writes stubs for Go, `buf.gen.java.yaml` for Java.

`service_configs/` holds the gRPC service config for channels to each service: which methods are tried again,
and how often.

buf/validate/validate.proto (protovalidate) is written of its descriptor, without comments; it and what lies
under google/ (googleapis) are under the Apache License 2.0.
"""


def contents() -> dict[str, bytes]:
    """Return every file of the archive, by its path.

    Raises:
        ContractError: googleapis-common-protos is not installed.
    """
    image = descriptor_pb2.FileDescriptorSet.FromString(_IMAGE.read_bytes())
    files = {
        f"protos/{file.name}": _text(file) for file in image.file if not file.name.startswith(_EVERYWHERE)
    }
    as_they_are = {
        f"{folder}/{path.name}".lstrip("/"): path.read_bytes()
        for folder, place, names in _AS_THEY_ARE
        for path in place.glob(names)
    }
    return {"README.md": _README.encode(), "buf.yaml": _BUF_YAML, **as_they_are, **files}


def write_archive(folder: Path) -> Path:
    """Write commerce-mesh-protos-VERSION.tar.gz, the same bytes for the same contract; return its path."""
    name = f"commerce-mesh-protos-{version('commerce-mesh')}"
    folder.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in sorted(contents().items()):
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    target = folder / f"{name}.tar.gz"
    target.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return target


def _text(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    if file.name.startswith(_OURS):
        return (PROTOS / file.name).read_bytes()
    if file.name.startswith(_VALIDATE):
        return proto_text(file).encode()
    return (google_protos() / file.name).read_bytes()


if __name__ == "__main__":
    print(write_archive(Path(sys.argv[1])))
