"""The edge gives again what the contract lets everyone keep, and nothing else."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psutil
import pytest
from commerce.product.v1 import product_pb2
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived

from deploy.local.parts.certificates import Authority
from gateway.edge.kept import FRESH_PERCENT, LONGEST_KEY_BYTES, MOST_BYTES
from tests.gateway.backends import BARE_ID, CLOCK, FLAKY_ID, LARGE, MISSING_ID, PRODUCT_ID, Backends, Signer
from tests.gateway.callers import native, rest, web
from tests.gateway.conftest import ORIGIN, RunningEdge, running_edge
from tests.gateway.test_edge_access_log import entries
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.wire import Connection, encode_request

GET_PRODUCT = "commerce.product.v1.ProductService/GetProduct"
LIST_PRODUCTS = "/v1/products"
# ListProducts: as the contract has it.
MAX_AGE_SECONDS = 2
LARGE_KILOBYTES = 100
READERS = 8
# The edge's own, of one thread and one listener, twice for what is not swept yet; and what it does besides.
GROWTH_BYTES = 2 * MOST_BYTES + 16 * 1024 * 1024


@dataclass
class Reader:
    """Reads on a connection of its own, as everyone may."""

    connection: Connection

    @classmethod
    async def of(cls, edge: RunningEdge) -> "Reader":
        return cls(await Connection.open(*edge.place.http_address))

    async def read(self, path: str) -> bytes:
        answer = await self.connection.send(encode_request("GET", path, host="edge"))
        assert answer.status == 200, answer
        return answer.body


@pytest.fixture(scope="module")
def keeping(
    certificates: Authority, backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningEdge]:
    folder = tmp_path_factory.mktemp("edge")
    with running_edge(certificates, backends, folder, rate_limit_scale=1000.0, keeps_answers=True) as running:
        yield running


@pytest.fixture(autouse=True)
def calls(backends: Backends) -> list[str]:
    """The calls that reached a service in this test."""
    backends.seen.calls.clear()
    return backends.seen.calls


def product(number: int) -> str:
    """Name a product that no other test reads: what is kept outlives a test."""
    return f"/v1/products/{UUID(int=number)}"


async def test_a_second_read_does_not_reach_the_service(keeping: RunningEdge, calls: list[str]) -> None:
    first, second = [await rest(keeping, "GET", product(1)) for _ in range(2)]
    assert calls == ["GetProduct"]
    assert second.body == first.body
    assert "age" not in first.headers
    assert second.headers["age"] == "0"


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_answer_that_was_kept_has_the_headers_of_a_fresh_one(
    keeping: RunningEdge, encoding: str, secure: bool
) -> None:
    sent = {"accept-encoding": encoding, "origin": ORIGIN}
    path = product(10 + 2 * secure + (encoding == "gzip"))
    first, second = [await rest(keeping, "GET", path, headers=sent, secure=secure) for _ in range(2)]
    own = {"date", "x-request-id", "age"}
    # What is kept is not counted, and tells nothing of what is left.
    own |= {"ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
    assert _without(second.headers, own) == _without(first.headers, own)
    assert second.headers["etag"] == ('W/"7"' if encoding == "gzip" else '"7"')
    assert second.headers["cache-control"] == "public, max-age=5"
    assert second.headers["x-request-id"] not in {"", first.headers["x-request-id"]}


async def test_who_shows_a_token_is_answered_by_the_service(
    keeping: RunningEdge, signer: Signer, calls: list[str]
) -> None:
    token = signer.token("products.write")
    for sent in (token, token, "", "", token):
        await rest(keeping, "GET", product(20), token=sent)
    # Nor is what they get kept for others: the first without a token is the third to reach the service.
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("number", "text"),
    list(enumerate(["x", "product-", "product-1x", "Product-1", "product-" + "9" * 19, "p" * 21 + "-1"])),
)
async def test_a_text_that_names_no_write_goes_past_nothing_that_is_kept(
    keeping: RunningEdge, calls: list[str], number: int, text: str
) -> None:
    sent = {"x-written": text}
    answers = [await rest(keeping, "GET", product(100 + number), headers=sent) for _ in range(2)]
    assert [answer.headers["cache-control"] for answer in answers] == ["public, max-age=5"] * 2
    assert calls == ["GetProduct"]


async def test_who_names_a_write_is_answered_by_the_service_and_no_cache_keeps_it(
    keeping: RunningEdge, calls: list[str]
) -> None:
    plain = await rest(keeping, "GET", product(70))
    for text in ("product-17", "order-1, product-17"):
        answer = await rest(keeping, "GET", product(70), headers={"x-written": text})
        assert answer.headers["cache-control"] == "private, no-cache"
    assert calls == ["GetProduct"] * 3
    assert "x-written" in plain.headers["vary"]


async def test_a_token_that_is_bad_is_refused_also_where_an_answer_is_kept(keeping: RunningEdge) -> None:
    assert (await rest(keeping, "GET", product(21))).http == 200
    assert (await rest(keeping, "GET", product(21), token="abc")).reason == "TOKEN_INVALID"


async def test_an_encoding_is_refused_also_where_an_answer_is_kept(keeping: RunningEdge) -> None:
    assert (await rest(keeping, "GET", product(22))).http == 200
    refused = await rest(keeping, "GET", product(22), headers={"content-encoding": "br"})
    assert (refused.http, refused.reason) == (415, "ENCODING_UNKNOWN")


async def test_an_answer_that_was_kept_bears_the_trace_of_its_caller(keeping: RunningEdge) -> None:
    trace = f"{23:032x}"
    sent = {"traceparent": f"00-{trace}-{23:016x}-01"}
    answers = [await rest(keeping, "GET", product(23), headers=sent) for _ in range(2)]
    assert [answer.headers["x-request-id"] for answer in answers] == [trace, trace]


@pytest.mark.parametrize(("missing", "status"), [(MISSING_ID, 404), (BARE_ID, 429)])
async def test_a_refusal_is_never_kept(
    keeping: RunningEdge, calls: list[str], missing: str, status: int
) -> None:
    answers = [await rest(keeping, "GET", f"/v1/products/{missing}") for _ in range(3)]
    assert [answer.http for answer in answers] == [status] * 3
    assert len(calls) == 3


async def test_an_answer_after_retries_is_kept_and_what_failed_is_not(
    keeping: RunningEdge, calls: list[str]
) -> None:
    assert [(await rest(keeping, "GET", f"/v1/products/{FLAKY_ID}")).http for _ in range(3)] == [200] * 3
    assert len(calls) <= 2


async def test_only_what_the_contract_makes_public_is_kept(
    keeping: RunningEdge, signer: Signer, calls: list[str]
) -> None:
    token = signer.token("users.read")
    for _ in range(2):
        # A private answer; one that the contract lets nobody keep.
        await rest(keeping, "GET", "/v1/users/me", token=token)
        await rest(keeping, "GET", f"/v1/products:batchGet?product_ids={PRODUCT_ID}")
    assert sorted(calls) == ["BatchGetProducts"] * 2 + ["GetUser"] * 2


async def test_the_fields_of_a_query_may_stand_in_any_order_and_spelling(
    keeping: RunningEdge, calls: list[str]
) -> None:
    spellings = ("page_size=3&brand=spelled", "brand=spelled&pageSize=3", "brand=spelled&page_size=3")
    bodies = [(await rest(keeping, "GET", f"{LIST_PRODUCTS}?{each}")).body for each in spellings]
    assert bodies == [{"products": [], "nextPageToken": "3 spelled"}] * 3
    assert len(calls) == 1


async def test_other_queries_have_other_answers(keeping: RunningEdge) -> None:
    queries = ("page_size=4&brand=a", "page_size=4&brand=b", "page_size=5&brand=a", "brand=4&page_size=4")
    for _ in range(2):
        found = [(await rest(keeping, "GET", f"{LIST_PRODUCTS}?{each}")).body for each in queries]
        assert [each["nextPageToken"] for each in found] == ["4 a", "4 b", "5 a", "4 4"]


async def test_lists_in_other_orders_and_of_other_times_are_asked_for(
    keeping: RunningEdge, calls: list[str]
) -> None:
    since = "orderBy=update_time&updateTimeFrom=2026-01-31T12:00:00Z"
    for query in ("orderBy=create_time", "orderBy=create_time%20desc", "active=true", since, since):
        assert (await rest(keeping, "GET", f"{LIST_PRODUCTS}?page_size=8&{query}")).http == 200
    assert calls == ["ListProducts"] * 5


async def test_what_is_too_long_is_asked_each_time(keeping: RunningEdge, calls: list[str]) -> None:
    for _ in range(2):
        await rest(keeping, "GET", f"{LIST_PRODUCTS}?brand={'x' * LONGEST_KEY_BYTES}")
    assert calls == ["ListProducts"] * 2


async def test_a_query_that_is_refused_does_not_get_the_answer_of_another(keeping: RunningEdge) -> None:
    assert (await rest(keeping, "GET", product(30))).http == 200
    assert (await rest(keeping, "GET", product(30) + "?nothing=1")).http == 400
    assert (await rest(keeping, "GET", product(30) + "?access_token=1")).http == 400
    assert (await rest(keeping, "GET", f"{LIST_PRODUCTS}?page_size=6")).http == 200
    for query in ("page_size=6&pageSize=7", "page_size=6&page_size=6"):
        assert (await rest(keeping, "GET", f"{LIST_PRODUCTS}?{query}")).http == 400


async def test_other_verbs_and_protocols_do_not_meet_what_is_kept(
    keeping: RunningEdge, signer: Signer, calls: list[str]
) -> None:
    path, token = product(40), signer.token("products.write")
    request = product_pb2.GetProductRequest(product_id=str(UUID(int=40)))
    assert (await rest(keeping, "GET", path)).http == 200
    for verb in ("POST", "PUT"):
        assert (await rest(keeping, verb, path)).http == 405
    # Read from what is kept, and emptied further out.
    for verb, known, status in (("HEAD", {}, 200), ("GET", {"if-none-match": '"7"'}, 304)):
        answer = await rest(keeping, verb, path, headers=known)
        assert (answer.http, answer.headers["cache-control"]) == (status, "public, max-age=5")
        assert "age" in answer.headers
    assert (await rest(keeping, "DELETE", path, token=token)).http == 200
    for call in (native, web):
        for _ in range(2):
            assert (await call(keeping, GET_PRODUCT, request)).outcome == ("", "")
    assert calls == ["GetProduct", "DeleteProduct", *["GetProduct"] * 4]


def test_a_read_with_a_body_decides_nothing_for_others(keeping: RunningEdge, calls: list[str]) -> None:
    """Over HTTP/2 a body needs no header; the transcoder would read it, and it is not in the key."""
    other = f'{{"product_id": "{UUID(int=42)}"}}'
    assert _status_over_http2(keeping, product(41), other.encode()) == "400"
    assert calls == []


def _status_over_http2(edge: RunningEdge, path: str, body: bytes) -> str:
    connection = H2Connection(H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    headers = {":method": "GET", ":scheme": "http", ":authority": "edge", ":path": path}
    connection.send_headers(1, list(headers.items()))
    connection.send_data(1, body, end_stream=True)
    with socket.create_connection(edge.place.http_address, PATIENCE_SECONDS) as opened:
        opened.sendall(connection.data_to_send())
        while received := opened.recv(65_536):
            for event in connection.receive_data(received):
                if isinstance(event, ResponseReceived):
                    return next(str(value) for name, value in event.headers if str(name) == ":status")
    pytest.fail("the edge closed the connection")


async def test_what_is_kept_is_not_told_in_the_headers_of_grpc(keeping: RunningEdge) -> None:
    """They have no flow control: a long list in each would fill the edge."""
    path = f"{LIST_PRODUCTS}?page_size=43"
    assert (await rest(keeping, "GET", path)).http == 200
    answer = await rest(keeping, "GET", path, headers={"content-type": "application/grpc"})
    assert answer.headers["grpc-status"] == "3"
    assert "products" not in answer.headers["grpc-message"]


async def test_nobody_gets_an_answer_older_than_its_max_age(keeping: RunningEdge) -> None:
    reads = await asyncio.gather(*(_watch(keeping, "page_size=1") for _ in range(READERS)))
    ages = [sent_at - told_at for each in reads for sent_at, told_at in each]
    # The clock of the script has milliseconds.
    assert FRESH_PERCENT / 100 * MAX_AGE_SECONDS / 2 < max(ages) <= MAX_AGE_SECONDS + 0.001


async def test_one_call_asks_anew_and_the_others_get_what_is_kept(
    keeping: RunningEdge, calls: list[str]
) -> None:
    await rest(keeping, "GET", f"{LIST_PRODUCTS}?brand={CLOCK}&page_size=2")
    began = time.monotonic()
    await asyncio.gather(*(_watch(keeping, "page_size=2") for _ in range(READERS)))
    refills = (time.monotonic() - began) / (FRESH_PERCENT / 100 * MAX_AGE_SECONDS) + 1
    # All eight would ask each time. On a machine that stands still until an answer is gone, they do so once.
    assert 1 < len(calls) <= 1 + 3 * refills


async def test_reads_of_what_is_kept_have_a_limit_of_their_own(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer
) -> None:
    """A hundredth of the contract's: GetProduct twice a second, kept reads 8 times, an address 10 times."""
    edge, address = start_edge(backends, rate_limit_scale=0.01, keeps_answers=True), "127.0.3.1"
    statuses: set[int] = set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while 429 not in statuses:
            reads = [rest(edge, "GET", product(50), address=address) for _ in range(30)]
            token = signer.token(subject=f"reader {len(statuses)}")
            *answers, other = await asyncio.gather(
                *reads, rest(edge, "GET", "/v1/users/me", token=token, address=address)
            )
            # What is refused takes nothing of what the address has for all else.
            assert other.http == 200
            statuses |= {answer.http for answer in answers}
    assert (await rest(edge, "GET", product(50), address="127.0.3.2")).http == 200


async def test_what_the_edge_answered_by_itself_is_counted_and_logged(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge = start_edge(backends, keeps_answers=True)
    for _ in range(3):
        await rest(edge, "GET", product(60))
    assert edge.statistic("http.http.lua.kept.hits") == 2
    assert edge.statistic("http.http.lua.kept.misses") == 1
    told = [entry for entry in await entries(edge, GET_PRODUCT, at_least=3) if entry["method"] == GET_PRODUCT]
    assert [(entry["kept"], entry["service"]) for entry in told] == [
        (None, "product"),
        (True, None),
        (True, None),
    ]


async def test_what_is_used_stays_and_what_is_not_is_forgotten(
    keeping: RunningEdge, calls: list[str]
) -> None:
    reader = await Reader.of(keeping)
    # They live for a minute.
    used, unused = (f"/v1/categories/{UUID(int=number)}" for number in (70, 71))
    await reader.read(unused)
    # Twice as much as fits, in steps that do.
    steps, step = 8, MOST_BYTES // (1000 * LARGE_KILOBYTES) // 4
    for number in range(steps):
        await reader.read(used)
        for each in range(step):
            await reader.read(_large(f"{number}-{each}"))
    assert calls.count("GetCategory") == 2
    await reader.read(unused)
    assert calls.count("GetCategory") == 3


@pytest.mark.parametrize(
    ("keys", "kilobytes"), [(500, LARGE_KILOBYTES), pytest.param(10_000, 20, marks=pytest.mark.long)]
)
async def test_many_different_reads_do_not_grow_the_edge(
    keeping: RunningEdge, keys: int, kilobytes: int
) -> None:
    """Kept, they would take 50 MB and 200 MB."""
    process = psutil.Process(keeping.process.pid)
    before = process.memory_info().rss
    names = iter(range(keys))

    async def read() -> None:
        reader = await Reader.of(keeping)
        for name in names:
            await reader.read(_large(f"flood-{name}", kilobytes))

    await asyncio.gather(*(read() for _ in range(READERS)))
    assert process.memory_info().rss - before < GROWTH_BYTES


async def test_an_edge_that_is_told_to_keep_nothing_asks_each_time(
    edge: RunningEdge, calls: list[str]
) -> None:
    assert not edge.place.keeps_answers
    for _ in range(2):
        assert "age" not in (await rest(edge, "GET", product(80))).headers
    assert len(calls) == 2


async def _watch(edge: RunningEdge, query: str) -> list[tuple[float, float]]:
    """Read until the answer has changed twice; return when each was asked for and when it was made."""
    reader, reads = await Reader.of(edge), list[tuple[float, float]]()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len({told_at for _, told_at in reads}) < 3:
            sent_at = time.time()
            body = await reader.read(f"{LIST_PRODUCTS}?brand={CLOCK}&{query}")
            reads.append((sent_at, float(body.split(b'"nextPageToken":"')[1].split(b'"')[0])))
    return reads


def _large(name: str, kilobytes: int = LARGE_KILOBYTES) -> str:
    return f"{LIST_PRODUCTS}?brand={LARGE}&page_size={kilobytes}&page_token={name}"


def _without(headers: Any, names: set[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}
