"""Tells of the skips of `make test-clients`: `python -m tests.clients.skips REPORT`, pytest's JUnit.

A test that needs another's registry skips where that does not answer: a run in which all did is green, and
has shown nothing.
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET


def main() -> None:
    """Tell how many tests were skipped, and why."""
    count, skips = read_report(Path(sys.argv[1]))
    print(f"{sum(skips.values())} of {count} tests of clients were skipped.")
    for reason, times in skips.most_common():
        print(f"  {times}: {reason}")


def read_report(report: Path) -> tuple[int, Counter[str]]:
    """Return how many tests ran or were skipped, and the first lines of the skips' reasons."""
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314  pytest wrote it
    reasons = [skip.get("message", "").partition("\n")[0] for case in cases for skip in case.iter("skipped")]
    return len(cases), Counter(reasons)


if __name__ == "__main__":
    main()
