"""A service from outside: follows the orders' feed, and writes a notice of each order.

    MESH_ORDER=localhost:50053 MESH_PRODUCT=localhost:50052 python notifier.py CERTIFICATE FOLDER

CERTIFICATE is the folder that `mesh certs issue notifier` writes. In FOLDER lie `position`, and a notice of
each order in `notices`. Of Commerce Mesh it knows commerce-mesh-client alone.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from commerce.order.v1.events_pb2 import OrderPlaced
from commerce.order.v1.order_pb2 import OrderLine
from commerce.product.v1.product_pb2 import GetProductRequest
from commerce.product.v1.product_pb2_grpc import ProductServiceStub
from commerce_mesh_client import (
    Aborted,
    CallError,
    Client,
    ClientClosed,
    DeadlineExceeded,
    FilePosition,
    Identity,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    connect,
)

# While the product service is away.
_RETRY_SECONDS = 0.5
_PASSING = (Aborted, DeadlineExceeded, ResourceExhausted, Unavailable)

log = logging.getLogger("notifier")


async def notify(orders: Client, products: Client, folder: Path) -> None:
    """Write a notice of each order, from where the last run ended, until cancelled.

    The position is kept once the notice is written, so a crash in between brings the event again: its notice
    is written over itself, which makes it one.
    """
    notices = folder / "notices"
    notices.mkdir(parents=True, exist_ok=True)
    async for event in orders.follow(FilePosition(folder / "position")):
        placed = OrderPlaced()
        if event.data.Unpack(placed):
            names = [await name_of(products, line) for line in placed.lines]
            write(notices / f"{placed.order_id}.txt", notice(placed, names))
            log.info("order %s, position %d", placed.order_id, event.position)


async def name_of(products: Client, line: OrderLine) -> str:
    """Return what a line's product is called now, or was when it was ordered if nobody can tell.

    One line that the product service cannot answer for must not keep back all notices behind it.
    """
    stub = ProductServiceStub(products)
    while True:
        try:
            return (await stub.GetProduct(GetProductRequest(product_id=line.product_id))).name
        except (ClientClosed, PermissionDenied, Unauthenticated):
            raise
        except _PASSING as error:
            log.warning("the product service is asked again: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
        except CallError as error:
            log.warning("product %s has the name of its order: %s", line.product_id, error)
            return line.name


def notice(placed: OrderPlaced, names: Iterable[str]) -> str:
    """Return what the customer is told."""
    lines = [f"{line.quantity} x {name}" for line, name in zip(placed.lines, names, strict=True)]
    total = placed.total
    cents = total.nanos // 10_000_000
    return "\n".join([*lines, f"Total: {total.units}.{cents:02} {total.currency_code}", ""])


def write(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


async def main(certificate: Path, folder: Path) -> None:
    """Open both clients and work."""
    identity = Identity.from_files(
        ca=certificate / "ca.crt", cert=certificate / "tls.crt", key=certificate / "tls.key"
    )
    async with (
        connect("order", os.environ["MESH_ORDER"], identity=identity) as orders,
        connect("product", os.environ["MESH_PRODUCT"], identity=identity) as products,
    ):
        await notify(orders, products, folder)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
