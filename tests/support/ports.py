"""Loopback ports for what a test starts."""

import random
import socket

# Below what the system gives to outgoing connections and for port 0 (net.ipv4.ip_local_port_range): those any
# process of the machine may take between our look and our use. And below the ports of test meshes.
_PORTS = range(10_000, 15_000)
_given: set[int] = set()


def free_port() -> int:
    """Name a loopback port that nobody listens on, and no port twice in one process."""
    while True:
        port = random.choice(_PORTS)
        if port not in _given and is_free(port):
            _given.add(port)
            return port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
