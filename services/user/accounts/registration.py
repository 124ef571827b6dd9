"""First answers of registrations, kept so that a repeated request gets the same one (AIP-155).

What is kept holds nothing personal and no fast hash of a password: the rest of the answer stands in the
repeated request itself, and its password is compared with the account's own hash.
"""

from commerce.user.v1 import user_pb2

from services.storage.idempotency import RequestKey, optional_request_key

_METHOD = "/commerce.user.v1.UserService/CreateUser"
# Nobody is known yet when people register: the request_id alone, 122 random bits, names the request.
_PRINCIPAL = "anyone"


def key_of(request: user_pb2.CreateUserRequest) -> RequestKey | None:
    """Return what the answer is kept under; None for a request without an id."""
    without_password = user_pb2.CreateUserRequest(user=request.user, request_id=request.request_id)
    return optional_request_key(_PRINCIPAL, _METHOD, without_password)


def kept_part(answer: user_pb2.User) -> user_pb2.User:
    """Return what is kept of an answer: all but what `complete` fills in."""
    kept = user_pb2.User()
    kept.CopyFrom(answer)
    kept.ClearField("email")
    kept.ClearField("display_name")
    return kept


def complete(request: user_pb2.CreateUserRequest, kept: user_pb2.User) -> user_pb2.User:
    """Return the whole first answer."""
    answer = user_pb2.User(email=request.user.email, display_name=request.user.display_name)
    answer.MergeFrom(kept)
    return answer
