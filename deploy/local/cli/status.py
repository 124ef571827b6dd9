"""Looking at a running mesh: `mesh status`."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local.cli.running import RunningMesh, running_mesh
from deploy.local.supervision import health


def status(data: Path, console: Console, *, as_json: bool) -> None:
    """Show every part, each asked just now whether it answers."""
    mesh = running_mesh(data)
    healthy = asyncio.run(health.ask_all(mesh.layout, mesh.state))
    if as_json:
        console.print(json.dumps(_as_json(mesh, healthy), indent=1), markup=False, soft_wrap=True)
    else:
        _print_table(mesh, healthy, console)
    if not mesh.state.ready or not all(healthy.values()):
        raise SystemExit(1)


def _as_json(mesh: RunningMesh, healthy: dict[str, bool]) -> dict[str, Any]:
    parts = [{**asdict(part), "healthy": healthy[part.name]} for part in mesh.state.parts]
    return {**asdict(mesh.state), "urls": mesh.layout.urls, "parts": parts}


def _print_table(mesh: RunningMesh, healthy: dict[str, bool], console: Console) -> None:
    table = Table("part", "pid", "address", "since", "restarts", "state", "healthy", box=None)
    for part in mesh.state.parts:
        answer = "[green]yes[/]" if healthy[part.name] else "[red]no[/]"
        since = _age(part.since) if part.since else ""
        table.add_row(
            part.name, str(part.pid or ""), part.address, since, str(part.restarts), part.state, answer
        )
    console.print(table)
    for what, url in mesh.layout.urls.items():
        console.print(f"  {what:<24} {url}")


def _age(since: str) -> str:
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
