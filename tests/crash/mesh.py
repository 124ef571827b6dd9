"""A running mesh from below: its processes, and its databases as the superuser sees them."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from deploy.local import postgres
from deploy.local.state import PartState
from tests.stack import Stack

POLL_SECONDS = 0.02
# Longer than any recovery of a database this small.
DATABASE_PATIENCE_SECONDS = 30.0

_AWAY = (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)


@dataclass(frozen=True)
class Mesh(Stack):
    """A running mesh that is broken on purpose."""

    def parts(self, group: str = "") -> list[PartState]:
        """Return the parts as they are now; of one group, such as all workers of a service."""
        parts = self.state.parts
        return [part for part in parts if not group or part.name.rstrip("-0123456789") == group]

    def kill(self, name: str) -> PartState:
        """Kill -9 the process of a part."""
        part = next(part for part in self.parts() if part.name == name)
        assert part.identity is not None, f"{name} has no process: {part}"
        part.identity.send(signal.SIGKILL)
        return part

    async def await_replaced(self, killed: PartState, patience_seconds: float) -> None:
        """Wait until another process of the part is ready."""
        give_up_at = time.monotonic() + patience_seconds
        while True:
            now = next(part for part in self.parts() if part.name == killed.name)
            if now.state == "ready" and now.identity != killed.identity:
                return
            assert time.monotonic() < give_up_at, f"{killed.name} is not back: {now}"
            await asyncio.sleep(POLL_SECONDS)

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Connect to a service's database as the superuser, waiting while the server recovers."""
        conn = await self.connect(postgres.database_name(service), patience_seconds=DATABASE_PATIENCE_SECONDS)
        try:
            yield conn
        finally:
            conn.terminate()

    async def connect(
        self, database: str, *, patience_seconds: float = 0
    ) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect as the superuser."""
        give_up_at = time.monotonic() + patience_seconds
        while True:
            try:
                return await asyncpg.connect(self.dsn(database), timeout=5)
            except _AWAY:
                if time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(POLL_SECONDS)

    def dsn(self, database: str) -> str:
        """Name a database as the superuser."""
        cluster = postgres.Cluster(self.place.data / "postgres", self.place.ports["postgres"])
        password = self.place.secret("postgres").read_text(encoding="utf-8").strip()
        return cluster.dsn(postgres.SUPERUSER, password, database)

    async def fetch(self, service: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one query in a service's database, however long the server needs to be there."""
        async with self.database(service) as conn:
            rows: list[asyncpg.Record] = await conn.fetch(query, *arguments)
            return rows


def kill_process(pid: int) -> None:
    """Kill -9 a process that may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
