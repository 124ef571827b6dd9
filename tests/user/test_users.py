"""UserService through a real server and channel, with the real interceptor and PostgreSQL."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce.user.v1 import auth_pb2, recovery_pb2, role_pb2, user_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.user.accounts.emails import masked_email
from tests.support.people import Person
from tests.support.refusals import SESSION_ENDED, ends, error_of, refusal
from tests.user.conftest import PASSWORD, UserService, some_email
from tests.user.test_oauth import new_machine

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

NOT_FOUND = ("NOT_FOUND", "USER_NOT_FOUND")


def registration(
    email: str, *, password: str = PASSWORD, request_id: str = "", **fields: Any
) -> user_pb2.CreateUserRequest:
    user = user_pb2.User(email=email, **fields)
    return user_pb2.CreateUserRequest(user=user, password=password, request_id=request_id)


async def test_who_registers_gets_a_customers_account(service: UserService) -> None:
    email = some_email()
    user = await service.users.CreateUser(registration(email, display_name="Ada"))
    assert (user.email, user.display_name, user.roles, user.etag) == (
        email,
        "Ada",
        [role_pb2.ROLE_CUSTOMER],
        "1",
    )
    assert user.create_time == user.update_time
    assert await service.count_users(email) == 1


async def test_eight_at_once_get_one_account_of_an_email(service: UserService) -> None:
    email = some_email()
    answers = await asyncio.gather(
        *(service.users.CreateUser(registration(email.upper() if n % 2 else email)) for n in range(8)),
        return_exceptions=True,
    )
    created = [each for each in answers if isinstance(each, user_pb2.User)]
    refused = [await refusal(each) for each in answers if not isinstance(each, user_pb2.User)]
    assert (len(created), set(refused)) == (1, {("ALREADY_EXISTS", "EMAIL_TAKEN")})
    assert await service.count_users(email) == 1


async def test_a_repeated_request_id_returns_the_first_answer(service: UserService) -> None:
    request = registration(some_email(), display_name="Ada", request_id=str(uuid4()))
    answers = await asyncio.gather(*(service.users.CreateUser(request) for _ in range(8)))
    first = answers[0]
    assert all(each == first for each in answers)
    person = await service.log_in(first.email)
    await service.users.UpdateUser(
        user_pb2.UpdateUserRequest(user=user_pb2.User(user_id="me", display_name="A.")),
        metadata=person.metadata,
    )
    assert await service.users.CreateUser(request) == first, "the first answer, not today's account"
    assert await service.count_users(first.email) == 1


@pytest.mark.parametrize("change", ["email", "display_name", "password"])
async def test_a_request_id_names_one_request(service: UserService, change: str) -> None:
    request = registration(some_email(), display_name="Ada", request_id=str(uuid4()))
    await service.users.CreateUser(request)
    if change == "password":
        request.password = "another one"
    else:
        setattr(request.user, change, some_email())
    assert await refusal(service.users.CreateUser(request)) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_passwords_that_are_tried_by_a_known_request_id_are_counted_with_log_ins(
    service: UserService,
) -> None:
    request = registration(some_email(), request_id=str(uuid4()))
    first = await service.users.CreateUser(request)
    for n in range(4):
        guess = registration(first.email, password=f"a wrong one {n}", request_id=request.request_id)
        reused = ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
        assert await refusal(service.users.CreateUser(guess)) == reused
        assert await service.users.CreateUser(request) == first, "the right one is not counted"
    for n in range(3):
        assert (await refusal(service.create_session(first.email, f"wrong {n}")))[1] == "CREDENTIALS_INVALID"
        guess = registration(first.email, password=f"a wrong one {n}", request_id=request.request_id)
        assert (await refusal(service.users.CreateUser(guess)))[1] == "REQUEST_ID_REUSED"
    throttled = ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")
    assert await refusal(service.users.CreateUser(request)) == throttled
    assert await refusal(service.create_session(first.email)) == throttled


async def test_what_is_kept_under_a_request_id_is_not_personal(service: UserService) -> None:
    request = registration(some_email(), display_name="Ada Lovelace", request_id=str(uuid4()))
    await service.users.CreateUser(request)
    kept = await service.fetchval("SELECT response FROM idempotency_keys WHERE key = $1", request.request_id)
    assert request.user.email.encode() not in kept
    assert b"Lovelace" not in kept


async def test_a_refused_registration_may_be_tried_again_under_its_request_id(service: UserService) -> None:
    person = await service.register()
    request = registration(person.email, request_id=str(uuid4()))
    assert await refusal(service.users.CreateUser(request)) == ("ALREADY_EXISTS", "EMAIL_TAKEN")
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=person.metadata)
    assert (await service.users.CreateUser(request)).user_id != person.user_id


@pytest.mark.parametrize(
    "request_",
    [
        registration("nobody"),
        registration(""),
        registration("a@example.com", password="short"),
        registration("a@example.com", password="x" * 129),
        registration("a@example.com", display_name="two\nlines"),
        registration("a@example.com", display_name="nul\0"),
        registration("a@example.com", user_id=str(uuid4())),
        registration("a@example.com", etag="1"),
        registration("a@example.com", request_id="1"),
    ],
)
async def test_a_malformed_registration_is_refused(
    service: UserService, request_: user_pb2.CreateUserRequest
) -> None:
    assert await refusal(service.users.CreateUser(request_)) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_nobody_registers_as_an_administrator(service: UserService) -> None:
    request = registration(some_email())
    request.user.roles.append(role_pb2.ROLE_ADMIN)
    assert await refusal(service.users.CreateUser(request)) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_nobody_registers_an_operators_address(service: UserService) -> None:
    request = registration("Admin@Operator.commerce.local")
    assert await refusal(service.users.CreateUser(request)) == ("INVALID_ARGUMENT", "EMAIL_RESERVED")


async def test_people_read_their_own_account_by_me_and_by_id(service: UserService) -> None:
    person = await service.register()
    mine = await get(service, person, "me")
    assert (mine.user_id, mine.email) == (person.user_id, person.email)
    assert await get(service, person, person.user_id) == mine


async def test_another_persons_account_is_answered_as_one_that_does_not_exist(service: UserService) -> None:
    ada, bea = await service.register(), await service.register()

    async def answers(user_id: str) -> list[tuple[str, str, str]]:
        user = user_pb2.User(user_id=user_id, display_name="x")
        calls = [
            service.users.GetUser(user_pb2.GetUserRequest(user_id=user_id), metadata=ada.metadata),
            service.users.UpdateUser(user_pb2.UpdateUserRequest(user=user), metadata=ada.metadata),
            service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id=user_id), metadata=ada.metadata),
            service.auth.ListSessions(auth_pb2.ListSessionsRequest(user_id=user_id), metadata=ada.metadata),
        ]
        errors = [await error_of(call) for call in calls]
        return [(error.code, error.reason, error.message) for error in errors]

    of_another, of_nobody = await answers(bea.user_id), await answers(str(uuid4()))
    assert of_another == of_nobody
    assert {each[:2] for each in of_another} == {NOT_FOUND}
    assert (await get(service, bea, "me")).etag == "1", "nothing was changed"


async def test_support_reads_everyone_and_changes_nobody(service: UserService) -> None:
    person, support = await service.register(), await service.operator_metadata(role_pb2.ROLE_SUPPORT)
    request = user_pb2.GetUserRequest(user_id=person.user_id)
    assert (await service.users.GetUser(request, metadata=support)).user_id == person.user_id
    user = user_pb2.User(user_id=person.user_id, display_name="x")
    change = service.users.UpdateUser(user_pb2.UpdateUserRequest(user=user), metadata=support)
    error = await error_of(change)
    # Whom they see is no secret to them; what they lack is told.
    assert (error.code, error.reason) == ("PERMISSION_DENIED", "SCOPE_MISSING")
    assert error.metadata["scopes"] == "users.write_any"
    end = auth_pb2.DeleteSessionRequest(session_id=person.session_id)
    assert (await refusal(service.auth.DeleteSession(end, metadata=support)))[1] == "SCOPE_MISSING"


async def test_what_is_refused_names_its_field(service: UserService) -> None:
    person = await service.register()
    again = user_pb2.CreateUserRequest(user=user_pb2.User(email=person.email), password=PASSWORD)
    common = user_pb2.CreateUserRequest(user=user_pb2.User(email=some_email()), password="Sunshine2024!")
    wrong = auth_pb2.ChangePasswordRequest(old_password="x", new_password="four more apples, please")
    for call, field in (
        (service.users.CreateUser(again), "user.email"),
        (service.users.CreateUser(common), "password"),
        (service.auth.ChangePassword(wrong, metadata=person.metadata), "old_password"),
        (
            service.recovery.ResetPassword(
                recovery_pb2.ResetPasswordRequest(token="x", new_password="four more apples")
            ),
            "token",
        ),
    ):
        (violation,) = (await error_of(call)).violations
        assert violation.field == field


async def test_a_list_of_sessions_marks_the_one_that_asks(service: UserService) -> None:
    first = await service.register()
    await service.log_in(first.email)
    listed = await service.auth.ListSessions(auth_pb2.ListSessionsRequest(), metadata=first.metadata)
    assert [each.session_id for each in listed.sessions if each.current] == [first.session_id]
    assert len(listed.sessions) == 2


async def test_addresses_of_others_are_masked_for_whoever_may_not_read_them(service: UserService) -> None:
    person = await service.register(f"q{some_email()}", display_name="Ada")
    support = await service.operator_metadata(role_pb2.ROLE_SUPPORT)
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    request, all_users = user_pb2.GetUserRequest(user_id=person.user_id), user_pb2.ListUsersRequest()
    masked = await service.users.GetUser(request, metadata=support)
    assert (masked.email, masked.display_name) == ("q…@example.com", "Ada")
    assert masked in (await service.users.ListUsers(all_users, metadata=support)).users
    own = user_pb2.GetUserRequest(user_id="me")
    assert (await service.users.GetUser(own, metadata=support)).email == "support@operator.commerce.local"
    whole = await service.users.GetUser(request, metadata=admin)
    assert whole.email == person.email
    assert whole in (await service.users.ListUsers(all_users, metadata=admin)).users


async def test_who_may_change_an_account_but_not_read_its_address_cannot_guess_it(
    service: UserService,
) -> None:
    person = await service.register()
    _, machine = await new_machine(service, "users.write", "users.write_any")
    for email in (person.email, some_email()):
        user = user_pb2.User(user_id=person.user_id, email=email)
        call = service.users.UpdateUser(user_pb2.UpdateUserRequest(user=user), metadata=machine)
        assert [each.field for each in (await error_of(call)).violations] == ["user.email"]
    named = user_pb2.UpdateUserRequest(user=user_pb2.User(user_id=person.user_id, display_name="Ada"))
    answer = await service.users.UpdateUser(named, metadata=machine)
    assert (answer.display_name, answer.email) == ("Ada", masked_email(person.email))


async def test_an_administrator_finds_an_account_by_its_address_and_nobody_else_does(
    service: UserService,
) -> None:
    person = await service.register()
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    support = await service.operator_metadata(role_pb2.ROLE_SUPPORT)
    request = user_pb2.ListUsersRequest(email=person.email.upper(), page_size=1)
    found = await service.users.ListUsers(request, metadata=admin)
    assert [(user.user_id, user.email) for user in found.users] == [(person.user_id, person.email)]
    assert found.next_page_token == ""
    refused = service.users.ListUsers(request, metadata=support)
    assert await refusal(refused) == ("PERMISSION_DENIED", "EMAIL_FILTER_NOT_ALLOWED")
    nobody = user_pb2.ListUsersRequest(email=some_email())
    assert not (await service.users.ListUsers(nobody, metadata=admin)).users
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=person.metadata)
    assert not (await service.users.ListUsers(request, metadata=admin)).users


async def test_an_account_that_no_key_opens_keeps_no_list_from_being_shown(service: UserService) -> None:
    ada, ben = await service.register(), await service.register()
    await service.fetchval(
        "UPDATE users SET sealed_email = set_byte(sealed_email, 32, get_byte(sealed_email, 32) # 1)"
        " WHERE user_id = $1",
        UUID(ada.user_id),
    )
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    listed = await service.users.ListUsers(user_pb2.ListUsersRequest(page_size=10), metadata=admin)
    shown = {each.user_id: each for each in listed.users}
    assert shown[ben.user_id].email == ben.email
    assert (shown[ada.user_id].email, shown[ada.user_id].display_name) == ("", "")
    assert list(shown[ada.user_id].roles) == [role_pb2.ROLE_CUSTOMER]


async def test_what_a_device_is_called_is_for_its_owner_and_administrators(service: UserService) -> None:
    user = user_pb2.User(email=some_email())
    await service.users.CreateUser(user_pb2.CreateUserRequest(user=user, password=PASSWORD))
    log_in = auth_pb2.CreateSessionRequest(email=user.email, password=PASSWORD)
    session = (await service.auth.CreateSession(log_in, metadata=[("user-agent", "a laptop")])).session
    request = auth_pb2.ListSessionsRequest(user_id=session.user_id)
    devices = {}
    for role in (role_pb2.ROLE_ADMIN, role_pb2.ROLE_SUPPORT):
        metadata = await service.operator_metadata(role)
        listed = await service.auth.ListSessions(request, metadata=metadata)
        devices[role] = [each.device for each in listed.sessions]
    assert devices[role_pb2.ROLE_SUPPORT] == [""]
    assert devices[role_pb2.ROLE_ADMIN] == [session.device] != [""]


async def test_without_a_mask_what_is_populated_changes(service: UserService) -> None:
    person = await service.register(display_name="Ada")
    before = await get(service, person, "me")
    changed = await update(service, person, user_pb2.User(user_id="me", display_name="A. L."))
    assert (changed.display_name, changed.etag) == ("A. L.", "2")
    assert (changed.roles, changed.create_time) == (before.roles, before.create_time)
    assert await get(service, person, "me") == changed


async def test_a_field_that_the_mask_names_can_be_cleared(service: UserService) -> None:
    person = await service.register(display_name="Ada")
    cleared = await update(service, person, user_pb2.User(user_id="me"), "display_name")
    assert cleared.display_name == ""


async def test_a_resource_that_was_read_can_be_sent_back(service: UserService) -> None:
    person = await service.register(display_name="Ada")
    mine = await get(service, person, "me")
    assert await update(service, person, mine) == mine
    assert await update(service, person, mine, "*") == mine
    mine.display_name = "Bea"
    assert (await update(service, person, mine, "*")).display_name == "Bea"


@pytest.mark.parametrize("path", ["email", "user_id", "create_time", "password", "displayName", "roles.x"])
async def test_a_mask_that_names_anything_else_is_refused(service: UserService, path: str) -> None:
    person = await service.register()
    call = update(service, person, user_pb2.User(user_id="me"), "display_name", path)
    assert await refusal(call) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_the_email_does_not_change(service: UserService) -> None:
    person = await service.register()
    for mask in ((), ("*",)):
        mine = await get(service, person, "me")
        mine.email = some_email()
        call = update(service, person, mine, *mask)
        assert await refusal(call) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert (await get(service, person, "me")).email == person.email


async def test_nobody_gives_themselves_a_role(service: UserService) -> None:
    person = await service.register()
    user = user_pb2.User(user_id="me", roles=[role_pb2.ROLE_CUSTOMER, role_pb2.ROLE_ADMIN])
    for mask in ((), ("roles",)):
        call = update(service, person, user, *mask)
        assert await refusal(call) == ("PERMISSION_DENIED", "ROLE_CHANGE_NOT_ALLOWED")
    assert (await get(service, person, "me")).roles == [role_pb2.ROLE_CUSTOMER]


async def test_an_administrator_gives_a_role_and_the_next_token_has_its_scopes(service: UserService) -> None:
    person, admin = await service.register(), await service.operator_metadata(role_pb2.ROLE_ADMIN)
    user = user_pb2.User(user_id=person.user_id, roles=[role_pb2.ROLE_MERCHANT])
    changed = await service.users.UpdateUser(
        user_pb2.UpdateUserRequest(user=user, update_mask=FieldMask(paths=["roles"])), metadata=admin
    )
    assert changed.roles == [role_pb2.ROLE_MERCHANT]
    refreshed = await service.refresh(person.refresh_token)
    assert "products.write" in service.claims(refreshed.tokens.access_token)["scope"].split()


async def test_a_stale_etag_changes_and_closes_nothing(service: UserService) -> None:
    person = await service.register()
    await update(service, person, user_pb2.User(user_id="me", display_name="first", etag="1"))
    stale = update(service, person, user_pb2.User(user_id="me", display_name="second", etag="1"))
    assert await refusal(stale) == ("ABORTED", "ETAG_MISMATCH")
    request = user_pb2.DeleteUserRequest(user_id="me", etag="1")
    closing = service.users.DeleteUser(request, metadata=person.metadata)
    assert await refusal(closing) == ("ABORTED", "ETAG_MISMATCH")
    assert (await get(service, person, "me")).display_name == "first"


async def test_of_many_with_one_etag_one_wins(service: UserService) -> None:
    person = await service.register()
    answers = await asyncio.gather(
        *(
            update(service, person, user_pb2.User(user_id="me", display_name=f"name {n}", etag="1"))
            for n in range(10)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(each, user_pb2.User) for each in answers) == 1
    assert (await get(service, person, "me")).etag == "2"


async def test_changes_at_once_without_an_etag_are_all_made(service: UserService) -> None:
    person = await service.register()
    changes = (user_pb2.User(user_id="me", display_name=f"name {n}") for n in range(10))
    await asyncio.gather(*(update(service, person, change) for change in changes))
    assert (await get(service, person, "me")).etag == "11"


async def test_a_closed_account_is_gone_and_its_email_is_free(service: UserService) -> None:
    person = await service.register()
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=person.metadata)
    await ends(lambda: get(service, person, "me"))
    assert await refusal(service.log_in(person.email)) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    refresh = service.refresh(person.refresh_token)
    assert await refusal(refresh) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    again = service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=person.metadata)
    assert await refusal(again) == SESSION_ENDED
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    request = user_pb2.DeleteUserRequest(user_id=person.user_id)
    assert await refusal(service.users.DeleteUser(request, metadata=admin)) == NOT_FOUND
    assert (await service.register(person.email)).user_id != person.user_id


async def test_accounts_are_listed_in_pages_newest_first_without_the_closed(service: UserService) -> None:
    people = [await service.register() for _ in range(4)]
    closed = people.pop(1)
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=closed.metadata)
    support = await service.operator_metadata(role_pb2.ROLE_SUPPORT)
    listed: list[str] = []
    token = ""
    for _ in range(3):
        request = user_pb2.ListUsersRequest(page_size=2, page_token=token)
        page = await service.users.ListUsers(request, metadata=support)
        listed += [user.user_id for user in page.users]
        token = page.next_page_token
    made = [person.user_id for person in reversed(people)]
    assert [user_id for user_id in listed if user_id in made] == made
    assert closed.user_id not in listed
    assert len(set(listed)) == len(listed)


async def test_the_last_page_names_no_next_one(service: UserService) -> None:
    support = await service.operator_metadata(role_pb2.ROLE_SUPPORT)
    seen = 0
    token = ""
    while page := await service.users.ListUsers(
        user_pb2.ListUsersRequest(page_size=100, page_token=token), metadata=support
    ):
        seen += len(page.users)
        token = page.next_page_token
        if not token:
            break
    assert seen == await service.fetchval("SELECT count(*) FROM users WHERE delete_time IS NULL")


async def test_customers_do_not_list_accounts(service: UserService) -> None:
    person = await service.register()
    call = service.users.ListUsers(user_pb2.ListUsersRequest(), metadata=person.metadata)
    assert await refusal(call) == ("PERMISSION_DENIED", "SCOPE_MISSING")


async def test_a_page_token_of_our_own_is_needed(service: UserService) -> None:
    support = await service.operator_metadata(role_pb2.ROLE_SUPPORT)
    call = service.users.ListUsers(user_pb2.ListUsersRequest(page_token="x"), metadata=support)
    assert await refusal(call) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def get(service: UserService, person: Person, user_id: str) -> user_pb2.User:
    request = user_pb2.GetUserRequest(user_id=user_id)
    user: user_pb2.User = await service.users.GetUser(request, metadata=person.metadata)
    return user


async def update(service: UserService, person: Person, user: user_pb2.User, *mask: str) -> user_pb2.User:
    request = user_pb2.UpdateUserRequest(user=user, update_mask=FieldMask(paths=mask) if mask else None)
    changed: user_pb2.User = await service.users.UpdateUser(request, metadata=person.metadata)
    return changed
