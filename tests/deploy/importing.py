"""Small files for the tests of `mesh import`, read as the command reads them."""

from pathlib import Path

from commerce.product.v1.product_pb2 import Product

from deploy.local.imports import choosing
from deploy.local.imports.batches import PlacedRow, make_batches
from deploy.local.imports.duplicates import told_unsent
from deploy.local.imports.report import Outcome
from deploy.local.imports.rows import Converter
from deploy.local.imports.seen import SeenSkus


class Judged:
    """What the client's side makes of a file."""

    def __init__(
        self, path: Path, mapping: Path | None = None, currency: str = "", encoding: str = ""
    ) -> None:
        self.file, self.mapping = choosing.choose(path, mapping, currency=currency, encoding=encoding)
        converter = Converter(self.mapping)
        seen = SeenSkus()
        batches = list(make_batches(self.file.read(), converter, seen))
        self.rows: list[PlacedRow] = [row for batch in batches for row in batch.rows]
        self.outcomes: list[Outcome] = [
            outcome for batch in batches for outcome in batch.judged + told_unsent(batch, seen)
        ]
        self.ignored_columns = converter.ignored_columns
        self.currency_said_at = converter.currency_said_at

    @property
    def products(self) -> list[Product]:
        return [row.row.request.product for row in self.rows]

    @property
    def refusals(self) -> list[tuple[int, str, str]]:
        """Line, field and reason of what is not sent."""
        return [(outcome.line, outcome.field, outcome.reason) for outcome in self.outcomes]

    @property
    def remarks(self) -> list[tuple[str, str]]:
        return [(remark.field, remark.reason) for row in self.rows for remark in row.row.remarks]

    @property
    def prices(self) -> list[tuple[str, int, int]]:
        return [(each.price.currency_code, each.price.units, each.price.nanos) for each in self.products]


def judged(folder: Path, content: str | bytes, *, currency: str = "", encoding: str = "") -> Judged:
    """Write a file, whose name says nothing of it, and read it."""
    path = folder / "rows"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Judged(path, currency=currency, encoding=encoding)
