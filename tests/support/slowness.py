"""How slow the machine is right now: what a rule that is a time in seconds is measured against."""

import subprocess
import sys
import time
from dataclasses import dataclass

from tests.support.waiting import PATIENCE_SECONDS

# What a start of ours consists of, and how long it takes where nothing else runs, on two cores of 2024.
_WORK = "import time, sys, services.order.__main__; print(time.time() - float(sys.argv[1]))"
_IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class Control:
    """A process that does nothing but load a service's modules, beside the process that is judged.

    Both meet the same processors and the same other load. A defect, such as a pause where none should be,
    slows only one of them.
    """

    _process: "subprocess.Popen[str]"

    @classmethod
    def start(cls) -> "Control":
        """Begin to measure."""
        program = [sys.executable, "-c", _WORK, str(time.time())]
        return cls(subprocess.Popen(program, stdout=subprocess.PIPE, text=True))

    def slowness(self) -> float:
        """Wait for the end, and return by how much the machine was slower than an idle one: 1.0 or more."""
        said, _ = self._process.communicate(timeout=PATIENCE_SECONDS)
        return max(1.0, float(said) / _IDLE_SECONDS)
