"""Nothing that a person sent stands in any log, or can be read in a database of people or orders."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from commerce.order.v1 import order_pb2
from commerce.product.v1 import category_pb2, product_pb2
from commerce.user.v1 import auth_pb2, user_pb2
from google.protobuf.message import Message
from redis.asyncio import Redis

from deploy.local.parts import postgres
from services.rpc.policy import policies
from tests.attacks.canaries import Canaries, text_fields, with_text
from tests.attacks.frames import raw_connection
from tests.contract.access_table import REQUESTS
from tests.support.calls import Outcome, Target, descriptor, has_rest_path, open_caller
from tests.support.stack import Stack
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.world import AUTH, CATEGORIES, ORDERS, PRODUCTS, USERS, World, build_world, final_order

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

# Envoy writes its access log every 10 s.
POLL_SECONDS = 0.2
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# What a field is tried with, to be refused at different depths: by its meaning, its length, its domain,
# its characters.
SHAPES = ("{}", "{}" * 40, "{}@operator.commerce.local", "{}@example.com", "{}\0")
# These hold secrets, which no answer repeats.
SECRETS = frozenset({"password", "old_password", "new_password", "token", "refresh_token", "payment_token"})


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(guarded: Stack) -> AsyncIterator[World]:
    async with open_caller(Target.of(guarded.place)) as caller:
        yield await build_world(caller, guarded.place.secret("signing_key.pem"))


async def test_nothing_that_a_person_sent_stands_in_a_log(guarded: Stack, world: World) -> None:
    canaries = Canaries()
    async with everything_slow(guarded) as valkey:
        await send_in_every_field(world, canaries)
        await live_a_customers_life(world, canaries)
        await send_around_the_contract(guarded, world, canaries)
        await send_until_it_is_told(guarded, world, f"/v1/{canaries.word('unknown path')}", "/v1/*")
        traced = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        # One that had effects, of which the log always tells.
        last = await world.caller.send(
            "PATCH", "/v1/users/me", headers=traced, json_body={"displayName": "Anna"}, token=world.anna.token
        )
        assert last.http_status == 200
        assert last.headers["x-request-id"] == TRACE
        await written(guarded.place.logs / "edge-access.log", TRACE)
        slow_commands = str(await valkey.slowlog_get(10_000))
    assert_everything_is_logged(guarded)
    assert "incr" in slow_commands.lower(), "the slow log was not on"
    places = {str(path): path.read_text(encoding="utf-8", errors="replace") for path in log_files(guarded)}
    places["Valkey's slow log"] = slow_commands
    places["PostgreSQL's statistics"] = await statements(guarded)
    # What people wrote is encrypted there, or they are known by their ids alone.
    for service in ("user", "order"):
        places |= {f"{service}: {table}": text for table, text in (await tables_of(guarded, service)).items()}
    found = {place: canaries.found_in(text) for place, text in places.items()}
    assert not any(found.values()), "\n".join(line for lines in found.values() for line in lines[:9])


async def send_in_every_field(world: World, canaries: Canaries) -> None:
    """Send a word of its own in each field of each method that the edge exposes."""
    exposed = [method for method, policy in policies().items() if policy.exposed]
    assert set(exposed) <= set(REQUESTS), "a new method needs a request here too"
    calls = [
        send_in_field(world, canaries, method, path, shape)
        for method in exposed
        for path in text_fields(descriptor(method).input_type)
        for shape in SHAPES
    ]
    assert len(calls) > 200, "the contract's fields were not found"
    await asyncio.gather(*calls)


async def send_in_field(
    world: World, canaries: Canaries, method: str, path: tuple[str, ...], shape: str
) -> None:
    # At the services directly: the limits of the edge would stop most of it.
    caller, token = world.caller, world.admin
    name = f"{method} {'.'.join(path)}"
    word = canaries.word(f"{name} at the service")
    request = with_text(REQUESTS[method](world), path, shape.format(*[word] * 40))
    outcomes = [await caller.call_direct(method, request, token)]
    if shape == SHAPES[0]:
        edge_word = canaries.word(f"{name} at the edge")
        request = with_text(REQUESTS[method](world), path, edge_word)
        outcomes.append(await caller.call_grpc(method, request, token))
        if has_rest_path(method):
            outcomes.append(await caller.call_rest(method, request, token))
    if path[-1] in SECRETS:
        assert not any(canaries.found_in(outcome.text) for outcome in outcomes if outcome.code != "OK")


async def live_a_customers_life(world: World, canaries: Canaries) -> None:
    """Send words in calls that succeed, and in those that a rule of the shop refuses."""
    email = f"{canaries.word('e-mail')}@example.com"
    password = canaries.word("password")
    user = user_pb2.User(email=email, display_name=canaries.word("display name"))
    registration = user_pb2.CreateUserRequest(user=user, password=password)
    assert (await call(world, USERS + "CreateUser", registration)).code == "OK"
    assert (await call(world, USERS + "CreateUser", registration)).reason == "EMAIL_TAKEN"
    user.email = f"{canaries.word('reserved e-mail')}@operator.commerce.local"
    reserved = user_pb2.CreateUserRequest(user=user, password=password)
    assert (await call(world, USERS + "CreateUser", reserved)).reason == "EMAIL_RESERVED"
    wrong = auth_pb2.CreateSessionRequest(email=email, password=canaries.word("wrong password"))
    assert (await call(world, AUTH + "CreateSession", wrong)).reason == "CREDENTIALS_INVALID"
    right = auth_pb2.CreateSessionRequest(email=email, password=password)
    token = (await call(world, AUTH + "CreateSession", right)).response.tokens.access_token
    other_password = canaries.word("new password")
    change = auth_pb2.ChangePasswordRequest(old_password=password, new_password=other_password)
    assert (await call(world, AUTH + "ChangePassword", change, token)).code == "OK"
    assert (await call(world, AUTH + "ChangePassword", change, token)).reason == "OLD_PASSWORD_WRONG"
    # By the edge, as the two below: its log always tells of what had effects, and of other calls a share.
    renamed = user_pb2.User(user_id="me", display_name=canaries.word("new name"))
    update = user_pb2.UpdateUserRequest(user=renamed)
    assert (await world.caller.call_rest(USERS + "UpdateUser", update, token)).code == "OK"
    order = order_pb2.PlaceOrderRequest(
        request_id=str(uuid4()),
        lines=[order_pb2.PlaceOrderLine(product_id=world.product_id, quantity=1)],
        payment_token=canaries.word("payment token"),
    )
    placed = (await world.caller.call_rest(ORDERS + "PlaceOrder", order, token)).response
    assert (await final_order(world.caller, token, placed.order_id)).state == order_pb2.ORDER_STATE_CANCELLED
    search = product_pb2.SearchProductsRequest(query=canaries.word("search"))
    assert (await call(world, PRODUCTS + "SearchProducts", search)).code == "OK"
    category = category_pb2.Category(display_name=canaries.word("category"))
    created = category_pb2.CreateCategoryRequest(category=category)
    category = (await call(world, CATEGORIES + "CreateCategory", created, world.admin)).response
    unwanted = category_pb2.DeleteCategoryRequest(category_id=category.category_id)
    assert (await world.caller.call_rest(CATEGORIES + "DeleteCategory", unwanted, world.admin)).code == "OK"


async def call(world: World, method: str, request: Message, token: str | None = None) -> Outcome:
    return await world.caller.call_direct(method, request, token)


async def send_around_the_contract(stack: Stack, world: World, canaries: Canaries) -> None:
    """Send words in headers, paths, queries and bodies that no method takes."""
    send = world.caller.send
    headers = {name: canaries.word(f"header {name}") for name in HEADERS}
    for path in ("/v1/products", "/v1/users/me"):
        await send("GET", path, headers={**headers, "Authorization": f"Bearer {canaries.word('token')}"})
        for name, text in headers.items():
            await send("GET", path, headers={name: text})
    for scheme in ("Basic", "bearer", "Bearer a.b."):
        await send("GET", "/v1/users/me", headers={"Authorization": f"{scheme} {canaries.word(scheme)}"})
    for path in PATHS:
        await send("GET", path.format(canaries.word(f"path {path}")))
        await send("POST", path.format(canaries.word(f"path {path}")), json_body={})
    for body in BODIES:
        raw = body.replace(b"@", canaries.word(f"body {body!r}").encode())
        for path in ("/v1/users", "/v1/sessions", "/v1/orders"):
            await send("POST", path, raw_body=raw, token=world.anna.token)
    for garbage in (b"\xff%b", b"\x0a\x80%b", b"\x0a\xff\xff\xff\x0f%b"):
        raw = garbage % canaries.word("broken protobuf").encode()
        await world.caller.call_grpc(USERS + "CreateUser", raw)
        await world.caller.call_direct(USERS + "CreateUser", raw)
    await world.caller.call_grpc(f"/{canaries.word('gRPC service')}/{canaries.word('gRPC method')}", b"")
    await world.caller.call_direct(f"{USERS}{canaries.word('gRPC method')}", b"", service="user")
    await asyncio.to_thread(send_frames, stack, canaries)
    for line in RAW:
        await send_raw(stack, line.replace(b"@", canaries.word(f"raw {line!r}").encode()))


HEADERS = (
    "User-Agent",
    "Cookie",
    "Referer",
    "Origin",
    "Accept-Language",
    "Traceparent",
    "Tracestate",
    "Baggage",
    "X-Request-Id",
    "X-Forwarded-For",
    "Grpc-Timeout",
    "Grpc-Encoding",
    "If-None-Match",
    "X-Anything",
)
PATHS = (
    "/{}",
    "/v1/{}",
    "/v1/users/{}",
    "/v1/orders/{}:cancel",
    "/v1/products/{}?a=b",
    "/v1/products?{}=1",
    "/v1/products?page_token={}",
    "/v1/products?page_size={}",
    "/v1/products:search?query={}%FF",
    "/commerce.user.v1.UserService/{}",
)
# Where @ stands is the word.
BODIES = (
    b"@",
    b'{"@": 1}',
    b'{"user": "@", "password": {"@": []}}',
    b'{"user": {"email": {"@": "@"}}}',
    b'{"user": {"email": "\xff@"}, "password": "\xff@"}',
    b'{"email": "@\xc3", "password": ["@"]}',
    b'{"email": "@\\ud800", "password": "@\\u0000"}',
    b'{"lines": [{"productId": "@", "quantity": "@"}], "requestId": "@", "paymentToken": 1}',
    b'{"user": {"roles": ["@"], "createTime": "@"}}',
    b'{"email": "@',
)
RAW = (
    b"@ / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /@ HTTP/9.9\r\n\r\n",
    b"GET http://@/v1/products HTTP/1.1\r\nHost: @\r\n\r\n",
    b"GET /v1/products HTTP/1.1\r\nHost: localhost\r\n@ broken\r\n\r\n",
    b"GET /v1/products HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: @\r\n\r\n",
    b"GET /v1/products HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: @\r\n\r\n",
    b"POST /v1/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: @\r\nContent-Length: 1\r\n\r\n@",
    b"POST /v1/users HTTP/1.1\r\nHost: localhost\r\nContent-Length: @\r\n\r\n",
    b"@\r\n\r\n",
    b"\x16\x03\x01@",
)


def send_frames(stack: Stack, canaries: Canaries) -> None:
    """Send words where HTTP/2 has names of its own, one stream a header."""
    usual = {":method": "GET", ":scheme": "http", ":authority": "localhost", ":path": "/v1/products"}
    for name in (
        *usual,
        "te",
        "content-type",
        "content-length",
        "grpc-accept-encoding",
        "x-envoy-original-method",
    ):
        headers = {**usual, name: canaries.word(f"HTTP/2 {name}")}
        with raw_connection("127.0.0.1", stack.place.ports["edge"]) as connection:
            connection.send(connection.request(list(headers.items())))
            # Frames of an answer, or of the connection's end.
            connection.received()


async def send_raw(stack: Stack, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.place.ports["edge"])
    writer.write(sent)
    await writer.drain()
    writer.write_eof()
    with contextlib.suppress(ConnectionError, TimeoutError):
        await asyncio.wait_for(reader.read(), timeout=5)
    writer.close()


@contextlib.asynccontextmanager
async def everything_slow(stack: Stack) -> AsyncIterator[Redis]:
    """Have Valkey keep each command in its slow log."""
    password = stack.place.secret("valkey").read_text(encoding="utf-8").strip()
    async with Redis(port=stack.place.ports["valkey"], password=password) as valkey:
        settings = await valkey.config_get("slowlog-*")
        await valkey.config_set("slowlog-max-len", 10_000)
        await valkey.config_set("slowlog-log-slower-than", 0)
        try:
            yield valkey
        finally:
            for name in ("slowlog-max-len", "slowlog-log-slower-than"):
                await valkey.config_set(name, str(settings[name]))


async def tables_of(stack: Stack, service: str) -> dict[str, str]:
    """Read every row of every table of a service, as a dump has it."""
    cluster = postgres.Cluster(stack.data_dir, stack.place.ports["postgres"])
    password = stack.place.secret("postgres").read_text(encoding="utf-8").strip()
    connection = await asyncpg.connect(
        cluster.dsn(postgres.SUPERUSER, password, postgres.database_name(service))
    )
    try:
        tables = [row["relname"] for row in await connection.fetch("SELECT relname FROM pg_stat_user_tables")]
        assert {"events", "idempotency_keys"} < set(tables)
        rows = {
            table: await connection.fetch(f"SELECT t::text AS row FROM {table} t")  # noqa: S608  a table's name
            for table in tables
        }
    finally:
        await connection.close()
    assert rows["events"]
    return {table: "\n".join(row["row"] for row in found) for table, found in rows.items()}


async def statements(stack: Stack) -> str:
    cluster = postgres.Cluster(stack.data_dir, stack.place.ports["postgres"])
    password = stack.place.secret("postgres").read_text(encoding="utf-8").strip()
    connection = await asyncpg.connect(cluster.dsn(postgres.SUPERUSER, password, "postgres"))
    try:
        rows = await connection.fetch("SELECT query FROM pg_stat_statements")
    finally:
        await connection.close()
    assert any("INSERT INTO users" in row["query"] for row in rows)
    return "\n".join(row["query"] for row in rows)


def log_files(stack: Stack) -> Iterator[Path]:
    """Name every log under the mesh's folder, and what `mesh up` printed."""
    yield from (path for path in stack.data_dir.rglob("*.log*") if path.is_file())
    yield stack.data_dir.parent / "up.log"


async def send_until_it_is_told(stack: Stack, world: World, path: str, words: str) -> None:
    """Send what is refused until it has one of the lines that refusals share."""
    log = stack.place.logs / "edge-access.log"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while words not in await asyncio.to_thread(log.read_text, encoding="utf-8"):
            await world.caller.send("GET", path)
            await asyncio.sleep(POLL_SECONDS)


async def written(log: Path, words: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while words not in await asyncio.to_thread(log.read_text, encoding="utf-8"):
        assert time.monotonic() < give_up_at, f"{log} was not written to"
        await asyncio.sleep(POLL_SECONDS)


def assert_everything_is_logged(stack: Stack) -> None:
    """Check that the logs are there and tell of these calls: an empty log keeps every secret."""
    expected = {
        "user": [USERS + "CreateUser", AUTH + "CreateSession", "EMAIL_RESERVED"],
        "product": [PRODUCTS + "SearchProducts", "INVALID_REQUEST"],
        "order": [ORDERS + "PlaceOrder"],
        "payment": ["/v1/payments"],
        "edge-access": ["UserService", "OrderService", '"verb":"PATCH"', '"verb":"DELETE"', TRACE, "/v1/*"],
        "postgres": ["ready to accept connections"],
        "valkey": ["Ready to accept connections"],
        "mesh": ["migration applied"],
    }
    for part, wanted in expected.items():
        text = (stack.place.logs / f"{part}.log").read_text(encoding="utf-8")
        for words in wanted:
            assert words in text, f"{part}.log does not tell of {words}"
