"""The rules of methods that no contract of ours describes: gRPC's own health, reflection and channelz."""

from services.roster import PEERS
from services.rpc.policy import Access, MethodPolicy, StreamRule, shared_reasons

# They answer from memory.
_DEADLINE_SECONDS = 5.0
# Names of services and methods, and numbers.
_REQUEST_BYTES = 4096
# Each of our channels watches the health of the process it is connected to, for as long as it is.
CHECK_STREAMS = StreamRule(per_caller=100, total=200, idle_seconds=60.0)


def policy_of_check(method: str, *, client_streaming: bool, server_streaming: bool) -> MethodPolicy:
    """Return the rules of a method: a certificate of ours is enough, and nothing is without a bound.

    Health is told to services from outside too, whose channels watch it. What reflection and channelz tell,
    of other peers' connections among it, is for the mesh's own.
    """
    streams = client_streaming or server_streaming
    is_health = method.startswith("/grpc.health.")
    return MethodPolicy(
        method=method,
        access=Access.PUBLIC if is_health else Access.INTERNAL,
        scopes=frozenset(),
        own_session=False,
        any_owner=None,
        personal=None,
        ignores_token=False,
        services=frozenset() if is_health else PEERS,
        deadline_seconds=None if streams else _DEADLINE_SECONDS,
        is_cached=False,
        sends_etag=False,
        max_request_bytes=_REQUEST_BYTES,
        exposed=False,
        max_attempts=1,
        client_streaming=client_streaming,
        server_streaming=server_streaming,
        holds=None,
        streams=CHECK_STREAMS if streams else None,
        step_up_seconds=None,
        steps_up_on_demand=False,
        reasons=shared_reasons(),
    )
