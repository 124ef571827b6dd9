"""The client for Python as it is built: what is in it, and that two builds are the same."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from gateway.generate import GENERATED
from tests.clients.conftest import build, requirements
from tests.conftest import ROOT

STUBS = sorted(path.relative_to(GENERATED) for path in (GENERATED / "commerce").rglob("*_pb2*.py*"))


def test_wheel_holds_the_generated_stubs_settings_and_descriptors(dist: Path) -> None:
    [wheel] = dist.glob("*.whl")
    stubs = [path for path in STUBS if "__pycache__" not in path.parts]
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {path.as_posix() for path in stubs} <= names
        for path in (GENERATED / "clients").iterdir():
            assert archive.read(f"commerce_mesh_client/service_configs/{path.name}") == path.read_bytes()
        assert (
            archive.read("commerce_mesh_client/commerce.binpb") == (GENERATED / "commerce.binpb").read_bytes()
        )
    assert {"commerce_mesh_client/py.typed", "commerce/py.typed"} <= names
    # No name that another distribution may have.
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"commerce", "commerce_mesh_client"}


def test_two_builds_are_the_same(dist: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again")
    assert sorted(path.name for path in again.iterdir()) == sorted(path.name for path in dist.iterdir())
    assert [
        path.name for path in again.iterdir() if path.read_bytes() != (dist / path.name).read_bytes()
    ] == []


def test_wheel_that_is_built_of_the_sdist_is_the_same(dist: Path, tmp_path: Path) -> None:
    [sdist], [wheel] = dist.glob("*.tar.gz"), dist.glob("*.whl")
    with tarfile.open(sdist) as archive:
        assert not [each.name for each in archive if each.issym() or each.islnk()]
        archive.extractall(tmp_path, filter="data")
    [folder] = tmp_path.iterdir()
    run: list[str | Path] = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        tmp_path / "built",
    ]
    subprocess.run(run, cwd=folder, check=True, capture_output=True)
    assert (tmp_path / "built" / wheel.name).read_bytes() == wheel.read_bytes()


def test_tree_itself_is_not_packed(tmp_path: Path) -> None:
    run = f"{sys.executable} -m hatchling build -d {tmp_path}"
    done = subprocess.run(run.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make install" in done.stderr
    assert "make clients" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_client_needs_three_packages() -> None:
    assert [each.split(">")[0] for each in requirements()] == [
        "googleapis-common-protos",
        "grpcio",
        "protobuf",
    ]


def test_stubs_work_beside_a_buf_validate_of_another_version_and_without_one(
    dist: Path, tmp_path: Path
) -> None:
    [wheel] = dist.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "alone", "zip")
    another = tmp_path / "another" / "buf" / "validate"
    another.mkdir(parents=True)
    (another / "validate_pb2.py").write_text(
        "from google.protobuf import descriptor_pb2, descriptor_pool\n"
        "file = descriptor_pb2.FileDescriptorProto(name='buf/validate/validate.proto')\n"
        "DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(file.SerializeToString())\n"
    )
    program = (
        # A stub first, as import sorters have it: the package needs the stubs, and they nothing of it.
        "from commerce.event.v1 import event_pb2; from commerce.product.v1 import product_pb2;"
        "import commerce_mesh_client; from commerce import _validate;"
        "print(_validate.validate_pb2.__name__, product_pb2.GetProductRequest(product_id='1').product_id)"
    )
    assert run_with(program, tmp_path / "alone") == "commerce._buf_validate.validate_pb2 1\n"
    assert run_with(program, tmp_path / "another", tmp_path / "alone") == "buf.validate.validate_pb2 1\n"


def run_with(program: str, *folders: Path) -> str:
    """Run a program with the packages of this environment, but for those of this tree."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    # Without its .pth files: one of them names this tree.
    start = f"import sys; sys.path[:0] = {[str(each) for each in folders]}; sys.path.append({packages!r});"
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", start + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
