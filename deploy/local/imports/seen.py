"""The skus of a file and the lines that they stand on first; on disk, so that a file may have any number."""

import sqlite3
from collections.abc import Iterable, Sequence

_CACHE_KIB = 16 * 1024


class SeenSkus:
    """Which skus came before."""

    def __init__(self) -> None:
        # SQLite's own temporary file: it is gone with the connection, also by kill -9.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            "CREATE TABLE seen (sku TEXT PRIMARY KEY, line INTEGER, row INTEGER) WITHOUT ROWID"
        )

    def first_places(self, rows: Sequence[tuple[str, int, int]]) -> list[tuple[int, int]]:
        """Note skus with their lines and numbers of rows, and return for each where it stands first."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")
        select = "SELECT line, row FROM seen WHERE sku = ?"
        return [self._database.execute(select, (sku,)).fetchone() for sku, _, _ in rows]

    def absent(self, skus: Iterable[str]) -> list[str]:
        """Return those of some skus that have not come."""
        select = "SELECT 1 FROM seen WHERE sku = ?"
        return [sku for sku in skus if self._database.execute(select, (sku,)).fetchone() is None]

    def close(self) -> None:
        """Forget all."""
        self._database.close()
