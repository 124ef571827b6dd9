"""Reading the mails that a mesh has written to its folder: `mesh mail`."""

import email
import email.policy
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

from deploy.local.errors import MeshError
from deploy.local.layout import Layout
from deploy.local.supervision.state import read_state
from deploy.local.terminal import harmless

_POLL_SECONDS = 0.5
_RULE = "-" * 72


def mail(data: Path, *, to: str | None, count: int, follow: bool) -> None:
    """Print the newest mails, newest first; then those that come.

    Args:
        data: The data folder.
        to: Only those to this address, in any case of its letters.
        count: How many at the most.
        follow: Go on as mails are sent, until interrupted.

    Raises:
        MeshError: the mesh sends its mails elsewhere.
    """
    layout = Layout(data)
    state = read_state(layout.state)
    if state is not None and (url := state.options.get("smtp_url")):
        raise MeshError(f"The mails of this mesh go to {url}.", "Without --smtp-url it keeps them here.")
    seen = set(_files(layout.mail))
    # Read one after the other: a folder of a thousand is searched for a few.
    shown = 0
    for path in sorted(seen, reverse=True):
        if shown < count and _show(path, to):
            shown += 1
    while follow:
        time.sleep(_POLL_SECONDS)
        came = sorted(set(_files(layout.mail)) - seen)
        seen.update(came)
        for path in came:
            _show(path, to)


def _files(folder: Path) -> Iterator[Path]:
    # Names begin with a UUIDv7: their order is that of time.
    return folder.glob("[!.]*.eml")


def _show(path: Path, to: str | None) -> bool:
    """Print a mail, unless it is to somebody else or has just gone; tell whether it was."""
    try:
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    except FileNotFoundError:
        return False
    if to is not None and str(message["To"]).lower() != to.lower():
        return False
    sys.stdout.write(_text_of(message))
    sys.stdout.flush()
    return True


def _text_of(message: EmailMessage) -> str:
    head = [f"{name}: {message[name]}" for name in ("Date", "To", "Subject")]
    lines = [*head, "", *message.get_content().splitlines(), _RULE]
    return "".join(f"{harmless(line)}\n" for line in lines)
