"""Who calls in tests."""

from dataclasses import dataclass
from uuid import uuid4

from deploy.local.shop.clients import bearer
from tests.support.tokens import TOKENS, Metadata


@dataclass(frozen=True)
class Person:
    """Somebody with an access token; with an account, where they have registered."""

    user_id: str
    token: str
    email: str = ""
    session_id: str = ""
    refresh_token: str = ""

    @property
    def metadata(self) -> Metadata:
        """What carries the token over gRPC."""
        return bearer(self.token)


def person(scope: str) -> Person:
    """Somebody who carries these scopes, for services that trust the key of these tests."""
    user_id = str(uuid4())
    return Person(user_id, TOKENS.make(scope, sub=user_id, sid=str(uuid4()), jti=str(uuid4())))
