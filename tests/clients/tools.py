"""Generators and linters that we do not ship: installed once, as their lock files say, beside the tests."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# How the reason begins of a test that is skipped for want of a registry; the installer's name follows.
NO_REGISTRY = "no registry answered "
_INSTALL_SECONDS = 600.0
# Compilers that have nothing from before take minutes.
_RUN_SECONDS = 600.0
# What npm, pip, Go and Maven say where there is no network, where a registry is not well, or where Go is
# too old for what it is to build.
_NOT_OURS = (
    *("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "E429", "E502", "E503", "E504"),
    *("Failed to establish a new connection", "Read timed out", "Connection reset", "dial tcp"),
    *("429 Too Many", "502 Bad Gateway", "503 Service", "504 Gateway", "TLS handshake timeout"),
    *("Could not transfer artifact", "GOTOOLCHAIN=local"),
)


def find(program: str) -> str:
    """Return where a program is; skip where it is not."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program}")
    return found


def with_variables(**variables: str) -> tuple[str, ...]:
    """Return what stands before a program to give it these variables."""
    return ("env", *(f"{name}={value}" for name, value in variables.items()))


def npm(command: str) -> list[str]:
    """Return a command of npm that installs, and runs nothing of what it installs; skip without Node.js."""
    return [find("npm"), command, "--ignore-scripts", "--no-audit", "--no-fund"]


def install_with_npm(folder: Path) -> Path:
    """Install what package-lock.json names, and return where its programs are; skip without Node.js."""
    installed = folder / "node_modules"
    _install(npm("ci"), folder / "package-lock.json", installed)
    return installed / ".bin"


def install_package(package: Path, folder: Path) -> None:
    """Install a package of npm's with what it needs, the newest that it lets in, into an empty folder."""
    (folder / "package.json").write_text('{"private": true, "type": "module"}', encoding="utf-8")
    run_installer([*npm("install"), str(package)], package.name, folder)


def install_with_pip(folder: Path) -> Path:
    """Install what a folder's requirements.txt names, and return where its programs are."""
    installed = folder / ".venv"
    requirements = folder / "requirements.txt"
    if not installed.exists():
        run((sys.executable, "-m", "venv"), installed, folder=folder)
    pip = [str(installed / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    _install([*pip, "-r", str(requirements)], requirements, installed)
    return installed / "bin"


def run(program: Sequence[str | Path], *arguments: str | Path, folder: Path) -> str:
    """Run a program in a folder, and return what it printed; its failure is the test's."""
    done = subprocess.run(
        [*program, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=_RUN_SECONDS
    )
    assert done.returncode == 0, f"{program}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _install(program: Sequence[str], lock: Path, installed: Path) -> None:
    """Run an installer unless what it would install is there; skip where it cannot reach its registry."""
    stamp = installed / "installed-from"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    run_installer(program, lock.name, lock.parent)
    stamp.write_text(wanted, encoding="utf-8")


def install_into(venv: Path, *requirements: str | Path) -> Path:
    """Make a virtual environment with this in it and nothing else, and return its programs' folder."""
    run((sys.executable, "-m", "venv"), venv, folder=venv.parent)
    program = [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    run_installer([*program, *map(str, requirements)], str(requirements[0]), venv)
    return venv / "bin"


def run_installer(program: Sequence[str], what: str, folder: Path) -> None:
    """Run a program that fetches `what` from its registry; skip where it cannot reach it."""
    name = next(Path(word).name for word in program if word != "env" and "=" not in word)
    try:
        done = subprocess.run(
            program, cwd=folder, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{NO_REGISTRY}{name} within {_INSTALL_SECONDS:g} s")
    said = done.stdout + done.stderr
    if done.returncode != 0 and any(word in said for word in _NOT_OURS):
        pytest.skip(f"{NO_REGISTRY}{name} for {what}: {said[-300:]}")
    assert done.returncode == 0, f"{what} cannot be installed: {said}"
