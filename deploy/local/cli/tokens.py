"""Access tokens that the user service issues to the operator."""

import grpc
from commerce.user.v1.auth_pb2 import IssueOperatorTokenRequest
from commerce.user.v1.auth_pb2_grpc import AuthServiceStub
from commerce.user.v1.role_pb2 import Role

from deploy.local.cli.running import RunningMesh
from deploy.local.errors import MeshError
from deploy.local.shop import clients

_CALL_TIMEOUT_SECONDS = 10.0


def issue_token(mesh: RunningMesh, role: str) -> str:
    """Ask the user service for an access token, as the operator.

    Raises:
        MeshError: there is no such role, or the service refuses.
    """
    names = [name.removeprefix("ROLE_").lower() for name, value in Role.items() if value]
    if role not in names:
        raise MeshError(f"There is no role {role}.", f"The roles are {', '.join(names)}.")
    request = IssueOperatorTokenRequest(role=f"ROLE_{role.upper()}")
    try:
        with clients.service_channel(mesh.layout, "user", mesh.operator) as channel:
            answer = AuthServiceStub(channel).IssueOperatorToken(request, timeout=_CALL_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        raise MeshError(
            f"No token was issued: {error.code().name}: {error.details()}.",
            "See `mesh status` and `mesh logs user`.",
        ) from error
    return str(answer.access_token)
