"""The certificates of a mesh: `mesh certs`."""

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.cli.running import running_mesh
from deploy.local.errors import MeshError, NotRunning
from deploy.local.layout import Layout
from deploy.local.parts.certificates import LEAF_LIFETIME, Authority, FolderRefused, spiffe_id
from deploy.local.supervision import control


def show(data: Path, console: Console) -> None:
    """Show who has a certificate, and until when."""
    layout = Layout(data)
    if not (layout.certificates / "ca.crt").exists():
        raise NotRunning(data)
    table = Table("identity", "until (UTC)", "serial", "names", box=None)
    for each in Authority(layout.certificates).statuses():
        table.add_row(each.identity, f"{each.not_after:%Y-%m-%d %H:%M}", each.serial[:12], each.names)
    console.print(table)
    console.print(f"  {layout.certificates}/<identity>/tls.crt, tls.key and ca.crt")


def issue(data: Path, name: str, out: Path | None, console: Console) -> None:
    """Issue a client certificate to a service from outside, and say where it lies and until when it holds.

    Raises:
        MeshError: there is no authority yet, the name cannot be one of a service from outside, or the
            folder is the mesh's own.
    """
    layout = Layout(data)
    if not (layout.certificates / "ca.crt").exists():
        raise NotRunning(data)
    if out is not None and out.resolve().is_relative_to(data.resolve()):
        raise FolderRefused(f"{out} lies in the mesh's own {data}.", "Name a folder outside of it.")
    now = datetime.now(UTC)
    try:
        files = Authority(layout.certificates).issue_outside(name, now, out)
    except OSError as error:
        raise MeshError(
            f"{error.filename}: {error.strerror}.", "Name a folder that you may write."
        ) from error
    console.print(f"{name} is {spiffe_id(name)}, by {files.cert}, {files.key} and {files.ca}.")
    until = f"{now + LEAF_LIFETIME:%Y-%m-%d %H:%M} UTC"
    renewed = (
        "is renewed before then while the mesh runs" if out is None else "is to be issued again before then"
    )
    console.print(f"It holds until {until}, and {renewed}.")


def rotate(data: Path, console: Console) -> None:
    """Issue every certificate anew."""
    mesh = running_mesh(data)
    for _ in control.command(Path(mesh.state.runtime_folder), {"command": "rotate"}):
        console.print("Every certificate is new; their holders reload them.")
