"""The mesh that is measured: started for the bench, with products, customers, and limits out of the way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from commerce.product.v1 import product_pb2

from tests.support.calls import Target, open_caller
from tests.support.mesh import Mesh
from tests.support.stack import running_stack
from tests.support.world import PRODUCTS, new_product, operator_token, signer_of

PRODUCT_COUNT = 200
# So many that none of them comes to what one person may hold, however far the pipeline is behind.
CUSTOMER_COUNT = 400
UNITS = 1_000_000
_RATE_LIMIT_SCALE = "1000000"


@dataclass(frozen=True)
class BenchShop:
    """A running mesh with something to read and to order.

    Not tests/crash/shop.py's: whoever calls it is a process of its own, which gets what JSON can carry.
    """

    mesh: Mesh
    product_ids: Sequence[str]
    tokens: Sequence[str]
    # A product as it goes over the gRPC wire.
    product: bytes
    # A token that may edit products.
    merchant: str

    @property
    def folder(self) -> Path:
        """Where the bench may write; it goes with the mesh."""
        return self.mesh.place.data

    @property
    def edge_port(self) -> int:
        """Where REST is answered."""
        return self.mesh.place.ports["edge"]


@asynccontextmanager
async def open_bench_shop() -> AsyncIterator[BenchShop]:
    """Start a mesh in a fresh folder and fill it; stop it at the end."""
    # The services are what is measured; what an edge keeps is, on another one (tests/bench/kept.py).
    options = ("--rate-limit-scale", _RATE_LIMIT_SCALE, "--no-keep-answers")
    with running_stack(*options, seed=False) as stack:
        yield await _fill(Mesh(stack.place))


async def _fill(mesh: Mesh) -> BenchShop:
    async with open_caller(Target.of(mesh.place)) as caller:
        admin = await operator_token(caller, "admin")
        products = await asyncio.gather(
            *(new_product(caller, admin.token, units=UNITS) for _ in range(PRODUCT_COUNT))
        )
        signer = await signer_of(caller, mesh.place.secret("signing_key.pem"))
        request = product_pb2.GetProductRequest(product_id=products[0].product_id)
        product = (await caller.call_grpc(PRODUCTS + "GetProduct", request)).response
    return BenchShop(
        mesh=mesh,
        product_ids=[product.product_id for product in products],
        tokens=[signer.sign() for _ in range(CUSTOMER_COUNT)],
        product=product.SerializeToString(),
        merchant=admin.token,
    )
