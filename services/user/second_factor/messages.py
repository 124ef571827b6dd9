"""Second factors as the messages of the contract."""

from commerce.user.v1 import second_factor_pb2

from services.rpc.fields import timestamp
from services.user.second_factor.domain import FactorState


def factor_message(state: FactorState) -> second_factor_pb2.SecondFactor:
    """Write how far a second factor has come."""
    return second_factor_pb2.SecondFactor(
        is_on=state.confirm_time is not None,
        confirm_time=state.confirm_time and timestamp(state.confirm_time),
        enrol_time=state.enrol_time and timestamp(state.enrol_time),
        recovery_codes_left=state.recovery_codes_left,
    )
