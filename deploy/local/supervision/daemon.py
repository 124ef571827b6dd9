"""The process that is a running mesh: from the first check to the last part stopped.

`mesh up` calls `run`; `mesh up --detach` starts this module, which reads the options as JSON on stdin and
tells of its progress in lines of JSON on stdout.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from deploy.local.errors import MeshError
from deploy.local.layout import Layout, Options
from deploy.local.parts.blueprint import Blueprint, build, make_secrets, used_ports
from deploy.local.parts.certificates import Authority
from deploy.local.supervision import checks, control
from deploy.local.supervision.logs import log_file
from deploy.local.supervision.state import MeshState, read_state
from deploy.local.supervision.supervisor import OnProgress, Supervisor

log = logging.getLogger(__name__)

_LEFTOVER_PATIENCE_SECONDS = 5.0
_RUNTIME_PREFIX = "mesh-"


class AlreadyRunning(MeshError):
    """Another supervisor has the data folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"A mesh already runs from {folder}.", "See `mesh status`, or stop it: `mesh down`.")


def run(options: Options, on_progress: OnProgress, on_ready: Callable[[], None]) -> None:
    """Run a mesh until SIGTERM or SIGINT.

    Raises:
        AlreadyRunning: one runs from this data folder.
        MeshError: it could not be started; everything that was is stopped again.
    """
    layout = Layout(options.data, options.port_offset)
    checks.open_data_folder(layout)
    lock = checks.take_lock(layout)
    if lock is None:
        raise AlreadyRunning(layout.data)
    with lock:
        _log_to(log_file(layout.logs, "mesh"))
        runtime_folder = Path(tempfile.mkdtemp(prefix=_RUNTIME_PREFIX))
        try:
            blueprint = _prepare(options, layout, runtime_folder)
            asyncio.run(_supervise(blueprint, on_progress, on_ready))
            layout.state.unlink(missing_ok=True)
        finally:
            shutil.rmtree(runtime_folder, ignore_errors=True)


def _prepare(options: Options, layout: Layout, runtime_folder: Path) -> Blueprint:
    checks.check_free_space(layout.data)
    checks.check_wheels()
    before = read_state(layout.state)
    if before is not None:
        count = remove_leftovers(before)
        log.info("ended %d processes that a killed supervisor had left", count)
    blueprint = Blueprint(options, layout, Authority(layout.certificates), runtime_folder)
    checks.check_ports(layout, used_ports(blueprint))
    blueprint.authority.issue_missing(datetime.now(UTC))
    make_secrets(blueprint)
    return blueprint


async def _supervise(blueprint: Blueprint, on_progress: OnProgress, on_ready: Callable[[], None]) -> None:
    _cancel_on_signals()
    runtime_folder = blueprint.runtime_folder
    supervisor = Supervisor(
        blueprint.options, build(blueprint), blueprint.authority, runtime_folder, on_progress
    )
    with contextlib.suppress(asyncio.CancelledError):
        async with supervisor.running(), control.serving(supervisor, runtime_folder):
            on_ready()
            await asyncio.Event().wait()


def _cancel_on_signals() -> None:
    """End this task at the first signal; a second one must not interrupt the orderly stop."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def stop() -> None:
        for number in numbers:
            loop.add_signal_handler(number, lambda: None)
        if task is not None:
            task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, stop)


def remove_leftovers(state: MeshState) -> int:
    """End what a supervisor that was killed has left behind, and answer how many processes that were."""
    left = [(each, part.stop_signal) for part in state.parts if (each := part.identity) and each.is_alive()]
    for process, number in left:
        process.send(signal.Signals(number))
        # One that is halted would not see it.
        process.send(signal.SIGCONT)
    for process, _ in left:
        if not process.wait(_LEFTOVER_PATIENCE_SECONDS):
            process.send(signal.SIGKILL)
            process.wait(_LEFTOVER_PATIENCE_SECONDS)
    if Path(state.runtime_folder).name.startswith(_RUNTIME_PREFIX):
        shutil.rmtree(state.runtime_folder, ignore_errors=True)
    return len(left)


def _log_to(path: Path) -> None:
    handler = logging.FileHandler(path, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger("deploy.local")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    # The migrations log by structlog, whose default is stdout: that is for progress.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(handler.stream))


def main() -> None:
    """Serve `mesh up --detach`."""
    options = Options.from_json(json.load(sys.stdin))
    try:
        run(options, lambda name, seconds: _tell(done=name, seconds=seconds), _tell_ready)
    except MeshError as error:
        _tell(error=error.message, remedy=error.remedy)
        sys.exit(1)


def _tell(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _tell_ready() -> None:
    _tell(ready=True)
    # The one who reads this goes away now.
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  a descriptor is wanted
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    main()
