"""What OAuth calls our failures (RFC 6749, sections 4.1.2.1 and 5.2)."""

from dataclasses import dataclass

from services.errors import Code, ServiceError

# By reason. What a request is refused for says its word itself.
_WORDS = {
    "OAUTH_CLIENT_INVALID": ("invalid_client", 401),
    "OAUTH_CLIENT_NOT_ALLOWED": ("unauthorized_client", 400),
    "OAUTH_GRANT_INVALID": ("invalid_grant", 400),
    "INVALID_REQUEST": ("invalid_request", 400),
}
# Whoever asks too often, or while a part is away, comes back.
_TRY_AGAIN = {Code.UNAVAILABLE: 503, Code.DEADLINE_EXCEEDED: 503, Code.RESOURCE_EXHAUSTED: 429}


class BadRequest(Exception):
    """A request that is refused before anybody is asked about it; `told` is for its sender."""

    def __init__(self, told: str, *, error: str = "invalid_request") -> None:
        super().__init__(told)
        self.told = told
        self.error = error


@dataclass(frozen=True)
class OAuthFailure:
    """How a client is told that something went wrong."""

    error: str
    description: str
    status: int
    retry_after_seconds: float | None = None


def oauth_failure(error: ServiceError | BadRequest) -> OAuthFailure:
    """Return what a failure is to a client. What went wrong on our side is not told."""
    if isinstance(error, BadRequest):
        return OAuthFailure(error.error, error.told, 400)
    if error.reason == "OAUTH_REQUEST_REFUSED":
        return OAuthFailure(error.metadata.get("error", "invalid_request"), str(error), 400)
    if error.reason in _WORDS:
        word, status = _WORDS[error.reason]
        return OAuthFailure(word, str(error), status)
    if error.code in _TRY_AGAIN:
        status = _TRY_AGAIN[error.code]
        told = "try again later"
        return OAuthFailure("temporarily_unavailable", told, status, error.retry_after_seconds)
    return OAuthFailure("server_error", "something went wrong here", 500)
