"""Starting and stopping a mesh: `mesh up`, `down`, `reset` and `restart`."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

from rich.console import Console

from deploy.local.cli.running import running_mesh
from deploy.local.errors import MeshError, StartFailed
from deploy.local.layout import Layout, Options
from deploy.local.supervision import checks, control, daemon
from deploy.local.supervision.daemon import AlreadyRunning, remove_leftovers
from deploy.local.supervision.logs import log_file
from deploy.local.supervision.state import read_state, recorded
from deploy.local.supervision.supervisor import OnProgress

# The slowest part gets 60 s to stop, and some wait for one another.
_STOP_PATIENCE_SECONDS = 150.0


def up(options: Options, console: Console, *, detach: bool, asked: Collection[str]) -> None:
    """Start a mesh; say where it is when it is ready, or what of `asked` is not so where one runs already.

    Args:
        options: All options.
        console: Where progress is told.
        detach: Return when it is ready.
        asked: The names of the options that were given.
    """
    started_at = time.monotonic()
    layout = Layout(options.data, options.port_offset)

    def on_progress(name: str, seconds: float) -> None:
        console.print(f"  [green]✓[/] {name:<20} {seconds:5.1f} s")

    def on_ready() -> None:
        console.print(f"Ready in {time.monotonic() - started_at:.1f} s.")
        _print_urls(layout, console)

    console.print(f"Starting the mesh in {options.data}")
    try:
        if detach:
            _start_daemon(options, on_progress)
            on_ready()
        else:
            daemon.run(options, on_progress, on_ready)
    except AlreadyRunning as error:
        console.print(f"{error.message} {error.remedy}")
        _print_running(options, asked, console)


def down(data: Path, console: Console) -> None:
    """Stop a mesh and wait until all of it is gone."""
    layout = Layout(data)
    state = read_state(layout.state)
    if state is None:
        console.print(f"No mesh runs from {data}.")
        return
    if state.supervisor.is_alive():
        console.print(f"Stopping the mesh in {data}")
        state.supervisor.send(signal.SIGTERM)
        if not state.supervisor.wait(_STOP_PATIENCE_SECONDS):
            raise MeshError(
                f"The supervisor (process {state.pid}) has not stopped within "
                f"{_STOP_PATIENCE_SECONDS:.0f} s.",
                f"See `mesh logs mesh`; `kill -9 {state.pid}` and `mesh down` again end it by force.",
            )
    left = remove_leftovers(read_state(layout.state) or state)
    layout.state.unlink(missing_ok=True)
    console.print("Stopped." if not left else f"Stopped; {left} processes had outlived their supervisor.")


def reset(data: Path, console: Console) -> None:
    """Stop a mesh and delete what it has written; files that are not a mesh's stay.

    Raises:
        MeshError: the folder is not one of a mesh, or another process has it.
    """
    layout = Layout(data)
    checks.check_is_of_a_mesh(layout)
    state = read_state(layout.state)
    if state is not None:
        down(data, console)
    lock = checks.take_lock(layout)
    if lock is None:
        raise AlreadyRunning(data)
    with lock:
        left = checks.delete_data(layout)
    console.print(f"Deleted the mesh in {data}." + (f" It still holds {', '.join(left)}." if left else ""))
    if state is not None and state.options.get("postgres_url"):
        console.print("Its databases stay where they are: on a PostgreSQL of yours.")


def restart(data: Path, console: Console, part: str | None) -> None:
    """Replace processes, one after the other."""
    mesh = running_mesh(data)
    for name in control.command(Path(mesh.state.runtime_folder), {"command": "restart", "part": part}):
        console.print(f"  [green]✓[/] {name}")


def _start_daemon(options: Options, on_progress: OnProgress) -> None:
    """Start the supervisor as a process of its own and wait until the mesh is ready.

    Raises:
        AlreadyRunning: one runs from this data folder.
        MeshError: it could not be started.
    """
    layout = Layout(options.data, options.port_offset)
    checks.open_data_folder(layout)
    lock = checks.take_lock(layout)
    if lock is None:
        raise AlreadyRunning(layout.data)
    lock.close()
    with log_file(layout.logs, "mesh").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.local.supervision.daemon"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        _follow(process, options, on_progress)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def _follow(process: subprocess.Popen[str], options: Options, on_progress: OnProgress) -> None:
    assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101  both are pipes
    # The options travel by pipe: URLs hold passwords, and everyone sees a command line.
    process.stdin.write(json.dumps(options.to_json()))
    process.stdin.close()
    for line in process.stdout:
        message = json.loads(line)
        if "error" in message:
            raise MeshError(message["error"], message["remedy"])
        if message.get("ready"):
            return
        on_progress(message["done"], message["seconds"])
    raise StartFailed("The supervisor ended before the mesh was ready.", "See `mesh logs mesh`.")


def _print_running(options: Options, asked: Collection[str], console: Console) -> None:
    state = read_state(Layout(options.data).state)
    if state is None:
        return
    wanted, runs_with = recorded(options), state.options
    for name in sorted(runs_with.keys() & asked):
        if wanted[name] != runs_with[name]:
            told = f"{_as_typed(name, wanted[name])} takes effect after `mesh down`"
            console.print(f"  {told}: it runs {_as_running(name, runs_with[name])}.")
    _print_urls(Layout(options.data, state.port_offset), console)


def _as_running(name: str, value: object) -> str:
    is_missing = value is None or value == []
    return f"without --{name.replace('_', '-')}" if is_missing else f"with {_as_typed(name, value)}"


def _as_typed(name: str, value: object) -> str:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    if isinstance(value, list):
        return " ".join(f"--{option} {each}" for each in value)
    return f"--{option} {value}"


def _print_urls(layout: Layout, console: Console) -> None:
    for what, url in layout.urls.items():
        console.print(f"  {what:<24} {url}")
