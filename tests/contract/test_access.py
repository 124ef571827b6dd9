"""The contract decides who may call, over every protocol alike."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import Message

from deploy.local.parts.certificates import IDENTITIES
from services.roster import FROM_OUTSIDE, NAMES
from services.rpc.policy import policies
from tests.contract.access_table import (
    NAMING,
    OFFICE,
    OWNED,
    REQUESTS,
    RULES,
    STRANGER,
    ByRole,
    Internal,
    Public,
)
from tests.support.calls import NOT_CONNECTED, Outcome, descriptor, has_rest_path, services_with
from tests.support.world import (
    AUDIT,
    AUTH,
    ORDERS,
    PRIVACY,
    RECOVERY,
    ROLES,
    SECOND_FACTOR,
    USERS,
    World,
    log_in,
    new_customer,
)

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

GENERATED = Path(__file__).parents[2] / "generated"

# What access alone refuses with; a method's own refusals have other reasons.
ACCESS_REASONS = {
    "TOKEN_MISSING",
    "TOKEN_EXPIRED",
    "TOKEN_INVALID",
    "SESSION_ENDED",
    "SCOPE_MISSING",
    "CALLER_NOT_ALLOWED",
    "CALLER_UNKNOWN",
    "METHOD_UNKNOWN",
}
CALLERS = (*IDENTITIES, *FROM_OUTSIDE, STRANGER)
TOKEN_MISSING = ("UNAUTHENTICATED", "TOKEN_MISSING")
TOKEN_EXPIRED = ("UNAUTHENTICATED", "TOKEN_EXPIRED")
SCOPE_MISSING = ("PERMISSION_DENIED", "SCOPE_MISSING")
CALLER_NOT_ALLOWED = ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")
METHOD_UNKNOWN = ("UNIMPLEMENTED", "METHOD_UNKNOWN")

PUBLIC = [method for method, rule in RULES.items() if isinstance(rule, Public)]
BY_ROLE = [method for method, rule in RULES.items() if isinstance(rule, ByRole)]
INTERNAL = [method for method, rule in RULES.items() if isinstance(rule, Internal)]


async def test_every_rpc_of_the_contract_is_in_the_table() -> None:
    compiled = descriptor_pb2.FileDescriptorSet.FromString((GENERATED / "commerce.binpb").read_bytes())
    in_descriptor_set = {
        f"/{file.package}.{service.name}/{method.name}"
        for file in compiled.file
        if file.package.startswith("commerce.")
        for service in file.service
        for method in service.method
    }
    assert in_descriptor_set == set(policies()) == set(RULES) == set(REQUESTS)
    assert set(NAMING) == set(OWNED)


@pytest.mark.parametrize("method", PUBLIC)
async def test_public_method_is_open_to_all_but_bad_tokens(world: World, method: str) -> None:
    tokens = [None, *(world.roles[role].token for role in ROLES)]
    # One after the other: registering and logging in are dear on purpose.
    same = [await over_every_protocol(world, method, token) for token in tokens]
    assert not {verdict[1] for verdict in same} & ACCESS_REASONS
    assert len(set(same)) == 1, same
    rule = RULES[method]
    assert isinstance(rule, Public)
    expired = await over_every_protocol(world, method, world.expired_token)
    assert expired == (same[0] if rule.ignores_token else TOKEN_EXPIRED)


@pytest.mark.parametrize("method", BY_ROLE)
async def test_method_is_open_to_the_roles_that_the_table_names(world: World, method: str) -> None:
    rule = RULES[method]
    assert isinstance(rule, ByRole)
    assert await over_every_protocol(world, method, None) == TOKEN_MISSING
    assert await over_every_protocol(world, method, world.expired_token) == TOKEN_EXPIRED
    # One role after the other: where a method hashes passwords, forty at once outlast its deadline.
    verdicts = {role: await _as_role(world, method, role) for role in ROLES}
    if method == AUTH + "EndSessions":
        # It names somebody else, whom support may see: they are told what they lack.
        assert verdicts.pop("support") == SCOPE_MISSING
    refused = {role for role, verdict in verdicts.items() if verdict == SCOPE_MISSING}
    assert refused == set(ROLES) - rule.roles, verdicts
    assert not {verdicts[role][1] for role in rule.roles & verdicts.keys()} & ACCESS_REASONS, verdicts


@pytest.mark.parametrize("method", OWNED)
async def test_anothers_resource_is_open_to_the_roles_that_the_table_names(world: World, method: str) -> None:
    rule = RULES[method]
    assert isinstance(rule, ByRole)

    async def of_anna() -> Message:
        return NAMING[method](await _named_of_anna(world, method))

    async def of_nobody() -> Message:
        return NAMING[method](str(uuid4()))

    for role in sorted(rule.roles):
        token = world.roles[role].token
        theirs = await over_every_protocol(world, method, token, of_anna)
        if role in (rule.for_others or ()):
            assert theirs in {("OK", ""), ("ABORTED", "ETAG_MISMATCH")}, role
        elif role in OFFICE and method.startswith((USERS, AUTH, RECOVERY, SECOND_FACTOR, PRIVACY, AUDIT)):
            # They may see whose it is: that it exists is no secret to them.
            assert theirs == SCOPE_MISSING, role
        else:
            # The list of anyone's orders that are not one's own is empty, whoever that is.
            expected = "OK" if method == ORDERS + "ListOrders" else "NOT_FOUND"
            assert theirs[0] == expected, (role, theirs)
            assert theirs == await over_every_protocol(world, method, token, of_nobody), role


@pytest.mark.parametrize("method", INTERNAL)
async def test_internal_method_is_open_to_the_services_that_the_table_names(
    world: World, method: str
) -> None:
    rule = RULES[method]
    assert isinstance(rule, Internal)
    for service in services_with(method):
        for token in (None, world.admin):
            calls = [
                world.caller.call_direct(
                    method, REQUESTS[method](world), token, identity=identity, service=service
                )
                for identity in CALLERS
            ]
            verdicts = {
                identity: outcome.verdict
                for identity, outcome in zip(CALLERS, await asyncio.gather(*calls), strict=True)
            }
            refused = {each for each, verdict in verdicts.items() if verdict == CALLER_NOT_ALLOWED}
            assert refused == set(CALLERS) - rule.peers, (service, verdicts)
            assert not {verdicts[each][1] for each in rule.peers} & ACCESS_REASONS, (service, verdicts)


@pytest.mark.parametrize("method", INTERNAL)
async def test_internal_method_refuses_a_bad_token_even_from_its_peers(world: World, method: str) -> None:
    rule = RULES[method]
    assert isinstance(rule, Internal)
    for service in services_with(method):
        for identity in sorted(rule.peers):
            outcome = await world.caller.call_direct(
                method, REQUESTS[method](world), world.expired_token, identity=identity, service=service
            )
            assert outcome.verdict == TOKEN_EXPIRED, outcome


@pytest.mark.parametrize("method", INTERNAL)
async def test_internal_method_is_unknown_at_the_edge(world: World, method: str) -> None:
    request = REQUESTS[method](world)
    for token in (None, world.expired_token, *(world.roles[role].token for role in ROLES)):
        outcomes = await asyncio.gather(
            world.caller.call_grpc(method, request, token),
            world.caller.call_web(method, request, token),
            world.caller.send("POST", method, json_body={}, token=token),
            world.caller.send("GET", method, token=token),
        )
        assert {outcome.verdict for outcome in outcomes} == {METHOD_UNKNOWN}, outcomes


async def test_infrastructure_services_are_unknown_at_the_edge(world: World) -> None:
    for method in (
        "/grpc.health.v1.Health/Watch",
        "/grpc.channelz.v1.Channelz/GetServers",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ):
        outcome = await world.caller.call_grpc(method, b"", world.admin)
        assert outcome.verdict == METHOD_UNKNOWN, outcome


@pytest.mark.parametrize("service", NAMES)
async def test_service_speaks_to_nobody_without_a_certificate_of_a_service(
    world: World, service: str
) -> None:
    method = next(method for method in RULES if services_with(method) == (service,))
    # The edge's public certificate is of the same authority, but names a host and no service.
    for identity in ("", "public"):
        outcome = await world.caller.call_direct(
            method, REQUESTS[method](world), world.admin, identity=identity
        )
        assert outcome.code in {NOT_CONNECTED, "UNAUTHENTICATED"}, outcome
        assert outcome.reason in {"", "CALLER_UNKNOWN"}, outcome


async def over_every_protocol(
    world: World,
    method: str,
    token: str | None,
    request: Callable[[], Awaitable[Message]] | None = None,
) -> tuple[str, str]:
    """Make the same call in every way there is, and return the verdict that all of them gave."""

    async def usual() -> Message:
        return REQUESTS[method](world)

    make = request or usual
    caller = world.caller
    others = [name for name in ("order", "user") if name not in services_with(method)]
    calls = [
        caller.call_grpc(method, await make(), token),
        caller.call_web(method, await make(), token),
        caller.call_direct(method, await make(), token, identity="edge"),
        caller.call_direct(method, await make(), token, identity="operator"),
        caller.call_direct(method, await make(), token, identity=others[0]),
    ]
    if has_rest_path(method):
        calls.append(caller.call_rest(method, await make(), token))
    # Of streams a caller has few at once.
    called = descriptor(method)
    one_by_one = called.client_streaming or called.server_streaming
    outcomes = [await call for call in calls] if one_by_one else await asyncio.gather(*calls)
    verdicts = {outcome.verdict for outcome in outcomes}
    assert len(verdicts) == 1, f"{method} differs:\n" + "\n".join(map(_line, outcomes))
    return verdicts.pop()


def _line(outcome: Outcome) -> str:
    return f"{outcome.protocol}: {outcome.code} {outcome.reason}: {outcome.message}"


async def _named_of_anna(world: World, method: str) -> str:
    if method == AUTH + "DeleteSession":
        # Whoever may, ends it: each call needs one of its own.
        session = await log_in(world.caller, world.anna.email)
        return session.session.session_id
    if method == AUTH + "EndSessions":
        # Her own tokens have to go on working.
        return (await new_customer(world.caller)).user_id
    if method.startswith(ORDERS) and method != ORDERS + "ListOrders":
        return world.order_id
    return world.anna.user_id


async def _as_role(world: World, method: str, role: str) -> tuple[str, str]:
    return await over_every_protocol(world, method, world.roles[role].token)
