"""Judges the skips of `make test-clients`: `python -m tests.clients.floor REPORT`, of pytest's JUnit report.

A test that needs another's registry skips where that does not answer. If all of them did, the run would be
green and would have shown nothing.
"""

import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.clients.tools import NO_REGISTRY

# What each installer's registry answers to anybody.
REGISTRIES = {
    "npm": "https://registry.npmjs.org/-/ping",
    "pip": "https://pypi.org/simple/pip/",
    "go": "https://proxy.golang.org/golang.org/x/text/@v/list",
    "mvn": "https://repo.maven.apache.org/maven2/",
}
_ANSWER_SECONDS = 10.0


def main() -> None:
    """Tell how many tests were skipped, and why; exit with 1 where they did not need to be."""
    count, skips = read_report(Path(sys.argv[1]))
    print(f"{sum(skips.values())} of {count} tests of clients were skipped.")
    for reason, times in skips.most_common():
        print(f"  {times}: {reason}")
    if wrong := unneeded(skips, REGISTRIES):
        sys.exit(f"They skipped, and the registry answers now: {', '.join(wrong)}. Run the tests again.")


def read_report(report: Path) -> tuple[int, Counter[str]]:
    """Return how many tests ran or were skipped, and the first lines of the skips' reasons."""
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314  pytest wrote it
    reasons = [skip.get("message", "").partition("\n")[0] for case in cases for skip in case.iter("skipped")]
    return len(cases), Counter(reasons)


def unneeded(skips: Mapping[str, int], registries: Mapping[str, str]) -> list[str]:
    """Return the installers whose registry answers, although tests were skipped as if it did not."""
    named = {
        reason.removeprefix(NO_REGISTRY).split()[0] for reason in skips if reason.startswith(NO_REGISTRY)
    }
    return sorted(name for name in named if _answers(registries[name]))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310  of the table above
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


if __name__ == "__main__":
    main()
