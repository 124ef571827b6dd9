"""What the edge shows to people: `mesh open`."""

import os
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from deploy.local.cli.running import running_mesh
from deploy.local.errors import MeshError

# What a person calls each page, and its path at the edge (gateway/edge/pages.py).
PAGES = {"docs": "/docs", "guide": "/docs/guide", "openapi": "/openapi.json", "graphiql": "/graphiql"}
# One of them names the screen of whoever sits here.
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")


def open_page(data: Path, name: str, environment: Mapping[str, str] = os.environ) -> None:
    """Print the address of a page of the edge, and open it in a browser where there is a screen.

    Raises:
        MeshError: there is no such page, or no mesh runs.
    """
    if name not in PAGES:
        raise MeshError(f"There is no page {name}.", f"The pages are {', '.join(PAGES)}.")
    address = f"http://localhost:{running_mesh(data).layout.ports['edge']}{PAGES[name]}"
    sys.stdout.write(address + "\n")
    sys.stdout.flush()
    if any(environment.get(screen) for screen in _SCREENS):
        webbrowser.open(address)
