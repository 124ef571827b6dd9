"""The index as one process reads it: which one is in use, and how far it has come."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog
from tantivy import Index, Query, Searcher

from services.product.search.index.documents import SCHEMA, VERSION, prepare, read_cursor
from services.storage.cursors import Cursor

log = structlog.get_logger(__name__)

# The file that names the folder of the index in use: a new one takes its place when it is whole.
_CURRENT = "current"


@dataclass(frozen=True)
class Snapshot:
    """The index as it stood after one commit."""

    searcher: Searcher
    cursor: Cursor

    def says(self, product_id: UUID, *, in_stock: bool) -> bool:
        """Tell whether a product is in the index with this; what is not for sale is not."""
        one = Query.term_query(SCHEMA, "product_id", str(product_id))
        so = Query.term_query(SCHEMA, "in_stock", in_stock)
        found = self.searcher.search(one.and_must_match(so), 1, count=False)
        return bool(found.hits)


class IndexReader:
    """Opens the index that is in use in a folder, and what was committed to it since.

    Args:
        folder: Of all indexes of one database; it may not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._name = ""
        self._index: Index | None = None
        self._snapshot: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The last that was seen; None: there is no index of this version, or it cannot be read."""
        return self._snapshot

    def refresh(self) -> None:
        """Look whether there is something newer. It reads files: not for the event loop."""
        name = self.current()
        try:
            if self._index is None or name != self._name:
                self._index, self._name = self._open(name), name
            else:
                self._index.reload()
            self._snapshot = None if self._index is None else _read(self._index)
        except (OSError, ValueError) as error:
            # tantivy's, of files that are lost or broken. Who writes the index makes a new one.
            log.warning("the search index cannot be read", error=str(error))
            self.drop()

    def drop(self) -> None:
        """Read no further in this index, until it is opened again."""
        self._index = self._snapshot = None

    def current(self) -> str:
        """Return the name of the index in use; "": none of this version."""
        try:
            name = (self.folder / _CURRENT).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        return name if name.startswith(f"{VERSION}-") else ""

    def use(self, name: str) -> None:
        """Put an index in use, in all processes."""
        fresh = self.folder / f"{_CURRENT}.new"
        fresh.write_text(name, encoding="utf-8")
        fresh.replace(self.folder / _CURRENT)

    def _open(self, name: str) -> Index | None:
        if not name:
            return None
        index = prepare(Index(SCHEMA, path=str(self.folder / name)))
        index.config_reader("manual")
        index.reload()
        return index


def _read(index: Index) -> Snapshot:
    searcher = index.searcher()
    [(_, address)] = searcher.search(Query.term_query(SCHEMA, "cursor", "cursor"), 1, count=False).hits
    return Snapshot(searcher, read_cursor(searcher.doc(address)))
