"""Looking at a running mesh: `mesh status`, `logs`, `restart` and `certs`."""

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local import control, health
from deploy.local.certificates import Authority
from deploy.local.errors import MeshError, NotRunning
from deploy.local.logs import last_lines
from deploy.local.place import Place
from deploy.local.state import MeshState, read_state

_FOLLOW_SECONDS = 0.25


@dataclass(frozen=True)
class RunningMesh:
    """A mesh that runs now."""

    place: Place
    state: MeshState

    @property
    def authority(self) -> Authority:
        """Its certificates."""
        return Authority(self.place.certificates)


def running_mesh(data: Path) -> RunningMesh:
    """Find the mesh that runs from a data folder.

    Raises:
        NotRunning: there is none.
    """
    state = read_state(Place(data).state)
    if state is None or not state.supervisor.is_alive():
        raise NotRunning(data)
    return RunningMesh(Place(data, state.port_offset), state)


def status(data: Path, console: Console, *, as_json: bool) -> None:
    """Show every part, each asked just now whether it answers."""
    mesh = running_mesh(data)
    healthy = asyncio.run(health.ask_all(mesh.place, mesh.authority, mesh.state.parts))
    if as_json:
        console.print(json.dumps(_as_json(mesh, healthy), indent=1), markup=False, soft_wrap=True)
    else:
        _print_table(mesh, healthy, console)
    if not mesh.state.ready or not all(healthy.values()):
        raise SystemExit(1)


def _as_json(mesh: RunningMesh, healthy: dict[str, bool]) -> dict[str, Any]:
    parts = [{**asdict(part), "healthy": healthy[part.name]} for part in mesh.state.parts]
    return {**asdict(mesh.state), "urls": mesh.place.urls, "parts": parts}


def _print_table(mesh: RunningMesh, healthy: dict[str, bool], console: Console) -> None:
    table = Table("part", "pid", "address", "since", "restarts", "state", "healthy", box=None)
    for part in mesh.state.parts:
        answer = "[green]yes[/]" if healthy[part.name] else "[red]no[/]"
        since = _age(part.since) if part.since else ""
        table.add_row(
            part.name, str(part.pid or ""), part.address, since, str(part.restarts), part.state, answer
        )
    console.print(table)
    for what, url in mesh.place.urls.items():
        console.print(f"  {what:<24} {url}")


def _age(since: str) -> str:
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def logs(data: Path, console: Console, part: str | None, *, lines: int, follow: bool) -> None:
    """Print the ends of logs, and go on with what is written when asked to."""
    folder = Place(data).logs
    paths = _log_files(folder, part)
    for path in paths:
        for line in last_lines(path, lines):
            _print_line(console, path, line, alone=len(paths) == 1)
    if follow:
        _follow(console, folder, part, {path: path.stat().st_size for path in paths})


def _log_files(folder: Path, part: str | None) -> list[Path]:
    found = sorted(folder.glob("*.log"))
    if part is None:
        return found
    meant = [path for path in found if path.stem == part or path.stem.rpartition("-")[0] == part]
    if not meant:
        names = ", ".join(path.stem for path in found) or "none yet"
        raise MeshError(f"{part} has no log.", f"There are logs of: {names}.")
    return meant


def _follow(console: Console, folder: Path, part: str | None, read_to: dict[Path, int]) -> None:
    while True:
        paths = _log_files(folder, part)
        for path in paths:
            start = read_to.get(path, 0)
            size = path.stat().st_size
            # Shorter than before: it was set aside, and what is there now is new.
            start = start if size >= start else 0
            with path.open("rb") as file:
                file.seek(start)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            read_to[path] = start + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                _print_line(console, path, line, alone=len(paths) == 1)
        time.sleep(_FOLLOW_SECONDS)


def _print_line(console: Console, path: Path, line: str, *, alone: bool) -> None:
    text = line if alone else f"{path.stem:<12} {line}"
    console.print(text, markup=False, soft_wrap=True)


def restart(data: Path, console: Console, part: str | None) -> None:
    """Replace processes, one after the other."""
    mesh = running_mesh(data)
    for name in control.order(Path(mesh.state.runtime_folder), {"order": "restart", "part": part}):
        console.print(f"  [green]✓[/] {name}")


def show_certificates(data: Path, console: Console) -> None:
    """Show who has a certificate, and until when."""
    place = Place(data)
    if not (place.certificates / "ca.crt").exists():
        raise NotRunning(data)
    table = Table("identity", "until (UTC)", "serial", "names", box=None)
    for each in Authority(place.certificates).statuses():
        table.add_row(each.identity, f"{each.not_after:%Y-%m-%d %H:%M}", each.serial[:12], each.names)
    console.print(table)
    console.print(f"  {place.certificates}/<identity>/tls.crt, tls.key and ca.crt")


def rotate_certificates(data: Path, console: Console) -> None:
    """Issue every certificate anew."""
    mesh = running_mesh(data)
    for _ in control.order(Path(mesh.state.runtime_folder), {"order": "rotate"}):
        console.print("Every certificate is new; their holders reload them.")
