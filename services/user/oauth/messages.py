"""Clients and authorizations ↔ the messages of the contract."""

from commerce.user.v1 import oauth_pb2

from services.rpc.fields import timestamp
from services.user.oauth.domain import AuthorizationRequest, Client, ClientKind


def client_message(client: Client) -> oauth_pb2.Client:
    """Write a client; nothing of its secret."""
    return oauth_pb2.Client(
        client_id=str(client.client_id),
        name=client.name,
        kind=f"CLIENT_KIND_{client.kind}",
        redirect_uris=client.redirect_uris,
        scopes=client.scopes,
        create_time=timestamp(client.create_time),
    )


def kind_of(value: oauth_pb2.ClientKind) -> ClientKind:
    """Read what a client is."""
    return ClientKind(oauth_pb2.ClientKind.Name(value).removeprefix("CLIENT_KIND_"))


def request_of(message: oauth_pb2.AuthorizationRequest) -> AuthorizationRequest:
    """Read an authorization request; the client's id stands apart."""
    return AuthorizationRequest(
        redirect_uri=message.redirect_uri,
        response_type=message.response_type,
        response_mode=message.response_mode,
        scope=message.scope,
        state=message.state,
        nonce=message.nonce,
        code_challenge=message.code_challenge,
        code_challenge_method=message.code_challenge_method,
        prompt=message.prompt,
    )
