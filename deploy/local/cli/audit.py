"""The audit log of the user service: `mesh audit list` and `mesh audit verify`."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from commerce.user.v1 import audit_pb2
from commerce.user.v1.audit_pb2_grpc import AuditServiceStub

from deploy.local.cli.call import print_line
from deploy.local.cli.running import running_mesh
from deploy.local.cli.tokens import issue_token
from deploy.local.errors import MeshError
from deploy.local.shop import clients, json_calls
from services.audit_chain import BEGINNING, event_hash

_KIND = "AUDIT_EVENT_KIND_"
_PAGE = 100
_CALL_TIMEOUT_SECONDS = 10.0
_NOTED = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


class ChainBroken(MeshError):
    """The log is not what it was."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Keep the database as it is, and compare it with a backup.")


@dataclass(frozen=True)
class Link:
    """A place of the chain, from 1 on, and the hash of its event."""

    position: int
    hash: bytes

    @classmethod
    def noted(cls, text: str) -> "Link":
        """Read POSITION:HASH, as `mesh audit verify` prints it.

        Raises:
            MeshError: it is none.
        """
        found = _NOTED.fullmatch(text)
        if found is None:
            raise MeshError(f"{text} is no head of the log.", "It is POSITION:HASH, as `verify` prints it.")
        return cls(int(found[1]), bytes.fromhex(found[2]))

    def __str__(self) -> str:
        return f"{self.position}:{self.hash.hex()}"


@dataclass(frozen=True)
class _Log:
    """The log of a running mesh, read as an administrator."""

    stub: AuditServiceStub
    metadata: tuple[tuple[str, str], ...]

    def events(self, request: audit_pb2.ListAuditEventsRequest) -> Iterator[audit_pb2.AuditEvent]:
        """Read events page by page, newest first."""
        while True:
            page = self.stub.ListAuditEvents(request, metadata=self.metadata, timeout=_CALL_TIMEOUT_SECONDS)
            yield from page.audit_events
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def begin(self) -> Link:
        """Return the last place that was forgotten."""
        request = audit_pb2.GetAuditHeadRequest()
        head = self.stub.GetAuditHead(request, metadata=self.metadata, timeout=_CALL_TIMEOUT_SECONDS)
        return Link(head.forgotten_position, bytes.fromhex(head.forgotten_hash))


@contextmanager
def _log(data: Path) -> Iterator[_Log]:
    """Read at the service itself: the edge's limits are for people.

    Raises:
        Refused: the service is away.
    """
    mesh = running_mesh(data)
    metadata = clients.bearer(issue_token(mesh, "admin"))
    try:
        with clients.service_channel(mesh.layout, "user", mesh.operator) as channel:
            yield _Log(AuditServiceStub(channel), metadata)
    except grpc.RpcError as error:
        raise json_calls.Refused(error) from error


def list_events(data: Path, *, user: str, kind: str, count: int) -> None:
    """Print what happened, newest first, a line of JSON each.

    Args:
        data: The data folder.
        user: Only to this person; "": to everybody.
        kind: Only of this kind, such as "LOGGED_IN"; "": of all.
        count: How many at the most.

    Raises:
        MeshError: there is no such kind, or the service refuses.
    """
    request = audit_pb2.ListAuditEventsRequest(
        user_id=user, kind=_kind(kind) if kind else None, page_size=min(count, _PAGE)
    )
    with _log(data) as log:
        for number, event in enumerate(log.events(request), 1):
            if number > count:
                break
            print_line(json_calls.to_json(event))


def _kind(name: str) -> str:
    kinds = [key.removeprefix(_KIND) for key, value in audit_pb2.AuditEventKind.items() if value]
    kind = name.upper().replace("-", "_")
    if kind not in kinds:
        raise MeshError(f"There is no kind {name}.", f"The kinds are {', '.join(kinds)}.")
    return _KIND + kind


def verify(data: Path, head: str | None) -> None:
    """Make every hash anew and print the head of the log, to be noted elsewhere.

    Raises:
        ChainBroken: an event was changed, removed or slipped in; it says where.
    """
    noted = None if head is None else Link.noted(head)
    with _log(data) as log:
        before = log.begin()
        request = audit_pb2.ListAuditEventsRequest(page_size=_PAGE)
        newest, count = verify_events(log.events(request), lambda: (before, log.begin()), noted)
    sys.stdout.write(f"{count} events are whole. The head, to be noted elsewhere and given as --head:\n")
    sys.stdout.write(f"{newest}\n")


def verify_events(
    events: Iterable[audit_pb2.AuditEvent], begins: Callable[[], tuple[Link, Link]], noted: Link | None
) -> tuple[Link, int]:
    """Check that each event's hash covers the one before it, and return the newest place and the count.

    Args:
        events: All of them, newest first.
        begins: Called after the oldest: where the log may begin, which moves while events are forgotten.
        noted: What the log once ended with.

    Raises:
        ChainBroken: it does not, or the log does not hold what was noted.
    """
    newest: Link | None = None
    later: audit_pb2.AuditEvent | None = None
    faults: list[str] = []
    count = 0
    for event in events:
        link = Link(event.position, bytes.fromhex(event.hash))
        newest = newest or link
        _check_noted(link, noted)
        faults = (_fault(link, later) if later is not None else []) or faults
        later, count = event, count + 1
    begin = begins()
    faults = (_fault_at_beginning(begin, later) if later is not None else []) or faults
    if faults:
        # The oldest: what follows a fault may be sound or not.
        raise ChainBroken(faults[0])
    newest = newest or begin[-1]
    _check_noted(newest, noted)
    if noted is not None and newest.position < noted.position:
        raise ChainBroken(f"The log ends at {newest.position}; what followed up to {noted.position} is gone.")
    return newest, count


def _check_noted(link: Link, noted: Link | None) -> None:
    if noted is not None and link.position == noted.position and link.hash != noted.hash:
        raise ChainBroken(f"The event at {link.position} is not the one whose hash was noted.")


def _fault(link: Link, later: audit_pb2.AuditEvent) -> list[str]:
    """Say what is wrong between an event and the next one; nothing where nothing is."""
    if later.position != link.position + 1:
        return [f"Events are missing between {link.position} and {later.position}."]
    if event_hash(link.hash, later) != bytes.fromhex(later.hash):
        return [f"The event at {later.position}, or the hash of the one before it, was changed."]
    return []


def _fault_at_beginning(begins: Iterable[Link], oldest: audit_pb2.AuditEvent) -> list[str]:
    for begin in begins:
        # What was forgotten while we read is past the oldest that we have read.
        if begin.position >= oldest.position:
            return []
        if begin.position == oldest.position - 1:
            return _fault(begin if begin.position else Link(0, BEGINNING), oldest)
    return [f"Events are missing before {oldest.position}."]
