"""TOTP and recovery codes, through a real server and PostgreSQL, with codes made as a device makes them."""

import asyncio
import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce.user.v1 import auth_pb2, privacy_pb2, recovery_pb2, role_pb2, second_factor_pb2, user_pb2

from services.user.mail.domain import Kind
from services.user.privacy.domain import DataKey
from services.user.privacy.vault import CannotRead
from services.user.second_factor.codes import accepted_step, hash_recovery_code
from services.user.second_factor.sealing import ShopSealer
from tests.support.people import Person
from tests.support.refusals import ends, refusal
from tests.support.vaults import VAULT
from tests.user.conftest import LOGIN_KEYS, PASSWORD, UserService, some_email
from tests.user.test_endings import me
from tests.user.test_recovery import NEW_PASSWORD, token_to

# One event loop for all: the service runs in it.
pytestmark = pytest.mark.asyncio(loop_scope="session")

REQUIRED = ("UNAUTHENTICATED", "SECOND_FACTOR_REQUIRED")
THROTTLED = ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")
INVALID = ("UNAUTHENTICATED", "SECOND_FACTOR_INVALID")
STEP = timedelta(seconds=30)


def code_of(secret: str, seconds: float) -> str:
    """Compute a code by RFC 6238, apart from the product's own."""
    digest = hmac.digest(base64.b32decode(secret), (int(seconds) // 30).to_bytes(8, "big"), hashlib.sha1)
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


def code_now(service: UserService, secret: str) -> str:
    return code_of(secret, service.clock().timestamp())


async def confirm_address(service: UserService, person: Person) -> None:
    confirmed = "UPDATE users SET email_verify_time = now() WHERE user_id = $1"
    await service.fetchval(confirmed, UUID(person.user_id))


async def enrol(service: UserService, person: Person) -> str:
    await confirm_address(service, person)
    answer = await service.second_factor.EnrolTotp(
        second_factor_pb2.EnrolTotpRequest(), metadata=person.metadata
    )
    assert answer.uri.startswith("otpauth://totp/")
    return str(answer.secret)


async def turn_on(service: UserService, person: Person) -> tuple[str, list[str]]:
    """Turn the second factor on; the clock has passed on to the next code afterwards."""
    secret = await enrol(service, person)
    request = second_factor_pb2.ConfirmTotpRequest(totp_code=code_now(service, secret))
    answer = await service.second_factor.ConfirmTotp(request, metadata=person.metadata)
    service.clock.ahead += STEP
    return secret, list(answer.recovery_codes)


async def log_in(service: UserService, person: Person, password: str = PASSWORD, **codes: str) -> Any:
    request = auth_pb2.CreateSessionRequest(email=person.email, password=password, **codes)
    return await service.auth.CreateSession(request)


async def test_the_codes_are_those_of_the_rfc() -> None:
    secret = b"12345678901234567890"
    # Appendix B, whose eight digits end with our six.
    for seconds, code in ((59, "287082"), (1111111109, "081804"), (20000000000, "353130")):
        now = datetime.fromtimestamp(seconds, UTC)
        assert accepted_step(secret, code, now=now) == seconds // 30
        assert accepted_step(secret, code, now=now + 3 * STEP) is None
        assert code_of(base64.b32encode(secret).decode(), seconds) == code


async def test_a_log_in_asks_for_the_second_factor_once_it_is_on(service: UserService) -> None:
    person = await service.register()
    secret = await enrol(service, person)
    # Not before a code was confirmed.
    await log_in(service, person)
    request = second_factor_pb2.ConfirmTotpRequest(totp_code=code_now(service, secret))
    await service.second_factor.ConfirmTotp(request, metadata=person.metadata)
    assert await refusal(log_in(service, person)) == REQUIRED
    # Nobody who does not know the password learns of it.
    wrong = log_in(service, person, "not the password")
    assert await refusal(wrong) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    service.clock.ahead += STEP
    answer = await log_in(service, person, totp_code=code_now(service, secret))
    claims = service.claims(answer.tokens.access_token)
    assert claims["amr"] == ["pwd", "otp", "mfa"]


async def test_a_code_is_accepted_once_also_of_many_at_once(service: UserService) -> None:
    person = await service.register()
    secret, _ = await turn_on(service, person)
    code = code_now(service, secret)
    outcomes: list[Any] = await asyncio.gather(
        *(log_in(service, person, totp_code=code) for _ in range(4)), return_exceptions=True
    )
    lost = [each for each in outcomes if isinstance(each, BaseException)]
    assert len(lost) == 3
    assert {await refusal(each) for each in lost} == {INVALID}
    # Nor the one before it, which its window would let in.
    before = code_of(secret, service.clock().timestamp() - 30)
    assert await refusal(log_in(service, person, totp_code=before)) == INVALID


async def test_each_recovery_code_is_good_once_however_it_is_typed(service: UserService) -> None:
    person, other = await service.register(), await service.register()
    _, codes = await turn_on(service, person)
    await turn_on(service, other)
    assert len(set(codes)) == 10
    await log_in(service, person, recovery_code=codes[0].upper().replace("-", " "))
    assert await refusal(log_in(service, person, recovery_code=codes[0])) == INVALID
    await log_in(service, person, recovery_code=codes[1])
    assert await refusal(log_in(service, other, recovery_code=codes[2])) == INVALID


async def test_neither_secret_nor_codes_stand_in_the_database(service: UserService) -> None:
    person = await service.register()
    secret, codes = await turn_on(service, person)
    user_id = UUID(person.user_id)
    sealed = await service.fetchval("SELECT sealed_secret FROM totp_secrets WHERE user_id = $1", user_id)
    plain = base64.b32decode(secret)
    assert plain not in sealed
    key = await service.fetchval("SELECT wrapped_key FROM data_keys WHERE user_id = $1", user_id)
    data_key = DataKey(user_id, 1, key)
    assert VAULT.read_secret(data_key, sealed) == plain
    with pytest.raises(CannotRead):
        VAULT.read_secret(data_key._replace(user_id=UUID(int=1)), sealed)
    hashes = await service.fetchval(
        "SELECT array_agg(code_hash) FROM recovery_codes WHERE user_id = $1", user_id
    )
    assert set(hashes) == {hash_recovery_code(user_id, code) for code in codes}


async def test_a_secret_that_the_rotation_has_not_come_to_is_good_too(service: UserService) -> None:
    person = await service.register()
    secret, _ = await turn_on(service, person)
    user_id, rotated = UUID(person.user_id), [b"a new first line of the file", *LOGIN_KEYS]
    assert ShopSealer(rotated).open(ShopSealer(LOGIN_KEYS).seal(b"x", b"y"), b"y") == b"x"
    await service.fetchval(
        "UPDATE totp_secrets SET key_version = NULL, sealed_secret = $2 WHERE user_id = $1",
        user_id,
        ShopSealer(LOGIN_KEYS).seal(base64.b32decode(secret), user_id.bytes),
    )
    await log_in(service, person, totp_code=code_now(service, secret))


async def test_guesses_of_codes_are_counted_with_those_of_passwords(service: UserService) -> None:
    person = await service.register()
    secret, _ = await turn_on(service, person)
    outcomes = [await refusal(log_in(service, person, totp_code=f"{n:06}")) for n in range(10)]
    assert outcomes == [INVALID] * 10
    right = log_in(service, person, totp_code=code_now(service, secret))
    assert await refusal(right) == ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")


async def test_a_right_password_alone_stays_counted(service: UserService) -> None:
    person = await service.register()
    await turn_on(service, person)
    for _ in range(10):
        assert await refusal(log_in(service, person)) == REQUIRED
    assert (await refusal(log_in(service, person)))[1] == "LOGIN_THROTTLED"


async def test_turning_it_on_ends_the_sessions_that_began_without_it(service: UserService) -> None:
    first = await service.register()
    second = await service.log_in(first.email)
    await turn_on(service, first)
    await ends(lambda: me(service, second))
    await me(service, first)
    refreshed = await service.refresh(first.refresh_token)
    assert service.claims(refreshed.tokens.access_token)["amr"] == ["pwd", "otp", "mfa"]


async def test_it_is_confirmed_by_a_right_code_and_made_once(service: UserService) -> None:
    person = await service.register()
    confirm = service.second_factor.ConfirmTotp
    wrong = second_factor_pb2.ConfirmTotpRequest(totp_code="000000")
    refused = await refusal(confirm(wrong, metadata=person.metadata))
    assert refused == ("FAILED_PRECONDITION", "TOTP_NOT_ENROLLED")
    secret = await enrol(service, person)
    far = code_of(secret, service.clock().timestamp() + 600)
    refused = await refusal(
        confirm(second_factor_pb2.ConfirmTotpRequest(totp_code=far), metadata=person.metadata)
    )
    assert refused == ("INVALID_ARGUMENT", "TOTP_CODE_WRONG")
    # Another one takes its place.
    assert await enrol(service, person) != secret
    await turn_on(service, person)
    assert await refusal(enrol(service, person)) == ("FAILED_PRECONDITION", "TOTP_ALREADY_ON")


async def test_its_person_sees_how_far_it_has_come_and_takes_that_along(service: UserService) -> None:
    person, other = await service.register(), await service.register()

    async def state(of: str = "me", who: Person = person) -> second_factor_pb2.SecondFactor:
        request = second_factor_pb2.GetSecondFactorRequest(user_id=of)
        answer: second_factor_pb2.SecondFactor = await service.second_factor.GetSecondFactor(
            request, metadata=who.metadata
        )
        own = privacy_pb2.ExportUserDataRequest(user_id="me")
        data = await service.privacy.ExportUserData(own, metadata=who.metadata)
        assert data.second_factor == answer
        return answer

    assert await state() == second_factor_pb2.SecondFactor()
    await enrol(service, person)
    begun = await state()
    assert (begun.is_on, begun.HasField("enrol_time"), begun.HasField("confirm_time")) == (False, True, False)
    _, codes = await turn_on(service, person)
    on = await state()
    assert (on.is_on, on.HasField("confirm_time"), on.recovery_codes_left) == (True, True, 10)
    await log_in(service, person, recovery_code=codes[0])
    assert (await state()).recovery_codes_left == 9
    assert await refusal(state(person.user_id, other)) == ("NOT_FOUND", "USER_NOT_FOUND")


async def test_it_is_removed_by_its_person_or_an_administrator(service: UserService) -> None:
    ada, bea, stranger = [await service.register() for _ in range(3)]
    await turn_on(service, ada)
    await turn_on(service, bea)
    service.clock.ahead = timedelta()
    remove = service.second_factor.RemoveTotp
    anothers = remove(second_factor_pb2.RemoveTotpRequest(user_id=ada.user_id), metadata=stranger.metadata)
    assert await refusal(anothers) == ("NOT_FOUND", "USER_NOT_FOUND")
    await remove(second_factor_pb2.RemoveTotpRequest(user_id="me"), metadata=ada.metadata)
    admin = await service.operator_metadata(role_pb2.ROLE_ADMIN)
    await remove(second_factor_pb2.RemoveTotpRequest(user_id=bea.user_id), metadata=admin)
    for person in (ada, bea):
        await log_in(service, person)
        kept = await service.fetchval(
            "SELECT count(*) FROM recovery_codes WHERE user_id = $1", UUID(person.user_id)
        )
        assert kept == 0


async def test_the_owner_is_told_by_a_mail(service: UserService) -> None:
    person = await service.register()
    await turn_on(service, person)
    remove = second_factor_pb2.RemoveTotpRequest(user_id="me")
    for _ in range(2):
        await service.second_factor.RemoveTotp(remove, metadata=person.metadata)
    subjects = [mail["Subject"] for mail in await service.mails_to(person.email)]
    told = ["Your account has a second step now", "Your account has no second step any more"]
    assert subjects[-2:] == [f"Commerce Mesh: {each}" for each in told]


async def test_a_repeated_request_takes_back_no_count_but_its_own(service: UserService) -> None:
    """It shows the password alone, which whoever guesses the second factor has."""
    email, request_id = some_email(), str(uuid4())
    request = user_pb2.CreateUserRequest(
        user=user_pb2.User(email=email, display_name="Ada"), password=PASSWORD, request_id=request_id
    )
    await service.users.CreateUser(request)
    person = await service.log_in(email)
    await turn_on(service, person)
    for _ in range(9):
        assert await refusal(log_in(service, person)) == REQUIRED
        await service.users.CreateUser(request)
    assert await refusal(log_in(service, person)) == REQUIRED
    assert await refusal(log_in(service, person)) == THROTTLED


async def test_neither_marks_nor_a_new_password_give_more_guesses_of_codes(service: UserService) -> None:
    person = await service.register()
    marks = [(await service.create_session(person.email)).device_token for _ in range(12)]
    secret, _ = await turn_on(service, person)
    outcomes = [
        await refusal(log_in(service, person, totp_code=f"{n:06}", device_token=mark))
        for n, mark in enumerate(marks)
    ]
    assert outcomes == [INVALID] * 10 + [THROTTLED] * 2
    request = recovery_pb2.RequestPasswordResetRequest(email=person.email)
    await service.recovery.RequestPasswordReset(request)
    reset = recovery_pb2.ResetPasswordRequest(
        token=await token_to(service, person.email, Kind.RESET_PASSWORD), new_password=NEW_PASSWORD
    )
    await service.recovery.ResetPassword(reset)
    right = log_in(service, person, NEW_PASSWORD, totp_code=code_now(service, secret))
    assert await refusal(right) == THROTTLED


async def test_who_knows_the_password_keeps_no_owner_out_who_has_a_marked_device(
    service: UserService,
) -> None:
    person = await service.register()
    secret, codes = await turn_on(service, person)
    mark = (await log_in(service, person, recovery_code=codes[0])).device_token
    for n in range(10):
        await refusal(log_in(service, person, totp_code=f"{n:06}"))
    right = code_now(service, secret)
    assert await refusal(log_in(service, person, totp_code=right)) == THROTTLED
    await log_in(service, person, totp_code=right, device_token=mark)
    # Its codes are counted too, and the owner's forget none of the others'.
    assert await refusal(log_in(service, person, recovery_code=codes[1])) == THROTTLED
    wrong = [await refusal(log_in(service, person, totp_code="000000", device_token=mark)) for _ in range(11)]
    assert wrong == [INVALID] * 10 + [THROTTLED]
    # By a session that goes on, too.
    again = auth_pb2.ReauthenticateRequest(password=PASSWORD, recovery_code=codes[2])
    await service.auth.Reauthenticate(again, metadata=person.metadata)


async def test_a_right_code_forgets_the_wrong_ones(service: UserService) -> None:
    person = await service.register()
    secret, _ = await turn_on(service, person)
    for _ in range(2):
        for n in range(6):
            assert await refusal(log_in(service, person, totp_code=f"{n:06}")) == INVALID
        await log_in(service, person, totp_code=code_now(service, secret))
        service.clock.ahead += STEP


async def test_whose_address_is_not_confirmed_has_no_second_factor(service: UserService) -> None:
    """Else who registers a stranger's address keeps them from it, also after a new password by a mail."""
    person = await service.register()
    enrolling = service.second_factor.EnrolTotp(
        second_factor_pb2.EnrolTotpRequest(), metadata=person.metadata
    )
    assert await refusal(enrolling) == ("FAILED_PRECONDITION", "EMAIL_NOT_CONFIRMED")
    confirm = recovery_pb2.ConfirmEmailRequest(
        token=await token_to(service, person.email, Kind.CONFIRM_EMAIL)
    )
    await service.recovery.ConfirmEmail(confirm)
    await service.second_factor.EnrolTotp(second_factor_pb2.EnrolTotpRequest(), metadata=person.metadata)
