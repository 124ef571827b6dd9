"""Which tests share a process, where several run tests side by side (`pytest -n 2`).

pytest-xdist's own marks for that (`xdist_group`) do nothing under pytest 9.2, and say nothing of it: every
process then starts every mesh and every edge (pytest-dev/pytest-xdist#1386).
"""

from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# The rooms of the first share one running mesh, the others one of their own, or an edge, or a valkey.
_SHARING = {
    "contract": "mesh",
    "end_to_end": "mesh",
    "crash": "mesh",
    "attacks": "attacks",
    "gateway": "gateway",
    "docs": "docs",
}


class SharedServers(LoadScopeScheduling):  # type: ignore[misc]  # it publishes no types
    """Give the tests that share servers to one process, and all others file by file to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedServers:
    """Take the place of every scheduler of `--dist`."""
    return SharedServers(config, log)


def scope_of(nodeid: str) -> str:
    """Name the group of a test, by its id: "mesh", or its own file."""
    file = nodeid.split("::", 1)[0]
    return _SHARING.get(PurePosixPath(file).parts[1], file)
