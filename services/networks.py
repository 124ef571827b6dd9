"""Who is behind a client's address, where callers are told apart by it."""

import ipaddress
from functools import lru_cache

# An IPv6 host has a whole /64 to call from (RFC 6177).
IPV6_PREFIX_BITS = 64


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return an IPv4 address as it is, an IPv6 one as its network, and what is neither as it is.

    gateway/edge/network.lua tells addresses apart alike, by test.
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, IPV6_PREFIX_BITS), strict=False))
