"""Which calls to the payment provider may go out: places of their own, and a breaker for when it is away.

Ours, because of the libraries purgatory lets any number of calls through while it only tries whether the
other side is back, aiobreaker is no longer released, and the asynchronous calls of pybreaker are Tornado's.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from services.errors import Unavailable

log = structlog.get_logger(__name__)

# Calls under way at once. Each takes three seconds at most, so a provider that hangs keeps so many orders of
# a process waiting in memory; all others wait in the queue, and hold nothing.
MOST_CALLS = 256
# Questions in a row that had no answer. Acts do not count: a single customer's card may make them fail, and
# each is followed by a question that tells whether it was the card or the provider.
_MOST_UNANSWERED = 5
# Between two tries of a provider that does not answer: twice as long after each.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
# What the provider may ask for, by its word that it has too many calls. One that asks for more is asked again
# then; one that says no time, at once after the shortest.
_LEAST_ASKED_SECONDS = 1.0
_MOST_ASKED_SECONDS = 30.0
# Where all places are taken, or somebody else tries: about as long as a call takes at most.
_FULL_PAUSE_SECONDS = 2.0


class PaymentProviderUnavailable(Unavailable):
    """The provider cannot even be asked: what came of the last act is unknown."""

    reason = "PAYMENT_PROVIDER_UNAVAILABLE"


class PaymentProviderAway(PaymentProviderUnavailable):
    """Nothing was done: the provider is away or wants a pause, or has as many calls as it gets from us."""


class Gate:
    """Lets calls out while the provider answers, and one at a time while it does not.

    Args:
        clock: Returns seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls = 0
        # Grows with each answer of any kind.
        self._answers = 0
        self._unanswered = 0
        # From when on it may be tried again, and how long the pause was; None while it answers.
        self._try_at: float | None = None
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._is_tried = False
        # Until when the provider, which answers, asked for no calls.
        self._asked_until = float("-inf")

    @property
    def is_away(self) -> bool:
        """Whether the provider does not answer."""
        return self._try_at is not None

    @property
    def free(self) -> int:
        """How many calls may go out now."""
        if self._clock() < self._asked_until:
            return 0
        if self._try_at is None:
            return MOST_CALLS - self._calls
        return int(not self._is_tried and self._clock() >= self._try_at)

    @property
    def pause_seconds(self) -> float:
        """How long those wait who may not call now."""
        now = self._clock()
        if now < self._asked_until:
            return self._asked_until - now
        if self._try_at is None or self._is_tried:
            return _FULL_PAUSE_SECONDS
        return max(self._try_at - now, 0.0)

    @contextmanager
    def call(self) -> Iterator["GatedCall"]:
        """Take a place for a call, which the block has to tell what became of.

        A block that tells nothing, because it was cancelled, says nothing about the provider.

        Raises:
            PaymentProviderAway: no call may go out now.
        """
        if self.free <= 0:
            raise PaymentProviderAway(
                "the payment provider is away or busy", retry_after_seconds=self.pause_seconds
            )
        call = GatedCall(self, is_try=self._try_at is not None, answers_before=self._answers)
        self._calls += 1
        self._is_tried |= call.is_try
        try:
            yield call
        finally:
            self._calls -= 1
            if call.is_try:
                self._is_tried = False

    def answered(self) -> None:
        """Note that the provider lives."""
        self._answers += 1
        self._unanswered = 0
        if self._try_at is not None:
            self._try_at, self._pause_seconds = None, _FIRST_PAUSE_SECONDS
            log.info("the payment provider answers again")

    def asked_to_wait(self, seconds: float) -> None:
        """Note that the provider lives, and wants no calls for a while."""
        self.answered()
        now = self._clock()
        seconds = min(max(seconds, _LEAST_ASKED_SECONDS), _MOST_ASKED_SECONDS)
        if now >= self._asked_until:
            log.warning("the payment provider asks for a pause", seconds=seconds)
        self._asked_until = max(self._asked_until, now + seconds)

    def unanswered(self, call: "GatedCall") -> None:
        """Note that a question was not answered."""
        # An answer that came meanwhile is the better witness.
        if call.answers_before != self._answers:
            return
        if self._try_at is None:
            self._unanswered += 1
            if self._unanswered >= _MOST_UNANSWERED:
                self._close("the payment provider does not answer: orders wait for it")
        elif call.is_try:
            self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
            self._close("the payment provider still does not answer")

    def _close(self, what: str) -> None:
        self._try_at = self._clock() + self._pause_seconds
        log.warning(what, tried_again_after_seconds=self._pause_seconds)


class GatedCall:
    """A call that has a place."""

    def __init__(self, gate: Gate, *, is_try: bool, answers_before: int) -> None:
        self._gate = gate
        self.is_try = is_try
        self.answers_before = answers_before

    def answered(self) -> None:
        """Say that the provider has answered."""
        self._gate.answered()

    def asked_to_wait(self, seconds: float) -> None:
        """Say that the provider has answered, with nothing but a wish for a pause."""
        self._gate.asked_to_wait(seconds)

    def unanswered(self) -> None:
        """Say that it was a question, and the provider has not answered it."""
        self._gate.unanswered(self)
