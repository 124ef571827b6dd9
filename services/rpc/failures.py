"""What a call, or one part of a batch, is told of what was raised: INTERNAL where nobody expected it."""

import structlog

from services.errors import DeadlineExceeded, Internal, ServiceError, first_of
from services.rpc.policy import MethodPolicy
from services.storage.postgres import database_failure

log = structlog.get_logger(__name__)

# What the log says of a refusal that is not among those that the contract tells callers of: a bug of ours.
UNNAMED_REASON = "a reason that the contract does not name"


def failure_of(error: BaseException, method: str) -> ServiceError:
    """Return what the caller of a method is told; what nobody expected is logged and not told."""
    error = first_of(error)
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the deadline passed")
    if (failure := database_failure(error)) is not None:
        return failure
    log.error("call failed unexpectedly", method=method, exc_info=error)
    return Internal("an unexpected error happened; it has been recorded")


def check_named(policy: MethodPolicy, reason: str) -> None:
    """Say so where a method's refusal is not among those that the contract tells callers of."""
    if reason not in policy.reasons:
        tell_unnamed(policy.method, reason)


def tell_unnamed(method: str, reason: str) -> None:
    """Write of such a refusal into the log."""
    log.error(UNNAMED_REASON, method=method, reason=reason)
