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
            "CREATE TABLE seen (sku TEXT PRIMARY KEY, line INTEGER, row INTEGER, refused INTEGER DEFAULT 0)"
            " WITHOUT ROWID"
        )

    def first_places(self, rows: Sequence[tuple[str, int, int]]) -> list[tuple[int, int]]:
        """Note skus with their lines and numbers of rows, and return for each where it stands first."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO seen (sku, line, row) VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")
        return [self.place(sku) for sku, _, _ in rows]

    def place(self, sku: str) -> tuple[int, int]:
        """Return line and number of the row that counts of those with a sku."""
        line, row = self._database.execute("SELECT line, row FROM seen WHERE sku = ?", (sku,)).fetchone()
        return line, row

    def has(self, sku: str) -> bool:
        """Tell whether it stands in the file."""
        found = self._database.execute("SELECT 1 FROM seen WHERE sku = ?", (sku,)).fetchone()
        return found is not None

    def refuse(self, rows: Iterable[tuple[str, int]]) -> None:
        """Note that rows (sku and number) were refused: where they count, they may give way."""
        self._database.executemany("UPDATE seen SET refused = 1 WHERE sku = ? AND row = ?", rows)

    def is_refused(self, sku: str) -> bool:
        """Tell whether the row that counts was refused."""
        select = "SELECT 1 FROM seen WHERE sku = ? AND refused"
        return self._database.execute(select, (sku,)).fetchone() is not None

    def give_way(self, rows: Iterable[tuple[str, int, int]]) -> None:
        """Let other rows (sku, line, number) count in place of those that were refused."""
        self._database.executemany(
            "UPDATE seen SET line = ?, row = ?, refused = 0 WHERE sku = ?",
            [(line, row, sku) for sku, line, row in rows],
        )

    def close(self) -> None:
        """Forget all."""
        self._database.close()
