"""The tokens and how each behaves. Every token that is not here is declined as invalid."""

from dataclasses import dataclass
from enum import Enum, auto

DELAY_SECONDS = 2.0
# Longer than any caller waits.
NEVER_SECONDS = 60.0


class Step(Enum):
    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class Fault(Enum):
    # Answers 500 and does nothing.
    ERROR = auto()
    # The same, to the first call under a key.
    ERROR_ONCE = auto()
    # Does it and answers after DELAY_SECONDS.
    DELAY = auto()
    # Does it and does not answer; a repetition is answered at once.
    TIMEOUT_AFTER_EFFECT = auto()
    # Does it and closes the connection; a repetition is answered at once.
    DROP_AFTER_EFFECT = auto()


@dataclass(frozen=True)
class Behaviour:
    """What a token does at one step; at the others it works."""

    decline_code: str | None = None
    step: Step | None = None
    fault: Fault | None = None


_INVALID = Behaviour(decline_code="invalid_token")

_TOKENS = {
    "tok_ok": Behaviour(),
    "tok_declined": Behaviour(decline_code="card_declined"),
    "tok_declined_insufficient_funds": Behaviour(decline_code="insufficient_funds"),
    "tok_delay": Behaviour(step=Step.AUTHORIZE, fault=Fault.DELAY),
    "tok_timeout_after_effect": Behaviour(step=Step.AUTHORIZE, fault=Fault.TIMEOUT_AFTER_EFFECT),
    "tok_drop_after_effect": Behaviour(step=Step.AUTHORIZE, fault=Fault.DROP_AFTER_EFFECT),
    "tok_error": Behaviour(step=Step.AUTHORIZE, fault=Fault.ERROR),
    "tok_error_once": Behaviour(step=Step.AUTHORIZE, fault=Fault.ERROR_ONCE),
    "tok_capture_error": Behaviour(step=Step.CAPTURE, fault=Fault.ERROR),
    "tok_capture_error_once": Behaviour(step=Step.CAPTURE, fault=Fault.ERROR_ONCE),
    "tok_capture_timeout_after_effect": Behaviour(step=Step.CAPTURE, fault=Fault.TIMEOUT_AFTER_EFFECT),
    "tok_capture_drop_after_effect": Behaviour(step=Step.CAPTURE, fault=Fault.DROP_AFTER_EFFECT),
    "tok_void_drop_after_effect": Behaviour(step=Step.VOID, fault=Fault.DROP_AFTER_EFFECT),
    "tok_refund_error_once": Behaviour(step=Step.REFUND, fault=Fault.ERROR_ONCE),
    "tok_refund_drop_after_effect": Behaviour(step=Step.REFUND, fault=Fault.DROP_AFTER_EFFECT),
}


def behaviour_of(token: str) -> Behaviour:
    """Return how the token behaves."""
    return _TOKENS.get(token, _INVALID)


def fault_at(token: str, step: Step) -> Fault | None:
    """Return what goes wrong with the token at this step."""
    behaviour = behaviour_of(token)
    return behaviour.fault if behaviour.step is step else None
