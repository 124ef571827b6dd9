"""The mesh that the crash tests break: one for all of them, since each heals what it broke."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.place import Place
from tests.crash.mesh import Mesh

# A mesh that runs already, for work on these tests: its data folder and its --port-offset.
RUNNING_MESH = os.environ.get("CRASH_TEST_MESH", "")


@pytest.fixture(scope="session")
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """A running mesh whose limits do not stop a load."""
    data, _, offset = RUNNING_MESH.partition("+")
    yield Mesh(Place(Path(data), int(offset)))
