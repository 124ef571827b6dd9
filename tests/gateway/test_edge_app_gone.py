"""What callers of the app's paths are told by the edge while no app answers."""

import json
from collections.abc import Callable

from tests.gateway.backends import Backends
from tests.gateway.conftest import RunningEdge
from tests.support.ports import free_port
from tests.support.wire import Connection, encode_request


async def test_while_no_app_answers_its_callers_are_told_so_and_not_that_all_is_well(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    """The app's calls go on with the headers of gRPC, and gRPC's refusals are 200 without a body."""
    edge = start_edge(backends, app=[("127.0.0.1", free_port())])
    host, port = edge.place.http_address
    told: dict[str, tuple[int, str]] = {}
    for verb, path in (("POST", "/oauth2/token"), ("POST", "/graphql"), ("GET", "/oauth2/authorize")):
        connection = await Connection.open(host, port)
        refused = await connection.send(encode_request(verb, path, host=host))
        connection.close()
        assert b"grpc-status" not in refused.head, (path, refused.head)
        body = json.loads(refused.body)
        told[path] = refused.status, body.get("error") or body["details"][0]["reason"]
    assert told == {
        "/graphql": (503, "SERVICE_UNAVAILABLE"),
        "/oauth2/token": (503, "temporarily_unavailable"),
        "/oauth2/authorize": (503, "temporarily_unavailable"),
    }
