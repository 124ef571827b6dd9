"""Compiles the contract into generated/: `python -m gateway.generate`, with `--check` only compared."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from gateway.clients import service_configs
from gateway.contract.checks import find_faults
from gateway.contract.model import Contract
from gateway.contract.protoc import PROTOS, ROOT, ContractError, compile_descriptors, write_stubs
from gateway.edge.compiled import compile_edge, dump
from gateway.graphql.sdl import schema_text
from gateway.openapi.document import document
from gateway.reasons import page

GENERATED = ROOT / "generated"


def generate(protos: Path, out: Path) -> None:
    """Write everything that is made from the contract into an empty folder.

    Raises:
        ContractError: the contract does not compile; the message names file and line of each fault.
    """
    contract = read_contract(protos)
    faults = find_faults(contract)
    if faults:
        raise ContractError("\n".join(str(fault) for fault in faults))
    out.mkdir(parents=True, exist_ok=True)
    write_stubs(protos, out)
    (out / "commerce.binpb").write_bytes(contract.image)
    _write_all(out / "envoy", compile_edge(contract, compile_descriptors(protos, with_sources=False)))
    configs = {f"{name}.json": dump(config) for name, config in service_configs(contract).items()}
    _write_all(out / "clients", configs)
    (out / "openapi.json").write_bytes(dump(document(contract)))
    (out / "schema.graphql").write_text(schema_text(contract))
    (out / "reasons.md").write_text(page(contract))


def read_contract(protos: Path) -> Contract:
    """Compile and read a contract, without judging it.

    Raises:
        ContractError: protoc refuses it.
    """
    return Contract(compile_descriptors(protos), protos)


def stale_files(fresh: Path, kept: Path) -> list[str]:
    """Name every file that differs between two folders, or is in one only."""
    names = _files(fresh) | _files(kept)
    return sorted(name for name in names if _content(fresh / name) != _content(kept / name))


def replace_generated(fresh: Path, kept: Path) -> list[str]:
    """Make `kept` the same as `fresh`; return what changed."""
    changed = stale_files(fresh, kept)
    for name in changed:
        source, target = fresh / name, kept / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        else:
            target.unlink()
            _remove_empty(target.parent, kept)
    return changed


def main() -> int:
    """Run the compiler; 0 when generated/ is current."""
    parser = argparse.ArgumentParser(prog="python -m gateway.generate", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail if generated/ is not current; write nothing"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "generated"
        try:
            generate(PROTOS, fresh)
        except ContractError as error:
            print(error, file=sys.stderr)
            return 1
        return _check(fresh) if arguments.check else _replace(fresh)


def _check(fresh: Path) -> int:
    stale = stale_files(fresh, GENERATED)
    for name in stale:
        print(f"generated/{name} is not current", file=sys.stderr)
    if stale:
        print("run `make generate` and commit what it writes", file=sys.stderr)
    return 1 if stale else 0


def _replace(fresh: Path) -> int:
    for name in replace_generated(fresh, GENERATED):
        print(f"generated/{name}")
    return 0


def _write_all(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _files(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder that holds nothing but compiled leftovers, and its parents likewise."""
    while folder != root and all(path.name == "__pycache__" for path in folder.iterdir()):
        shutil.rmtree(folder)
        folder = folder.parent


if __name__ == "__main__":
    sys.exit(main())
