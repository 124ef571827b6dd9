"""What no OAuth client does in a person's name, whatever they have allowed it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from commerce.user.v1 import auth_pb2, oauth_pb2, role_pb2, second_factor_pb2, user_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from deploy.local.shop.clients import bearer
from services.rpc.policy import policies
from tests.support.people import Person
from tests.support.refusals import refusal
from tests.support.tokens import Metadata
from tests.user.conftest import PASSWORD, UserService
from tests.user.test_oauth import new_flow

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOT_ALLOWED = ("PERMISSION_DENIED", "CLIENT_NOT_ALLOWED")
ALL_SCOPES = ("users.read", "users.write", "users.write_any")
Call = Callable[[UserService, Metadata, Person], Awaitable[Any]]

# Each with the token of a client that an administrator has just let in, for everything.
REFUSED: dict[str, Call] = {
    "EnrolTotp": lambda service, client, _: service.second_factor.EnrolTotp(
        second_factor_pb2.EnrolTotpRequest(), metadata=client
    ),
    "ConfirmTotp": lambda service, client, _: service.second_factor.ConfirmTotp(
        second_factor_pb2.ConfirmTotpRequest(totp_code="000000"), metadata=client
    ),
    "RemoveTotp": lambda service, client, _: service.second_factor.RemoveTotp(
        second_factor_pb2.RemoveTotpRequest(user_id="me"), metadata=client
    ),
    "DeleteUser": lambda service, client, _: service.users.DeleteUser(
        user_pb2.DeleteUserRequest(user_id="me"), metadata=client
    ),
    "ChangePassword": lambda service, client, _: service.auth.ChangePassword(
        auth_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="another battery staple"),
        metadata=client,
    ),
    "Reauthenticate": lambda service, client, _: service.auth.Reauthenticate(
        auth_pb2.ReauthenticateRequest(password=PASSWORD), metadata=client
    ),
    "EndSessions": lambda service, client, _: service.auth.EndSessions(
        auth_pb2.EndSessionsRequest(user_id="me", keep_current=True), metadata=client
    ),
    "DeleteSession": lambda service, client, person: service.auth.DeleteSession(
        auth_pb2.DeleteSessionRequest(session_id=person.session_id), metadata=client
    ),
    "UpdateUser of roles": lambda service, client, person: service.users.UpdateUser(
        user_pb2.UpdateUserRequest(
            user=user_pb2.User(user_id=person.user_id, roles=[role_pb2.ROLE_ADMIN]),
            update_mask=FieldMask(paths=["roles"]),
        ),
        metadata=client,
    ),
}


async def let_in(service: UserService, person: Person) -> Metadata:
    """Return the token of a client that somebody has just let do everything that they may do."""
    flow = await new_flow(service, *ALL_SCOPES)
    tokens = await flow.exchange(await flow.code(person, scope=" ".join(ALL_SCOPES)))
    return bearer(tokens.access_token)


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
async def test_no_client_takes_an_account(service: UserService, call: Call) -> None:
    person = await service.register()
    await service.fetchval("UPDATE users SET roles = '{ROLE_ADMIN}' WHERE user_id = $1", person.user_id)
    client = await let_in(service, person)
    assert await refusal(call(service, client, person)) == NOT_ALLOWED
    await service.log_in(person.email)


async def test_a_client_changes_a_name_and_ends_its_own_session(service: UserService) -> None:
    person = await service.register()
    client = await let_in(service, person)
    name = user_pb2.UpdateUserRequest(user=user_pb2.User(user_id="me", display_name="Ada"))
    await service.users.UpdateUser(name, metadata=client)
    listed = await service.auth.ListSessions(auth_pb2.ListSessionsRequest(), metadata=client)
    [own] = [each.session_id for each in listed.sessions if each.client_id]
    await service.auth.DeleteSession(auth_pb2.DeleteSessionRequest(session_id=own), metadata=client)


async def test_no_machine_ends_peoples_sessions(service: UserService) -> None:
    person = await service.register()
    request = oauth_pb2.CreateClientRequest(
        name="A machine", kind="CLIENT_KIND_MACHINE", scopes=["users.write", "users.write_any"]
    )
    made = await service.clients.CreateClient(request)
    shown = oauth_pb2.ClientCredentials(client_id=made.client.client_id, client_secret=made.client_secret)
    answer = await service.oauth.IssueClientToken(oauth_pb2.IssueClientTokenRequest(client=shown))
    end = auth_pb2.DeleteSessionRequest(session_id=person.session_id)
    machine = bearer(answer.tokens.access_token)
    assert await refusal(service.auth.DeleteSession(end, metadata=machine)) == NOT_ALLOWED


async def test_every_method_that_is_for_people_alone_says_so() -> None:
    own = {name.rpartition("/")[2] for name, each in policies().items() if each.own_session}
    refusing = {
        name.rpartition("/")[2] for name, each in policies().items() if "CLIENT_NOT_ALLOWED" in each.reasons
    }
    assert own == {*REFUSED} - {"DeleteSession", "UpdateUser of roles"}
    assert refusing == own | {"DeleteSession", "UpdateUser"}
