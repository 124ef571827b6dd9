"""Calls any method with any bytes, over gRPC at the edge and at the services, and judges how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc

from deploy.local.shop.clients import options
from services.rpc.policy import policy_of
from tests.support.calls import Outcome, Target, credentials, read_grpc, services_with

EDGE = "edge"
# On top of the contract's deadline: the answer's way back, on a busy machine.
_WAY_BACK_SECONDS = 5.0
# A stream without a deadline of its own goes on until its caller has enough.
_ENOUGH_SECONDS = 0.4
# Bugs, whoever calls and with whatever.
_BUGS = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})


@dataclass
class WireCaller:
    """A client that sends bytes as messages, as many as it is given, whatever the method's arity."""

    target: Target
    _channels: dict[tuple[str, str], grpc.Channel] = field(default_factory=dict)

    def call(self, method: str, raws: Sequence[bytes], token: str | None, identity: str) -> Outcome:
        """Call with the certificate of `identity`; as EDGE_CALLER, through the edge."""
        to = EDGE if identity == EDGE_CALLER else services_with(method)[0]
        metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        # On the wire all four arities look alike. (grpc.aio would say INTERNAL when a stream out is refused
        # before it is written: github.com/grpc/grpc/issues/36066.)
        send: grpc.StreamStreamMultiCallable[bytes, bytes]
        send = self._channel(to, identity).stream_stream(method)
        try:
            answers = list(send(iter(raws), timeout=_patience_seconds(method), metadata=metadata))
        except grpc.RpcError as error:
            return read_grpc(f"to {to} as {identity}", error)
        return Outcome(f"to {to} as {identity}", "OK", "", text=f"{len(answers)} answers")

    def close(self) -> None:
        """Close every connection."""
        for channel in self._channels.values():
            channel.close()

    def _channel(self, to: str, identity: str) -> grpc.Channel:
        if (to, identity) not in self._channels:
            self._channels[to, identity] = self._open(to, identity)
        return self._channels[to, identity]

    def _open(self, to: str, identity: str) -> grpc.Channel:
        one_attempt = ("grpc.enable_retries", 0)
        if to == EDGE:
            return grpc.insecure_channel(
                self.target.edge_target, [one_attempt, ("grpc.enable_http_proxy", 0)]
            )
        shown = credentials(self.target, identity)
        return grpc.secure_channel(self.target.service_targets[to], shown, [one_attempt, *options(to)])


# Everyone who has no certificate.
EDGE_CALLER = "nobody"


def assert_no_surprise(method: str, outcome: Outcome) -> None:
    """Assert what holds for every call: no bug, an end in time, and a reason of ours where it is refused."""
    told = f"{method} {outcome.protocol}: {outcome.code} {outcome.reason}: {outcome.message}"
    if _is_endless(method) and outcome.verdict == ("DEADLINE_EXCEEDED", ""):
        return
    assert outcome.code not in _BUGS, told
    assert outcome.code == "OK" or outcome.reason, told


def _patience_seconds(method: str) -> float:
    if _is_endless(method):
        return _ENOUGH_SECONDS
    deadline = policy_of(method).deadline_seconds
    assert deadline is not None, f"{method} has no deadline"
    return deadline + _WAY_BACK_SECONDS


def _is_endless(method: str) -> bool:
    return policy_of(method).deadline_seconds is None


# What a token says of its bearer, by who it is; nobody has none.
Tokens = Mapping[str, str | None]
