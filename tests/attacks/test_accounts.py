"""What callers of ill will can do to accounts: guess past the throttle, and fill the queue of log-ins."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from commerce.user.v1 import auth_pb2, user_pb2

from tests.support.calls import Caller, Outcome, Target, open_caller
from tests.support.stack import Stack
from tests.support.world import AUTH, PASSWORD, USERS

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

FAILURES_ALLOWED = 10
# What the contract lets one address send at once, of log-ins and of registrations.
BURST = 20
ATTACKER, VICTIM = "127.0.0.9", "127.0.0.10"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def caller(guarded: Stack) -> AsyncIterator[Caller]:
    async with open_caller(Target.of(guarded.place)) as opened:
        yield opened


async def register(caller: Caller, email: str) -> Outcome:
    request = user_pb2.CreateUserRequest(user=user_pb2.User(email=email), password=PASSWORD)
    return await caller.call_direct(USERS + "CreateUser", request)


async def log_in(caller: Caller, email: str, password: str) -> Outcome:
    # At the service: the edge would stop a single address sooner, but not many of them.
    request = auth_pb2.CreateSessionRequest(email=email, password=password)
    return await caller.call_direct(AUTH + "CreateSession", request)


def spellings(email: str) -> list[str]:
    """Write an address in ways that one system or another takes for the same."""
    local, _, domain = email.partition("@")
    mixed = ["".join(each) for each in itertools.product("iI\u0130\u0131\uff49", repeat=2)]
    return [
        *(f"{each}{local[2:]}@{domain}" for each in mixed),
        email.replace("k", "\u212a"),
        email.replace("k", "K"),
        f"{local}@{domain.upper()}",
        f"{local}@{domain}.",
        f'"{local}"@{domain}',
        f"{local}(comment)@{domain}",
        f" {email} ",
        f"{email}\u200b",
        f"{local}@{domain.replace('e', chr(0xFF45))}",
        f"{local}@{domain.replace('.', chr(0x3002))}",
    ]


async def test_no_spelling_of_an_address_passes_its_throttle(caller: Caller) -> None:
    email = f"ii.k.{uuid4().hex}@example.com"
    assert (await register(caller, email)).code == "OK"
    # Spread over spellings: they are one account's failures.
    for number in range(FAILURES_ALLOWED):
        wrong = await log_in(caller, email.upper() if number % 2 else email, f"wrong {number}")
        assert wrong.reason == "CREDENTIALS_INVALID"
    assert (await log_in(caller, email, PASSWORD)).reason == "LOGIN_THROTTLED"
    outcomes = {each: await log_in(caller, each, PASSWORD) for each in spellings(email)}
    in_another_case = {each for each in outcomes if each.isascii() and each.lower() == email}
    assert len(in_another_case) > 3
    assert {each: outcome.reason for each, outcome in outcomes.items()} == {
        each: "LOGIN_THROTTLED" if each in in_another_case else "INVALID_REQUEST" for each in outcomes
    }


async def test_no_second_account_opens_under_another_spelling(caller: Caller) -> None:
    email = f"ii.k.{uuid4().hex}@example.com"
    outcomes = await asyncio.gather(*(register(caller, each) for each in spellings(email) * 2))
    assert sorted({outcome.reason for outcome in outcomes}) == ["", "EMAIL_TAKEN", "INVALID_REQUEST"]
    assert [outcome.code for outcome in outcomes].count("OK") == 1


async def test_a_request_id_names_one_request_in_either_case(caller: Caller) -> None:
    email, request_id = f"{uuid4().hex}@example.com", str(uuid4())
    request = user_pb2.CreateUserRequest(
        user=user_pb2.User(email=email), password=PASSWORD, request_id=request_id
    )
    first = (await caller.call_direct(USERS + "CreateUser", request)).response
    request.request_id = request_id.upper()
    assert (await caller.call_direct(USERS + "CreateUser", request)).response == first


async def test_one_address_never_fills_the_queue_of_log_ins_for_others(
    guarded: Stack, caller: Caller
) -> None:
    email = f"{uuid4().hex}@example.com"
    assert (await register(caller, email)).code == "OK"
    async with from_address(ATTACKER) as attacker, from_address(VICTIM) as victim:
        flood = [asyncio.create_task(post(guarded, attacker, path, body)) for path, body in burst()]
        # Behind the flood in the queue, or before its end.
        mine = [
            post(guarded, victim, "/v1/sessions", {"email": email, "password": PASSWORD}) for _ in range(4)
        ]
        answered = await asyncio.gather(*mine)
        refused = [reason for _, reason in await asyncio.gather(*flood) if reason == "OVERLOADED"]
    assert answered == [(200, "")] * 4
    assert not refused, "the flood filled the queue: there were moments without a place for anybody else"


def burst() -> list[tuple[str, object]]:
    # Of somebody else each: one account's log-ins are throttled before they are hashed.
    emails = [f"{uuid4().hex}@example.com" for _ in range(BURST)]
    log_ins: list[tuple[str, object]] = [
        ("/v1/sessions", {"email": each, "password": PASSWORD}) for each in emails
    ]
    registrations: list[tuple[str, object]] = [
        ("/v1/users", {"user": {"email": each}, "password": PASSWORD}) for each in emails
    ]
    return [*log_ins, *registrations]


def from_address(address: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(address, 0), limit=0))


async def post(stack: Stack, session: aiohttp.ClientSession, path: str, body: object) -> tuple[int, str]:
    async with session.post(stack.rest_url + path, json=body) as answer:
        details = (await answer.json()).get("details", [])
        return answer.status, next((each["reason"] for each in details if "reason" in each), "")
