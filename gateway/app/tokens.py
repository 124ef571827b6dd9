"""What clients call themselves: tokens for codes, for refresh tokens and for machines; and about tokens."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from commerce.user.v1 import oauth_pb2, oauth_pb2_grpc
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.app.failures import BadRequest, OAuthFailure, oauth_failure
from gateway.app.forms import bearer_of, credentials_of, form_of
from services.errors import Code, ServiceError

_REALM = 'realm="commerce"'
Form: TypeAlias = Mapping[str, str]
Grant: TypeAlias = Callable[[oauth_pb2.ClientCredentials, Form], Awaitable[oauth_pb2.GrantedTokens]]


class TokenEndpoints:
    """`/oauth2/token`, `revoke`, `introspect` and `userinfo`."""

    def __init__(self, oauth: "oauth_pb2_grpc.OAuthServiceAsyncStub") -> None:
        self._oauth = oauth
        self._grants: Mapping[str, Grant] = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh_token,
            "client_credentials": self._by_credentials,
        }

    async def token(self, request: Request) -> Response:
        """Exchange a grant for tokens (RFC 6749, section 3.2)."""
        try:
            form = await form_of(request)
            grant = self._grants.get(_needed(form, "grant_type"))
            if grant is None:
                raise BadRequest("grant_type is none of ours", error="unsupported_grant_type")
            tokens = await grant(credentials_of(request, form), form)
        except (BadRequest, ServiceError) as error:
            return _refused(oauth_failure(error))
        return _json(
            {
                "access_token": tokens.access_token,
                "token_type": "Bearer",
                "expires_in": tokens.expires_in_seconds,
                "scope": " ".join(tokens.scopes),
                **({"refresh_token": tokens.refresh_token} if tokens.refresh_token else {}),
                **({"id_token": tokens.id_token} if tokens.id_token else {}),
            }
        )

    async def revoke(self, request: Request) -> Response:
        """End a token (RFC 7009); the answer is the same whether there was one."""
        try:
            form = await form_of(request)
            await self._oauth.RevokeToken(
                oauth_pb2.RevokeTokenRequest(
                    client=credentials_of(request, form), token=_needed(form, "token")
                )
            )
        except (BadRequest, ServiceError) as error:
            return _refused(oauth_failure(error))
        return _json({})

    async def introspect(self, request: Request) -> Response:
        """Tell a client about a token of its own (RFC 7662)."""
        try:
            form = await form_of(request)
            told = await self._oauth.IntrospectToken(
                oauth_pb2.IntrospectTokenRequest(
                    client=credentials_of(request, form), token=_needed(form, "token")
                )
            )
        except (BadRequest, ServiceError) as error:
            return _refused(oauth_failure(error))
        if not told.active:
            return _json({"active": False})
        return _json(
            {
                "active": True,
                "scope": " ".join(told.scopes),
                "client_id": told.client_id,
                "sub": told.subject,
                "exp": told.expire_time.seconds,
                **({"token_type": "Bearer"} if told.is_access_token else {}),
                **({"auth_time": told.auth_time.seconds} if told.HasField("auth_time") else {}),
                **({"amr": list(told.methods)} if told.methods else {}),
            }
        )

    async def userinfo(self, request: Request) -> Response:
        """Tell about the person of an access token (OpenID Connect Core, section 5.3)."""
        token = bearer_of(request)
        if not token or request.url.query:
            return _challenge("", 401)
        try:
            told = await self._oauth.GetUserInfo(oauth_pb2.GetUserInfoRequest(access_token=token))
        except ServiceError as error:
            if error.code is Code.PERMISSION_DENIED:
                return _challenge(', error="insufficient_scope", scope="openid"', 403)
            if error.code in {Code.UNAUTHENTICATED, Code.NOT_FOUND, Code.INVALID_ARGUMENT}:
                return _challenge(', error="invalid_token"', 401)
            return _refused(oauth_failure(error))
        claims: dict[str, Any] = {"sub": told.subject}
        if told.email:
            claims |= {"email": told.email, "email_verified": told.email_verified}
        if told.name:
            claims["name"] = told.name
        return _json(claims)

    async def _by_code(self, client: oauth_pb2.ClientCredentials, form: Form) -> oauth_pb2.GrantedTokens:
        request = oauth_pb2.ExchangeCodeRequest(
            client=client,
            code=_needed(form, "code"),
            redirect_uri=_needed(form, "redirect_uri"),
            code_verifier=_needed(form, "code_verifier"),
        )
        return (await self._oauth.ExchangeCode(request)).tokens

    async def _by_refresh_token(
        self, client: oauth_pb2.ClientCredentials, form: Form
    ) -> oauth_pb2.GrantedTokens:
        request = oauth_pb2.RefreshGrantRequest(
            client=client, refresh_token=_needed(form, "refresh_token"), scope=form.get("scope", "")
        )
        return (await self._oauth.RefreshGrant(request)).tokens

    async def _by_credentials(
        self, client: oauth_pb2.ClientCredentials, form: Form
    ) -> oauth_pb2.GrantedTokens:
        request = oauth_pb2.IssueClientTokenRequest(client=client, scope=form.get("scope", ""))
        return (await self._oauth.IssueClientToken(request)).tokens


def _needed(form: Form, name: str) -> str:
    """Return a field that must be there.

    Raises:
        BadRequest: it is not.
    """
    value = form.get(name, "")
    if not value:
        raise BadRequest(f"{name} is missing")
    return value


def _json(
    content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(content, status, headers={"cache-control": "no-store", **(headers or {})})


def _refused(failure: OAuthFailure) -> Response:
    headers = {}
    status = 401 if failure.error == "invalid_client" else failure.status
    if status == 401:  # noqa: PLR2004  its own name says no more
        headers["www-authenticate"] = f"Basic {_REALM}"
    if failure.retry_after_seconds is not None:
        headers["retry-after"] = str(math.ceil(failure.retry_after_seconds))
    return _json({"error": failure.error, "error_description": failure.description}, status, headers)


def _challenge(more: str, status: int) -> Response:
    return _json({}, status, {"www-authenticate": f"Bearer {_REALM}{more}"})
