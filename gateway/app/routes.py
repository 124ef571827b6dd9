"""The app as ASGI: its paths, and what holds for every call."""

import time
from collections.abc import Sequence

import structlog
from commerce.user.v1 import oauth_pb2_grpc
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.app.authorize import AuthorizationPages
from gateway.app.discovery import Discovery
from gateway.app.forms import FormTokens
from gateway.app.graphql.endpoint import GraphQLEndpoint
from gateway.app.tokens import TokenEndpoints
from services.telemetry import logs

log = structlog.get_logger(__name__)


def build_app(
    oauth: "oauth_pb2_grpc.OAuthServiceAsyncStub",
    graphql: GraphQLEndpoint,
    issuer: str,
    form_keys: Sequence[bytes],
) -> ASGIApp:
    """Return the app; gateway/edge/app.py names the paths that the edge lets through to it."""
    pages = AuthorizationPages(oauth, FormTokens(form_keys), issuer)
    tokens, discovery = TokenEndpoints(oauth), Discovery(issuer)
    routes = [
        Route("/oauth2/authorize", pages.authorize, methods=["GET"]),
        Route("/oauth2/login", pages.log_in, methods=["POST"]),
        Route("/oauth2/consent", pages.consent, methods=["POST"]),
        Route("/oauth2/style.css", pages.style, methods=["GET"]),
        Route("/oauth2/token", tokens.token, methods=["POST"]),
        Route("/oauth2/revoke", tokens.revoke, methods=["POST"]),
        Route("/oauth2/introspect", tokens.introspect, methods=["POST"]),
        Route("/oauth2/userinfo", tokens.userinfo, methods=["GET", "POST"]),
        Route("/.well-known/openid-configuration", discovery.document, methods=["GET"]),
        Route("/.well-known/oauth-authorization-server", discovery.document, methods=["GET"]),
        Route("/graphql", graphql.query, methods=["POST"]),
        Route("/healthz", _healthy, methods=["GET"]),
    ]
    return CallLog(Starlette(routes=routes, exception_handlers={Exception: _failed}))


class CallLog:
    """Takes part in each call's trace, and writes its one line: the path of a route of ours, and no query."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._paths = {route.path for route in app.routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "*"
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        span = logs.begin_call(path, tuple(headers))
        begun_at, code = time.monotonic(), "OK"

        async def note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start" and message["status"] >= 500:  # noqa: PLR2004
                code = "INTERNAL"
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            logs.end_span(span, code)
            if path != "/healthz":
                logs.tell_call(path, "edge", code, "", time.monotonic() - begun_at)


async def _healthy(_: Request) -> Response:
    return JSONResponse({"status": "SERVING"})


async def _failed(_: Request, error: Exception) -> Response:
    # Starlette raises it once more behind this, for the server's log, which has no text of it.
    log.error("a call failed", exc_info=error)
    return JSONResponse({"error": "server_error"}, 500, headers={"cache-control": "no-store"})
