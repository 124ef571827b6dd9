"""The payment provider over HTTP. Every act has a key of its order, so it can be repeated and asked for."""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
from tenacity import AsyncRetrying, RetryCallState
from tenacity.retry import retry_if_exception_type, retry_if_result
from tenacity.stop import stop_after_attempt
from tenacity.wait import wait_random_exponential

from services.errors import Code, ServiceError
from services.order.orders.domain import Order
from services.order.orders.events import PaymentState
from services.order.payments.gate import (
    MOST_CALLS,
    Gate,
    PaymentProviderAway,
    PaymentProviderUnavailable,
)
from services.settings import read_secret

# Longer than the provider takes on a bad day, and short enough that two of them fit into a lease.
_CALL_TIMEOUT = aiohttp.ClientTimeout(total=3.0, connect=1.0)
# A call that has taken this long waits for a provider that is slow, and for no work of ours.
_SLOW_SECONDS = 0.1
# Where the event loop comes so late, it is this process that is slow.
_LAG_SECONDS = 0.02
# A key that was rotated is seen after it.
_KEY_SECONDS = 1.0
_MAX_ATTEMPTS = 3
_WAIT = wait_random_exponential(multiplier=0.05, max=0.5)

_OK = 200
_NOT_FOUND = 404
_CONFLICT = 409
# Of one request. That our key or the provider's address is wrong (401, 403, 404) is no order's fault.
_REFUSED = frozenset({400, 413, 422})
_TOO_MANY = 429
_ERROR = 500


@dataclass(frozen=True)
class Payment:
    """An order's payment as the provider has it; never PENDING."""

    payment_id: str
    state: PaymentState
    # The provider's word for why it is DECLINED.
    decline_code: str | None


class NoPayment(Enum):
    """The provider was asked and has no payment of the order."""

    # One may still be authorized.
    YET = auto()
    # Its key is closed.
    EVER = auto()


Outcome: TypeAlias = Payment | NoPayment


class PaymentRequestRefused(ServiceError):
    """The provider will not have this request, as often as it is sent: the order is at fault, or we are."""

    code = Code.FAILED_PRECONDITION
    reason = "PAYMENT_REQUEST_REFUSED"


class _OutcomeUnknown(Exception):
    """No answer, or one that does not say whether anything happened."""


class _PauseAsked(Exception):
    """The provider has too many calls, and did nothing with this one."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def open_session() -> aiohttp.ClientSession:
    """Open the connections that a PaymentProvider calls over; the caller closes them."""
    connector = aiohttp.TCPConnector(limit=MOST_CALLS)
    # One customer's call shall not carry what the answer to another's set.
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class PaymentProvider:
    """A client of the provider. An act returns what the provider has after it, and may be repeated.

    Attributes:
        gate: Says which calls may go out; all pass it.
        slow_calls: How many calls are under way that the provider takes long for.

    Args:
        session: By `open_session`; belongs to the caller.
        url: The provider's base URL.
        api_key_file: Read again every second, so that a rotated key is seen.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, api_key_file: Path) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._api_key_file = api_key_file
        self._key, self._key_read_at = "", float("-inf")
        self.gate = Gate()
        self.slow_calls = 0

    async def authorize(self, order: Order, token: str) -> Outcome:
        """Set the order's total aside.

        Returns:
            The payment, at least AUTHORIZED, or DECLINED; NoPayment.YET when every attempt came to nothing;
            NoPayment.EVER when `close` came first.

        Raises:
            PaymentProviderUnavailable: the outcome is unknown.
            PaymentRequestRefused: there is none, and will be none.
        """
        body = {"amount": str(order.total), "currency": order.currency, "token": token}
        return await self._act(order, "authorize", "/v1/payments", body, before=NoPayment.YET)

    async def capture(self, order: Order, payment_id: str) -> Outcome:
        """Take what was set aside. The payment stays AUTHORIZED when every attempt came to nothing.

        Raises:
            PaymentProviderUnavailable: the outcome is unknown.
            PaymentRequestRefused: there is none, and will be none.
        """
        path = f"/v1/payments/{payment_id}/capture"
        body = {"amount": str(order.total)}
        return await self._act(order, "capture", path, body, before=PaymentState.AUTHORIZED)

    async def void(self, order: Order, payment_id: str) -> Outcome:
        """Let go what was set aside, unless it was taken first: then it is CAPTURED.

        Raises:
            PaymentProviderUnavailable: the outcome is unknown.
            PaymentRequestRefused: there is none, and will be none.
        """
        path = f"/v1/payments/{payment_id}/void"
        return await self._act(order, "void", path, {}, before=PaymentState.AUTHORIZED)

    async def refund(self, order: Order, payment_id: str) -> Outcome:
        """Give back what was taken.

        Raises:
            PaymentProviderUnavailable: the outcome is unknown.
            PaymentRequestRefused: there is none, and will be none.
        """
        path = f"/v1/payments/{payment_id}/refund"
        body = {"amount": str(order.total)}
        return await self._act(order, "refund", path, body, before=PaymentState.CAPTURED)

    async def find(self, order: Order) -> Outcome:
        """Ask for the order's payment as it is now: NoPayment.YET when there is none.

        Raises:
            PaymentProviderUnavailable: there is no answer.
            PaymentRequestRefused: there will be none.
        """
        path = f"/v1/payments?key={_key(order, 'authorize')}"
        status, body = await self._ask("GET", path)
        return NoPayment.YET if status == _NOT_FOUND else _payment_of(body)

    async def close(self, order: Order) -> Outcome:
        """Ask for the order's payment; where there is none, make that final, also for calls on their way.

        Raises:
            PaymentProviderUnavailable: there is no answer.
            PaymentRequestRefused: there will be none.
        """
        path = f"/v1/keys/{_key(order, 'authorize')}/close"
        _, body = await self._ask("POST", path)
        return NoPayment.EVER if body["payment"] is None else _payment_of(body["payment"])

    async def _act(
        self,
        order: Order,
        act: str,
        path: str,
        body: dict[str, str],
        *,
        before: PaymentState | NoPayment,
    ) -> Outcome:
        # Nearly always the only one: the machinery of a retry costs a quarter of the call.
        first = await self._attempt(order, path, _key(order, act), body)
        if _state(first) is not before:
            return first
        known = [first]

        async def attempt() -> Outcome:
            return known.pop() if known else await self._attempt(order, path, _key(order, act), body)

        retrying = AsyncRetrying(
            retry=retry_if_result(lambda outcome: _state(outcome) is before),
            wait=_WAIT,
            stop=stop_after_attempt(_MAX_ATTEMPTS),
            retry_error_callback=_last_outcome,
        )
        outcome: Outcome = await retrying(attempt)
        return outcome

    async def _attempt(self, order: Order, path: str, key: str, body: dict[str, str]) -> Outcome:
        try:
            status, answer = await self._call("POST", path, key, body)
        except _OutcomeUnknown:
            return await self.find(order)
        if status == _OK:
            return _payment_of(answer)
        if status != _CONFLICT:
            raise _refusal(status)
        # In no state for it: something else came first.
        return NoPayment.EVER if answer["error"] == "key_closed" else await self.find(order)

    async def _ask(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_OutcomeUnknown),
            wait=_WAIT,
            stop=stop_after_attempt(_MAX_ATTEMPTS),
            reraise=True,
        )
        status: int
        body: dict[str, Any]
        try:
            status, body = await retrying(self._call, method, path, "", {}, is_question=True)
        except _OutcomeUnknown:
            raise PaymentProviderUnavailable("the payment provider does not answer") from None
        if status not in {_OK, _NOT_FOUND}:
            raise _refusal(status)
        return status, body

    async def _call(
        self, method: str, path: str, key: str, body: dict[str, str], *, is_question: bool = False
    ) -> tuple[int, dict[str, Any]]:
        with self.gate.call() as call:
            try:
                answer = await self._exchange(method, path, key, body)
            except _PauseAsked as asked:
                call.asked_to_wait(asked.seconds)
                raise PaymentProviderAway(
                    "the payment provider asks for a pause", retry_after_seconds=self.gate.pause_seconds
                ) from None
            except (_OutcomeUnknown, TimeoutError, aiohttp.ClientError, ValueError) as error:
                if is_question:
                    call.unanswered()
                raise _OutcomeUnknown from error
            call.answered()
        return answer

    async def _exchange(
        self, method: str, path: str, key: str, body: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        headers = {
            "Authorization": f"Bearer {self._api_key()}",
            "Idempotency-Key": key,
        }
        with _Watch(self):
            async with self._session.request(
                method, self._url + path, headers=headers, json=body, timeout=_CALL_TIMEOUT
            ) as response:
                if response.status == _TOO_MANY:
                    raise _PauseAsked(_seconds_of(response.headers.get("Retry-After", "")))
                if response.status >= _ERROR:
                    raise _OutcomeUnknown
                return response.status, await response.json()

    def _api_key(self) -> str:
        now = asyncio.get_running_loop().time()
        if now - self._key_read_at > _KEY_SECONDS:
            self._key, self._key_read_at = read_secret(self._api_key_file), now
        return self._key


class _Watch:
    """Around a call: counts it among the slow ones once it is."""

    def __init__(self, provider: PaymentProvider) -> None:
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._is_slow = False

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(_SLOW_SECONDS, self._count)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._provider.slow_calls -= self._is_slow

    def _count(self) -> None:
        if self._loop.time() - self._timer.when() > _LAG_SECONDS:
            self._timer = self._loop.call_later(_SLOW_SECONDS, self._count)
        else:
            self._is_slow = True
            self._provider.slow_calls += 1


def _seconds_of(retry_after: str) -> float:
    """Return the seconds of a Retry-After (RFC 9110, 10.2.3); 0 where it has none, or a date."""
    return float(retry_after) if retry_after.isdecimal() else 0.0


def _refusal(status: int) -> ServiceError:
    """Return what an answer means that says neither what happened nor that nothing did."""
    failure = PaymentRequestRefused if status in _REFUSED else PaymentProviderUnavailable
    return failure(f"the payment provider answered {status}")


def _key(order: Order, act: str) -> str:
    return f"{order.order_id}:{act}"


def _state(outcome: Outcome) -> PaymentState | NoPayment:
    return outcome.state if isinstance(outcome, Payment) else outcome


def _payment_of(body: dict[str, Any]) -> Payment:
    return Payment(
        payment_id=body["payment_id"],
        state=PaymentState(body["state"]),
        decline_code=body["decline_code"],
    )


def _last_outcome(state: RetryCallState) -> Any:
    return state.outcome and state.outcome.result()
