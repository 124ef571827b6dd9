"""Rows whose sku stands on an earlier line: what becomes of them once that one is sent."""

from collections.abc import Callable, Iterable

from deploy.local.imports.batches import Batch, PlacedRow
from deploy.local.imports.report import REFUSED, Outcome
from deploy.local.imports.seen import SeenSkus

# Sends rows and says what became of them; with True it is a trial, and nothing is written.
Send = Callable[[list[PlacedRow], bool], list[Outcome]]


def told_unsent(batch: Batch, seen: SeenSkus) -> list[Outcome]:
    """Tell of a batch's duplicates as if every row that counts were taken."""
    return [row.duplicate(*seen.place(row.sku)) for row in batch.duplicates]


def settle(batch: Batch, outcomes: Iterable[Outcome], seen: SeenSkus, send: Send) -> list[Outcome]:
    """Tell of a batch's duplicates; where the row that counts was refused, the next that is taken counts.

    Args:
        batch: whose earlier batches are settled.
        outcomes: of its other rows.
        seen: its skus.
        send: two calls at most are made of all rows, however many of them are refused.
    """
    seen.refuse((outcome.sku, outcome.row) for outcome in outcomes if outcome.result == REFUSED)
    left = [row for row in batch.duplicates if seen.is_refused(row.sku)]
    refused = [outcome for outcome in send(left, True) if outcome.result == REFUSED]
    bad = {outcome.row for outcome in refused}
    firsts: dict[str, PlacedRow] = {}
    for row in left:
        if row.number not in bad:
            firsts.setdefault(row.sku, row)
    sent = send(list(firsts.values()), False)
    seen.give_way((row.sku, row.line, row.number) for row in firsts.values())
    told = {outcome.row: outcome for outcome in refused + sent}
    return [told.get(row.number) or row.duplicate(*seen.place(row.sku)) for row in batch.duplicates]
