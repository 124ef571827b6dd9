"""The client of clients/python as a test holds it: both kinds of it, against servers of the plumbing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from commerce_mesh_client import Identity, connect, connect_blocking

from services.settings import TlsFiles


class Call(Protocol):
    """Calls a method of a stub, and waits for its answer."""

    async def __call__(self, method: str, request: Any, **options: Any) -> Any:
        """Return the answer."""


def identity_of(files: TlsFiles) -> Identity:
    return Identity.from_files(files.ca, files.cert, files.key)


@asynccontextmanager
async def calling(
    kind: str, stub_class: Any, service: str, address: str, identity: Any
) -> AsyncIterator[Call]:
    """Open a client of one kind, "asyncio" or "threads", for the life of a block."""
    if kind == "asyncio":
        async with connect(service, address, identity=identity) as client:
            stub = stub_class(client)

            async def call(method: str, request: Any, **options: Any) -> Any:
                return await getattr(stub, method)(request, **options)

            yield call
    else:
        with connect_blocking(service, address, identity=identity) as blocking:
            blocking_stub = stub_class(blocking)

            async def call_in_thread(method: str, request: Any, **options: Any) -> Any:
                return await asyncio.to_thread(getattr(blocking_stub, method), request, **options)

            yield call_in_thread
