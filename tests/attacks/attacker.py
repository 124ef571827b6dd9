"""The attacker, a process of its own: `python -m tests.attacks.attacker` reads jobs as JSON, a line each.

It is nice to the others: on few cores its own work would be what hurts, and not what it sends.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from tests.attacks.burdens import BURDENS
from tests.attacks.floods import FLOODS
from tests.attacks.hoards import HOARDS
from tests.attacks.prey import Attack, Prey

ATTACKS: Mapping[str, Attack] = {**FLOODS, **HOARDS, **BURDENS}

_NICENESS = 10


@dataclass(frozen=True)
class Attacker:
    """The process, from outside."""

    process: "subprocess.Popen[str]"

    def attack(self, name: str, prey: Prey) -> int:
        """Let it attack until its time is over; return how often it did what it does."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        given = {key: value for key, value in asdict(prey).items() if not key.startswith("_")}
        self.process.stdin.write(json.dumps([name, given]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the attacker has ended: its error stands above"
        return int(answer)


@contextmanager
def running_attacker() -> Iterator[Attacker]:
    """Run one for the life of a block."""
    program = [sys.executable, "-m", "tests.attacks.attacker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Attacker(process)
        finally:
            process.kill()


def main() -> None:
    """Do one job after the other."""
    os.nice(_NICENESS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for line in sys.stdin:
        name, given = json.loads(line)
        print(ATTACKS[name](Prey(**given)), flush=True)


if __name__ == "__main__":
    main()
