"""What is printed when a test on a running mesh fails: enough to explain it from the output alone."""

from deploy.local.supervision.logs import last_lines
from deploy.local.supervision.state import read_state
from tests.support.stack import Stack

_LINES = 20
# A line of a log is JSON; a traceback in it may be pages.
_LINE_LENGTH = 600


def explained(mesh: Stack) -> list[tuple[str, str]]:
    """Return the sections of a report: what the test did, what runs, and the end of each part's log."""
    told = [("what the test did", "\n".join(map(str, mesh.evidence)))] if mesh.evidence else []
    state = read_state(mesh.place.state)
    parts = [f"{part.name} {part.state}, {part.restarts} restarts" for part in state.parts] if state else []
    told.append((f"mesh in {mesh.place.data}", "\n".join(parts) or "no mesh runs"))
    for path in sorted(mesh.place.logs.glob("*.log")):
        lines = [line[:_LINE_LENGTH] for line in last_lines(path, _LINES)]
        told.append((f"end of {path.name}", "\n".join(lines)))
    return told
