"""buf's judgement of the contract, offline: `python -m gateway.contract.buf [--against REF]`.

Lint and format judge the files as they are; breaking compares them with what a git revision has in
generated/commerce.binpb. buf resolves no imports here: it gets the image that our compiler made.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from gateway.contract.protoc import PROTOS, ROOT, ContractError, compile_descriptors
from gateway.proto_json import Json

_CONFIG = ROOT / "buf.yaml"
_IMAGE = "generated/commerce.binpb"
_BASE_VARIABLE = "COMMERCE_CONTRACT_BASE"
_MAIN = "origin/main"
# Others' files in the image: not ours to judge.
_FOREIGN = ["google", "buf"]


def lint(image: Path) -> str:
    """Return what `buf lint` finds; empty for nothing."""
    return _buf("lint", str(image), "--config", _config("lint"))


def breaking(image: Path, base: Path) -> str:
    """Return what of `image` would break callers of `base`; empty for nothing."""
    return _buf("breaking", str(image), "--against", str(base), "--config", _config("breaking"))


def unformatted(protos: Path) -> str:
    """Return the difference to `buf format`; empty for none."""
    return _buf("format", str(protos), "--diff", "--exit-code")


def base_revision(repository: Path, asked: str | None) -> str | None:
    """Return the revision to compare with, or None when there is nothing.

    The one that is asked for; else origin/main where it is not this commit; else the commit before.
    """
    if asked:
        return asked
    main, head = _revision(repository, _MAIN), _revision(repository, "HEAD")
    if main and main != head:
        return _MAIN
    return "HEAD^" if image_of(repository, "HEAD^") is not None else None


def image_of(repository: Path, revision: str) -> bytes | None:
    """Return the compiled contract as a revision has it, or None."""
    found = _git(repository, "show", f"{revision}:{_IMAGE}")
    return found.stdout if found.returncode == 0 else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all three checks; 0 when all hold."""
    parser = argparse.ArgumentParser(prog="python -m gateway.contract.buf", description=__doc__)
    parser.add_argument(
        "--against", default=os.environ.get(_BASE_VARIABLE), help="git revision to compare with (breaking)"
    )
    asked = parser.parse_args(arguments).against
    with tempfile.TemporaryDirectory() as folder:
        try:
            image = Path(folder) / "contract.binpb"
            image.write_bytes(compile_descriptors(PROTOS))
        except ContractError as error:
            print(error, file=sys.stderr)
            return 1
        outcomes = [
            _report("buf lint", lint(image)),
            _report("buf format", unformatted(PROTOS), "run `make format`"),
            _compare(image, base_revision(ROOT, asked), Path(folder)),
        ]
    return 0 if all(outcomes) else 1


def _compare(image: Path, revision: str | None, folder: Path) -> bool:
    if revision is None:
        print("buf breaking: nothing to compare with; name a revision with --against")
        return True
    content = image_of(ROOT, revision)
    if content is None:
        print(f"buf breaking: {revision} has no {_IMAGE}: name another with --against", file=sys.stderr)
        return False
    base = folder / "base.binpb"
    base.write_bytes(content)
    return _report(f"buf breaking against {revision}", breaking(image, base))


def _report(check: str, findings: str, remedy: str = "") -> bool:
    if not findings:
        print(f"{check}: ok")
        return True
    print(f"{check}:\n{findings}", file=sys.stderr)
    if remedy:
        print(remedy, file=sys.stderr)
    return False


def _config(kind: str) -> str:
    """Return buf.yaml's rules for an image, which has no modules but everyone's files."""
    settings: Json = yaml.safe_load(_CONFIG.read_text(encoding="utf-8"))
    return json.dumps({"version": "v2", kind: {**settings[kind], "ignore": _FOREIGN}})


def _buf(*arguments: str) -> str:
    program = Path(sys.executable).with_name("buf")
    command = [str(program) if program.exists() else shutil.which("buf") or "buf", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603 our own words
    if finished.returncode == 0:
        return ""
    return (finished.stdout + finished.stderr).strip() or f"buf ended with {finished.returncode}"


def _revision(repository: Path, name: str) -> bytes | None:
    found = _git(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return found.stdout.strip() if found.returncode == 0 else None


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    git = shutil.which("git") or "git"
    return subprocess.run([git, *arguments], capture_output=True, check=False, cwd=repository)  # noqa: S603 our own words


if __name__ == "__main__":
    sys.exit(main())
