"""What a process that starts is told: every ending of the last quarter of an hour, in pages from an index."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
import pytest_asyncio
from commerce.user.v1 import auth_pb2, auth_pb2_grpc, role_pb2, user_pb2

from deploy.local.parts.certificates import Authority
from services.rpc.endings import TOKEN_SECONDS
from services.storage.postgres import Pool
from services.user.sessions import endings
from tests.user.conftest import UserService, channel

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Told:
    """What all pages said together."""

    sessions: set[UUID] = field(default_factory=set)
    versions: dict[UUID, int] = field(default_factory=dict)
    positions: list[int] = field(default_factory=list)


async def told(stub: Any) -> Told:
    so_far, after = Told(), ""
    while True:
        page = await stub.ListEndings(auth_pb2.ListEndingsRequest(after=after))
        so_far.sessions |= {UUID(bytes=each) for each in page.session_ids}
        so_far.versions |= {UUID(bytes=each.user_id): each.version for each in page.accounts}
        so_far.positions.append(page.position)
        after = page.next_after
        if not after:
            return so_far


@pytest_asyncio.fixture(loop_scope="session")
async def product(service: UserService, certificates: Authority) -> AsyncIterator[Any]:
    """The user service, as the product service calls it."""
    async with channel(service.port, certificates, "product") as opened:
        yield auth_pb2_grpc.AuthServiceStub(opened)


async def test_all_that_ends_tokens_is_told_and_nothing_else(service: UserService, product: Any) -> None:
    live, out, closed, other, renamed = [await service.register() for _ in range(5)]
    request = auth_pb2.DeleteSessionRequest(session_id=out.session_id)
    await service.auth.DeleteSession(request, metadata=out.metadata)
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=closed.metadata)
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    roles = user_pb2.User(user_id=other.user_id, roles=[role_pb2.ROLE_SUPPORT])
    await service.users.UpdateUser(user_pb2.UpdateUserRequest(user=roles), metadata=admin)
    name = user_pb2.User(user_id="me", display_name="Bea")
    await service.users.UpdateUser(user_pb2.UpdateUserRequest(user=name), metadata=renamed.metadata)
    found = await told(product)
    assert {UUID(out.session_id), UUID(closed.session_id)} <= found.sessions
    assert UUID(live.session_id) not in found.sessions
    assert (found.versions[UUID(closed.user_id)], found.versions[UUID(other.user_id)]) == (2, 2)
    assert UUID(renamed.user_id) not in found.versions


async def write_endings(pool: Pool, seconds_ago: float, count: int) -> Sequence[UUID]:
    """Write sessions' endings of another time into the log."""
    sessions = [uuid4() for _ in range(count)]
    await pool.execute(
        """
        INSERT INTO events (event_id, stream, version, type, data, occur_time)
        SELECT uuidv7(-make_interval(secs => $1)), 'session/' || id, 1, 'SessionEnded', '{}', now()
          FROM unnest($2::uuid[]) AS id
        """,
        seconds_ago,
        sessions,
    )
    return sessions


async def test_pages_together_miss_nothing_and_tell_what_is_old_no_more(
    service: UserService, users_owner: Pool, product: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "_PAGE_ENDINGS", 3)
    still = await write_endings(users_owner, TOKEN_SECONDS + 30, 8)
    over = await write_endings(users_owner, TOKEN_SECONDS + 90, 8)
    found = await told(product)
    assert set(still) <= found.sessions
    assert not found.sessions & set(over)
    assert len(found.positions) > 2
    assert found.positions == sorted(found.positions)


async def test_a_page_is_read_from_its_index_however_long_the_log(users_owner: Pool) -> None:
    async with users_owner.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL enable_seqscan = off")
        plan = await conn.fetch(
            """
            EXPLAIN
            SELECT event_id FROM events
             WHERE event_id > greatest(NULL::uuid, (SELECT uuidv7(-interval '16 minutes')))
               AND (type IN ('SessionEnded', 'UserDeleted')
                    OR (type = 'UserUpdated' AND data -> 'changed_fields' ? 'roles'))
             ORDER BY event_id LIMIT 10
            """
        )
    assert any("events_endings_idx" in row[0] and "Index" in row[0] for row in plan)


async def test_people_are_not_told(service: UserService) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.auth.ListEndings(auth_pb2.ListEndingsRequest())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
