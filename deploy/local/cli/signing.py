"""The keys that sign tokens: `mesh keys rotate jwks`."""

from pathlib import Path

from rich.console import Console

from deploy.local.cli.running import running_mesh
from deploy.local.errors import MeshError
from deploy.local.supervision import control

JWKS = "jwks"


def rotate(data: Path, console: Console) -> None:
    """Publish another key, and say when it signs.

    Raises:
        MeshError: no mesh runs, or a key that was published before waits to sign.
    """
    mesh = running_mesh(data)
    for signs_from in control.command(Path(mesh.state.runtime_folder), {"command": "rotate-jwks"}):
        if not signs_from:
            raise MeshError(
                "The next key is published, and does not sign yet.", "It will within three minutes."
            )
        console.print(f"The next key is published, and signs from {signs_from} on.")
        console.print("The last one stays until its tokens are over.")
