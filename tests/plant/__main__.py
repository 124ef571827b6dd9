"""`make plant`: breaks the product in one line at a time, on a copy, and sees that a test notices."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.plant.plants import PLANTS, Plant

_ROOT = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "node_modules")
# Of all the plants' tests together; and of one plant's, which take some seconds where nothing hangs.
_SOUND_SECONDS = 600.0
_PLANT_SECONDS = 120.0
# What pytest gets to stop what it has started, once it is told to end.
_END_SECONDS = 20.0


@dataclass(frozen=True)
class _Verdict:
    """What pytest reported of its tests."""

    passed: int
    # In the test itself; one that failed before it began, in a fixture or an import, says nothing of a rule.
    failed: int
    broken: int
    said: str

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.broken} could not be run"


def main() -> None:
    """Report each plant; exit with 1 when the tests pass with one of them, or fail without any.

    Of the plants, those whose rules have the words that are given.
    """
    started = time.monotonic()
    plants = [plant for plant in PLANTS if all(word in plant.rule for word in sys.argv[1:])]
    if not plants:
        sys.exit("No plant's rule has all these words; without any, each is planted.")
    with tempfile.TemporaryDirectory(prefix="plant-") as name:
        tree = Path(name) / "tree"
        shutil.copytree(_ROOT, tree, ignore=_LEFT_OUT)
        tests = sorted({test for plant in plants for test in plant.tests})
        sound = _run(tree, tests, _SOUND_SECONDS)
        if sound is None or not sound.passed or sound.failed or sound.broken:
            sys.exit(f"{sound and sound.said}\nWithout any plant: {sound}. So nothing can be said.")
        unseen = [plant.rule for plant in plants if not _is_seen(tree, plant)]
    took = time.monotonic() - started
    print(f"{len(plants) - len(unseen)} of {len(plants)} plants were seen, in {took:.0f} s.")
    if unseen:
        sys.exit("\n".join(("Not seen:", *unseen)))


def _is_seen(tree: Path, plant: Plant) -> bool:
    """Run a plant's tests with it, and leave the tree as it was."""
    path, started = tree / plant.path, time.monotonic()
    sound = path.read_text(encoding="utf-8")
    if sound.count(plant.sound) != 1:
        sys.exit(f"{plant.path} does not hold this once: {plant.sound}")
    path.write_text(sound.replace(plant.sound, plant.broken), encoding="utf-8")
    try:
        verdict = _run(tree, plant.tests, _PLANT_SECONDS, "--exitfirst")
    finally:
        path.write_text(sound, encoding="utf-8")
    seen = verdict is not None and verdict.failed > 0
    said = "seen" if seen else f"NOT SEEN ({verdict or f'not over after {_PLANT_SECONDS:.0f} s'})"
    print(f"{said:10} {time.monotonic() - started:5.1f} s  {plant.rule}", flush=True)
    if verdict is not None and not seen:
        print(verdict.said)
    return seen


def _run(tree: Path, tests: Sequence[str], seconds: float, *options: str) -> _Verdict | None:
    """Run tests in a tree; None where they were not over in time."""
    report, said = tree.parent / "report.xml", tree.parent / "said"
    report.unlink(missing_ok=True)
    # Before the installed tree, in the tests and in the processes that they start.
    roots = f"{tree}:{tree / 'generated'}:{tree / 'clients/python/src'}"
    environment = {**os.environ, "PYTHONPATH": roots, "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not long"]
    program += [f"--junitxml={report}", *options]
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*program, *tests],
            cwd=tree,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        if not _await_end(process, seconds):
            return None
    return _read(report, said.read_text(encoding="utf-8", errors="replace"))


def _await_end(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        # As Ctrl-C does: its fixtures stop the servers that they have started.
        process.send_signal(signal.SIGINT)
    else:
        return True
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return False


def _read(report: Path, said: str) -> _Verdict:
    """Read JUnit's XML: a `failure` is one of the test's own call, an `error` one before or after it."""
    if not report.exists():
        return _Verdict(0, 0, 0, said)
    cases = [
        {each.tag for each in case}
        for case in ET.parse(report).iter("testcase")  # noqa: S314  pytest's
    ]
    failed, broken = (sum(tag in case for case in cases) for tag in ("failure", "error"))
    return _Verdict(len(cases) - failed - broken, failed, broken, said)


if __name__ == "__main__":
    main()
