"""The audit log: who did what is written with it, in a chain that shows what was done to it since."""

import asyncio
import dataclasses
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from commerce.user.v1 import audit_pb2, auth_pb2, oauth_pb2, role_pb2, user_pb2

from deploy.local.cli.audit import ChainBroken, Link, verify_events
from deploy.local.shop.clients import bearer
from services.audit_chain import BEGINNING, event_hash
from services.storage.postgres import Pool, connection, transaction
from services.user.audit import store
from services.user.audit.chaining import Chaining
from services.user.audit.domain import Actor, AuditEvent, AuditKind, ChainedEvent, Happening
from services.user.audit.messages import chained_message
from tests.conftest import DatabaseHandle
from tests.support.people import Person
from tests.support.refusals import refusal
from tests.user.conftest import PASSWORD, UserService
from tests.user.test_oauth import new_flow, new_machine
from tests.user.test_second_factor import turn_on

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

_PREFIX = "AUDIT_EVENT_KIND_"


def kinds(events: list[audit_pb2.AuditEvent]) -> list[str]:
    return [audit_pb2.AuditEventKind.Name(each.kind).removeprefix(_PREFIX) for each in reversed(events)]


async def own(service: UserService, person: Person) -> list[audit_pb2.AuditEvent]:
    return await service.audit_events(person.metadata)


async def test_what_a_person_does_is_written_with_the_session_that_did_it(service: UserService) -> None:
    anna = await service.register()
    change = user_pb2.User(user_id="me", display_name="Anna")
    await service.users.UpdateUser(user_pb2.UpdateUserRequest(user=change), metadata=anna.metadata)
    again = await service.log_in(anna.email)
    request = auth_pb2.DeleteSessionRequest(session_id=anna.session_id)
    await service.auth.DeleteSession(request, metadata=again.metadata)
    events = await own(service, again)
    assert kinds(events) == ["ACCOUNT_CREATED", "LOGGED_IN", "ACCOUNT_UPDATED", "LOGGED_IN", "SESSION_ENDED"]
    ended, _, updated, began, created = events
    assert (ended.reason, ended.session_id) == ("LOGGED_OUT", anna.session_id)
    assert (ended.actor_user_id, ended.actor_session_id) == (anna.user_id, again.session_id)
    assert (updated.reason, updated.actor_session_id) == ("display_name", anna.session_id)
    assert (began.session_id, began.actor_user_id) == (anna.session_id, anna.user_id)
    assert created.actor_user_id == ""
    assert {each.user_id for each in events} == {anna.user_id}
    assert {each.actor_service for each in events} == {"edge"}
    assert all(len(each.request_id) == 32 for each in events)


async def test_what_a_person_changes_again_and_again_is_told_once_a_minute(service: UserService) -> None:
    anna = await service.register()
    again = await service.log_in(anna.email)

    async def change(person: Person, name: str) -> int:
        """Change the name, and return how many such events there are; all are chained by then."""
        await service.users.UpdateUser(named(name), metadata=person.metadata)
        return kinds(await own(service, anna)).count("ACCOUNT_UPDATED")

    # Of those at once none is chained yet.
    await asyncio.gather(*(service.users.UpdateUser(named(name), metadata=anna.metadata) for name in "DEF"))
    assert [await change(anna, name) for name in ("A", "B", "C")] == [1, 1, 1]
    # Another session may be a thief's.
    assert [await change(again, name) for name in ("G", "H")] == [2, 2]
    service.clock.ahead += timedelta(seconds=61)
    assert await change(anna, "I") == 3


def named(name: str) -> user_pb2.UpdateUserRequest:
    return user_pb2.UpdateUserRequest(user=user_pb2.User(user_id="me", display_name=name))


async def test_what_staff_does_to_an_account_names_them_to_administrators_alone(service: UserService) -> None:
    anna = await service.register()
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    support = await service.operator_metadata(role_pb2.ROLE_SUPPORT)
    await service.users.GetUser(user_pb2.GetUserRequest(user_id=anna.user_id), metadata=support)
    sessions = auth_pb2.ListSessionsRequest(user_id=anna.user_id)
    await service.auth.ListSessions(sessions, metadata=support)
    user = user_pb2.User(user_id=anna.user_id, roles=[role_pb2.ROLE_SUPPORT, role_pb2.ROLE_CUSTOMER])
    await service.users.UpdateUser(user_pb2.UpdateUserRequest(user=user), metadata=admin)
    anna = await service.log_in(anna.email)
    shown = await own(service, anna)
    assert kinds(shown)[2:] == ["ACCOUNT_READ", "SESSIONS_LISTED", "ROLES_CHANGED", "LOGGED_IN"]
    _, changed, _, read, *_ = shown
    assert set(changed.roles) == {role_pb2.ROLE_SUPPORT, role_pb2.ROLE_CUSTOMER}
    assert (list(read.actor_roles), read.actor_user_id, read.actor_session_id, read.hash) == (
        [role_pb2.ROLE_SUPPORT],
        "",
        "",
        "",
    )
    request = audit_pb2.ListAuditEventsRequest(user_id=anna.user_id, page_size=100)
    by_admin = await service.audit_events(admin, request)
    assert kinds(by_admin) == kinds(shown)
    assert all(each.hash for each in by_admin)
    assert service.claims(support[0][1].removeprefix("Bearer "))["sub"] == by_admin[3].actor_user_id
    assert "AUDIT_EVENTS_LISTED" in kinds(await own(service, anna))


async def test_nobody_reads_anothers_events(service: UserService) -> None:
    anna, boris = await service.register(), await service.register()
    for user_id in (anna.user_id, str(uuid4())):
        request = audit_pb2.ListAuditEventsRequest(user_id=user_id)
        call = service.audit.ListAuditEvents(request, metadata=boris.metadata)
        assert await refusal(call) == ("NOT_FOUND", "USER_NOT_FOUND")
    assert {each.user_id for each in await own(service, boris)} == {boris.user_id}
    support = await service.operator_metadata(role_pb2.ROLE_SUPPORT)
    call = service.audit.GetAuditHead(audit_pb2.GetAuditHeadRequest(), metadata=support)
    assert await refusal(call) == ("PERMISSION_DENIED", "SCOPE_MISSING")


async def test_wrong_passwords_are_counted_together(service: UserService) -> None:
    anna = await service.register()
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await service.create_session(anna.email, "a wrong password of hers")
    with pytest.raises(grpc.aio.AioRpcError):
        await service.create_session(f"{uuid4()}@example.com", "a wrong password of nobody's")
    request = audit_pb2.ListAuditEventsRequest(
        user_id="me", kind=audit_pb2.AUDIT_EVENT_KIND_LOG_IN_FAILED, page_size=100
    )
    events = await service.audit_events(anna.metadata, request)
    assert [each.count for each in events] == [3]
    # Of the last one's call: it leads to the lines of the logs.
    assert re.fullmatch("[0-9a-f]{32}", events[0].request_id)


async def test_wrong_second_factors_behind_the_right_password_are_counted_together(
    service: UserService,
) -> None:
    anna = await service.register()
    _, codes = await turn_on(service, anna)
    for wrong in ({"totp_code": "000000"}, {"totp_code": "999999"}, {"recovery_code": "none-of-hers"}):
        request = auth_pb2.CreateSessionRequest(email=anna.email, password=PASSWORD, **wrong)
        assert (await refusal(service.auth.CreateSession(request)))[1] == "SECOND_FACTOR_INVALID"
    request = auth_pb2.CreateSessionRequest(email=anna.email, password=PASSWORD, recovery_code=codes[0])
    await service.auth.CreateSession(request)
    events = await own(service, anna)
    told = {kind: each.count for kind, each in zip(kinds(events), reversed(events), strict=True)}
    assert told["SECOND_FACTOR_FAILED"] == 3
    assert "LOG_IN_FAILED" not in told


async def test_a_refresh_token_that_is_used_twice_is_told(service: UserService) -> None:
    anna = await service.register()
    await service.refresh(anna.refresh_token)
    with pytest.raises(grpc.aio.AioRpcError):
        await service.refresh(anna.refresh_token)
    ended = (await own(service, await service.log_in(anna.email)))[1]
    assert (ended.reason, ended.session_id) == ("TOKEN_REUSED", anna.session_id)


async def test_what_a_client_does_names_it(service: UserService) -> None:
    anna = await service.register()
    flow = await new_flow(service, "users.read", "users.write")
    tokens = await flow.exchange(await flow.code(anna, scope="users.read users.write"))
    machine_id, machine = await new_machine(service, "users.write", "users.write_any")
    for name, metadata in {"Anna": anna.metadata, "A": bearer(tokens.access_token), "B": machine}.items():
        user = user_pb2.User(user_id=anna.user_id, display_name=name)
        await service.users.UpdateUser(user_pb2.UpdateUserRequest(user=user), metadata=metadata)
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    request = audit_pb2.ListAuditEventsRequest(user_id=anna.user_id, page_size=100)
    events = list(reversed(await service.audit_events(admin, request)))
    told = [
        (each.actor_user_id, each.actor_client_id)
        for each in events
        if each.kind == audit_pb2.AUDIT_EVENT_KIND_ACCOUNT_UPDATED
    ]
    client_id = flow.client.client_id
    assert told == [(anna.user_id, ""), (anna.user_id, client_id), (machine_id, machine_id)]
    [let_in] = [each for each in events if each.kind == audit_pb2.AUDIT_EVENT_KIND_CLIENT_LET_IN]
    assert let_in.client_id == client_id
    assert {each.actor_client_id for each in await own(service, anna)} == {"", client_id}


async def test_what_an_operator_does_to_a_client_is_told(service: UserService) -> None:
    flow = await new_flow(service)
    client_id = flow.client.client_id
    await service.clients.RotateClientSecret(oauth_pb2.RotateClientSecretRequest(client_id=client_id))
    for _ in range(2):
        await service.clients.DeleteClient(oauth_pb2.DeleteClientRequest(client_id=client_id))
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    listed = await service.audit_events(admin, audit_pb2.ListAuditEventsRequest(page_size=100))
    events = [each for each in listed if each.client_id == client_id]
    assert kinds(events) == ["CLIENT_REGISTERED", "CLIENT_SECRET_ROTATED", "CLIENT_REMOVED"]
    assert {(each.user_id, each.actor_service) for each in events} == {("", "operator")}


async def test_closing_disabling_and_passwords_are_told(service: UserService) -> None:
    anna = await service.register()
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    new = auth_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="another horse, of another")
    await service.auth.ChangePassword(new, metadata=anna.metadata)
    for disabled in (True, False):
        change = user_pb2.UpdateUserRequest(user=user_pb2.User(user_id=anna.user_id, disabled=disabled))
        change.update_mask.paths.append("disabled")
        await service.users.UpdateUser(change, metadata=admin)
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id=anna.user_id), metadata=admin)
    request = audit_pb2.ListAuditEventsRequest(user_id=anna.user_id, page_size=100)
    told = kinds(await service.audit_events(admin, request))[2:]
    assert told == [
        "PASSWORD_CHANGED",
        "ACCOUNT_DISABLED",
        "SESSION_ENDED",
        "ACCOUNT_ENABLED",
        "ACCOUNT_CLOSED",
    ]


async def test_what_is_rolled_back_is_not_told(pool: Pool) -> None:
    user_id = uuid4()
    with suppress(RuntimeError):
        async with transaction(pool) as conn:
            await store.append(conn, [happening(user_id)], NOBODY)
            raise RuntimeError
    assert await of_person(pool, user_id) == []


async def test_a_list_goes_on_where_its_page_ended(service: UserService) -> None:
    anna = await service.register()
    await service.log_in(anna.email)
    whole = await own(service, anna)
    request, paged = audit_pb2.ListAuditEventsRequest(page_size=1), []
    while True:
        answer = await service.audit.ListAuditEvents(request, metadata=anna.metadata)
        paged += answer.audit_events
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert paged == whole
    middle = whole[1].occur_time
    since = audit_pb2.ListAuditEventsRequest(occur_time_from=middle)
    until = audit_pb2.ListAuditEventsRequest(occur_time_before=middle)
    assert await service.audit_events(anna.metadata, since) == whole[:2]
    assert await service.audit_events(anna.metadata, until) == whole[2:]


NOBODY = Actor(None, None, None, "", "")


def happening(user_id: UUID | None) -> Happening:
    return Happening(kind=AuditKind.ACCOUNT_READ, user_id=user_id, occur_time=datetime.now(UTC), count=1)


async def chain(pool: Pool) -> None:
    while await Chaining(pool).chain():
        pass


async def of_person(pool: Pool, user_id: UUID | None) -> list[ChainedEvent]:
    await chain(pool)
    async with connection(pool) as conn:
        return await store.list_events(
            conn, before=2**63 - 1, limit=100_000, user_id=user_id, kind=None, since=None, until=None
        )


async def verified(pool: Pool, noted: Link | None = None) -> tuple[Link, int]:
    """Do as `mesh audit verify` does, with everything that a list of the log holds."""
    events = [chained_message(each) for each in await of_person(pool, None)]
    async with connection(pool) as conn:
        begin = await store.checkpoint(conn)
    link = Link(begin.position, begin.hash)
    return verify_events(events, lambda: (link, link), noted)


@pytest.fixture
def handle(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("user")


async def filled(handle: DatabaseHandle, count: int = 6) -> Pool:
    pool = await handle.pool()
    async with transaction(pool) as conn:
        await store.append(conn, [happening(uuid4()) for _ in range(count)], NOBODY)
    await chain(pool)
    return pool


async def as_owner(handle: DatabaseHandle, statement: str) -> None:
    owner = await asyncpg.connect(handle.owner_dsn)
    await owner.execute(statement)
    await owner.close()


async def test_parallel_writers_and_chainers_make_one_whole_chain(handle: DatabaseHandle) -> None:
    pool, user_id = await handle.pool(), uuid4()

    async def write() -> None:
        for _ in range(10):
            async with transaction(pool) as conn:
                await store.append(conn, [happening(user_id)], NOBODY)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(write())
        for _ in range(4):
            group.create_task(chain(pool))
    head, count = await verified(pool)
    assert (head.position, count) == (80, 80)
    assert len(await of_person(pool, user_id)) == 80
    await pool.close()


async def test_one_process_chains_at_a_time(handle: DatabaseHandle) -> None:
    pool = await handle.pool()
    async with transaction(pool) as conn:
        await store.append(conn, [happening(None)], NOBODY)
    async with transaction(pool) as conn:
        assert await store.take_chain(conn)
        assert await Chaining(pool).chain() == 0
    assert await Chaining(pool).chain() == 1
    await pool.close()


TAMPERED = {
    "changed": ("UPDATE audit_events SET actor_user_id = uuidv7() WHERE position = 3", "at 3"),
    "changed first": ("UPDATE audit_events SET reason = 'x' WHERE position = 1", "at 1"),
    "changed last": ("UPDATE audit_events SET kind = 'LOGGED_IN' WHERE position = 6", "at 6"),
    "removed": ("DELETE FROM audit_events WHERE position = 3", "between 2 and 4"),
    "removed first": ("DELETE FROM audit_events WHERE position <= 2", "before 3"),
    "removed and numbered anew": (
        """
        DELETE FROM audit_events WHERE position = 3;
        UPDATE audit_events SET position = -position WHERE position > 3;
        UPDATE audit_events SET position = -position - 1 WHERE position < 0
        """,
        "at 3",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_what_whoever_owns_the_database_changes_is_found_and_said_where(
    handle: DatabaseHandle, name: str
) -> None:
    statement, told = TAMPERED[name]
    pool = await filled(handle)
    await verified(pool)
    statement = f"ALTER TABLE audit_events DROP CONSTRAINT audit_events_position_check; {statement}"
    await as_owner(handle, statement)
    with pytest.raises(ChainBroken, match=told):
        await verified(pool)
    await pool.close()


async def test_a_chain_that_was_made_anew_or_cut_is_not_the_one_that_was_noted(
    handle: DatabaseHandle,
) -> None:
    pool = await filled(handle)
    noted, _ = await verified(pool)
    assert Link.noted(str(noted)) == noted
    await as_owner(handle, "DELETE FROM audit_events WHERE position = 6")
    assert (await verified(pool))[0].position == 5
    with pytest.raises(ChainBroken, match="ends at 5"):
        await verified(pool, noted)
    async with transaction(pool) as conn:
        await store.append(conn, [happening(None)], NOBODY)
    with pytest.raises(ChainBroken, match="at 6 is not the one whose hash was noted"):
        await verified(pool, noted)
    await pool.close()


async def test_what_is_old_is_forgotten_from_the_beginning_on_and_the_rest_stays_whole(
    handle: DatabaseHandle,
) -> None:
    pool = await filled(handle)
    # The fifth is young again: nothing behind it goes either.
    await as_owner(handle, "UPDATE audit_events SET chain_time = now() - interval '401 days'")
    await as_owner(handle, "UPDATE audit_events SET chain_time = now() WHERE position = 5")
    async with connection(pool) as conn:
        assert await store.forget_audit_events(conn, 3) == 3
        assert await store.forget_audit_events(conn, 100) == 1
        assert await store.forget_audit_events(conn, 100) == 0
    head, count = await verified(pool)
    assert (head.position, count) == (6, 2)
    await as_owner(handle, "DELETE FROM audit_events WHERE position = 5")
    with pytest.raises(ChainBroken, match="before 6"):
        await verified(pool)
    await pool.close()


async def test_a_log_that_is_forgotten_whole_goes_on_from_where_it_was(handle: DatabaseHandle) -> None:
    pool = await filled(handle, 2)
    await as_owner(handle, "UPDATE audit_events SET chain_time = now() - interval '401 days'")
    async with transaction(pool) as conn:
        assert await store.forget_audit_events(conn, 100) == 2
        await store.append(conn, [happening(None)], NOBODY)
    head, count = await verified(pool)
    assert (head.position, count) == (3, 1)
    await pool.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET reason = ''",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "UPDATE audit_inbox SET reason = ''",
        "TRUNCATE audit_inbox",
        "UPDATE audit_checkpoint SET position = 1",
        "INSERT INTO audit_checkpoint (position, hash) VALUES (1, '')",
        "DELETE FROM audit_checkpoint",
        "INSERT INTO audit_events (position, chain_time) VALUES (1, '2000-01-01')",
    ],
)
async def test_the_service_may_append_and_no_more(pool: Pool, statement: str) -> None:
    async with connection(pool) as conn:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)


async def test_the_service_cannot_drop_what_waits_for_its_place(pool: Pool) -> None:
    user_id = uuid4()
    async with connection(pool) as conn:
        await store.append(conn, [happening(user_id)], NOBODY)
        await conn.execute("DELETE FROM audit_inbox WHERE user_id = $1", user_id)
    assert len(await of_person(pool, user_id)) == 1


async def test_two_events_that_differ_have_two_hashes() -> None:
    one = audit_pb2.AuditEvent(position=1, reason="ab", request_id="c")
    others = [
        audit_pb2.AuditEvent(position=1, reason="a", request_id="bc"),
        audit_pb2.AuditEvent(position=1, reason="ab", actor_service="c"),
        audit_pb2.AuditEvent(position=2, reason="ab", request_id="c"),
    ]
    assert event_hash(BEGINNING, one) not in {event_hash(BEGINNING, other) for other in others}
    assert event_hash(bytes(31) + b"1", one) != event_hash(BEGINNING, one)


async def test_each_field_and_each_kind_stands_in_the_contract() -> None:
    names = {field.name for field in audit_pb2.AuditEvent.DESCRIPTOR.fields}
    columns = {field.name for field in dataclasses.fields(AuditEvent)}
    assert names == columns | {"position", "hash"}
    assert {_PREFIX + kind for kind in AuditKind} | {_PREFIX + "UNSPECIFIED"} == set(
        audit_pb2.AuditEventKind.keys()
    )
