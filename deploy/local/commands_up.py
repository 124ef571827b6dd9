"""`mesh up` and `mesh down`."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from deploy.local import daemon
from deploy.local.checks import open_data_folder, take_lock
from deploy.local.daemon import AlreadyRunning, remove_leftovers
from deploy.local.errors import MeshError, StartFailed
from deploy.local.logs import log_file
from deploy.local.place import Options, Place
from deploy.local.state import read_state
from deploy.local.supervisor import OnProgress

# The slowest part gets 60 s to stop, and some wait for one another.
_STOP_PATIENCE_SECONDS = 150.0


def up(options: Options, console: Console, *, detach: bool) -> None:
    """Start a mesh; say where it is when it is ready."""
    started_at = time.monotonic()
    place = Place(options.data, options.port_offset)

    def on_progress(name: str, seconds: float) -> None:
        console.print(f"  [green]✓[/] {name:<20} {seconds:5.1f} s")

    def on_ready() -> None:
        console.print(f"Ready in {time.monotonic() - started_at:.1f} s.")
        _print_urls(place, console)

    console.print(f"Starting the mesh in {options.data}")
    try:
        if detach:
            _start_daemon(options, on_progress)
            on_ready()
        else:
            daemon.run(options, on_progress, on_ready)
    except AlreadyRunning as error:
        console.print(f"{error.message} {error.remedy}")
        _print_urls(_running_place(options.data) or place, console)


def down(data: Path, console: Console) -> None:
    """Stop a mesh and wait until all of it is gone."""
    place = Place(data)
    state = read_state(place.state)
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
    left = remove_leftovers(read_state(place.state) or state)
    place.state.unlink(missing_ok=True)
    console.print("Stopped." if not left else f"Stopped; {left} processes had outlived their supervisor.")


def _start_daemon(options: Options, on_progress: OnProgress) -> None:
    """Start the supervisor as a process of its own and wait until the mesh is ready.

    Raises:
        AlreadyRunning: one runs from this data folder.
        MeshError: it could not be started.
    """
    place = Place(options.data, options.port_offset)
    open_data_folder(place)
    lock = take_lock(place)
    if lock is None:
        raise AlreadyRunning(place.data)
    lock.close()
    with log_file(place.logs, "mesh").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.local.daemon"],
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


def _running_place(data: Path) -> Place | None:
    state = read_state(Place(data).state)
    return Place(data, state.port_offset) if state else None


def _print_urls(place: Place, console: Console) -> None:
    for what, url in place.urls.items():
        console.print(f"  {what:<24} {url}")
