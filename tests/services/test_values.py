"""Small parts: settings, pages, money, policies, stored answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from commerce.order.v1 import order_pb2
from commerce.user.v1 import role_pb2
from google.type.money_pb2 import Money

from services.errors import PageTokenInvalid, RequestIdReused
from services.idempotency import find_response, hash_request, store_response
from services.money import round_line, to_decimal, to_money
from services.paging import decode_token, encode_token, page_size
from services.policy import Access, policies, policy_of, scopes_of_role
from services.postgres import Pool, connection, transaction
from services.settings import (
    DatabaseSettings,
    ServerSettings,
    SettingsError,
    TelemetrySettings,
    address,
    load,
    load_or_exit,
    read_secret,
    variable,
)
from tests.conftest import DatabaseHandle


@dataclass(frozen=True, kw_only=True)
class Settings:
    server: ServerSettings
    database: DatabaseSettings
    telemetry: TelemetrySettings
    user_address: str = variable("COMMERCE_USER_ADDRESS", address)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "file"
    path.write_text("secret\n")
    return {
        "COMMERCE_LISTEN_ADDRESS": "127.0.0.1:50051",
        "COMMERCE_TLS_CERT_FILE": str(path),
        "COMMERCE_TLS_KEY_FILE": str(path),
        "COMMERCE_TLS_CA_FILE": str(path),
        "COMMERCE_DATABASE_URL": "postgresql://commerce_user_app@127.0.0.1:54320/commerce_user",
        "COMMERCE_DATABASE_PASSWORD_FILE": str(path),
        "COMMERCE_USER_ADDRESS": "127.0.0.1:50051",
    }


def test_settings_are_read_with_their_defaults(environ: dict[str, str]) -> None:
    settings = load(Settings, environ | {"COMMERCE_REUSE_PORT": "1", "COMMERCE_DRAIN_SECONDS": "0"})
    assert (settings.server.reuse_port, settings.server.drain_seconds) == (True, 0.0)
    assert (settings.server.grace_seconds, settings.server.max_concurrent_rpcs) == (10.0, 200)
    assert settings.database.pool_size == 10
    assert (settings.telemetry.log_level, settings.telemetry.otlp_endpoint) == ("info", None)
    assert read_secret(settings.database.password_file) == "secret"


def test_every_missing_and_malformed_setting_is_named_at_once() -> None:
    wrong = {
        "COMMERCE_LISTEN_ADDRESS": "nowhere",
        "COMMERCE_REUSE_PORT": "yes",
        "COMMERCE_GRACE_SECONDS": "-1",
        "COMMERCE_DATABASE_URL": "mysql://x",
        "COMMERCE_DATABASE_POOL_SIZE": "0",
        "COMMERCE_TLS_KEY_FILE": "/nonexistent",
        "COMMERCE_LOG_LEVEL": "loud",
    }
    with pytest.raises(SettingsError) as caught:
        load(Settings, wrong)
    named = {problem.partition(" ")[0] for problem in caught.value.problems}
    assert named == set(wrong) | {
        "COMMERCE_TLS_CERT_FILE",
        "COMMERCE_TLS_CA_FILE",
        "COMMERCE_DATABASE_PASSWORD_FILE",
        "COMMERCE_USER_ADDRESS",
    }


def test_process_with_bad_settings_says_so_and_exits_with_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMMERCE_USER_ADDRESS", raising=False)
    with pytest.raises(SystemExit) as caught:
        load_or_exit(Settings)
    assert caught.value.code == 2
    assert "COMMERCE_USER_ADDRESS is missing" in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "given"), [(0, 25), (1, 1), (100, 100), (101, 100), (2**31 - 1, 100)])
def test_page_size_is_capped(asked: int, given: int) -> None:
    assert page_size(asked) == given


def test_page_token_gives_the_key_back_with_its_types() -> None:
    key = {
        "id": uuid4(),
        "time": datetime(2026, 11, 22, 8, 30, 0, 123456, tzinfo=UTC),
        "rank": 0.25,
        "price": Decimal("1.10"),
        "name": "é",
        "n": 7,
        "none": None,
    }
    assert decode_token(encode_token(key, filter="a"), filter="a") == key
    assert decode_token("", filter="a") is None


def test_page_token_of_another_list_is_refused() -> None:
    with pytest.raises(PageTokenInvalid):
        decode_token(encode_token({"id": 1}, filter="user=a"), filter="user=b")


def test_changed_page_token_is_refused_wherever_it_is_changed() -> None:
    token = encode_token({"id": UUID(int=7)}, filter="a")
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        changed = token[:place] + other + token[place + 1 :]
        try:
            assert decode_token(changed, filter="a") == {"id": UUID(int=7)}, "unused bits of the last digit"
        except PageTokenInvalid:
            continue
        assert place == len(token) - 1
    for wrong in ("x", "====", "é", token[:-4], token + "AAAA", json.dumps({"id": 1})):
        with pytest.raises(PageTokenInvalid):
            decode_token(wrong, filter="a")


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("2.345", "USD", "2.34"),
        ("2.355", "USD", "2.36"),
        ("2.3450001", "USD", "2.35"),
        ("-2.345", "USD", "-2.34"),
        ("10", "EUR", "10.00"),
        ("0.5", "JPY", "0"),
        ("1.5", "JPY", "2"),
        ("2.5", "JPY", "2"),
        ("1.2345", "KWD", "1.234"),
        ("1.2355", "BHD", "1.236"),
        ("1.00005", "CLF", "1.0000"),
        ("99.995", "GBP", "100.00"),
    ],
)
def test_line_is_rounded_half_even_to_the_minor_unit(amount: str, currency: str, rounded: str) -> None:
    assert str(round_line(Decimal(amount), currency)) == rounded


@pytest.mark.parametrize(
    ("amount", "currency", "units", "nanos"),
    [
        ("12.34", "USD", 12, 340_000_000),
        ("-1.75", "USD", -1, -750_000_000),
        ("-0.01", "USD", 0, -10_000_000),
        ("100", "JPY", 100, 0),
        ("0.000000001", "USD", 0, 1),
        ("9223372036854775807.999999999", "USD", 2**63 - 1, 999_999_999),
    ],
)
def test_money_goes_to_the_wire_and_back_exactly(amount: str, currency: str, units: int, nanos: int) -> None:
    money = to_money(Decimal(amount), currency)
    assert money == Money(currency_code=currency, units=units, nanos=nanos)
    assert to_decimal(money) == Decimal(amount)


def test_amount_that_money_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="nine decimals"):
        to_money(Decimal("0.0000000001"), "USD")


def test_every_method_of_the_contract_has_a_policy() -> None:
    found = policies()
    assert {method.split("/")[1] for method in found} == {
        "commerce.event.v1.EventFeed",
        "commerce.order.v1.OrderService",
        "commerce.product.v1.CategoryService",
        "commerce.product.v1.InventoryService",
        "commerce.product.v1.ProductService",
        "commerce.user.v1.AuthService",
        "commerce.user.v1.UserService",
    }
    assert all(policy.max_request_bytes > 0 for policy in found.values())
    unbounded = {method for method, policy in found.items() if policy.deadline_seconds is None}
    assert unbounded == {"/commerce.event.v1.EventFeed/Follow"}
    assert all(policy.repeatable for policy in found.values() if policy.max_attempts > 1)


def test_policy_says_what_the_contract_says() -> None:
    policy = policy_of("/commerce.order.v1.OrderService/GetOrder")
    assert policy.access is Access.SCOPED
    assert policy.scopes == {"orders.read", "orders.read_any"}
    assert policy.any_owner == "orders.read_any"
    assert policy.exposed
    assert policy.cache is not None
    assert policy.cache.etag
    assert policy_of("/commerce.product.v1.InventoryService/ReserveStock").services == {"order"}


def test_scopes_of_a_role_are_the_contracts() -> None:
    assert "orders.write" in scopes_of_role(role_pb2.ROLE_CUSTOMER)
    assert "products.write" not in scopes_of_role(role_pb2.ROLE_CUSTOMER)
    assert scopes_of_role(role_pb2.ROLE_UNSPECIFIED) == frozenset()


METHOD = "/commerce.order.v1.OrderService/PlaceOrder"


@pytest.fixture
async def pool(database: Callable[[str], DatabaseHandle]) -> AsyncIterator[Pool]:
    pool = await database("order").pool()
    yield pool
    await pool.close()


async def test_first_answer_is_returned_to_the_same_request_and_no_other(pool: Pool) -> None:
    async with transaction(pool) as conn:
        assert await find_response(conn, "p", "k", METHOD, b"hash") is None
        assert await store_response(conn, "p", "k", METHOD, b"hash", b"answer") is None
    async with connection(pool) as conn:
        assert await find_response(conn, "p", "k", METHOD, b"hash") == b"answer"
        assert await find_response(conn, "q", "k", METHOD, b"hash") is None
        with pytest.raises(RequestIdReused):
            await find_response(conn, "p", "k", METHOD, b"other")
        with pytest.raises(RequestIdReused):
            await find_response(conn, "p", "k", "/another", b"hash")


async def test_slower_of_two_equal_requests_gets_the_answer_of_the_faster(pool: Pool) -> None:

    async def store(number: int) -> bytes | None:
        async with transaction(pool) as conn:
            await asyncio.sleep(0)
            return await store_response(conn, "p", "k", METHOD, b"hash", b"%d" % number)

    answers = await asyncio.gather(*(store(number) for number in range(8)))
    winners = [number for number, answer in enumerate(answers) if answer is None]
    assert len(winners) == 1
    assert {answer for answer in answers if answer is not None} == {b"%d" % winners[0]}


def test_request_hash_ignores_the_request_id_and_nothing_else() -> None:
    line = order_pb2.PlaceOrderLine(product_id="p", quantity=1)
    first = order_pb2.PlaceOrderRequest(request_id="a", lines=[line], payment_token="t")
    again = order_pb2.PlaceOrderRequest(request_id="b", lines=[line], payment_token="t")
    other = order_pb2.PlaceOrderRequest(request_id="a", lines=[line], payment_token="u")
    assert hash_request(first) == hash_request(again) != hash_request(other)
    assert first.request_id == "a"
