"""Which changes of accounts and sessions are legal. No I/O."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.errors import EtagMismatch, InvalidArgument
from services.etags import check_etag
from services.user.accounts import domain
from services.user.accounts.domain import OpenedUser, Role, UserChange
from services.user.sessions.domain import (
    REFRESH_LIFETIME,
    RefreshTokenInvalid,
    RefreshTokenReused,
    Session,
    check_refresh,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
USER_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
SESSION = Session(USER_ID, USER_ID, NOW, NOW, NOW + REFRESH_LIFETIME)


def customer() -> OpenedUser:
    return domain.register(USER_ID, "Ada@Example.com", "Ada", NOW)[0]


def test_who_registers_is_a_customer_and_nothing_more() -> None:
    user, event = domain.register(USER_ID, "Ada@Example.com", "Ada", NOW)
    assert (user.roles, user.version, user.etag) == ((Role.CUSTOMER,), 1, "1")
    assert event == domain.UserCreated(USER_ID, (Role.CUSTOMER,))


def test_an_operator_account_has_one_role_and_an_address_of_its_own() -> None:
    user, _ = domain.open_operator_account(USER_ID, Role.ADMIN, NOW)
    assert (user.email, user.roles, user.operator_role) == (
        "admin@operator.commerce.local",
        (Role.ADMIN,),
        Role.ADMIN,
    )


def test_a_change_raises_the_version_and_names_what_changed() -> None:
    user, event = domain.update(
        customer(), UserChange(display_name="A."), by_administrator=False, reads_email=True, now=LATER
    )
    assert (user.display_name, user.version, user.update_time) == ("A.", 2, LATER)
    assert event == domain.UserUpdated(USER_ID, ("display_name",), (Role.CUSTOMER,), disabled=False)


@pytest.mark.parametrize(
    "change",
    [
        UserChange(),
        UserChange(display_name="Ada", roles=(Role.CUSTOMER,)),
        UserChange(email="ada@EXAMPLE.com"),
    ],
)
def test_changing_nothing_is_no_event(change: UserChange) -> None:
    assert domain.update(customer(), change, by_administrator=False, reads_email=True, now=LATER) == (
        customer(),
        None,
    )


def test_the_email_cannot_be_changed() -> None:
    with pytest.raises(InvalidArgument) as refused:
        domain.update(
            customer(), UserChange(email="b@example.com"), by_administrator=True, reads_email=True, now=LATER
        )
    assert refused.value.violations[0].field == "user.email"


def test_only_who_may_changes_roles() -> None:
    change = UserChange(roles=(Role.ADMIN, Role.CUSTOMER))
    with pytest.raises(domain.RoleChangeNotAllowed):
        domain.update(customer(), change, by_administrator=False, reads_email=True, now=LATER)
    user, event = domain.update(customer(), change, by_administrator=True, reads_email=True, now=LATER)
    assert user.roles == (Role.CUSTOMER, Role.ADMIN)
    assert event == domain.UserUpdated(USER_ID, ("roles",), user.roles, disabled=False)


def test_an_operator_account_keeps_its_role() -> None:
    operator, _ = domain.open_operator_account(USER_ID, Role.SUPPORT, NOW)
    with pytest.raises(domain.RoleChangeNotAllowed):
        domain.update(
            operator, UserChange(roles=(Role.ADMIN,)), by_administrator=True, reads_email=True, now=LATER
        )


def test_an_account_has_at_least_one_role() -> None:
    with pytest.raises(InvalidArgument) as refused:
        domain.update(customer(), UserChange(roles=()), by_administrator=True, reads_email=True, now=LATER)
    assert refused.value.violations[0].field == "user.roles"


@pytest.mark.parametrize("etag", ["2", "0", "x"])
def test_a_stale_etag_is_refused(etag: str) -> None:
    with pytest.raises(EtagMismatch):
        check_etag(etag, customer().etag)


@pytest.mark.parametrize("etag", ["1", ""])
def test_the_current_etag_and_none_pass(etag: str) -> None:
    check_etag(etag, customer().etag)


def test_an_unused_token_of_a_live_session_may_be_exchanged() -> None:
    check_refresh(SESSION, token_used=False, now=SESSION.expire_time - timedelta(seconds=1))


@pytest.mark.parametrize("session", [SESSION, replace(SESSION, end_time=LATER)])
def test_a_used_token_is_a_reuse_whatever_became_of_its_session(session: Session) -> None:
    with pytest.raises(RefreshTokenReused):
        check_refresh(session, token_used=True, now=LATER)


@pytest.mark.parametrize(
    ("session", "now"),
    [(replace(SESSION, end_time=LATER), LATER), (SESSION, SESSION.expire_time)],
)
def test_no_token_outlives_its_session(session: Session, now: datetime) -> None:
    with pytest.raises(RefreshTokenInvalid):
        check_refresh(session, token_used=False, now=now)


def test_only_an_administrator_disables_an_account_and_nobody_an_operators() -> None:
    change = UserChange(disabled=True)
    with pytest.raises(domain.DisablingNotAllowed):
        domain.update(customer(), change, by_administrator=False, reads_email=True, now=LATER)
    user, event = domain.update(customer(), change, by_administrator=True, reads_email=True, now=LATER)
    assert (user.disabled, user.version) == (True, 2)
    assert event == domain.UserUpdated(USER_ID, ("disabled",), user.roles, disabled=True)
    operator, _ = domain.open_operator_account(USER_ID, Role.SUPPORT, NOW)
    with pytest.raises(domain.DisablingNotAllowed):
        domain.update(operator, change, by_administrator=True, reads_email=True, now=LATER)
