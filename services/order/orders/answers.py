"""The first answer to a PlaceOrder, as it is kept under its request_id: the order, or why there is none."""

from commerce.order.v1 import order_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.errors import Code, ServiceError, UpstreamError
from services.rpc.status import to_status


def encode_order(order: order_pb2.Order) -> bytes:
    """Return what is kept of an order."""
    answer = status_pb2.Status(code=code_pb2.OK)
    answer.details.add().Pack(order)
    return _bytes_of(answer)


def encode_refusal(refusal: ServiceError) -> bytes:
    """Return what is kept of a refusal: its code, reason, message and metadata."""
    return _bytes_of(to_status(refusal))


def is_refusal(answer: bytes) -> bool:
    """Return whether the kept answer is a refusal."""
    return bool(status_pb2.Status.FromString(answer).code != code_pb2.OK)


def decode(answer: bytes) -> order_pb2.Order:
    """Return the kept order.

    Raises:
        ServiceError: the kept refusal.
    """
    status = status_pb2.Status.FromString(answer)
    if status.code == code_pb2.OK:
        order = order_pb2.Order()
        status.details[0].Unpack(order)
        return order
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    raise UpstreamError(
        Code(code_pb2.Code.Name(status.code)), info.reason, status.message, metadata=dict(info.metadata)
    )


def _bytes_of(status: status_pb2.Status) -> bytes:
    serialized: bytes = status.SerializeToString(deterministic=True)
    return serialized
