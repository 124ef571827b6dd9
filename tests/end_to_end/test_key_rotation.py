"""The keys that sign tokens change while people call, and nobody's call fails."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import jwt
import pytest
import requests

from deploy.local.parts import signing_keys
from tests.support.oauth import TIMEOUT_SECONDS
from tests.support.stack import Stack, running_stack
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.stack

# Longer than the edge waits from one look at the keys to the next, with a machine that is busy.
PUBLISHED_BEFORE = timedelta(seconds=20)
PATHS = ("/v1/users/me", "/v1/orders?pageSize=1")
CALLERS = 4
# Between the rounds of one caller. Without it they take all of both cores for the half minute until the next
# key signs, and find no more of what fails for seconds.
PAUSE_SECONDS = 0.05
# By tokens of the next key, of each caller.
CALLS_AFTER = 20


def test_no_call_fails_while_the_keys_rotate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_keys, "PUBLISHED_BEFORE", PUBLISHED_BEFORE)
    with running_stack("--rate-limit-scale", "1000", "--no-keep-answers", seed=False) as mesh:
        people = [mesh.register()[2] for _ in range(CALLERS)]
        first = kid_of(people[0]["accessToken"])
        signing_keys.rotate(mesh.place.signing_keys, datetime.now(UTC))
        asked_again = mesh.mesh("keys", "rotate", "jwks", check=False)
        assert (asked_again.returncode, "does not sign yet" in asked_again.stderr) == (1, True)
        stop = threading.Event()
        try:
            with ThreadPoolExecutor(CALLERS) as threads:
                failed = list(threads.map(lambda tokens: calls(mesh, tokens, first, stop), people))
        finally:
            stop.set()
        assert failed == [[]] * CALLERS
        assert first in published(mesh)
        # A token of the key before is good for as long as it lives.
        assert status(mesh, PATHS[0], people[0]["accessToken"]) == 200
        assert "signs from" in mesh.mesh("keys", "rotate", "jwks").stdout
        assert len(published(mesh)) == 3


def calls(mesh: Stack, tokens: dict[str, str], first: str, stop: threading.Event) -> list[str]:
    """Refresh and read until tokens of another key have been used often; return what failed."""
    failed, after, refresh_token = [], 0, tokens["refreshToken"]
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while after < CALLS_AFTER and not stop.wait(PAUSE_SECONDS):
        assert time.monotonic() < give_up_at
        url = f"{mesh.rest_url}/v1/sessions:refresh"
        answer = requests.post(url, json={"refreshToken": refresh_token}, timeout=TIMEOUT_SECONDS).json()
        given = answer["tokens"]
        refresh_token = given["refreshToken"]
        statuses = [status(mesh, path, given["accessToken"]) for path in PATHS]
        failed += [f"{path}: {each}" for path, each in zip(PATHS, statuses, strict=True) if each != 200]
        after += kid_of(given["accessToken"]) != first
    return failed


def status(mesh: Stack, path: str, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return int(requests.get(mesh.rest_url + path, headers=headers, timeout=TIMEOUT_SECONDS).status_code)


def published(mesh: Stack) -> set[str]:
    keys = requests.get(f"{mesh.rest_url}/.well-known/jwks.json", timeout=TIMEOUT_SECONDS).json()["keys"]
    return {key["kid"] for key in keys}


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])
