"""What the audit log tells of the events of an account."""

from services.user.accounts.domain import (
    EmailConfirmed,
    PasswordChanged,
    SecondFactorAdded,
    SecondFactorRemoved,
    User,
    UserCreated,
    UserDeleted,
    UserEvent,
    UserUpdated,
)
from services.user.audit.domain import AuditKind, Happening

_AUDITED = {
    UserCreated: AuditKind.ACCOUNT_CREATED,
    UserUpdated: AuditKind.ACCOUNT_UPDATED,
    UserDeleted: AuditKind.ACCOUNT_CLOSED,
    EmailConfirmed: AuditKind.EMAIL_CONFIRMED,
    PasswordChanged: AuditKind.PASSWORD_CHANGED,
    SecondFactorAdded: AuditKind.SECOND_FACTOR_ADDED,
    SecondFactorRemoved: AuditKind.SECOND_FACTOR_REMOVED,
}


def happenings(user: User, event: UserEvent) -> list[Happening]:
    """Return what is told of a change; roles, barring and passwords by mail by kinds of their own."""
    kinds = [_AUDITED[type(event)]]
    reason = ""
    if isinstance(event, PasswordChanged) and event.by_mail:
        kinds = [AuditKind.PASSWORD_RESET]
    if isinstance(event, UserUpdated):
        changed = set(event.changed_fields)
        kinds = [AuditKind.ROLES_CHANGED] if "roles" in changed else []
        if "disabled" in changed:
            kinds.append(AuditKind.ACCOUNT_DISABLED if user.disabled else AuditKind.ACCOUNT_ENABLED)
        reason = ",".join(sorted(changed - {"roles", "disabled"}))
        kinds += [AuditKind.ACCOUNT_UPDATED] if reason else []
    return [
        Happening(
            kind=kind,
            user_id=user.user_id,
            occur_time=user.update_time,
            reason=reason if kind is AuditKind.ACCOUNT_UPDATED else "",
            roles=user.roles if kind is AuditKind.ROLES_CHANGED else (),
        )
        for kind in kinds
    ]
