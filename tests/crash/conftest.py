"""The mesh that the crash tests break: the session's own, since each test heals what it broke."""

import os
from pathlib import Path

import pytest

from deploy.local.place import Place
from tests.crash.mesh import Mesh

# For work on these tests, a mesh that runs already: DATA_FOLDER+PORT_OFFSET.
RUNNING_MESH = os.environ.get("CRASH_TEST_MESH", "")


@pytest.fixture(scope="session")
def mesh(request: pytest.FixtureRequest) -> Mesh:
    """A running mesh whose limits do not stop a load."""
    if RUNNING_MESH:
        data, _, offset = RUNNING_MESH.partition("+")
        return Mesh(Place(Path(data), int(offset)))
    return Mesh(request.getfixturevalue("stack").place)
