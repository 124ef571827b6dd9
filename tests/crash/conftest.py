"""The mesh that the crash tests break: the session's own, since each test heals what it broke."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.layout import Layout
from tests.support.mesh import Mesh
from tests.support.stack import Stack

# For work on these tests, a mesh that runs already: DATA_FOLDER+PORT_OFFSET.
RUNNING_MESH = os.environ.get("CRASH_TEST_MESH", "")


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest) -> Layout:
    """Where a mesh runs whose limits do not stop a load."""
    if RUNNING_MESH:
        data, _, offset = RUNNING_MESH.partition("+")
        return Layout(Path(data), int(offset))
    stack: Stack = request.getfixturevalue("stack")
    return stack.place


@pytest.fixture
async def mesh(place: Layout) -> AsyncIterator[Mesh]:
    """That mesh, seen healthy before a test and again after it: one failure is not the next one's too."""
    mesh = Mesh(place)
    await mesh.await_healthy()
    yield mesh
    await mesh.await_healthy()
