"""REST calls of the command line, by the standard library alone."""

import json
import urllib.error
import urllib.request
from typing import Any

from deploy.local.errors import MeshError

_TIMEOUT_SECONDS = 15
# Loopback never goes through a proxy, whatever the environment says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RestError(MeshError):
    """The edge answered with an error: `status` is HTTP's, `reason` that of google.rpc.ErrorInfo."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}", "See `mesh status` and `mesh logs`.")
        self.status = status
        self.reason = reason


def call(
    verb: str, url: str, body: dict[str, Any] | None = None, *, token: str | None = None
) -> dict[str, Any]:
    """Make a call with JSON in both directions.

    Raises:
        RestError: it was refused.
        MeshError: nobody answered.
    """
    headers = {"content-type": "application/json", "accept": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=verb)  # noqa: S310  http, from ourselves
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise _rest_error(error.code, error.read()) from error
    except OSError as error:
        raise MeshError(f"{url} does not answer: {error}.", "See `mesh status`.") from error
    result: dict[str, Any] = json.loads(text or b"{}")
    return result


def _rest_error(status: int, text: bytes) -> RestError:
    try:
        problem = json.loads(text)
        details = [detail for detail in problem.get("details", []) if "reason" in detail]
        return RestError(status, details[0]["reason"] if details else "", problem.get("message", ""))
    except (ValueError, AttributeError):
        return RestError(status, "", text.decode(errors="replace")[:200])
