"""Copies of the tree that were changed as pages say, and programs that run in them."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.docs.recipe import Counts, Recipe, follow

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
PATIENCE_SECONDS = 600
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "node_modules")


@dataclass(frozen=True)
class Copy:
    """A copy of the tree."""

    tree: Path

    def run(self, *program: str | Path) -> str:
        """Run a program in it, to a good end; return what it printed."""
        done = subprocess.run(
            list(program),
            cwd=self.tree,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        told = f"{' '.join(map(str, program))} ended with {done.returncode}:\n{done.stdout}"
        assert done.returncode == 0, told
        return done.stdout

    def python(self, module: str, *arguments: str) -> str:
        """Run a module of it."""
        return self.run(sys.executable, "-m", module, *arguments)

    def change(self, recipe: Recipe) -> Counts:
        """Follow a page and compile the contract; return how many files that touched."""
        before = self._files()
        follow(recipe, self.tree)
        between = self._files()
        self.python("gateway.generate")
        after = self._files()
        return Counts(
            by_hand=_changed(before, between),
            new_by_hand=len(between.keys() - before.keys()),
            generated=_changed(between, after),
            new_generated=len(after.keys() - between.keys()),
        )

    def _files(self) -> dict[str, str]:
        files = (path for path in self.tree.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(self.tree)): _digest(path) for path in files}

    def _environment(self) -> dict[str, str]:
        # Before the installed tree, in the programs and in the processes that they start.
        roots = f"{self.tree}:{self.tree / 'generated'}:{self.tree / 'clients/python/src'}"
        return {**os.environ, "PYTHONPATH": roots, "PYTHONDONTWRITEBYTECODE": "1"}


def copy_tree(tree: Path) -> Copy:
    """Copy what `make` compiles, checks and tests."""
    shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
    return Copy(tree)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> int:
    return sum(before.get(name) != after.get(name) for name in before.keys() | after.keys())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
