"""The provider's HTTP API: keys checked, bodies read, answers given or, as the token says, withheld."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import structlog
from aiohttp import web

from deploy.local.payment_sandbox.faults import DELAY_SECONDS, NEVER_SECONDS, Fault, Step
from deploy.local.payment_sandbox.ledger import Answer, Ledger, Refused

log = structlog.get_logger(__name__)

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MAX_BODY_BYTES = 16_384
_MAX_KEY_LENGTH = 128


def build_app(ledger: Ledger, api_key: str) -> web.Application:
    """Return the application; every path but /healthz wants `Authorization: Bearer <api_key>`."""
    api = _Api(ledger)
    app = web.Application(
        middlewares=[_log_requests, _refuse_as_json, _authenticator(api_key)], client_max_size=_MAX_BODY_BYTES
    )
    app.add_routes(
        [
            web.get("/healthz", api.health),
            web.post("/v1/payments", api.authorize),
            web.get("/v1/payments", api.find),
            web.post("/v1/payments/{payment_id}/{step:capture|void|refund}", api.move),
            web.post("/v1/keys/{key}/close", api.close_key),
            web.get("/v1/effects", api.effects),
        ]
    )
    return app


class _Api:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        body = await _read_json(request)
        answer = await self._ledger.authorize(
            _idempotency_key(request), _amount(body), _text(body, "currency"), _text(body, "token")
        )
        return await _respond(request, answer)

    async def find(self, request: web.Request) -> web.StreamResponse:
        return await _respond(request, await self._ledger.find(request.query.get("key", "")))

    async def move(self, request: web.Request) -> web.StreamResponse:
        step = Step(request.match_info["step"])
        amount = None if step is Step.VOID else _amount(await _read_json(request))
        key = _idempotency_key(request)
        return await _respond(
            request, await self._ledger.move(step, key, request.match_info["payment_id"], amount)
        )

    async def close_key(self, request: web.Request) -> web.StreamResponse:
        return await _respond(request, await self._ledger.close_key(request.match_info["key"]))

    async def effects(self, request: web.Request) -> web.StreamResponse:
        return await _respond(request, await self._ledger.effects())


async def _respond(request: web.Request, answer: Answer) -> web.StreamResponse:
    match answer.fault:
        case Fault.ERROR:
            raise Refused(500, "internal_error")
        case Fault.DELAY:
            await asyncio.sleep(DELAY_SECONDS)
        case Fault.TIMEOUT_AFTER_EFFECT:
            await asyncio.sleep(NEVER_SECONDS)
        case Fault.DROP_AFTER_EFFECT if request.transport is not None:
            request.transport.abort()
    return web.json_response(answer.body)


def _authenticator(api_key: str) -> Any:
    expected = f"Bearer {api_key}".encode()

    @web.middleware
    async def authenticate(request: web.Request, handler: _Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode()
        if request.path != "/healthz" and not hmac.compare_digest(given, expected):
            raise Refused(401, "api_key_invalid")
        return await handler(request)

    return authenticate


@web.middleware
async def _refuse_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refusal:
        return web.json_response({"error": refusal.code}, status=refusal.status)


@web.middleware
async def _log_requests(request: web.Request, handler: _Handler) -> web.StreamResponse:
    response = await handler(request)
    log.info("request", method=request.method, path=request.path, status=response.status)
    return response


async def _read_json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise Refused(400, "invalid_json") from None
    if not isinstance(body, dict):
        raise Refused(400, "invalid_json")
    return body


def _idempotency_key(request: web.Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not 0 < len(key) <= _MAX_KEY_LENGTH:
        raise Refused(400, "idempotency_key_required")
    return key


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(400, f"{name}_required")
    return value


def _amount(body: dict[str, Any]) -> str:
    text = _text(body, "amount")
    try:
        finite = Decimal(text).is_finite()
    except InvalidOperation:
        finite = False
    if not finite:
        raise Refused(400, "invalid_amount")
    return text
