"""An import of products: rows judged one by one (judging.py), written in batches, each with a result."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

from commerce.product.v1 import product_pb2

from services.errors import ServiceError, VersionConflict
from services.product.catalogue import store as product_store
from services.product.catalogue.domain import (
    Product,
    ProductMerged,
    SkuTaken,
    changed_fields,
)
from services.product.catalogue.events import product_created, product_updated
from services.product.categories import store as category_store
from services.product.categories.domain import CategoryNotFound, CategoryTooDeep
from services.product.categories.events import category_created
from services.product.freshness import record
from services.product.imports import store
from services.product.imports.digests import AskedRow, digest_of, says_category
from services.product.imports.judging import Path, Row, is_quantity, read_row
from services.product.inventory import store as stock_store
from services.product.inventory.events import stock_opened
from services.product.suppliers import match_store
from services.product.suppliers import store as supplier_store
from services.product.suppliers.records import NewRecord, check_owner
from services.product.text import text_violations
from services.storage.events import NewEvent
from services.storage.postgres import Connection, Pool, connection, transaction

# One transaction: long enough to be fast, a tenth of a second, short enough not to be in anybody's way.
_BATCH_ROWS = 500
# What one stream keeps in memory until its batch is written; several hundred streams may run.
_BATCH_BYTES = 1024 * 1024
# Ids of paths, and paths of ids, are remembered from batch to batch, up to twice the largest real tree.
_REMEMBERED_PATHS = 10_000
# As the contract says of ImportProductsResponse's lists and ImportIssue.sku.
_MAX_ISSUES = 1000
_MAX_NUMBERS = 1000
_ISSUE_SKU_CHARACTERS = 64
# It may quote the row, which may be 64 kB of one name.
_ISSUE_MESSAGE_CHARACTERS = 300
_ISSUE_FIELD_CHARACTERS = 200
# Other writers may change the same products or categories; then the batch is read and written anew.
_ATTEMPTS = 5
_OVERTAKEN = (SkuTaken, VersionConflict, ProductMerged, CategoryNotFound, CategoryTooDeep)


@dataclass(frozen=True)
class _Sorted:
    """Rows by what becomes of them."""

    new: list[Row]
    changed: list[tuple[Product, Row]]
    unchanged: list[tuple[Product, Row]]
    refused: list[tuple[Row, ServiceError]]
    # Of products that were merged into others: whether their rows want them for sale.
    merged: dict[UUID, bool]

    @property
    def taken(self) -> list[Row]:
        return [*self.new, *(row for _, row in (*self.changed, *self.unchanged))]


class _TrialOver(Exception):
    """Ends the transaction of a trial, so that nothing of it stays."""


class Import:
    """One stream of rows and the report on them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._report = product_pb2.ImportProductsResponse()
        # Of the batch that is being filled, by sku.
        self._asked: dict[str, AskedRow] = {}
        self._is_trial = False
        self._batch_bytes = 0
        self._categories: dict[Path, UUID] = {}
        self._paths: dict[UUID | None, Path] = {None: ()}

    async def add(self, request: product_pb2.ImportProductsRequest) -> None:
        """Take the rows of a message; a bad one fails alone."""
        for asked in request.rows or (request,):
            await self._add(asked)

    async def finish(self) -> product_pb2.ImportProductsResponse:
        """Write what is left and return the report."""
        await self._flush()
        self._report.issues.sort(key=lambda issue: issue.row_number)
        return self._report

    async def _add(self, asked: AskedRow) -> None:
        sku, row_bytes = asked.product.sku, asked.ByteSize()
        # Each row counts: of two with one sku, the later changes what the earlier wrote.
        is_full = len(self._asked) == _BATCH_ROWS or self._batch_bytes + row_bytes > _BATCH_BYTES
        if is_full or sku in self._asked or asked.validate_only != self._is_trial:
            await self._flush()
        self._is_trial = asked.validate_only
        self._asked[sku] = asked
        self._batch_bytes += row_bytes

    async def _flush(self) -> None:
        asked = self._asked
        self._asked, self._batch_bytes = {}, 0
        if not asked:
            return
        # In the order in which they came: so are the refusals told.
        judged = [self._judged(row) for row in await self._not_known(asked)]
        rows = sorted((row for row in judged if row), key=lambda row: row.details.sku)
        for attempts_left in reversed(range(_ATTEMPTS if rows else 0)):
            try:
                await self._write(rows)
            except _OVERTAKEN:
                # The categories may have been removed, moved or renamed since they were looked up.
                self._categories = {}
                if not attempts_left:
                    raise
            else:
                return

    async def _not_known(self, asked: dict[str, AskedRow]) -> list[AskedRow]:
        """Count the rows that are written as they stand, and return the others."""
        async with connection(self._pool) as conn:
            # Of some texts PostgreSQL can hold none to compare them with.
            skus = [sku for sku in asked if not text_violations("sku", sku)]
            written = await store.find_imported(conn, skus)
            known = {
                sku: imported.category_id
                for sku, imported in written.items()
                if imported.digest == digest_of(asked[sku], imported.version)
                and is_quantity(asked[sku].initial_quantity)
            }
            await self._find_paths(conn, set(known.values()))
        # A category may have been renamed or moved since: then the row files its product in another one.
        filed = {
            sku
            for sku, category_id in known.items()
            if self._paths.get(category_id) == tuple(asked[sku].category_path)
            or not says_category(asked[sku])
        }
        self._report.unchanged_count += len(filed)
        return [row for sku, row in asked.items() if sku not in filed]

    async def _find_paths(self, conn: Connection, category_ids: set[UUID | None]) -> None:
        if len(self._paths) > _REMEMBERED_PATHS:
            self._paths = {None: ()}
        unknown = [each for each in category_ids if each and each not in self._paths]
        if unknown:
            found = await category_store.find_categories(conn, unknown)
            self._paths |= {each.category_id: each.path for each in found}

    def _judged(self, asked: AskedRow) -> Row | None:
        try:
            return read_row(asked)
        except ServiceError as error:
            self._refuse(asked, error)
            return None

    def _refuse(self, asked: AskedRow, error: ServiceError) -> None:
        self._report.failed_count += 1
        if len(self._report.issues) < _MAX_ISSUES:
            self._report.issues.add(
                row_number=asked.row_number,
                sku=asked.product.sku[:_ISSUE_SKU_CHARACTERS],
                reason=error.reason,
                message=error.message[:_ISSUE_MESSAGE_CHARACTERS],
                field=error.violations[0].field[:_ISSUE_FIELD_CHARACTERS] if error.violations else "",
            )

    async def _write(self, rows: list[Row]) -> None:
        categories = dict(self._categories)
        told = _Sorted([], [], [], [], {})
        with suppress(_TrialOver):
            async with transaction(self._pool) as conn:
                happened = await _ensure_paths(conn, categories, {row.path for row in rows if row.path})
                told = await _sort_out(conn, categories, rows)
                if self._is_trial:
                    categories = self._categories
                    raise _TrialOver
                # Before products are locked, as merges are undone.
                if told.merged:
                    await match_store.note_wanted(conn, told.merged)
                happened += await _create(conn, told.new)
                happened += await _change(conn, told.changed)
                await _keep_records(conn, told.taken, {row.details.sku for _, row in told.changed})
                await store.note_digests(conn, [each for each in map(_known_by, told.unchanged) if each])
                if happened:
                    await record(conn, happened)
        self._categories = categories if len(categories) <= _REMEMBERED_PATHS else {}
        self._count(told)

    def _count(self, told: _Sorted) -> None:
        changed = [row for _, row in told.changed]
        self._report.created_count += len(told.new)
        self._report.updated_count += len(changed)
        self._report.unchanged_count += len(told.unchanged)
        for numbers, rows in ((self._report.created_rows, told.new), (self._report.updated_rows, changed)):
            numbers.extend(row.asked.row_number for row in rows[: _MAX_NUMBERS - len(numbers)])
        for row, error in told.refused:
            self._refuse(row.asked, error)


async def _sort_out(conn: Connection, categories: dict[Path, UUID], rows: list[Row]) -> _Sorted:
    """Part rows that make a product, that change one, that change nothing, and that may not."""
    filed = [replace(row, details=replace(row.details, category_id=categories.get(row.path))) for row in rows]
    known = await product_store.find_products_by_sku(conn, [row.details.sku for row in rows])
    new = [row for row in filed if row.details.sku not in known]
    there = [(known[row.details.sku], row) for row in filed if row.details.sku in known]
    merged = await supplier_store.find_merged(conn, [product.product_id for product, _ in there])
    # What was merged into another's product takes its supplier's word, but stays out of sale.
    wanted = [
        (product, row.over(product).out_of_sale() if product.product_id in merged else row.over(product))
        for product, row in there
    ]
    wanted, refused = await _part_refused(conn, wanted)
    return _Sorted(
        new,
        [(product, row) for product, row in wanted if product.details != row.details],
        [(product, row) for product, row in wanted if product.details == row.details],
        refused,
        {
            product.product_id: row.is_for_sale
            for product, row in wanted
            if product.product_id in merged and row.is_for_sale is not None
        },
    )


def _known_by(unchanged: tuple[Product, Row]) -> store.Unchanged | None:
    """Return what the row is known by from now on; None where the product is not as it wants."""
    product, row = unchanged
    if row.is_for_sale not in {None, row.details.active}:
        return None
    return store.Unchanged(product.product_id, product.version, digest_of(row.asked, product.version))


async def _part_refused(
    conn: Connection, wanted: list[tuple[Product, Row]]
) -> tuple[list[tuple[Product, Row]], list[tuple[Row, ServiceError]]]:
    """Part rows from those whose product is another supplier's, or that others are merged into."""
    suppliers = await supplier_store.find_suppliers(conn, [product.product_id for product, _ in wanted])
    taken, refused = [], []
    for product, row in wanted:
        of = suppliers[product.product_id]
        try:
            check_owner(row.supplier, of.own)
            if of.matched and _goes_out_of_sale(product, row):
                raise ProductMerged("others are merged into the product: undo their matches first")
        except ServiceError as error:
            refused.append((row, error))
        else:
            taken.append((product, row))
    return taken, refused


def _goes_out_of_sale(product: Product, row: Row) -> bool:
    return product.details.active and not row.details.active


async def _create(conn: Connection, rows: list[Row]) -> list[NewEvent]:
    if not rows:
        return []
    # A new product is at version 1.
    digests = [digest_of(row.asked, 1) for row in rows]
    products = await product_store.insert_products(conn, [row.details for row in rows], digests)
    quantities = {
        product.product_id: row.asked.initial_quantity for product, row in zip(products, rows, strict=True)
    }
    await stock_store.add_levels(conn, quantities)
    created = [product_created(product) for product in products]
    opened = [
        stock_opened(product.product_id, quantities[product.product_id], product.create_time)
        for product in products
        if quantities[product.product_id]
    ]
    return created + opened


async def _change(conn: Connection, changed: list[tuple[Product, Row]]) -> list[NewEvent]:
    if not changed:
        return []
    wanted = [replace(product, details=row.details) for product, row in changed]
    # What a row wants that its product cannot have yet is looked at again when the row comes again.
    digests = [
        digest_of(row.asked, product.version + 1) if row.is_for_sale in (None, row.details.active) else None
        for product, row in changed
    ]
    written = await product_store.update_products(conn, wanted, digests)
    await _check_places(
        conn, [before.product_id for before, row in changed if _goes_out_of_sale(before, row)]
    )
    return [
        product_updated(after, changed_fields(before.details, after.details))
        for after, (before, _) in zip(written, changed, strict=True)
    ]


async def _check_places(conn: Connection, product_ids: list[UUID]) -> None:
    """See that nothing was merged into products before they were locked and taken out of sale.

    Raises:
        VersionConflict: it was.
    """
    suppliers = await supplier_store.find_suppliers(conn, product_ids) if product_ids else {}
    if any(each.matched for each in suppliers.values()):
        raise VersionConflict("a product was merged into another at the same moment")


async def _keep_records(conn: Connection, rows: list[Row], changed: set[str]) -> None:
    records = [
        NewRecord(
            row.supplier,
            row.details.sku.removeprefix(f"{row.supplier}-"),
            row.details.sku,
            is_changed=row.details.sku in changed,
        )
        for row in rows
        if row.supplier
    ]
    if records:
        await supplier_store.keep_records(conn, records)


async def _ensure_paths(
    conn: Connection, categories: dict[Path, UUID], paths: Iterable[Path]
) -> list[NewEvent]:
    """Make the categories that do not exist, from the root down, and note the ids of all."""
    needed = {path[:depth] for path in paths for depth in range(1, len(path) + 1)} - categories.keys()
    made: list[UUID] = []
    for depth in sorted({len(path) for path in needed}):
        level = [path for path in needed if len(path) == depth]
        places = {path: (categories.get(path[:-1]), path[-1]) for path in level}
        ids, new = await category_store.ensure_children(conn, places.values())
        categories.update({path: ids[place] for path, place in places.items()})
        made += new
    return [category_created(each) for each in await category_store.find_categories(conn, made)]
