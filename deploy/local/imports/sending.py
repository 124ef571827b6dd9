"""Sends batches of rows to ProductService.ImportProducts; reading, sending and merging overlap."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import grpc
from commerce.product.v1.product_pb2 import (
    ImportIssue,
    ImportProductsRequest,
    ImportProductsResponse,
    ImportRow,
)
from commerce.product.v1.product_pb2_grpc import ProductServiceStub
from tenacity import Retrying
from tenacity.retry import retry_if_exception
from tenacity.stop import stop_after_delay
from tenacity.wait import wait_exponential_jitter

from deploy.local.errors import MeshError
from deploy.local.imports.batches import Batch, PlacedRow
from deploy.local.imports.duplicates import settle
from deploy.local.imports.report import CREATED, REFUSED, THERE, UNCHANGED, UPDATED, Outcome
from deploy.local.imports.rows import FRAME_BYTES, MAX_MESSAGE_BYTES, Remark
from deploy.local.imports.seen import SeenSkus
from deploy.local.shop import clients

# The contract lets a person have four imports at once: this one leaves room for another.
_IN_FLIGHT = 3
# The next one is read and judged while those are on their way.
_READ_AHEAD = 1
_BATCH_TIMEOUT_SECONDS = 300
# Access tokens live for 15 minutes.
_TOKEN_SECONDS = 600
# A service that was killed is back in seconds; what is away for a minute needs its operator.
_UNAVAILABLE_SECONDS = 60
_MAX_WAIT_SECONDS = 3
# What is under way when the import is cut short is waited for so long, to be counted.
_LAST_ANSWERS_SECONDS = 10
# Costs a field that a product can do without, and is judged by the service alone.
_PATH_INVALID = "CATEGORY_PATH_INVALID"


class Tokens:
    """An access token that is never old."""

    def __init__(self, issue: Callable[[], str]) -> None:
        """Begin with none: `issue` makes one."""
        self._issue = issue
        self._token = ""
        self._issued_at = float("-inf")

    def get(self) -> str:
        """Return it."""
        if time.monotonic() - self._issued_at > _TOKEN_SECONDS:
            self._token, self._issued_at = self._issue(), time.monotonic()
        return self._token


class Sender:
    """Sends batches of one file and tells what became of their rows, in the order of the file."""

    def __init__(
        self,
        channel: grpc.Channel,
        issue_token: Callable[[], str],
        seen: SeenSkus,
        *,
        validate_only: bool = False,
    ) -> None:
        """Prepare to send.

        Args:
            channel: to the edge.
            issue_token: makes an access token that may write products.
            seen: the skus of the batches.
            validate_only: nothing is written; the outcomes say what would be.
        """
        self._stub = ProductServiceStub(channel)
        self._tokens = Tokens(issue_token)
        self._seen = seen
        self._validate_only = validate_only

    def run(self, batches: Iterable[Batch], on_done: Callable[[list[Outcome]], None]) -> None:
        """Send all batches; repeating it changes nothing.

        When it is interrupted, or a batch is refused, what is under way is told of before it ends.

        Raises:
            MeshError: a batch was refused as a whole; those before it are done.
        """
        pool = ThreadPoolExecutor(_IN_FLIGHT)
        waiting: deque[tuple[Batch, Future[list[Outcome]]]] = deque()
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(self._send, batch, self._tokens.get())))
                if len(waiting) >= _IN_FLIGHT + _READ_AHEAD:
                    self._finish(waiting, on_done)
            while waiting:
                self._finish(waiting, on_done)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            wait([future for _, future in waiting if not future.cancelled()], timeout=_LAST_ANSWERS_SECONDS)
            for _, future in waiting:
                if future.done() and not future.cancelled() and future.exception() is None:
                    on_done(future.result())

    def _finish(
        self, waiting: deque[tuple[Batch, Future[list[Outcome]]]], on_done: Callable[[list[Outcome]], None]
    ) -> None:
        batch, future = waiting[0]
        try:
            outcomes = future.result()
            outcomes += settle(batch, outcomes, self._seen, self._send_again)
        except grpc.RpcError as error:
            raise MeshError(
                f"From line {batch.first_line} on, {len(batch.rows)} rows were refused together: "
                f"{error.code().name}: {error.details()}",
                "Import the file again when the mesh is well: what is done stays done.",
            ) from error
        # Not before it is known: what an interruption leaves here is told of at the end.
        waiting.popleft()
        on_done(sorted(outcomes, key=lambda outcome: outcome.row))

    def _send(self, batch: Batch, token: str) -> list[Outcome]:
        outcomes = batch.judged + self._outcomes(batch.rows, token, is_trial=self._validate_only)
        return sorted(outcomes, key=lambda outcome: outcome.row)

    def _send_again(self, rows: list[PlacedRow], is_trial: bool) -> list[Outcome]:
        return self._outcomes(rows, self._tokens.get(), is_trial=is_trial or self._validate_only)

    def _outcomes(self, rows: list[PlacedRow], token: str, *, is_trial: bool) -> list[Outcome]:
        if not rows:
            return []
        for row in rows:
            row.row.request.validate_only = is_trial
        answer, is_repeated = self._call(rows, token)
        issues = {issue.row_number: issue for issue in answer.issues}
        again = [row for row in rows if row.number in issues and issues[row.number].reason == _PATH_INVALID]
        changed = [_without_category(row, issues[row.number]) for row in again]
        outcomes = self._outcomes(changed, token, is_trial=is_trial)
        results = dict.fromkeys(answer.created_rows, CREATED) | dict.fromkeys(answer.updated_rows, UPDATED)
        # What an attempt wrote whose answer was lost is found there by the next: who wrote it, nobody knows.
        otherwise = THERE if is_repeated and not is_trial else UNCHANGED
        numbers = {row.number for row in again}
        return outcomes + [
            _outcome(row, results.get(row.number, otherwise), issues.get(row.number))
            for row in rows
            if row.number not in numbers
        ]

    def _call(self, rows: list[PlacedRow], token: str) -> tuple[ImportProductsResponse, bool]:
        """Return the answer, and whether there were attempts before."""
        retrying = Retrying(
            retry=retry_if_exception(_is_unavailable),
            wait=wait_exponential_jitter(multiplier=0.2, max=_MAX_WAIT_SECONDS),
            stop=stop_after_delay(_UNAVAILABLE_SECONDS),
            reraise=True,
        )
        answer = retrying(self._call_once, rows, token)
        return answer, retrying.statistics["attempt_number"] > 1

    def _call_once(self, rows: list[PlacedRow], token: str) -> ImportProductsResponse:
        return self._stub.ImportProducts(
            _messages(rows), metadata=clients.bearer(token), timeout=_BATCH_TIMEOUT_SECONDS
        )


def _messages(rows: list[PlacedRow]) -> Iterator[ImportProductsRequest]:
    """Yield rows, many in a message: one that is sent by itself costs as much as reading and judging it."""
    packed: list[ImportRow] = []
    left = MAX_MESSAGE_BYTES
    for row in rows:
        row_bytes = row.row.request.ByteSize() + FRAME_BYTES
        if packed and row_bytes > left:
            yield ImportProductsRequest(rows=packed)
            packed, left = [], MAX_MESSAGE_BYTES
        packed.append(row.row.request)
        left -= row_bytes
    yield ImportProductsRequest(rows=packed)


def _is_unavailable(error: BaseException) -> bool:
    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE


def _without_category(row: PlacedRow, issue: ImportIssue) -> PlacedRow:
    path = " > ".join(row.row.request.category_path)
    row.row.remarks.append(
        Remark("category_path", path[:80], "FIELD_LEFT_OUT", f"{issue.message}; it was left out.")
    )
    del row.row.request.category_path[:]
    return row


def _outcome(row: PlacedRow, result: str, issue: ImportIssue | None) -> Outcome:
    if issue:
        return Outcome(
            row.line, row.number, row.sku, REFUSED, issue.field, reason=issue.reason, message=issue.message
        )
    return row.outcome(result)
