"""Using a running mesh: `mesh token`, `seed` and `smoke`."""

import hashlib
import sys
from pathlib import Path

from rich.console import Console

from deploy.local.cli.importing import Wishes, import_file
from deploy.local.cli.running import running_mesh
from deploy.local.cli.tokens import issue_token
from deploy.local.files import replace_file
from deploy.local.shop import smoke

_DEMO_CATALOGUE = Path(__file__).parents[1] / "shop" / "demo" / "catalogue.json"


def token(data: Path, role: str) -> None:
    """Print an access token and nothing else."""
    sys.stdout.write(issue_token(running_mesh(data), role) + "\n")


def seed(data: Path, console: Console, *, again: bool) -> None:
    """Import the demo catalogue, unless it was imported before and has not changed since.

    A second import would set back each demo product that somebody has edited, and bring back the deleted.
    """
    seeded = running_mesh(data).layout.seeded
    digest = hashlib.sha256(_DEMO_CATALOGUE.read_bytes()).hexdigest()
    if not again and seeded.exists() and seeded.read_text(encoding="utf-8") == digest:
        console.print("Filled before; nothing changed. `mesh seed --again` imports the demo catalogue anew.")
        return
    import_file(data, _DEMO_CATALOGUE, console, Wishes())
    replace_file(seeded, digest)


def smoke_test(data: Path, console: Console) -> None:
    """Layout a first order and say what was done and where."""
    mesh = running_mesh(data)
    console.print("A first order, end to end:")
    smoke.run(mesh.layout, lambda what, result, seconds: _print_step(console, what, result, seconds))
    for what, url in mesh.layout.urls.items():
        console.print(f"  {what:<24} {url}")


def _print_step(console: Console, what: str, result: str, seconds: float) -> None:
    console.print(f"  [green]✓[/] {what:<26} {seconds * 1000:6.0f} ms  {result}", soft_wrap=True)
