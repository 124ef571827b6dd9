"""Shares of a listener's connections: who opens many takes them from the callers of one share, not from all.

Envoy counts connections by filter chain, not by address. So callers are dealt by their address to a few equal
chains, each with a limit of its own. Which address falls to which share nobody outside can know.

Behind trusted proxies the connections are theirs, and whose calls they carry is told call by call: there one
chain holds all that a listener has.

Who calls over IPv6 has a whole /64 of addresses, and would have some in each share. Those callers have one
share of their own, so that none of them takes connections from the callers over IPv4.
"""

from gateway.edge.extension import extension
from gateway.proto_json import Json

_SHARES = 8
# One address holds at most these, and with 32 streams on each less than the heap that the edge may have.
# Each chain costs 1.4 MB, and reads the token keys for itself.
_CONNECTIONS_OF_A_SHARE = 250
# All of IPv6 has as many as four shares.
_CONNECTIONS_OF_IPV6 = 1000
CONNECTIONS_OF_A_LISTENER = _SHARES * _CONNECTIONS_OF_A_SHARE + _CONNECTIONS_OF_IPV6
_IPV6 = "ipv6"
_LIMIT = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
_ADDRESS = "envoy.extensions.matching.common_inputs.network.v3.SourceIPInput"
_RANGES = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
_HASH = "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing"


def shared_out(listener: str, chain: Json, seed: int) -> Json:
    """Return what a listener says of its filter chains: the same one for each share, and who gets which."""
    names = [f"share_{number}" for number in range(_SHARES)]
    limits = {**dict.fromkeys(names, _CONNECTIONS_OF_A_SHARE), _IPV6: _CONNECTIONS_OF_IPV6}
    return {
        "filter_chains": [
            {**chain, "name": name, "filters": [_limit(f"{listener}_{name}", limit), *chain["filters"]]}
            for name, limit in limits.items()
        ],
        "filter_chain_matcher": {
            "matcher_list": {
                # The hash matches every threshold up to its own, so the highest comes first.
                "matchers": [
                    {"predicate": _is_ipv6(), "on_match": _chain(_IPV6)},
                    *(
                        {"predicate": _is_dealt(number, seed), "on_match": _chain(names[number])}
                        for number in reversed(range(1, _SHARES))
                    ),
                ]
            },
            "on_no_match": _chain(names[0]),
        },
    }


def undivided(listener: str, chain: Json) -> Json:
    """Return what a listener says of its filter chains where those who connect are proxies: there is one."""
    limit = _limit(f"{listener}_proxies", CONNECTIONS_OF_A_LISTENER)
    return {"filter_chains": [{**chain, "name": "proxies", "filters": [limit, *chain["filters"]]}]}


def _limit(name: str, connections: int) -> Json:
    return extension(
        "envoy.filters.network.connection_limit",
        _LIMIT,
        stat_prefix=name,
        max_connections=connections,
    )


def _is_dealt(threshold: int, seed: int) -> Json:
    return _address_is(extension("share", _HASH, threshold=threshold, modulo=_SHARES, seed=seed))


def _is_ipv6() -> Json:
    every = {"address_prefix": "::", "prefix_len": 0}
    return _address_is(extension("ipv6", _RANGES, stat_prefix="ipv6", cidr_ranges=[every]))


def _address_is(matcher: Json) -> Json:
    return {"single_predicate": {"input": extension("address", _ADDRESS), "custom_match": matcher}}


def _chain(name: str) -> Json:
    return {"action": extension("chain", "google.protobuf.StringValue", value=name)}
