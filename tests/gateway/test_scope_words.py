"""What people read when they decide, and clients when they look: every scope there is."""

import asyncio
import json

from commerce.user.v1 import role_pb2
from starlette.requests import Request

from gateway.app.discovery import Discovery
from gateway.app.pages import WORDS
from services.rpc.policy import contract_scopes, scopes_of_role
from services.user.oauth.domain import OIDC_SCOPES


def test_every_scope_of_the_contract_has_words() -> None:
    granted = frozenset[str]().union(*map(scopes_of_role, role_pb2.Role.values()))
    assert set(WORDS) == contract_scopes() | OIDC_SCOPES
    assert granted <= set(WORDS)


def test_discovery_names_every_scope_that_a_client_may_have() -> None:
    answer = asyncio.run(Discovery("https://shop.example").document(Request({"type": "http"})))
    assert json.loads(bytes(answer.body))["scopes_supported"] == sorted(contract_scopes() | OIDC_SCOPES)
