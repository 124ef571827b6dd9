"""The mesh that runs from a data folder, as every command finds it."""

from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import NotRunning
from deploy.local.layout import Layout
from deploy.local.supervision.state import MeshState, read_state
from services.settings import TlsFiles


@dataclass(frozen=True)
class RunningMesh:
    """A mesh that runs now."""

    layout: Layout
    state: MeshState

    @property
    def operator(self) -> TlsFiles:
        """The files of the certificate that shows us as the operator."""
        return self.layout.tls_files("operator")


def running_mesh(data: Path) -> RunningMesh:
    """Find the mesh that runs from a data folder.

    Raises:
        NotRunning: there is none.
    """
    state = read_state(Layout(data).state)
    if state is None or not state.supervisor.is_alive():
        raise NotRunning(data)
    return RunningMesh(Layout(data, state.port_offset), state)
