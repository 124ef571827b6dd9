"""The services there are: one more is a row here, a folder beside this file, and its proto.

Imports none of them, so that every room may read it: the gateway, the local stack and the tests.
"""

from dataclasses import dataclass

# Of the SPIFFE ids of services, and of the names in their certificates.
TRUST_DOMAIN = "commerce.local"


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, and what it needs beside a database of its own, which every service has."""

    # Also its folder, its area of the contract, and the last segment of its SPIFFE id.
    name: str
    port: int
    # The services whose addresses it is given.
    calls: tuple[str, ...] = ()
    signs_tokens: bool = False
    uses_cache: bool = False
    uses_payment: bool = False
    # Where there is a replica of its database.
    reads_replica: bool = False
    sends_mail: bool = False
    # Keeps what is personal of people, and so is given the keys above it.
    keeps_people: bool = False
    # Keeps an index in files beside its database.
    keeps_index: bool = False


SERVICES = (
    Service(name="user", port=50051, signs_tokens=True, uses_cache=True, sends_mail=True, keeps_people=True),
    # Whoever verifies access tokens asks the user service for its keys.
    Service(name="product", port=50052, calls=("user",), reads_replica=True, keeps_index=True),
    Service(name="order", port=50053, calls=("user", "product"), uses_payment=True),
)
NAMES = tuple(service.name for service in SERVICES)

# Who else has a certificate. A method never names the edge among its callers: it is exposed, or it is not.
EDGE = "edge"
GATEWAY = "gateway"
OTHER_CALLERS = (GATEWAY, "operator")
# Services that live outside of this tree and may be named among a method's callers. They have a certificate
# once the operator issues it: `mesh certs issue NAME`.
FROM_OUTSIDE = ("notifier",)
# It lives outside too, and the edge calls it: it counts for several edges (gateway/edge/shared_limits.py).
RATE_LIMITS = "ratelimit"
# The peers that are part of the mesh. Anybody else with a certificate of its authority is a caller as people
# are: with their share, and without a look inside.
PEERS = frozenset({*NAMES, EDGE, *OTHER_CALLERS})
