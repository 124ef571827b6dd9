"""A whole process of the plumbing without a service: what `python -m services.<name> serve` does."""

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import structlog
from commerce.product.v1 import product_pb2

from services import telemetry
from services.identity import TokenVerifier
from services.process import run
from services.rpc import serve
from services.settings import ServerSettings, TelemetrySettings, load_or_exit
from tests.services.conftest import AUDIENCE, ISSUER, scripted


@dataclass(frozen=True, kw_only=True)
class Settings:
    server: ServerSettings
    telemetry: TelemetrySettings


async def answer(request: product_pb2.GetProductRequest, _: Any) -> product_pb2.Product:
    """Take a moment, as work does; a product of zeros is a bug that quotes what was sent."""
    if request.product_id.startswith("00000000"):
        raise RuntimeError(f"canary {request.product_id}")
    await asyncio.sleep(0.02)
    return product_pb2.Product(product_id=request.product_id, etag=str(os.getpid()))


async def follow(*_: Any) -> Any:
    """Never end."""
    await asyncio.Event().wait()
    yield None


async def no_keys() -> dict[str, Any]:
    return {}


async def main() -> None:
    settings = load_or_exit(Settings)
    telemetry.configure("product", settings.telemetry)
    closed = structlog.get_logger()

    async def close() -> None:
        closed.info("closed")

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.info("loop ended")

    await serve(
        "product",
        settings.server,
        register=scripted(GetProduct=answer, Follow=follow),
        verifier=TokenVerifier(ISSUER, AUDIENCE, no_keys),
        background=[loop],
        on_close=[close],
    )


if __name__ == "__main__":
    run(main)
