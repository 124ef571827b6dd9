"""Erased is erased: the key goes, and what was encrypted under it is noise in every copy."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from commerce.user.v1 import audit_pb2, auth_pb2, oauth_pb2, privacy_pb2, role_pb2, user_pb2

from services.storage.events import read_stream
from services.storage.postgres import Pool, connection, transaction
from services.user.accounts import domain, store
from services.user.accounts.domain import OpenedUser
from services.user.privacy.domain import Sealed
from services.user.privacy.erasing import Erasing, days
from services.user.privacy.keys import KeyFile
from services.user.privacy.vault import Vault
from tests.support.refusals import refusal
from tests.support.vaults import VAULT
from tests.user.conftest import Clock, UserService, insert_account, some_email
from tests.user.test_migrations import HASH
from tests.user.test_oauth import new_flow
from tests.user.test_second_factor import enrol

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

MONTH = timedelta(days=30)


async def add_user(pool: Pool) -> OpenedUser:
    async with transaction(pool) as conn:
        opened = domain.register(await store.new_user_id(conn), some_email(), "Ada", datetime.now(UTC))
        return await insert_account(conn, *opened, HASH)


async def close(pool: Pool, user: OpenedUser, *, erasing: Erasing | None = None, dies: bool = False) -> None:
    async with transaction(pool) as conn:
        await store.delete_user(conn, *domain.close(user, datetime.now(UTC)))
        if erasing is not None:
            await erasing.erase_closed(conn, user.user_id)
        if dies:
            raise ConnectionError


def erasing_after(pool: Pool, after: timedelta, ahead: timedelta = timedelta()) -> Erasing:
    return Erasing(pool, VAULT, after, Clock(ahead))


async def erase_all(erasing: Erasing) -> None:
    while await erasing.erase_due():
        pass


async def is_erased(pool: Pool, user: OpenedUser) -> bool:
    erased: bool = await pool.fetchval(
        """
        SELECT erase_time IS NOT NULL AND sealed_email IS NULL AND sealed_display_name IS NULL
               AND password_hash IS NULL
               AND NOT EXISTS (SELECT FROM data_keys k WHERE k.user_id = u.user_id)
               AND NOT EXISTS (SELECT FROM email_indexes i WHERE i.user_id = u.user_id)
               AND NOT EXISTS (SELECT FROM outgoing_mails m WHERE m.user_id = u.user_id)
               AND EXISTS (SELECT FROM erasures e WHERE e.user_id = u.user_id)
          FROM users u
         WHERE user_id = $1
        """,
        user.user_id,
    )
    return erased


async def test_a_closed_account_is_erased_after_its_time_and_not_before(pool: Pool) -> None:
    user, stays = await add_user(pool), await add_user(pool)
    await close(pool, user)
    minute = timedelta(minutes=1)
    await erase_all(erasing_after(pool, MONTH, ahead=MONTH - minute))
    assert not await is_erased(pool, user)
    await erase_all(erasing_after(pool, MONTH, ahead=MONTH + minute))
    assert await is_erased(pool, user)
    assert not await is_erased(pool, stays)
    with pytest.raises(asyncpg.CheckViolationError, match="users_operator_check"):
        await pool.execute("UPDATE users SET password_hash = $2 WHERE user_id = $1", user.user_id, HASH)
    async with connection(pool) as conn:
        assert VAULT.opened(await store.get_user(conn, stays.user_id)) == stays
        events = await read_stream(conn, f"user/{user.user_id}")
    assert [(each.version, each.type) for each in events] == [
        (1, "UserCreated"),
        (2, "UserDeleted"),
        (3, "UserErased"),
    ]
    assert events[-1].data == {"user_id": str(user.user_id)}


async def test_with_no_time_a_closed_account_is_erased_at_once(pool: Pool) -> None:
    user, later = await add_user(pool), await add_user(pool)
    await close(pool, user, erasing=erasing_after(pool, timedelta()))
    await close(pool, later, erasing=erasing_after(pool, MONTH))
    assert (await is_erased(pool, user), await is_erased(pool, later)) == (True, False)


async def test_two_processes_erase_each_account_once(pool: Pool) -> None:
    users = [await add_user(pool) for _ in range(5)]
    for user in users:
        await close(pool, user)
    ahead = MONTH + timedelta(minutes=1)
    await asyncio.gather(*(erase_all(erasing_after(pool, MONTH, ahead)) for _ in range(4)))
    for user in users:
        assert await is_erased(pool, user)
        async with connection(pool) as conn:
            assert len(await read_stream(conn, f"user/{user.user_id}")) == 3


async def test_the_keys_of_an_erased_person_are_forgotten_in_memory_too(pool: Pool) -> None:
    user = await add_user(pool)
    assert isinstance(user.personal, Sealed)
    # Only once the transaction commits: it may yet be rolled back.
    assert VAULT.read(user.personal) == user.opened
    with pytest.raises(ConnectionError):
        await close(pool, user, erasing=erasing_after(pool, timedelta()), dies=True)
    assert user.personal.wrapped_key in VAULT._unwrapped
    await close(pool, user, erasing=erasing_after(pool, timedelta()))
    assert user.personal.wrapped_key not in VAULT._unwrapped


async def test_erasures_are_applied_again_to_whoever_is_there_again(service: UserService, pool: Pool) -> None:
    restored, closed, gone = await service.register(), await add_user(pool), await add_user(pool)
    await close(pool, closed)
    await close(pool, gone, erasing=erasing_after(pool, timedelta()))
    ids = [restored.user_id, str(closed.user_id), str(gone.user_id), str(uuid4())]
    request = privacy_pb2.ReplayErasuresRequest(erasures=[privacy_pb2.Erasure(user_id=each) for each in ids])
    assert (await service.operator_privacy.ReplayErasures(request)).erased_count == 2
    assert (await service.operator_privacy.ReplayErasures(request)).erased_count == 0
    assert await is_erased(pool, closed)
    log_in = service.create_session(restored.email)
    assert await refusal(log_in) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    get = service.users.GetUser(user_pb2.GetUserRequest(user_id="me"), metadata=restored.metadata)
    assert await refusal(get) == ("UNAUTHENTICATED", "SESSION_ENDED")
    assert await service.mails_to(restored.email) == []


@pytest.mark.parametrize("is_replayed", [False, True])
async def test_whoever_closes_an_account_closes_all_that_stands_on_it(
    service: UserService, is_replayed: bool
) -> None:
    """A person does, and a restored backup has it done to them."""
    person, flow = await service.register(), await new_flow(service)
    tokens = await flow.exchange(await flow.code(person, state="a state", nonce="a nonce"))
    await flow.consent(person)
    # Turned on, it would end the grant.
    await enrol(service, person)
    beside = """
        SELECT (SELECT count(*) FROM totp_secrets WHERE user_id = u.user_id)
             + (SELECT count(*) FROM oauth_authorizations WHERE user_id = u.user_id)
             + (SELECT count(*) FROM outgoing_mails WHERE user_id = u.user_id)
             + (SELECT count(*) FROM sessions WHERE user_id = u.user_id AND device <> '')
             + (SELECT count(*) FROM sessions WHERE user_id = u.user_id AND end_time IS NULL)
          FROM users u
         WHERE user_id = $1
    """
    # The grant's session has the client's name; the exchanged and the open authorization; the mail.
    assert await service.fetchval(beside, UUID(person.user_id)) >= 7
    if is_replayed:
        erasure = privacy_pb2.Erasure(user_id=person.user_id)
        request = privacy_pb2.ReplayErasuresRequest(erasures=[erasure])
        assert (await service.operator_privacy.ReplayErasures(request)).erased_count == 1
    else:
        await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=person.metadata)
    assert await service.fetchval(beside, UUID(person.user_id)) == 0
    for token in (tokens.refresh_token, tokens.access_token):
        told = oauth_pb2.IntrospectTokenRequest(client=flow.client, token=token)
        assert not (await service.oauth.IntrospectToken(told)).active


async def test_the_log_of_erasures_is_read_in_pages_and_tells_nothing_of_anybody(
    service: UserService, pool: Pool
) -> None:
    users = [await add_user(pool) for _ in range(3)]
    for user in users:
        await close(pool, user, erasing=erasing_after(pool, timedelta()))
    found, token = [], ""
    while True:
        request = privacy_pb2.ListErasuresRequest(page_size=2, page_token=token)
        answer = await service.operator_privacy.ListErasures(request)
        found += list(answer.erasures)
        token = answer.next_page_token
        if not token:
            break
    ids = [each.user_id for each in found]
    assert {str(user.user_id) for user in users} <= set(ids)
    assert ids == sorted(set(ids))
    assert [field.name for field in privacy_pb2.Erasure.DESCRIPTOR.fields] == ["user_id", "erase_time"]


async def test_a_repeated_registration_of_an_erased_person_does_nothing(
    service: UserService, pool: Pool
) -> None:
    request = user_pb2.CreateUserRequest(
        user=user_pb2.User(email=some_email()), password="a long one of one's own", request_id=str(uuid4())
    )
    first = await service.users.CreateUser(request)
    await erasing_after(pool, MONTH).replay([UUID(first.user_id)])
    assert await refusal(service.users.CreateUser(request)) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_a_person_gets_all_that_is_kept_of_them_and_others_get_nothing(service: UserService) -> None:
    ada, bea = await service.register(display_name="Ada"), await service.register()
    await service.log_in(ada.email)
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=bea.metadata)
    ben = await service.register()
    await service.mails_to(ada.email)
    own = privacy_pb2.ExportUserDataRequest(user_id="me")
    data = await service.privacy.ExportUserData(own, metadata=ada.metadata)
    assert (data.user.email, data.user.display_name) == (ada.email, "Ada")
    assert [each.session.user_id for each in data.sessions] == [ada.user_id] * 2
    assert [(each.kind, each.outcome) for each in data.mails] == [("CONFIRM_EMAIL", "SENT")]
    assert not data.is_cut
    of_ada = privacy_pb2.ExportUserDataRequest(user_id=ada.user_id)
    support = await service.operator_metadata(role_pb2.ROLE_SUPPORT)
    by_ben = service.privacy.ExportUserData(of_ada, metadata=ben.metadata)
    assert await refusal(by_ben) == ("NOT_FOUND", "USER_NOT_FOUND")
    # Who sees that there is such an account.
    by_support = service.privacy.ExportUserData(of_ada, metadata=support)
    assert await refusal(by_support) == ("PERMISSION_DENIED", "SCOPE_MISSING")
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    for each in data.sessions:
        # It is not the administrator's.
        each.session.current = False
    assert data.HasField("second_factor")
    data.ClearField("second_factor")
    assert await service.privacy.ExportUserData(of_ada, metadata=admin) == data
    listed = audit_pb2.ListAuditEventsRequest(kind=audit_pb2.AUDIT_EVENT_KIND_ACCOUNT_EXPORTED, page_size=100)
    [told] = await service.audit_events(ada.metadata, listed)
    assert (told.user_id, list(told.actor_roles)) == (ada.user_id, [role_pb2.ROLE_ADMIN])


async def test_a_person_gets_told_whom_they_have_let_in_and_for_what(
    service: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, flow = await service.register(), await new_flow(service)
    await flow.exchange(await flow.code(person))
    await flow.consent(person, state="a state", nonce="a nonce")
    events = await service.audit_events(person.metadata)
    await service.auth.EndSessions(
        auth_pb2.EndSessionsRequest(user_id="me", keep_current=True), metadata=person.metadata
    )
    await flow.consent(person, state="a state", nonce="a nonce")
    own = privacy_pb2.ExportUserDataRequest(user_id="me")
    data = await service.privacy.ExportUserData(own, metadata=person.metadata)
    told = [(each.session.client_id, list(each.session.scopes)) for each in data.sessions]
    assert told == [(flow.client.client_id, ["openid", "orders.read"]), ("", [])]
    waiting, exchanged = data.authorizations
    assert (waiting.client_id, waiting.state, waiting.nonce) == (flow.client.client_id, "a state", "a nonce")
    assert (waiting.HasField("decide_time"), waiting.session_id) == (False, "")
    assert exchanged.session_id == data.sessions[0].session.session_id
    assert list(data.audit_events) == events
    assert data.HasField("device_marks_from")
    of_person = privacy_pb2.ExportUserDataRequest(user_id=person.user_id)
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    by_admin = await service.privacy.ExportUserData(of_person, metadata=admin)
    assert [(each.state, each.nonce) for each in by_admin.authorizations] == [("", "")] * 2
    # As many as there are of sessions, and fewer than of audit events.
    monkeypatch.setattr("services.user.privacy.servicer.MOST_RECORDS", 2)
    cut = await service.privacy.ExportUserData(own, metadata=person.metadata)
    assert (data.is_cut, cut.is_cut, list(cut.audit_events)) == (False, True, events[:2])


@pytest.mark.parametrize("text", ["", "-1", "never", "inf", "3651"])
async def test_the_time_is_a_number_of_days(text: str) -> None:
    with pytest.raises(ValueError, match="days"):
        days(text)
    assert (days("0"), days("0.5")) == (0, 0.5)


async def test_what_was_encrypted_of_an_erased_person_opens_with_no_key_that_is_left(
    pool: Pool,
) -> None:
    user = await add_user(pool)
    assert isinstance(user.personal, Sealed)
    await close(pool, user, erasing=erasing_after(pool, timedelta()))
    # A copy of the ciphertext, the keys of today, and the data keys of everybody who is left.
    rows = await pool.fetch("SELECT user_id, key_version, wrapped_key FROM data_keys")
    keys = {row["wrapped_key"] for row in rows}
    assert user.personal.wrapped_key not in keys
    vault = Vault(KeyFile(VAULT._keys._path))
    for row in rows[:50]:
        with pytest.raises(Exception):  # noqa: B017, PT011  a key of somebody else's opens nothing
            vault.read(
                Sealed(
                    user.user_id,
                    row["key_version"],
                    row["wrapped_key"],
                    user.personal.email,
                    user.personal.display_name,
                )
            )
