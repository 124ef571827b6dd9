"""Puts what is generated from the contract into the sdist and the wheel."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Whoever validates may have a `buf.validate` of their own, and a process holds only one. So the wheel brings
# none by that name: the stubs take the one that is installed, or else a copy beside them.
_IMPORT = "from buf.validate import validate_pb2 "
_OURS = "from commerce._validate import validate_pb2 "
_COPY = "commerce/_buf_validate"
_VALIDATE = "buf/validate"
_PACKAGE = "commerce_mesh_client"


class GeneratedHook(BuildHookInterface[Any]):
    """Adds what is generated: to an sdist as it is, to a wheel as callers import it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name what goes into the archive beside the package."""
        self._scratch = tempfile.TemporaryDirectory()
        root = Path(self.root)
        # An sdist brings its own; else it is that of the tree around us.
        own = root / "generated"
        generated = own if own.is_dir() else root.parents[1] / "generated"
        files = _as_they_are(generated) if self.target_name == "sdist" else self._in_a_wheel(generated)
        build_data["force_include"] |= {str(source): target for target, source in files}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was written for this build."""
        self._scratch.cleanup()

    def _in_a_wheel(self, generated: Path) -> Iterator[tuple[str, Path]]:
        """Yield names and files: stubs, with the import of buf.validate rewritten, and settings."""
        rewritten = Path(self._scratch.name) / "commerce"
        for source in _stubs(generated / "commerce"):
            target = rewritten / source.relative_to(generated / "commerce")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text("utf-8").replace(_IMPORT, _OURS), encoding="utf-8")
            yield f"commerce/{target.relative_to(rewritten).as_posix()}", target
        # PEP 561: without it type checkers pass the stubs by.
        (rewritten / "py.typed").touch()
        yield "commerce/py.typed", rewritten / "py.typed"
        yield "commerce/_validate.py", Path(self.root) / "validate.py"
        for source in _stubs(generated / _VALIDATE):
            yield f"{_COPY}/{source.name}", source
        for source in sorted((generated / "clients").iterdir()):
            yield f"{_PACKAGE}/service_configs/{source.name}", source
        yield f"{_PACKAGE}/commerce.binpb", generated / "commerce.binpb"


def _as_they_are(generated: Path) -> Iterator[tuple[str, Path]]:
    files = [*_stubs(generated / "commerce"), *_stubs(generated / _VALIDATE), generated / "commerce.binpb"]
    for source in [*files, *sorted((generated / "clients").iterdir())]:
        yield f"generated/{source.relative_to(generated).as_posix()}", source


def _stubs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py*") if path.suffix in {".py", ".pyi"})
