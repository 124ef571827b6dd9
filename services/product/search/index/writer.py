"""Keeps the index in step with the log, in one process of a machine; in the others, looks for what is new."""

import asyncio
import fcntl
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from os.path import samestat
from typing import Any
from uuid import UUID, uuid4

import structlog
from tantivy import Index, IndexWriter

from services.product.search.index import store
from services.product.search.index.documents import (
    SCHEMA,
    VERSION,
    cursor_document,
    prepare,
    product_document,
)
from services.product.search.index.reader import IndexReader
from services.storage.cursors import Cursor, end_of_log, is_of_this_log
from services.storage.loops import run_batches
from services.storage.postgres import Pool, connection

log = structlog.get_logger(__name__)

# A product that was sold or restocked is among those in stock so much later; each commit costs some 10 ms.
_INTERVAL_SECONDS = 0.5
_EVENTS_A_BATCH = 1000
# Some 20 ms of Python a batch, in which the process does nothing else.
_PRODUCTS_A_BATCH = 200
# Of a process that fills an index, the share of time that calls have for themselves.
_SHARE_OF_CALLS = 0.5
# The least that tantivy takes for its one thread is 15 MB.
_HEAP_BYTES = 32_000_000
_BEFORE_ALL = UUID(int=0)


class IndexUpkeep:
    """Writes the index in the process that has the folder's lock, and tells the reader of this process."""

    def __init__(self, pool: Pool, reader: IndexReader) -> None:
        self._pool = pool
        self._reader = reader
        self._lock: int | None = None
        self._writer: IndexWriter | None = None
        # Up to where the writer has read; it may be further than what was committed.
        self._cursor = Cursor(0, "")

    async def run(self) -> None:
        """Follow the log until cancelled."""
        await run_batches(
            "the search index is not up to date",
            self.follow,
            batch=_EVENTS_A_BATCH,
            interval_seconds=_INTERVAL_SECONDS,
        )

    async def follow(self) -> int:
        """Take one batch of events into the index; return how many those were."""
        if self._lock is not None and not await asyncio.to_thread(self._is_locked, self._lock):
            await self.close()
        if self._lock is None:
            self._lock = await asyncio.to_thread(self._take_lock)
        await asyncio.to_thread(self._reader.refresh)
        if self._lock is None:
            return 0
        if not await self._is_usable():
            await self._fill()
        try:
            return await self._take_events()
        except ValueError:
            # Of tantivy, such as for a disk that is full. What was written so far is no part of the index.
            self._writer = None
            raise

    async def close(self) -> None:
        """Let another process write."""
        self._writer = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> int | None:
        self._reader.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._reader.folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            # The system lets go of it when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _is_locked(self, lock: int) -> bool:
        """Tell whether the lock is still the folder's: in one that was made anew, others take another."""
        with suppress(FileNotFoundError):
            return samestat(os.fstat(lock), (self._reader.folder / "lock").stat())
        return False

    async def _is_usable(self) -> bool:
        """Tell whether there is an index to go on with: of this version, whole, and of this database."""
        snapshot = self._reader.snapshot
        if snapshot is None:
            return False
        cursor = self._cursor if self._writer else snapshot.cursor
        async with connection(self._pool) as conn:
            if not await is_of_this_log(conn, cursor):
                return False
        if self._writer is None:
            self._writer = await asyncio.to_thread(_open_writer, self._reader)
            self._cursor = snapshot.cursor
        return True

    async def _fill(self) -> None:
        """Make a new index of all products, and put it in use."""
        self._writer = None
        # What was left of one that was not finished, too.
        await asyncio.to_thread(self._delete_all_but, self._reader.current())
        name = f"{VERSION}-{uuid4().hex[:12]}"
        log.info("a search index is being made", index=name)
        (self._reader.folder / name).mkdir()
        index = prepare(Index(SCHEMA, path=str(self._reader.folder / name)))
        writer = index.writer(_HEAP_BYTES, 1)
        async with connection(self._pool) as conn:
            cursor = await end_of_log(conn)
        after: UUID | None = _BEFORE_ALL
        while after is not None:
            began = time.monotonic()
            async with connection(self._pool) as conn:
                rows, after = await store.read_next_products(conn, after, _PRODUCTS_A_BATCH)
            await asyncio.to_thread(_add, writer, rows)
            await asyncio.sleep((time.monotonic() - began) * _SHARE_OF_CALLS / (1 - _SHARE_OF_CALLS))
        await asyncio.to_thread(_commit, writer, cursor)
        await asyncio.to_thread(self._put_in_use, name)
        self._writer, self._cursor = writer, cursor
        log.info("a search index was made", index=name)

    def _put_in_use(self, name: str) -> None:
        self._reader.use(name)
        self._reader.refresh()
        self._delete_all_but(name)

    def _delete_all_but(self, name: str) -> None:
        """Delete other indexes; processes that still read them have their files open."""
        for folder in self._reader.folder.iterdir():
            if folder.is_dir() and folder.name != name:
                shutil.rmtree(folder)

    async def _take_events(self) -> int:
        assert self._writer is not None, "it was opened or made before"  # noqa: S101
        async with connection(self._pool) as conn:
            changes = await store.read_changes(conn, self._cursor.position, _EVENTS_A_BATCH)
            if not changes:
                return 0
            written = {each for change in changes if change.is_of_product for each in change.product_ids}
            sold = {each for change in changes for each in change.product_ids} - written
            sold = self._with_other_stock(await store.read_stock(conn, list(sold)))
            rows = await store.read_products(conn, [*written, *sold])
        cursor = Cursor(changes[-1].position, str(changes[-1].event_id))
        # What has no row any more is not for sale.
        await asyncio.to_thread(_replace, self._writer, [*written, *sold], rows)
        if written or sold or len(changes) == _EVENTS_A_BATCH or self._is_far_behind(cursor):
            await asyncio.to_thread(_commit, self._writer, cursor)
            await asyncio.to_thread(self._reader.refresh)
        self._cursor = cursor
        return len(changes)

    def _with_other_stock(self, in_stock: Mapping[UUID, bool]) -> set[UUID]:
        """Return those of the products of which the index says something else."""
        snapshot = self._reader.snapshot
        if snapshot is None:
            return set(in_stock)
        return {each for each, is_so in in_stock.items() if not snapshot.says(each, in_stock=is_so)}

    def _is_far_behind(self, cursor: Cursor) -> bool:
        """Tell whether searches have to look at many events that told of nothing new."""
        snapshot = self._reader.snapshot
        return snapshot is None or cursor.position - snapshot.cursor.position >= _EVENTS_A_BATCH


def _open_writer(reader: IndexReader) -> IndexWriter:
    return prepare(Index(SCHEMA, path=str(reader.folder / reader.current()))).writer(_HEAP_BYTES, 1)


def _add(writer: IndexWriter, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        writer.add_document(product_document(row))


def _replace(writer: IndexWriter, product_ids: Sequence[UUID], rows: Sequence[Mapping[str, Any]]) -> None:
    for product_id in product_ids:
        writer.delete_documents_by_term("product_id", str(product_id))
    _add(writer, rows)


def _commit(writer: IndexWriter, cursor: Cursor) -> None:
    """Make what was written part of the index, and say how far that goes."""
    writer.delete_documents_by_term("cursor", "cursor")
    writer.add_document(cursor_document(cursor))
    writer.commit()
