"""What generated stubs ask a channel for, whichever client it is."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


class StubMethods(ABC):
    """The four kinds of methods, made of two: those that answer once, and those that answer many times."""

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for the method, as stubs want it."""
        return self._answers_one(method, lambda channel: channel.unary_unary(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for the method, as stubs want it."""
        return self._answers_one(method, lambda channel: channel.stream_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for the method, as stubs want it."""
        return self._answers_many(method, lambda channel: channel.unary_stream(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for the method, as stubs want it."""
        return self._answers_many(method, lambda channel: channel.stream_stream(method, *args, **kwargs))

    @abstractmethod
    def _answers_one(self, method: str, callable_of: Callable[[Any], Any]) -> Any:
        """Return a callable for a method that answers once; `callable_of` makes gRPC's own of a channel."""

    @abstractmethod
    def _answers_many(self, method: str, callable_of: Callable[[Any], Any]) -> Any:
        """Return a callable for a method that answers many times."""
