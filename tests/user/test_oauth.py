"""OAuthService by the gateway's certificate: how long things live, and what makes them void."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import jwt
import pytest
import pytest_asyncio
from commerce.user.v1 import auth_pb2, oauth_pb2, role_pb2, user_pb2

from deploy.local.shop.clients import bearer
from services.errors import ServiceError
from services.rpc.policy import scopes_of_role
from services.storage.postgres import Pool, transaction
from services.user.oauth.domain import MAX_AUTHORIZATIONS, MAX_CLIENTS
from services.user.oauth.store import delete_client, find_client_for_share, forget_authorizations
from tests.support.oauth import Pkce
from tests.support.people import Person
from tests.support.refusals import error_of, refusal
from tests.support.tokens import Metadata
from tests.user.conftest import PASSWORD, UserService
from tests.user.test_password_change import WEAK_HASHES, give_hash, hash_of
from tests.user.test_second_factor import INVALID, REQUIRED, code_now, turn_on

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLBACK = "https://shop.example/callback"
GRANT_INVALID = ("INVALID_ARGUMENT", "OAUTH_GRANT_INVALID")
CONSENT_OVER = ("FAILED_PRECONDITION", "OAUTH_CONSENT_OVER")
SCOPES = ("openid", "orders.read", "users.read", "users.read_any")


@dataclass
class Flow:
    """A client that somebody has registered, and its calls."""

    service: UserService
    client: oauth_pb2.ClientCredentials
    pkce: Pkce = field(default_factory=Pkce)

    async def consent(self, person: Person, password: str = PASSWORD, **changed: str) -> str:
        request = oauth_pb2.BeginAuthorizationRequest(
            request=self.asked(**changed), email=person.email, password=password
        )
        answer = await self.service.oauth.BeginAuthorization(request)
        return str(answer.consent_token)

    def asked(self, **changed: str) -> oauth_pb2.AuthorizationRequest:
        said = {
            "client_id": self.client.client_id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid orders.read",
            "code_challenge": self.pkce.challenge,
            "code_challenge_method": "S256",
        }
        return oauth_pb2.AuthorizationRequest(**{**said, **changed})

    async def decide(self, consent_token: str, *, is_allowed: bool = True) -> str:
        request = oauth_pb2.DecideAuthorizationRequest(consent_token=consent_token, is_allowed=is_allowed)
        return str((await self.service.oauth.DecideAuthorization(request)).code)

    async def code(self, person: Person, **changed: str) -> str:
        return await self.decide(await self.consent(person, **changed))

    async def exchange(self, code: str) -> oauth_pb2.GrantedTokens:
        request = oauth_pb2.ExchangeCodeRequest(
            client=self.client, code=code, redirect_uri=CALLBACK, code_verifier=self.pkce.verifier
        )
        answer: oauth_pb2.ExchangeCodeResponse = await self.service.oauth.ExchangeCode(request)
        return answer.tokens

    async def told(self, token: str) -> dict[str, Any]:
        """Return when and by what the person of a token has logged in, as its client is told."""
        request = oauth_pb2.IntrospectTokenRequest(client=self.client, token=token)
        answer = await self.service.oauth.IntrospectToken(request)
        assert answer.active
        return {"amr": list(answer.methods), "auth_time": answer.auth_time.seconds}

    async def refresh(self, refresh_token: str, scope: str = "") -> oauth_pb2.GrantedTokens:
        request = oauth_pb2.RefreshGrantRequest(client=self.client, refresh_token=refresh_token, scope=scope)
        answer: oauth_pb2.RefreshGrantResponse = await self.service.oauth.RefreshGrant(request)
        return answer.tokens


@pytest_asyncio.fixture(loop_scope="session")
async def flow(service: UserService) -> Flow:
    return await new_flow(service)


async def new_flow(service: UserService, *scopes: str) -> Flow:
    request = oauth_pb2.CreateClientRequest(
        name="Shop Reader",
        kind="CLIENT_KIND_CONFIDENTIAL",
        redirect_uris=[CALLBACK],
        scopes=scopes or SCOPES,
    )
    made = await service.clients.CreateClient(request)
    shown = oauth_pb2.ClientCredentials(client_id=made.client.client_id, client_secret=made.client_secret)
    return Flow(service, shown)


async def new_machine(service: UserService, *scopes: str) -> tuple[str, Metadata]:
    """Register a machine; return its id, and a token of its own."""
    request = oauth_pb2.CreateClientRequest(name="Robot", kind="CLIENT_KIND_MACHINE", scopes=scopes)
    made = await service.clients.CreateClient(request)
    client_id: str = made.client.client_id
    shown = oauth_pb2.ClientCredentials(client_id=client_id, client_secret=made.client_secret)
    issued = await service.oauth.IssueClientToken(oauth_pb2.IssueClientTokenRequest(client=shown))
    return client_id, bearer(issued.tokens.access_token)


async def test_a_code_lives_for_a_minute(service: UserService, flow: Flow) -> None:
    person = await service.register()
    first, second = await flow.code(person), await flow.code(person)
    service.clock.ahead = timedelta(seconds=55)
    assert (await flow.exchange(first)).scopes == ["openid", "orders.read"]
    service.clock.ahead = timedelta(seconds=65)
    assert await refusal(flow.exchange(second)) == GRANT_INVALID


async def test_a_decision_waits_for_ten_minutes_and_is_taken_once(service: UserService, flow: Flow) -> None:
    person = await service.register()
    late, allowed, declined = [await flow.consent(person) for _ in range(3)]
    assert await flow.decide(declined, is_allowed=False) == ""
    assert await refusal(flow.decide(declined)) == CONSENT_OVER
    service.clock.ahead = timedelta(minutes=9, seconds=50)
    assert await flow.decide(allowed)
    service.clock.ahead = timedelta(minutes=10, seconds=10)
    assert await refusal(flow.decide(late)) == CONSENT_OVER


async def test_a_person_has_ten_authorizations_and_the_oldest_go(service: UserService, flow: Flow) -> None:
    person = await service.register()
    consents = [await flow.consent(person) for _ in range(MAX_AUTHORIZATIONS + 1)]
    kept = await service.fetchval(
        "SELECT count(*) FROM oauth_authorizations WHERE user_id = $1", person.user_id
    )
    assert kept == MAX_AUTHORIZATIONS
    assert await refusal(flow.decide(consents[0])) == CONSENT_OVER
    assert await flow.decide(consents[1])


async def test_nothing_secret_is_kept(service: UserService, flow: Flow) -> None:
    person = await service.register()
    consent = await flow.consent(person)
    code = await flow.decide(consent)
    tokens = await flow.exchange(code)
    secrets = [consent, code, tokens.refresh_token, flow.client.client_secret, flow.pkce.verifier]
    for table in ("oauth_clients", "oauth_authorizations", "sessions", "refresh_tokens"):
        kept = await service.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t")  # noqa: S608
        assert not [each for each in secrets if each in kept]


async def test_an_id_token_says_who_and_for_whom(service: UserService, flow: Flow) -> None:
    person = await service.register()
    tokens = await flow.exchange(await flow.code(person, nonce="a nonce"))
    claims = jwt.decode(tokens.id_token, options={"verify_signature": False})
    assert (claims["sub"], claims["aud"]) == (person.user_id, flow.client.client_id)
    assert (claims["iss"], claims["nonce"]) == ("https://shop.example", "a nonce")
    assert claims["exp"] - claims["iat"] == 300
    assert claims["amr"] == ["pwd"]
    assert abs(claims["auth_time"] - service.clock().timestamp()) < 60
    assert await flow.told(tokens.access_token) == {key: claims[key] for key in ("amr", "auth_time")}
    assert jwt.get_unverified_header(tokens.id_token)["typ"] == "JWT"
    assert not (await flow.exchange(await flow.code(person, scope="orders.read"))).id_token


async def test_a_token_carries_what_client_request_and_person_have_in_common(
    service: UserService, flow: Flow
) -> None:
    person = await service.register()
    # The client may ask for users.read_any, and a customer may not do it.
    tokens = await flow.exchange(await flow.code(person, scope="orders.read users.read_any"))
    assert tokens.scopes == ["orders.read"]
    claims = service.claims(tokens.access_token)
    assert (claims["scope"], claims["client_id"]) == ("orders.read", flow.client.client_id)
    all_of_it = await flow.exchange(await flow.code(person, scope=""))
    assert set(all_of_it.scopes) == {"openid", *set(SCOPES) & scopes_of_role(role_pb2.ROLE_CUSTOMER)}
    nothing = flow.consent(person, scope="users.read_any")
    error = await error_of(nothing)
    assert (error.reason, error.metadata["error"]) == ("OAUTH_REQUEST_REFUSED", "invalid_scope")


async def test_fewer_scopes_are_for_one_token_alone(service: UserService, flow: Flow) -> None:
    first = await flow.exchange(await flow.code(await service.register()))
    fewer = await flow.refresh(first.refresh_token, "orders.read")
    assert fewer.scopes == ["orders.read"]
    again = await flow.refresh(fewer.refresh_token)
    assert again.scopes == ["openid", "orders.read"]


async def test_another_password_makes_codes_and_grants_void(service: UserService, flow: Flow) -> None:
    person = await service.register()
    tokens = await flow.exchange(await flow.code(person))
    code, consent = await flow.code(person), await flow.consent(person)
    change = auth_pb2.ChangePasswordRequest(old_password=PASSWORD, new_password="a wholly other one")
    await service.auth.ChangePassword(change, metadata=person.metadata)
    assert await refusal(flow.exchange(code)) == GRANT_INVALID
    assert await refusal(flow.decide(consent)) == CONSENT_OVER
    assert await refusal(flow.refresh(tokens.refresh_token)) == GRANT_INVALID


async def test_a_disabled_and_a_closed_account_get_nothing(service: UserService, flow: Flow) -> None:
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    barred, closed = await service.register(), await service.register()
    codes = [await flow.code(barred), await flow.code(closed)]
    user = user_pb2.User(user_id=barred.user_id, disabled=True)
    update = user_pb2.UpdateUserRequest(user=user, update_mask={"paths": ["disabled"]})
    await service.users.UpdateUser(update, metadata=admin)
    await service.users.DeleteUser(user_pb2.DeleteUserRequest(user_id="me"), metadata=closed.metadata)
    for code in codes:
        assert await refusal(flow.exchange(code)) == GRANT_INVALID
    assert await refusal(flow.consent(barred)) == ("PERMISSION_DENIED", "ACCOUNT_DISABLED")
    assert await refusal(flow.consent(closed)) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")


async def test_wrong_passwords_count_with_those_of_log_ins(service: UserService, flow: Flow) -> None:
    person, here = await service.register(), (("x-forwarded-for", "192.0.2.3"),)

    def consent(password: str) -> Any:
        request = oauth_pb2.BeginAuthorizationRequest(
            request=flow.asked(), email=person.email, password=password
        )
        return service.oauth.BeginAuthorization(request, metadata=here)

    def log_in(password: str) -> Any:
        request = auth_pb2.CreateSessionRequest(email=person.email, password=password)
        return service.auth.CreateSession(request, metadata=here)

    for _ in range(5):
        assert (await error_of(consent("wrong"))).reason == "CREDENTIALS_INVALID"
        assert (await error_of(log_in("wrong"))).reason == "CREDENTIALS_INVALID"
    assert (await error_of(consent(PASSWORD))).reason == "LOGIN_THROTTLED"
    assert (await error_of(log_in(PASSWORD))).reason == "LOGIN_THROTTLED"


async def test_one_exchange_of_many_at_once_begins_a_session_and_none_stays(
    service: UserService, flow: Flow
) -> None:
    person = await service.register()
    code = await flow.code(person)
    answers = await asyncio.gather(*(flow.exchange(code) for _ in range(8)), return_exceptions=True)
    given = [each for each in answers if isinstance(each, oauth_pb2.GrantedTokens)]
    assert len(given) == 1
    assert await refusal(flow.refresh(given[0].refresh_token)) == GRANT_INVALID
    begun = await service.fetchval(
        "SELECT count(*) FROM sessions WHERE client_id = $1 AND user_id = $2",
        flow.client.client_id,
        person.user_id,
    )
    assert begun == 1


async def test_a_log_in_beside_an_exchange_does_not_lock_it_out(service: UserService, flow: Flow) -> None:
    """Each holds what the other looks at: the account, and its authorizations."""
    person = await service.register()
    for _ in range(5):
        codes = [await flow.code(person) for _ in range(3)]
        calls: list[Any] = [*map(flow.exchange, codes), *(flow.consent(person) for _ in range(3))]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [each for each in answers if isinstance(each, BaseException)] == []


async def test_a_removed_client_gets_nothing_more(service: UserService, flow: Flow) -> None:
    person = await service.register()
    tokens, code = await flow.exchange(await flow.code(person)), await flow.code(person)
    removal = oauth_pb2.DeleteClientRequest(client_id=flow.client.client_id)
    answer = await service.clients.DeleteClient(removal)
    assert (answer.ended_count, answer.is_done) == (1, True)
    assert (await error_of(flow.refresh(tokens.refresh_token))).reason == "OAUTH_CLIENT_INVALID"
    assert (await error_of(flow.exchange(code))).reason == "OAUTH_CLIENT_INVALID"
    assert (await error_of(flow.consent(person))).reason == "OAUTH_CLIENT_NOT_FOUND"


async def test_there_are_a_thousand_clients_at_the_most(service: UserService, pool: Pool) -> None:
    live = await service.fetchval("SELECT count(*) FROM oauth_clients WHERE delete_time IS NULL")
    await pool.execute(
        """
        INSERT INTO oauth_clients (name, kind, redirect_uris, scopes, create_time)
        SELECT 'one of many', 'PUBLIC', ARRAY['https://shop.example/'], ARRAY['openid'], now()
          FROM generate_series(1, $1)
        """,
        MAX_CLIENTS - live,
    )
    try:
        error = await error_of(new_flow(service))
        assert error.reason == "OAUTH_TOO_MANY_CLIENTS"
        listed = await service.clients.ListClients(oauth_pb2.ListClientsRequest())
        assert len(listed.clients) == MAX_CLIENTS
    finally:
        await pool.execute("UPDATE oauth_clients SET delete_time = now() WHERE name = 'one of many'")


async def test_old_authorizations_are_forgotten_and_new_ones_are_not(
    service: UserService, flow: Flow, pool: Pool
) -> None:
    person, now = await service.register(), service.clock.ahead
    service.clock.ahead = timedelta(days=-2)
    await flow.consent(person)
    service.clock.ahead = now
    await flow.consent(person)
    async with pool.acquire() as conn, conn.transaction():
        assert await forget_authorizations(conn, 1000) >= 1
    kept = await service.fetchval(
        "SELECT count(*) FROM oauth_authorizations WHERE user_id = $1", person.user_id
    )
    assert kept == 1


async def test_a_grant_is_listed_with_its_client(service: UserService, flow: Flow) -> None:
    person = await service.register()
    await flow.exchange(await flow.code(person))
    request = auth_pb2.ListSessionsRequest(user_id="me")
    grant, own = (await service.auth.ListSessions(request, metadata=person.metadata)).sessions
    assert (grant.device, grant.client_id) == ("Shop Reader", flow.client.client_id)
    assert list(grant.scopes) == ["openid", "orders.read"]
    assert (own.client_id, list(own.scopes)) == ("", [])


@pytest.mark.parametrize(
    ("changed", "field_name"),
    [
        ({"kind": "CLIENT_KIND_MACHINE"}, "redirect_uris"),
        ({"redirect_uris": []}, "redirect_uris"),
        ({"redirect_uris": ["http://shop.example/"]}, "redirect_uris"),
        ({"scopes": ["orders.reads"]}, "scopes"),
        ({"kind": "CLIENT_KIND_MACHINE", "redirect_uris": [], "scopes": ["openid"]}, "scopes"),
    ],
)
async def test_a_client_that_cannot_be_is_refused_by_its_field(
    service: UserService, changed: dict[str, Any], field_name: str
) -> None:
    said = {
        "name": "x",
        "kind": "CLIENT_KIND_PUBLIC",
        "redirect_uris": [CALLBACK],
        "scopes": ["orders.read"],
    }
    error: ServiceError = await error_of(
        service.clients.CreateClient(oauth_pb2.CreateClientRequest(**{**said, **changed}))
    )
    assert error.reason == "OAUTH_CLIENT_REFUSED"
    assert [violation.field for violation in error.violations] == [field_name]


async def test_who_has_a_second_factor_shows_it_to_clients_too(service: UserService, flow: Flow) -> None:
    person = await service.register()
    secret, [recovery_code, *_] = await turn_on(service, person)

    def begun(**codes: str) -> Any:
        return service.oauth.BeginAuthorization(
            oauth_pb2.BeginAuthorizationRequest(
                request=flow.asked(), email=person.email, password=PASSWORD, **codes
            )
        )

    assert await refusal(begun()) == REQUIRED
    assert await refusal(begun(totp_code="000000")) == INVALID
    for codes in ({"totp_code": code_now(service, secret)}, {"recovery_code": recovery_code}):
        consent = (await begun(**codes)).consent_token
        assert await refusal(begun(**codes)) == INVALID
        logged_in = service.clock()
        service.clock.ahead += timedelta(seconds=40)
        tokens = await flow.exchange(await flow.decide(consent))
        claims = service.claims(tokens.access_token)
        told = [claims, jwt.decode(tokens.id_token, options={"verify_signature": False})]
        told.append(await flow.told(tokens.refresh_token))
        for each in told:
            assert each["amr"] == ["pwd", "otp", "mfa"]
            # Not when the code was exchanged.
            assert abs(each["auth_time"] - logged_in.timestamp()) < 20


async def test_a_machine_has_never_logged_in(service: UserService) -> None:
    """So no method that asks for a recent log-in is for it."""
    request = oauth_pb2.CreateClientRequest(
        name="A machine", kind="CLIENT_KIND_MACHINE", scopes=["orders.read"]
    )
    made = await service.clients.CreateClient(request)
    shown = oauth_pb2.ClientCredentials(client_id=made.client.client_id, client_secret=made.client_secret)
    answer = await service.oauth.IssueClientToken(oauth_pb2.IssueClientTokenRequest(client=shown))
    claims = service.claims(answer.tokens.access_token)
    assert (claims["auth_time"], claims["amr"]) == (0, [])


async def test_strangers_at_the_page_do_not_shut_its_owner_out(service: UserService, flow: Flow) -> None:
    """Each is counted by the address that the app hands on, and no one else's."""
    person = await service.register()

    def begun(password: str, address: str) -> Any:
        request = oauth_pb2.BeginAuthorizationRequest(
            request=flow.asked(), email=person.email, password=password
        )
        return service.oauth.BeginAuthorization(request, metadata=(("x-forwarded-for", address),))

    refusals = [await refusal(begun("not the password", "192.0.2.1")) for _ in range(12)]
    assert refusals[-1][1] == "LOGIN_THROTTLED"
    assert (await begun(PASSWORD, "192.0.2.2")).consent_token


async def test_a_browser_that_logged_in_before_is_not_kept_out_by_strangers(
    service: UserService, flow: Flow
) -> None:
    person = await service.register()

    async def begun(password: str, mark: str = "") -> Any:
        request = oauth_pb2.BeginAuthorizationRequest(
            request=flow.asked(), email=person.email, password=password, device_token=mark
        )
        return await service.oauth.BeginAuthorization(request)

    mark = (await begun(PASSWORD)).device_token
    refusals = [await refusal(begun("not the password")) for _ in range(11)]
    assert refusals[-1][1] == (await refusal(begun(PASSWORD)))[1] == "LOGIN_THROTTLED"
    assert (await begun(PASSWORD, mark)).consent_token


async def test_exchanges_of_one_client_do_not_wait_for_one_another(
    service: UserService, flow: Flow, pool: Pool
) -> None:
    code, client_id = await flow.code(await service.register()), UUID(flow.client.client_id)
    async with transaction(pool) as conn:
        assert await find_client_for_share(conn, client_id) is not None
        await flow.exchange(code)
        # Who removes it waits, and ends the sessions of both.
        async with transaction(pool) as other:
            await other.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await delete_client(other, client_id, now=service.clock())


async def test_a_weak_hash_is_replaced_at_the_page_too_and_the_code_is_good(
    service: UserService, flow: Flow
) -> None:
    person = await service.register()
    await give_hash(service, person, WEAK_HASHES["bcrypt"])
    code = await flow.code(person)
    assert (await hash_of(service, person)).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await flow.exchange(code)


@pytest.mark.parametrize("name", ["state", "nonce"])
async def test_what_cannot_be_kept_is_refused_before_anybody_logs_in(
    service: UserService, flow: Flow, name: str
) -> None:
    request = oauth_pb2.CheckAuthorizationRequest(request=flow.asked(**{name: "a\0b"}))
    error = await error_of(service.oauth.CheckAuthorization(request))
    assert (error.reason, error.metadata["error"]) == ("OAUTH_REQUEST_REFUSED", "invalid_request")
