"""A call of every method of OAuthService that changes something, on things that were made for it alone."""

from uuid import uuid4

from commerce.user.v1 import oauth_pb2, user_pb2

from services.rpc.identity import Caller
from tests.attacks.parts import Attempt, Parts
from tests.support.oauth import Pkce
from tests.support.world import OAUTH, USERS
from tests.user.conftest import PASSWORD, some_email

GATEWAY = Caller("gateway", None, None, frozenset(), acts_for_any=False)
OPERATOR = Caller("operator", None, None, frozenset(), acts_for_any=False)
ANYONE = Caller("edge", None, None, frozenset(), acts_for_any=False)
CALLBACK = "https://shop.example/callback"
PKCE = Pkce()


async def create_client(_: Parts) -> Attempt:
    return Attempt(_described("PUBLIC"), OPERATOR, answers_alike=False)


async def delete_client(parts: Parts) -> Attempt:
    client = await _new_client(parts, "MACHINE")
    return Attempt(oauth_pb2.DeleteClientRequest(client_id=client.client_id), OPERATOR)


async def rotate_client_secret(parts: Parts) -> Attempt:
    client = await _new_client(parts, "MACHINE")
    request = oauth_pb2.RotateClientSecretRequest(client_id=client.client_id)
    return Attempt(request, OPERATOR, answers_alike=False)


async def begin_authorization(parts: Parts) -> Attempt:
    client = await _new_client(parts, "CONFIDENTIAL")
    email = some_email()
    user = user_pb2.CreateUserRequest(user=user_pb2.User(email=email), password=PASSWORD)
    await parts.call(USERS + "CreateUser", Attempt(user, ANYONE))
    return _beginning(client, email)


async def decide_authorization(parts: Parts) -> Attempt:
    begun = await parts.call(OAUTH + "BeginAuthorization", await begin_authorization(parts))
    return _deciding(begun.consent_token)


async def exchange_code(parts: Parts) -> Attempt:
    beginning = await begin_authorization(parts)
    begun = await parts.call(OAUTH + "BeginAuthorization", beginning)
    decided = await parts.call(OAUTH + "DecideAuthorization", _deciding(begun.consent_token))
    request = oauth_pb2.ExchangeCodeRequest(
        client=_shown(beginning), code=decided.code, redirect_uri=CALLBACK, code_verifier=PKCE.verifier
    )
    # A code is good once: a second use ends what the first gave.
    return Attempt(request, GATEWAY, frozenset({"OAUTH_GRANT_INVALID"}), answers_alike=False)


async def refresh_grant(parts: Parts) -> Attempt:
    exchange = await exchange_code(parts)
    given = await parts.call(OAUTH + "ExchangeCode", exchange)
    request = oauth_pb2.RefreshGrantRequest(
        client=exchange.request.client,  # type: ignore[union-attr]
        refresh_token=given.tokens.refresh_token,
    )
    return Attempt(request, GATEWAY, frozenset({"OAUTH_GRANT_INVALID"}), answers_alike=False)


async def issue_client_token(parts: Parts) -> Attempt:
    request = oauth_pb2.IssueClientTokenRequest(client=await _new_client(parts, "MACHINE"))
    return Attempt(request, GATEWAY, answers_alike=False)


async def revoke_token(parts: Parts) -> Attempt:
    refresh = await refresh_grant(parts)
    request = oauth_pb2.RevokeTokenRequest(
        client=refresh.request.client,  # type: ignore[union-attr]
        token=refresh.request.refresh_token,  # type: ignore[union-attr]
    )
    return Attempt(request, GATEWAY)


def _described(kind: str) -> oauth_pb2.CreateClientRequest:
    uris = [] if kind == "MACHINE" else [CALLBACK]
    return oauth_pb2.CreateClientRequest(
        name=uuid4().hex, kind=f"CLIENT_KIND_{kind}", redirect_uris=uris, scopes=["orders.read"]
    )


# The secrets of clients that were made here, which their requests do not hold.
_SECRETS: dict[str, str] = {}


async def _new_client(parts: Parts, kind: str) -> oauth_pb2.ClientCredentials:
    made = await parts.call(OAUTH + "CreateClient", Attempt(_described(kind), OPERATOR))
    _SECRETS[made.client.client_id] = made.client_secret
    return oauth_pb2.ClientCredentials(client_id=made.client.client_id, client_secret=made.client_secret)


def _shown(beginning: Attempt) -> oauth_pb2.ClientCredentials:
    client_id = beginning.request.request.client_id  # type: ignore[union-attr]
    return oauth_pb2.ClientCredentials(client_id=client_id, client_secret=_SECRETS[client_id])


def _beginning(client: oauth_pb2.ClientCredentials, email: str) -> Attempt:
    asked = oauth_pb2.AuthorizationRequest(
        client_id=client.client_id,
        redirect_uri=CALLBACK,
        response_type="code",
        scope="orders.read",
        code_challenge=PKCE.challenge,
        code_challenge_method="S256",
    )
    request = oauth_pb2.BeginAuthorizationRequest(request=asked, email=email, password=PASSWORD)
    return Attempt(request, GATEWAY, answers_alike=False)


def _deciding(consent_token: str) -> Attempt:
    request = oauth_pb2.DecideAuthorizationRequest(consent_token=consent_token, is_allowed=True)
    return Attempt(request, GATEWAY, frozenset({"OAUTH_CONSENT_OVER"}), answers_alike=False)


CASES = {
    OAUTH + "CreateClient": create_client,
    OAUTH + "DeleteClient": delete_client,
    OAUTH + "RotateClientSecret": rotate_client_secret,
    OAUTH + "BeginAuthorization": begin_authorization,
    OAUTH + "DecideAuthorization": decide_authorization,
    OAUTH + "ExchangeCode": exchange_code,
    OAUTH + "RefreshGrant": refresh_grant,
    OAUTH + "IssueClientToken": issue_client_token,
    OAUTH + "RevokeToken": revoke_token,
}
