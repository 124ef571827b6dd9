"""Products of a supplier that its file does not have any more: taken out of sale, through the API."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from commerce.product.v1.product_pb2 import ExportedProduct, Product, UpdateProductRequest
from commerce.product.v1.product_pb2_grpc import ProductServiceStub
from google.protobuf.field_mask_pb2 import FieldMask
from tenacity import Retrying
from tenacity.retry import retry_if_exception
from tenacity.stop import stop_after_delay
from tenacity.wait import wait_exponential_jitter

from deploy.local.imports.report import LEFT, REFUSED, RETIRED, Outcome
from deploy.local.imports.seen import SeenSkus
from deploy.local.shop import clients

# Calls at once; the contract's rate is what bounds them.
_IN_FLIGHT = 4
_CHUNK = 100
_CALL_SECONDS = 10
_PATIENCE_SECONDS = 60
_MAX_WAIT_SECONDS = 3
_AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
_CACHE_KIB = 8 * 1024

# Why a product is left for sale that the file does not have.
OTHER_SUPPLIERS = "OTHER_SUPPLIERS"
NO_SUPPLIER = "NO_SUPPLIER"


@dataclass(frozen=True)
class MissingProduct:
    """A product that is for sale and that the file does not have."""

    sku: str
    product_id: str
    etag: str


class Missing:
    """Products that a file does not have; on disk, so that there may be any number."""

    def __init__(self) -> None:
        # Of the supplier alone, with those that the file has.
        self.for_sale_count = 0
        # SQLite's own temporary file: it is gone with the connection.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute(
            "CREATE TABLE missing (sku TEXT, product_id TEXT, etag TEXT, left_by TEXT, message TEXT)"
        )

    def find(self, products: Iterable[ExportedProduct], seen: SeenSkus) -> None:
        """Note those that are for sale and that the file does not have."""
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT INTO missing (sku, product_id, etag, left_by, message) VALUES (?, ?, ?, ?, ?)",
            (
                (each.product.sku, each.product.product_id, each.product.etag, *_why_left(each))
                for each in self._counted(products)
                if not seen.has(each.product.sku)
            ),
        )
        self._database.execute("COMMIT")

    def _counted(self, products: Iterable[ExportedProduct]) -> Iterator[ExportedProduct]:
        for each in products:
            if each.product.active:
                self.for_sale_count += bool(each.supplier)
                yield each

    def count(self, left_by: str = "") -> int:
        """Say how many are to be taken out of sale, or are left for a reason."""
        select = "SELECT count(*) FROM missing WHERE left_by = ?"
        count: int = self._database.execute(select, (left_by,)).fetchone()[0]
        return count

    def first(self, limit: int, left_by: str = "") -> list[str]:
        """Return some of their skus."""
        select = "SELECT sku FROM missing WHERE left_by = ? ORDER BY sku LIMIT ?"
        return [sku for (sku,) in self._database.execute(select, (left_by, limit))]

    def chunks(self) -> Iterator[list[MissingProduct]]:
        """Yield those that are to be taken out of sale, some at once."""
        select = "SELECT sku, product_id, etag FROM missing WHERE left_by = '' ORDER BY sku"
        found = self._database.execute(select)
        while chunk := found.fetchmany(_CHUNK):
            yield [MissingProduct(*each) for each in chunk]

    def left(self) -> Iterator[list[Outcome]]:
        """Yield what is told of those that stay as they are, some at once."""
        found = self._database.execute(
            "SELECT sku, left_by, message FROM missing WHERE left_by <> '' ORDER BY sku"
        )
        while chunk := found.fetchmany(_CHUNK):
            yield [Outcome(0, 0, sku, LEFT, reason=why, message=message) for sku, why, message in chunk]

    def close(self) -> None:
        """Forget all."""
        self._database.close()


def _why_left(each: ExportedProduct) -> tuple[str, str]:
    """Return why a product that a file does not have stays for sale, or two empty texts."""
    if not each.supplier:
        return NO_SUPPLIER, "It is for sale still: no supplier's record says whose it is."
    if each.matched_suppliers:
        others = ", ".join(each.matched_suppliers)
        return OTHER_SUPPLIERS, f"It is for sale still: records of {others} are merged into it."
    return "", ""


def retire(
    channel: grpc.Channel,
    get_token: Callable[[], str],
    missing: Missing,
    on_done: Callable[[list[Outcome]], None],
) -> None:
    """Take products out of sale, and say what became of each; repeating it goes on where it was cut short."""
    stub = ProductServiceStub(channel)
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        for chunk in missing.chunks():
            token = get_token()
            on_done(list(pool.map(lambda each, token=token: _retire(stub, each, token), chunk)))


def _retire(stub: ProductServiceStub, missing: MissingProduct, token: str) -> Outcome:
    # The version that was read: who has changed it since knows more of it than the file.
    product = Product(product_id=missing.product_id, etag=missing.etag, active=False)
    request = UpdateProductRequest(product=product, update_mask=FieldMask(paths=["active"]))
    retrying = Retrying(
        retry=retry_if_exception(_may_help),
        wait=wait_exponential_jitter(multiplier=0.2, max=_MAX_WAIT_SECONDS),
        stop=stop_after_delay(_PATIENCE_SECONDS),
        reraise=True,
    )
    try:
        retrying(stub.UpdateProduct, request, metadata=clients.bearer(token), timeout=_CALL_SECONDS)
    except grpc.RpcError as error:
        told = f"It may be for sale still: {error.code().name}: {error.details()}"
        return Outcome(0, 0, missing.sku, REFUSED, "active", reason="NOT_RETIRED", message=told)
    return Outcome(0, 0, missing.sku, RETIRED)


def _may_help(error: BaseException) -> bool:
    return isinstance(error, grpc.RpcError) and error.code() in _AGAIN
