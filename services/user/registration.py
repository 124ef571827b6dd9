"""First answers of registrations, kept so that a repeated request gets the same one (AIP-155).

What is kept holds nothing personal and no fast hash of a password: the rest of the answer stands in the
repeated request itself, and its password is compared with the account's own hash.
"""

from commerce.user.v1 import user_pb2

from services.idempotency import find_response, hash_request, store_response
from services.postgres import Connection

_METHOD = "/commerce.user.v1.UserService/CreateUser"
# Nobody is known yet when people register: the request_id alone, 122 random bits, names the request.
_PRINCIPAL = "anyone"


async def find(conn: Connection, request: user_pb2.CreateUserRequest) -> user_pb2.User | None:
    """Return the first answer to this request, without what `complete` fills in.

    Raises:
        RequestIdReused: the request_id came before, for another address or name.
    """
    if not request.request_id:
        return None
    kept = await find_response(conn, _PRINCIPAL, request.request_id, _METHOD, _hash(request))
    return _read(kept)


async def keep(
    conn: Connection, request: user_pb2.CreateUserRequest, answer: user_pb2.User
) -> user_pb2.User | None:
    """Keep the answer, if the request has an id; where another attempt was faster, return its answer.

    Raises:
        RequestIdReused: the faster attempt was for another address or name.
    """
    if not request.request_id:
        return None
    kept = user_pb2.User()
    kept.CopyFrom(answer)
    kept.ClearField("email")
    kept.ClearField("display_name")
    faster = await store_response(
        conn, _PRINCIPAL, request.request_id, _METHOD, _hash(request), kept.SerializeToString()
    )
    return _read(faster)


def complete(request: user_pb2.CreateUserRequest, kept: user_pb2.User) -> user_pb2.User:
    """Return the whole first answer."""
    answer = user_pb2.User(email=request.user.email, display_name=request.user.display_name)
    answer.MergeFrom(kept)
    return answer


def _hash(request: user_pb2.CreateUserRequest) -> bytes:
    without_password = user_pb2.CreateUserRequest(user=request.user)
    return hash_request(without_password)


def _read(kept: bytes | None) -> user_pb2.User | None:
    return None if kept is None else user_pb2.User.FromString(kept)
