"""What a REST call may not do is refused by its head, before its body is waited for or parsed."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.contract.model import Contract
from gateway.contract.protoc import PROTOS
from gateway.edge.routes import UNKNOWN
from gateway.generate import GENERATED
from tests.gateway.backends import Backends, Signer
from tests.gateway.callers import rest
from tests.gateway.conftest import RunningEdge
from tests.support.waiting import PATIENCE_SECONDS

# UpdateUser takes 8192 bytes on the gRPC wire, and JSON eight times that.
LARGEST_JSON_BYTES = 8 * 8192


async def refusal(edge: RunningEdge, head: str, body: bytes = b"") -> tuple[int, str]:
    """Send a head that promises a body, and at most a part of that; return the answer's status and reason."""
    reader, writer = await asyncio.open_connection(*edge.place.http_address)
    writer.write(f"{head}host: edge\r\ncontent-type: application/json\r\n\r\n".encode() + body)
    answer = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)).decode()
    size = re.search(r"content-length: (\d+)", answer)
    assert size is not None
    status = json.loads(await asyncio.wait_for(reader.readexactly(int(size[1])), PATIENCE_SECONDS))
    writer.close()
    return int(answer.split(" ")[1]), status["details"][0]["reason"]


@pytest.mark.parametrize(
    ("token", "reason"), [("", "TOKEN_MISSING"), ("authorization: Bearer abc\r\n", "TOKEN_INVALID")]
)
async def test_a_body_is_not_awaited_without_a_token(edge: RunningEdge, token: str, reason: str) -> None:
    head = f"PATCH /v1/users/me HTTP/1.1\r\n{token}content-length: 60000\r\n"
    assert await refusal(edge, head) == (401, reason)


async def test_a_body_is_not_awaited_past_the_limit(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer
) -> None:
    """UpdateUser may be called 20 times a second, here once."""
    edge = start_edge(backends, rate_limit_scale=0.05)
    token = signer.token("users.write")
    assert (await rest(edge, "PATCH", "/v1/users/me", body={}, token=token)).http == 200
    head = f"PATCH /v1/users/me HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-length: 60000\r\n"
    assert await refusal(edge, head) == (429, "RATE_LIMITED")


async def test_a_body_is_cut_where_its_method_ends(edge: RunningEdge, signer: Signer) -> None:
    authorization = f"authorization: Bearer {signer.token('users.write')}\r\n"
    head = f"PATCH /v1/users/me HTTP/1.1\r\n{authorization}transfer-encoding: chunked\r\n"
    size = LARGEST_JSON_BYTES + 1
    begun = f"{size:x}\r\n".encode() + b" " * size + b"\r\n"
    assert await refusal(edge, head, begun) == (413, "REQUEST_TOO_LARGE")


def test_every_rest_path_has_the_rules_of_its_method() -> None:
    """A path that the transcoder knows and the routes do not would be unknown; another's rules would hold."""
    contract = Contract((GENERATED / "commerce.binpb").read_bytes(), PROTOS)
    routes = json.loads((GENERATED / "envoy" / "routes.json").read_bytes())["virtual_hosts"][0]["routes"]
    early = [route for route in routes if "safe_regex" in route["match"]]
    for method in contract.exposed:
        for binding in method.bindings:
            path = re.sub(r"{[^}]*}", "0198c0de-0000-7000-8000-000000000001", binding.template)
            for verb in ("GET", "HEAD") if binding.verb == "GET" else (binding.verb,):
                # Behind its own route stands the one for other verbs.
                assert list(_matching(early, verb, path)) == [method.name, UNKNOWN]


def _matching(routes: list[dict[str, Any]], verb: str, path: str) -> Iterator[str]:
    """Name the routes that a request matches of which nothing but verb and path is known."""
    for route in routes:
        match = route["match"]
        said = all(header.get("string_match") == {"exact": verb} for header in match.get("headers", []))
        if said and re.fullmatch(match["safe_regex"]["regex"], path):
            yield route["name"]
