"""gRPC: the server and its chain of checks, channels, identity, the contract's policy."""
