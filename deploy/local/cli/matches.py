"""Products of several suppliers that are one: `mesh match` and `mesh matches`."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from commerce.product.v1 import match_pb2
from commerce.product.v1.match_pb2_grpc import MatchServiceStub
from rich.console import Console

from deploy.local.cli.running import running_mesh
from deploy.local.cli.tokens import issue_token
from deploy.local.shop import clients, json_calls
from deploy.local.terminal import harmless

_SECONDS = 10.0
# Of one round of the matcher.
_ROUND_SECONDS = 30.0
# An access token lives for 15 minutes.
_TOKEN_SECONDS = 600.0
_PAGE = 100


@dataclass(frozen=True)
class _Matches:
    """The matches of a running mesh, as a merchant."""

    stub: MatchServiceStub
    metadata: tuple[tuple[str, str], ...]

    def rounds(self, request: match_pb2.FindMatchesRequest) -> Iterator[match_pb2.FindMatchesResponse]:
        """Let records be looked at until none is left."""
        is_done = False
        while not is_done:
            found = self.stub.FindMatches(request, metadata=self.metadata, timeout=_ROUND_SECONDS)
            yield found
            is_done = found.is_done

    def all_in(self, state: str) -> Iterator[match_pb2.Match]:
        """Read the matches in a state page by page, the newest first."""
        request = match_pb2.ListMatchesRequest(state=f"MATCH_STATE_{state.upper()}", page_size=_PAGE)
        while True:
            page = self.stub.ListMatches(request, metadata=self.metadata, timeout=_SECONDS)
            yield from page.matches
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def find(data: Path, console: Console, *, propose_only: bool) -> None:
    """Match what is due, and say what came of it.

    Raises:
        Refused: the service is away; what was done stays done.
    """
    looked_at = merged = proposed = 0
    request = match_pb2.FindMatchesRequest(propose_only=propose_only)
    with console.status("Looking at records…") as status:
        for found in _rounds(data, request):
            looked_at += found.record_count
            merged += found.merged_count
            proposed += found.proposed_count
            status.update(f"Looking at records: {looked_at} so far, {merged} merged…")
    console.print(f"{looked_at} records looked at: {merged} merged, {proposed} proposed.")
    if merged:
        console.print("`mesh matches list --state accepted` shows what was merged.")
    if proposed:
        console.print("`mesh matches list` shows what is proposed.")


def _rounds(data: Path, request: match_pb2.FindMatchesRequest) -> Iterator[match_pb2.FindMatchesResponse]:
    """Let records be looked at until none is left, with a new token in time."""
    is_done = False
    while not is_done:
        renew_at = time.monotonic() + _TOKEN_SECONDS
        with _matches(data) as matches:
            for found in matches.rounds(request):
                yield found
                is_done = found.is_done
                if time.monotonic() > renew_at:
                    break


def show(data: Path, console: Console, state: str) -> None:
    """Print the matches in a state, a block each.

    Raises:
        Refused: the service is away.
    """
    with _matches(data) as matches:
        told = [_told(each) for each in matches.all_in(state)]
    for each in told:
        console.print(each, markup=False)
    if not told:
        console.print(f"No match is {state}.")


def accept(data: Path, match_ids: Sequence[str], console: Console) -> None:
    """Merge matches, and say so of each.

    Raises:
        Refused: one cannot be; those before it are.
    """
    with _matches(data) as matches:
        for match_id in match_ids:
            request = match_pb2.AcceptMatchRequest(match_id=match_id)
            match = matches.stub.AcceptMatch(request, metadata=matches.metadata, timeout=_SECONDS)
            went, into = match.record.own_product_id, match.record.product_id
            console.print(f"{match_id}: {went} is merged into {into}.")


def reject(data: Path, match_ids: Sequence[str], console: Console) -> None:
    """Reject matches, and say so of each.

    Raises:
        Refused: one cannot be; those before it are.
    """
    with _matches(data) as matches:
        for match_id in match_ids:
            request = match_pb2.RejectMatchRequest(match_id=match_id)
            matches.stub.RejectMatch(request, metadata=matches.metadata, timeout=_SECONDS)
            console.print(f"{match_id}: they stay two products.")


def undo(data: Path, match_ids: Sequence[str], console: Console) -> None:
    """Take merges back, and say so of each.

    Raises:
        Refused: one cannot be; those before it are.
    """
    with _matches(data) as matches:
        for match_id in match_ids:
            request = match_pb2.UndoMatchRequest(match_id=match_id)
            match = matches.stub.UndoMatch(request, metadata=matches.metadata, timeout=_SECONDS)
            console.print(f"{match_id}: {match.record.own_product_id} is a product of its own again.")


def _told(match: match_pb2.Match) -> str:
    """Return a match as a person reads it: what the suppliers wrote is made harmless."""
    rule = match_pb2.MatchRule.Name(match.rule).removeprefix("MATCH_RULE_")
    evidence = match.evidence
    why = [f"words {', '.join(evidence.shared_words)}"] if evidence.shared_words else []
    why += [f"code {evidence.code}"] if evidence.code else []
    why += ["numbers differ"] if evidence.numbers_differ else []
    why += [f"prices differ {evidence.price_ratio:.2f} times"] if evidence.price_ratio else []
    lines = [
        f"{match.match_id}  {match.probability:.0%}  {rule}",
        f"  {match.record.supplier}-{match.record.supplier_id}  {evidence.name}",
        f"  {match.other_record.supplier}-{match.other_record.supplier_id}  {evidence.other_name}",
        f"  {'; '.join(why)}",
    ]
    return "\n".join(harmless(line) for line in lines)


@contextmanager
def _matches(data: Path) -> Iterator[_Matches]:
    """Open the edge as a merchant.

    Raises:
        Refused: it is away, or refuses.
    """
    mesh = running_mesh(data)
    token = issue_token(mesh, "merchant")
    try:
        with clients.edge_channel(mesh.layout) as channel:
            yield _Matches(MatchServiceStub(channel), clients.bearer(token))
    except grpc.RpcError as error:
        raise json_calls.Refused(error) from error
