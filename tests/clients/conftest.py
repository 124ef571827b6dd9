"""Others' generators and linters, and our client as callers install it: once a session, or skipped once."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.clients.tools import HERE, install_into, install_package, install_with_npm, install_with_pip, run
from tests.conftest import ROOT

PACKAGE = ROOT / "clients" / "python"
NPM_PACKAGE = ROOT / "clients" / "javascript"
PROGRAMS_OF_NPM = HERE / "javascript"


@pytest.fixture(scope="session")
def npm_tools() -> Path:
    """Where the programs are that openapi/package-lock.json names."""
    return install_with_npm(HERE / "openapi")


@pytest.fixture(scope="session")
def python_tools() -> Path:
    """Where the programs are that openapi/requirements.txt names."""
    return install_with_pip(HERE / "openapi")


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of the client for Python."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session", params=["newest", "oldest"])
def alone(request: pytest.FixtureRequest, dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone: with the newest of what it needs, or the oldest that it says."""
    folder = tmp_path_factory.mktemp(f"alone-{request.param}")
    [wheel] = dist.glob("*.whl")
    return install_into(folder / "venv", wheel, *(oldest() if request.param == "oldest" else ()))


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client for JavaScript, packed."""
    return pack(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="session")
def javascript(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that package installed, and programs that use it, compiled into `out`."""
    folder = tmp_path_factory.mktemp("javascript")
    install_package(tarball, folder)
    compile_with(folder, *PROGRAMS_OF_NPM.glob("*.ts"))
    return folder


def pack(folder: Path) -> Path:
    """Build the client for JavaScript, and pack it into a folder."""
    install_with_npm(NPM_PACKAGE)
    run(("npm", "pack", "--pack-destination"), folder, folder=NPM_PACKAGE)
    [packed] = folder.glob("*.tgz")
    return packed


def compile_with(folder: Path, *programs: Path) -> None:
    """Compile programs in a folder as strictly as TypeScript can, with what is installed there."""
    tools = install_with_npm(PROGRAMS_OF_NPM)
    for program in (*programs, PROGRAMS_OF_NPM / "tsconfig.json"):
        (folder / program.name).write_bytes(program.read_bytes())
    run((tools / "tsc", "--project", ".", "--typeRoots"), tools.parent / "@types", folder=folder)


def build(folder: Path) -> Path:
    """Build the client for Python into a folder."""
    hatchling = shutil.which("hatchling", path=ROOT / ".venv" / "bin")
    assert hatchling is not None
    done = subprocess.run(
        [hatchling, "build", "-d", folder], cwd=PACKAGE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def requirements() -> list[str]:
    """Return what the client says that it needs."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def oldest() -> list[str]:
    """Return the same, with the lowest version of each."""
    return [each.split(",")[0].replace(">=", "==") for each in requirements()]
