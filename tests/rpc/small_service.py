"""A whole process of the plumbing without a service: what `python -m services.<name> serve` does."""

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import structlog
from commerce.product.v1 import product_pb2

from services.process import run
from services.rpc.identity import TokenVerifier
from services.rpc.server import serve
from services.settings import ServerSettings, TelemetrySettings, load_or_exit
from services.telemetry import logs
from tests.support.net import scripted
from tests.support.tokens import AUDIENCE, ISSUER, knowing


@dataclass(frozen=True, kw_only=True)
class Settings:
    server: ServerSettings
    telemetry: TelemetrySettings


async def answer(request: product_pb2.GetProductRequest, context: Any) -> product_pb2.Product:
    """Take a moment, as work does.

    A product of zeros is a bug that quotes what was sent; with one of ones, the caller hears that work began,
    and it lasts until after a stop that was asked for then.
    """
    if request.product_id.startswith("11111111"):
        await context.send_initial_metadata(())
        await asyncio.sleep(1)
    if request.product_id.startswith("00000000"):
        raise RuntimeError(f"canary {request.product_id}")
    await asyncio.sleep(0.02)
    return product_pb2.Product(product_id=request.product_id, etag=str(os.getpid()))


async def follow(_: Any, context: Any) -> Any:
    """Say that it has begun, and never end."""
    await context.send_initial_metadata(())
    await asyncio.Event().wait()
    yield None


async def no_keys() -> dict[str, Any]:
    return {}


async def main() -> None:
    settings = load_or_exit(Settings)
    logs.configure("product", settings.telemetry)
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
        verifier=knowing(TokenVerifier(ISSUER, AUDIENCE, no_keys)),
        background=[loop],
        on_close=[close],
    )


if __name__ == "__main__":
    run(main)
