"""Password hashes: what they cost, and that no more than a bounded number wait."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import argon2
import bcrypt
import pytest

from services.errors import Overloaded
from services.user.accounts.emails import canonical_email
from services.user.accounts.passwords import Passwords
from services.user.sessions.authentication import Authentication
from services.user.sessions.throttle import Origin
from tests.support.vaults import VAULT
from tests.support.waiting import PATIENCE_SECONDS


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    owned = Passwords("Commerce Mesh", threads=1, waiting_per_thread=2)
    yield owned
    await owned.close()


async def verify(passwords: Passwords, password_hash: str | None, password: str) -> bool:
    with passwords.reserve() as place:
        return await passwords.verify(password_hash, password, place)


async def test_a_hash_is_argon2id_with_the_agreed_cost(passwords: Passwords) -> None:
    assert (await passwords.hash("correct horse")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_only_the_password_itself_matches(passwords: Passwords) -> None:
    password_hash = await passwords.hash("correct horse")
    assert await verify(passwords, password_hash, "correct horse")
    assert not await verify(passwords, password_hash, "correct horsf")


async def test_an_absent_account_matches_nothing(passwords: Passwords) -> None:
    assert not await verify(passwords, None, "correct horse")


async def test_composed_and_decomposed_letters_are_the_same_password(passwords: Passwords) -> None:
    assert await verify(passwords, await passwords.hash("caf\u00e9 au lait"), "cafe\u0301 au lait")


# Of PHP, of most others, and of those before a mistake of 2014 was mended.
@pytest.mark.parametrize("kind", ["2y", "2b", "2a"])
async def test_a_bcrypt_hash_is_verified_and_weak(passwords: Passwords, kind: str) -> None:
    password_hash = bcrypt.hashpw("café au lait".encode(), bcrypt.gensalt(4)).decode()
    password_hash = f"${kind}{password_hash.removeprefix('$2b')}"
    assert await verify(passwords, password_hash, "cafe\u0301 au lait")
    assert not await verify(passwords, password_hash, "cafe au lait")
    assert passwords.is_weak(password_hash)


async def test_a_bcrypt_hash_of_a_password_as_it_was_typed_is_verified(passwords: Passwords) -> None:
    decomposed = "cafe\u0301 au lait"
    password_hash = bcrypt.hashpw(decomposed.encode(), bcrypt.gensalt(4)).decode()
    assert await verify(passwords, password_hash, decomposed)


class Gate:
    """A bcrypt of any cost: nobody comes through until it is opened."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self._opened = threading.Event()
        self._check = bcrypt.checkpw

    def __call__(self, password: bytes, password_hash: bytes) -> bool:
        self.begun.append(password)
        assert self._opened.wait(PATIENCE_SECONDS)
        return self._check(password, password_hash)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, passwords: Passwords) -> Iterator[Gate]:
    closed = Gate()
    monkeypatch.setattr(bcrypt, "checkpw", closed)
    yield closed
    closed.open()


BCRYPT = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()


async def test_bcrypt_holds_up_no_argon2id_however_much_of_it_is_asked_for(
    passwords: Passwords, gate: Gate
) -> None:
    password_hash = await passwords.hash("correct horse")
    flood = [asyncio.create_task(verify(passwords, BCRYPT, f"wrong {n}")) for n in range(50)]
    assert await verify(passwords, password_hash, "correct horse")
    refused = [each for each in flood if each.done()]
    assert (len(refused), len(gate.begun)) == (40, 1), "ten places, of which one is worked on"
    assert all(isinstance(each.exception(), Overloaded) for each in refused)
    gate.open()
    assert [await each for each in flood if each not in refused] == [False] * 10
    assert await verify(passwords, BCRYPT, "correct horse"), "places are given back"


async def test_a_password_that_was_composed_otherwise_gets_both_of_its_places_or_none(
    passwords: Passwords, gate: Gate
) -> None:
    waiting = [asyncio.create_task(verify(passwords, BCRYPT, f"wrong {n}")) for n in range(9)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await verify(passwords, BCRYPT, "cafe\u0301 au lait")
    gate.open()
    await asyncio.gather(*waiting)
    assert gate.begun == [f"wrong {n}".encode() for n in range(9)], "neither was judged"


async def test_a_bcrypt_whose_caller_has_given_up_is_not_begun(passwords: Passwords, gate: Gate) -> None:
    waiting = [asyncio.create_task(verify(passwords, BCRYPT, f"cafe\u0301 {n}")) for n in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    gate.open()
    assert await verify(passwords, BCRYPT, "correct horse")
    assert gate.begun == ["caf\u00e9 0".encode(), b"correct horse"], "what runs cannot be stopped"


async def test_bcrypt_reads_no_more_than_it_did_elsewhere(passwords: Passwords) -> None:
    long = "a" * 100
    password_hash = bcrypt.hashpw(long[:72].encode(), bcrypt.gensalt(4)).decode()
    assert await verify(passwords, password_hash, long)
    assert not await verify(passwords, password_hash, "\0" * 100)


@pytest.mark.parametrize(
    ("changed", "weak"),
    [
        ({}, False),
        ({"memory_cost": 17_000}, True),
        ({"time_cost": 1}, True),
        ({"type": argon2.Type.I}, True),
        # Of a version of ours that asks for more.
        ({"memory_cost": 40_000, "time_cost": 3}, False),
    ],
)
def test_a_hash_is_weak_that_costs_less_than_a_new_one(
    passwords: Passwords, changed: dict[str, Any], weak: bool
) -> None:
    cost = {"memory_cost": 19_456, "time_cost": 2, "parallelism": 1, **changed}
    assert passwords.is_weak(argon2.PasswordHasher(**cost).hash("correct horse")) is weak


async def test_more_than_the_queue_holds_is_refused_and_the_rest_is_done(passwords: Passwords) -> None:
    outcomes = await asyncio.gather(
        *(verify(passwords, None, "correct horse") for _ in range(10)), return_exceptions=True
    )
    refused = [each for each in outcomes if isinstance(each, Overloaded)]
    assert (outcomes.count(False), len(refused)) == (3, 7)
    assert refused[0].retry_after_seconds == 1
    assert not await verify(passwords, None, "correct horse"), "places are given back"


async def test_a_place_that_is_not_used_is_given_back_and_one_that_is_used_is_not(
    passwords: Passwords,
) -> None:
    for _ in range(4):
        with passwords.reserve():
            pass
    with passwords.reserve() as place, passwords.reserve(), passwords.reserve():
        with pytest.raises(Overloaded):
            passwords.reserve()
        assert not await passwords.verify(None, "x", place)
        with passwords.reserve(), pytest.raises(Overloaded):
            passwords.reserve()


async def test_a_place_is_for_one_piece_of_work(passwords: Passwords) -> None:
    with passwords.reserve() as place:
        assert not await passwords.verify(None, "x", place)
        with pytest.raises(RuntimeError, match="not held"):
            await passwords.verify(None, "x", place)
    with pytest.raises(RuntimeError, match="not held"):
        await passwords.verify(None, "x", place)


async def test_a_log_in_that_finds_no_place_asks_neither_valkey_nor_the_database(
    passwords: Passwords,
) -> None:
    absent: Any = None
    authentication = Authentication(absent, passwords, absent, VAULT)
    with passwords.reserve(), passwords.reserve(), passwords.reserve(), pytest.raises(Overloaded):
        await authentication.check(canonical_email("ada@example.com"), "x", Origin.of_address("192.0.2.1"))


async def test_callers_who_give_up_give_their_places_back(passwords: Passwords) -> None:
    waiting = [asyncio.create_task(passwords.hash("correct horse")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    # The one that runs cannot be stopped; two are free at once.
    assert await asyncio.gather(*(verify(passwords, None, "x") for _ in range(2))) == [False, False]


async def test_the_event_loop_goes_on_while_passwords_are_hashed(passwords: Passwords) -> None:
    hashing = asyncio.gather(*(passwords.hash("correct horse") for _ in range(3)))
    for turns in itertools.count():  # noqa: B007
        if hashing.done():
            break
        await asyncio.sleep(0.001)
    await hashing
    assert turns > 3


@pytest.mark.parametrize(
    "password_hash",
    ["$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$!", "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHQ$aGFzaA"],
)
async def test_a_hash_that_cannot_be_read_matches_nothing(passwords: Passwords, password_hash: str) -> None:
    assert not await verify(passwords, password_hash, "correct horse")


@pytest.mark.parametrize(
    ("memory", "passes", "is_weak"),
    [
        (19_456, 2, False),
        (47_104, 1, False),
        (7_168, 5, False),
        (12_288, 3, False),
        (19_456, 1, True),
        (4_096, 20, True),
    ],
)
async def test_memory_and_passes_count_together(
    passwords: Passwords, memory: int, passes: int, is_weak: bool
) -> None:
    assert passwords.is_weak(f"$argon2id$v=19$m={memory},t={passes},p=1$c2FsdHNhbHQ$aGFzaA") is is_weak


async def test_of_a_long_password_bcrypt_has_no_whole_hash(passwords: Passwords) -> None:
    password_hash = "$2b$04$" + "a" * 53
    assert passwords.is_whole(password_hash, "a" * 72)
    assert not passwords.is_whole(password_hash, "a" * 73)
