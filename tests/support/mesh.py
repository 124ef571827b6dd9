"""A running mesh from below: its processes, and its databases as the superuser sees them."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
from commerce.user.v1 import auth_pb2, role_pb2

from deploy.local.parts import postgres
from deploy.local.supervision.health import ask_all
from deploy.local.supervision.state import PartState
from tests.support.calls import Caller, Target, open_caller
from tests.support.stack import Stack
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.world import AUTH

POLL_SECONDS = 0.02

# What a server that dies, recovers or ends connections does to those who connect or ask.
LOST: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
)


@dataclass(frozen=True)
class Mesh(Stack):
    """A running mesh that is broken on purpose, or whose books are read."""

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

    async def await_replaced(self, killed: PartState) -> None:
        """Wait until another process of the part is ready."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            now = next(part for part in self.parts() if part.name == killed.name)
            if now.state == "ready" and now.identity != killed.identity:
                return
            assert time.monotonic() < give_up_at, f"{killed.name} is not back: {now}"
            await asyncio.sleep(POLL_SECONDS)

    async def await_healthy(self) -> None:
        """Wait until every part answers, and every service answers through the edge from its database."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        async with open_caller(Target.of(self.place)) as caller:
            while sick := await self._sick_parts() or await _sick_services(caller):
                assert time.monotonic() < give_up_at, f"not healthy: {sick}"
                await asyncio.sleep(POLL_SECONDS)

    async def _sick_parts(self) -> list[str]:
        state = self.state
        answers = await ask_all(self.place, state)
        return [part.name for part in state.parts if part.state != "ready" or not answers[part.name]]

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Connect to a service's database as the superuser, waiting while the server recovers."""
        conn = await self.connect(postgres.database_name(service))
        try:
            yield conn
        finally:
            conn.terminate()

    async def connect(self, database: str) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect as the superuser, waiting while the server is away."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await asyncpg.connect(self.dsn(database), timeout=PATIENCE_SECONDS)
            except LOST:
                if time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(POLL_SECONDS)

    def dsn(self, database: str) -> str:
        """Name a database as the superuser."""
        cluster = postgres.Cluster(self.place.data / "postgres", self.place.ports["postgres"])
        password = self.place.secret("postgres").read_text(encoding="utf-8").strip()
        return cluster.dsn(postgres.SUPERUSER, password, database)

    async def fetch(self, service: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Read from a service's database; ask again when the server dies in the middle of the query."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                async with self.database(service) as conn:
                    rows: list[asyncpg.Record] = await conn.fetch(query, *arguments)
                    return rows
            except LOST:
                if time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(POLL_SECONDS)


async def _sick_services(caller: Caller) -> list[str]:
    request = auth_pb2.IssueOperatorTokenRequest(role=role_pb2.ROLE_ADMIN)
    issued = await caller.call_direct(AUTH + "IssueOperatorToken", request, identity="operator")
    if issued.code != "OK":
        return [f"token: {issued.verdict}"]
    token = issued.response.access_token
    paths = ("/v1/users/me", "/v1/products?page_size=1", "/v1/orders?page_size=1")
    try:
        answers = await asyncio.gather(*(caller.send("GET", path, token=token) for path in paths))
    except aiohttp.ClientError as error:
        return [f"edge: {error}"]
    return [f"{path}: {each.verdict}" for path, each in zip(paths, answers, strict=True) if each.code != "OK"]


def kill_process(pid: int) -> None:
    """Kill -9 a process that may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
