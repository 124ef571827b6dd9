"""Puts the generated stubs into the wheel."""

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Whoever validates may have a `buf.validate` of their own, and a process holds only one. So the wheel brings
# none by that name: the stubs take the one that is installed, or else a copy beside them.
_IMPORT = "from buf.validate import validate_pb2 "
_OURS = "from commerce._validate import validate_pb2 "
_COPY = "commerce/_buf_validate"


class StubsHook(BuildHookInterface[Any]):
    """Adds generated/commerce, with the import of buf.validate rewritten."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name what goes into the wheel beside the package."""
        generated = Path(self.root) / "generated"
        self._scratch = tempfile.TemporaryDirectory()
        rewritten = Path(self._scratch.name) / "commerce"
        for source in _stubs(generated / "commerce"):
            target = rewritten / source.relative_to(generated / "commerce")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text("utf-8").replace(_IMPORT, _OURS), encoding="utf-8")
        # PEP 561: without it type checkers pass the stubs by.
        (rewritten / "py.typed").touch()
        for target in [*_stubs(rewritten), rewritten / "py.typed"]:
            build_data["force_include"][str(target)] = f"commerce/{target.relative_to(rewritten).as_posix()}"
        build_data["force_include"][str(Path(self.root) / "validate.py")] = "commerce/_validate.py"
        for suffix in ("py", "pyi"):
            name = f"validate_pb2.{suffix}"
            build_data["force_include"][str(generated / "buf/validate" / name)] = f"{_COPY}/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was written for this build."""
        self._scratch.cleanup()


def _stubs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py*") if path.suffix in {".py", ".pyi"})
