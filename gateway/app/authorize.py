"""The pages of the authorization code flow: a person logs in, sees what is asked, and decides."""

import re
from collections.abc import Mapping

from commerce.user.v1 import oauth_pb2, oauth_pb2_grpc
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from gateway.app.failures import BadRequest, OAuthFailure, oauth_failure
from gateway.app.forms import (
    FormTokens,
    caller_address,
    device_token_of,
    form_of,
    is_secure,
    keep_device_token,
    query_of,
)
from gateway.app.pages import STYLE, page, problem, send_to, told_scopes
from services.errors import Code, ServiceError

# What a client may say; whatever else stands there is ignored (RFC 6749, section 3.1).
_PARAMETERS = tuple(field.name for field in oauth_pb2.AuthorizationRequest.DESCRIPTOR.fields)
# Of a request that is packed into a token of its own (OpenID Connect Core, 6), which is not read here.
_PACKED = {"request": "request_not_supported", "request_uri": "request_uri_not_supported"}
# Before these are right there is nobody to send an answer to (RFC 9700, section 4.11.2).
_TOLD_HERE = {
    "OAUTH_CLIENT_NOT_FOUND": "The program that sent you here is not known.",
    "OAUTH_REDIRECT_URI_UNKNOWN": "The program wants its answer at an address that it has not registered.",
}
# By reason: which field it belongs to, and what is said beside it.
_TOTP = re.compile(r"[0-9]{6}")
_WRONG_CREDENTIALS = "The e-mail address or the password is wrong."
_FIELDS = {
    "CREDENTIALS_INVALID": ("password", _WRONG_CREDENTIALS, 403),
    "LOGIN_THROTTLED": ("password", "Too many wrong passwords: try again in some minutes.", 429),
    "SECOND_FACTOR_REQUIRED": ("code", "Type the code of your app too, or a recovery code.", 403),
    "SECOND_FACTOR_INVALID": ("code", "The code is wrong, or was used: wait for the next one.", 403),
    "ACCOUNT_DISABLED": ("email", "This account has been disabled: ask the shop.", 403),
}


class AuthorizationPages:
    """`/oauth2/authorize`, and the forms that follow it.

    Args:
        oauth: The user service.
        tokens: Of forms.
        issuer: Who answers, which the client is told (RFC 9207).
    """

    def __init__(
        self, oauth: "oauth_pb2_grpc.OAuthServiceAsyncStub", tokens: FormTokens, issuer: str
    ) -> None:
        self._oauth = oauth
        self._tokens = tokens
        self._issuer = issuer

    async def authorize(self, request: Request) -> Response:
        """Show the log-in page, or say why there is none: here, or where the client said."""
        try:
            said = query_of(request)
        except BadRequest as error:
            return problem(error.told)
        asked = _asked(said)
        try:
            checked = await self._oauth.CheckAuthorization(oauth_pb2.CheckAuthorizationRequest(request=asked))
        except ServiceError as error:
            return self._refused(asked, error)
        packed = next((word for name, word in _PACKED.items() if name in said), None)
        if packed:
            return self._answer(asked, OAuthFailure(packed, "send the parameters themselves", 400))
        return self._login(request, asked, checked.client_name)

    async def log_in(self, request: Request) -> Response:
        """Take the log-in form, and show what is to be decided, or what is wrong beside its field."""
        try:
            form = await form_of(request)
            self._tokens.check(request, form)
        except BadRequest as error:
            return problem(error.told)
        asked, email = _asked(form), form.get("email", "")
        try:
            begun = await self._oauth.BeginAuthorization(
                oauth_pb2.BeginAuthorizationRequest(
                    request=asked,
                    email=email,
                    password=form.get("password", ""),
                    device_token=device_token_of(request),
                    **_second_factor(form),
                ),
                metadata=caller_address(request),
            )
        except ServiceError as error:
            return await self._not_logged_in(request, asked, email, error)
        _, _, token = self._tokens.begin(request, begun.consent_token)
        shown = page(
            "consent",
            sends_to=asked.redirect_uri,
            client_name=begun.client_name,
            email=email,
            scopes=told_scopes(begun.scopes),
            form_token=token,
            consent_token=begun.consent_token,
        )
        keep_device_token(request, shown, begun.device_token)
        return shown

    async def consent(self, request: Request) -> Response:
        """Take the decision, and send the browser back to the client."""
        try:
            form = await form_of(request)
            self._tokens.check(request, form, form.get("consent_token", ""))
            if form.get("decision") not in {"allow", "deny"}:
                raise BadRequest("Nothing was decided.")
            decided = await self._oauth.DecideAuthorization(
                oauth_pb2.DecideAuthorizationRequest(
                    consent_token=form.get("consent_token", ""), is_allowed=form["decision"] == "allow"
                )
            )
        except BadRequest as error:
            return problem(error.told)
        except ServiceError as error:
            return _told_here(error)
        outcome = {"code": decided.code} if decided.code else {"error": "access_denied"}
        return send_to(decided.redirect_uri, {**outcome, "state": decided.state, "iss": self._issuer})

    async def style(self, _: Request) -> Response:
        """Return the style of the pages."""
        return PlainTextResponse(STYLE, media_type="text/css")

    def _login(
        self,
        request: Request,
        asked: oauth_pb2.AuthorizationRequest,
        client_name: str,
        *,
        status: int = 200,
        email: str = "",
        errors: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        cookie, value, token = self._tokens.begin(request)
        hidden = {name: getattr(asked, name) for name in _PARAMETERS if getattr(asked, name)}
        shown = page(
            "login",
            status=status,
            sends_to=asked.redirect_uri,
            client_name=client_name,
            hidden={**hidden, "form_token": token},
            email=email,
            errors={"email": "", "password": "", "code": "", **(errors or {})},
        )
        shown.set_cookie(cookie, value, httponly=True, samesite="lax", secure=is_secure(request), path="/")
        return shown

    async def _not_logged_in(
        self, request: Request, asked: oauth_pb2.AuthorizationRequest, email: str, error: ServiceError
    ) -> Response:
        errors, status = _beside_fields(error)
        if not errors:
            return self._refused(asked, error)
        try:
            checked = await self._oauth.CheckAuthorization(oauth_pb2.CheckAuthorizationRequest(request=asked))
        except ServiceError as refused:
            return self._refused(asked, refused)
        return self._login(request, asked, checked.client_name, status=status, email=email, errors=errors)

    def _refused(self, asked: oauth_pb2.AuthorizationRequest, error: ServiceError) -> Response:
        """Tell the client, but only where the user service has found the redirect URI to be its own."""
        if error.reason != "OAUTH_REQUEST_REFUSED":
            return _told_here(error)
        return self._answer(asked, oauth_failure(error))

    def _answer(self, asked: oauth_pb2.AuthorizationRequest, failure: OAuthFailure) -> Response:
        parameters = {"error": failure.error, "error_description": failure.description}
        return send_to(asked.redirect_uri, {**parameters, "state": asked.state, "iss": self._issuer})


def _asked(said: Mapping[str, str]) -> oauth_pb2.AuthorizationRequest:
    return oauth_pb2.AuthorizationRequest(**{name: said.get(name, "") for name in _PARAMETERS})


def _second_factor(form: Mapping[str, str]) -> dict[str, str]:
    """Return the code of an app, or a recovery code: people have one field for both."""
    code = "".join(form.get("code", "").split())
    return {"totp_code": code} if _TOTP.fullmatch(code) else {"recovery_code": code}


def _beside_fields(error: ServiceError) -> tuple[dict[str, str], int]:
    """Return what is to be said beside which field of the log-in form, and the answer's status."""
    if error.reason in _FIELDS:
        field, told, status = _FIELDS[error.reason]
        return {field: told}, status
    fields = {violation.field for violation in error.violations}
    errors = {}
    if "email" in fields:
        errors["email"] = "This is no e-mail address."
    if "password" in fields:
        errors |= {"password": "Type your password: 128 characters at the most."}
    if "recovery_code" in fields:
        errors["code"] = "This is no code: an app shows six digits."
    return errors, 400


def _told_here(error: ServiceError) -> HTMLResponse:
    if error.reason in _TOLD_HERE:
        return problem(_TOLD_HERE[error.reason])
    if error.reason == "OAUTH_CONSENT_OVER":
        return problem("You have decided before, or it was too long ago.")
    if error.code in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED}:
        return problem("Too much is going on here at the moment: try again.", status=503)
    if error.code is Code.INVALID_ARGUMENT:
        return problem("The program has sent something that cannot be read.")
    return problem("Something went wrong here.", status=500)
