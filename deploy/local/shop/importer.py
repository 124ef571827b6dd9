"""Sends a catalogue to ProductService.ImportProducts through the edge, a batch a call."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
from commerce.product.v1.product_pb2 import ImportIssue, ImportProductsRequest, ImportProductsResponse
from commerce.product.v1.product_pb2_grpc import ProductServiceStub

from deploy.local.errors import MeshError
from deploy.local.shop import clients
from deploy.local.shop.catalogue import Item

# Small enough that progress is seen and an interrupted import has done most of its work.
BATCH_ROWS = 1000
_BATCH_TIMEOUT_SECONDS = 300
# Access tokens live for 15 minutes.
_TOKEN_SECONDS = 600


@dataclass
class ImportReport:
    """What became of the rows so far."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    issues: list[ImportIssue] = field(default_factory=list)
    failed: int = 0

    @property
    def rows(self) -> int:
        """All rows that were judged."""
        return self.created + self.updated + self.unchanged + self.failed

    def add_answer(self, answer: ImportProductsResponse) -> None:
        """Count what the service says of a batch."""
        self.created += answer.created_count
        self.updated += answer.updated_count
        self.unchanged += answer.unchanged_count
        self.failed += answer.failed_count
        self.issues.extend(answer.issues)

    def add_unsent(self, issues: list[ImportIssue]) -> None:
        """Count rows that could not be sent."""
        self.failed += len(issues)
        self.issues.extend(issues)


class _Tokens:
    """An access token that is never old."""

    def __init__(self, issue: Callable[[], str]) -> None:
        self._issue = issue
        self._token = ""
        self._issued_at = float("-inf")

    def get(self) -> str:
        if time.monotonic() - self._issued_at > _TOKEN_SECONDS:
            self._token, self._issued_at = self._issue(), time.monotonic()
        return self._token


def import_items(
    channel: grpc.Channel,
    issue_token: Callable[[], str],
    items: Iterator[Item],
    on_batch: Callable[[ImportReport], None],
) -> ImportReport:
    """Send all rows, batch after batch. Repeating it changes nothing.

    Args:
        channel: to the edge.
        issue_token: makes an access token that may write products.
        items: rows to send, and rows that cannot be.
        on_batch: told after each batch how far it is.

    Raises:
        MeshError: a batch was refused as a whole; those before it are done.
    """
    stub, tokens, report = ProductServiceStub(channel), _Tokens(issue_token), ImportReport()
    while batch := list(itertools.islice(items, BATCH_ROWS)):
        report.add_unsent([item for item in batch if isinstance(item, ImportIssue)])
        requests = [item for item in batch if isinstance(item, ImportProductsRequest)]
        if requests:
            report.add_answer(_send(stub, requests, tokens.get()))
        on_batch(report)
    report.issues.sort(key=lambda issue: issue.row_number)
    return report


def _send(stub: ProductServiceStub, rows: list[ImportProductsRequest], token: str) -> ImportProductsResponse:
    try:
        return stub.ImportProducts(iter(rows), metadata=clients.bearer(token), timeout=_BATCH_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        first, last = rows[0].row_number, rows[-1].row_number
        raise MeshError(
            f"Rows {first} to {last} were refused: {error.code().name}: {error.details()}",
            "Rows before them are imported; correct what is wrong and import the file again.",
        ) from error
