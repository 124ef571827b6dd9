"""Who may call what, written by hand, and a harmless call of each method.

Nothing here is read from the contract: a rule that changes is changed twice, there and here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from commerce.event.v1 import event_pb2
from commerce.order.v1 import ledger_pb2, order_pb2, pipeline_pb2
from commerce.product.v1 import category_pb2, inventory_pb2, match_pb2, product_pb2
from commerce.user.v1 import (
    audit_pb2,
    auth_pb2,
    oauth_pb2,
    privacy_pb2,
    recovery_pb2,
    role_pb2,
    second_factor_pb2,
    user_pb2,
)
from google.protobuf.message import Message

from services.roster import FROM_OUTSIDE, NAMES, OTHER_CALLERS
from tests.support.world import (
    AUDIT,
    AUTH,
    CATEGORIES,
    FEED,
    INVENTORY,
    LEDGER,
    MATCHES,
    OAUTH,
    ORDERS,
    PASSWORD,
    PIPELINE,
    PRIVACY,
    PRODUCTS,
    RECOVERY,
    ROLES,
    SECOND_FACTOR,
    USERS,
    World,
    order_of,
)

EVERYONE = frozenset(ROLES)
SHOPKEEPERS = frozenset({"merchant", "admin"})
STAFF = frozenset({"support", "merchant", "admin"})
OFFICE = frozenset({"support", "admin"})
BUYERS = frozenset({"customer", "admin"})

# Past the head of any log of a test.
_FAR_POSITION = 1 << 50


@dataclass(frozen=True)
class Public:
    """Anyone, with a good token or none; with any, where the request itself is the proof."""

    ignores_token: bool = False


@dataclass(frozen=True)
class ByRole:
    """Whose token suffices; and, where the resource has an owner, whose suffices for another's."""

    roles: frozenset[str]
    for_others: frozenset[str] | None = None


# A certificate of the mesh's authority in a name that the contract has nowhere.
STRANGER = "stranger"


@dataclass(frozen=True)
class Internal:
    """Which services' certificates suffice."""

    peers: frozenset[str]


Rule = Public | ByRole | Internal

RULES: Mapping[str, Rule] = {
    USERS + "CreateUser": Public(ignores_token=True),
    USERS + "GetUser": ByRole(EVERYONE, for_others=OFFICE),
    USERS + "UpdateUser": ByRole(EVERYONE, for_others=frozenset({"admin"})),
    USERS + "DeleteUser": ByRole(EVERYONE, for_others=frozenset({"admin"})),
    USERS + "ListUsers": ByRole(OFFICE),
    AUTH + "CreateSession": Public(ignores_token=True),
    AUTH + "RefreshSession": Public(ignores_token=True),
    AUTH + "ListSessions": ByRole(EVERYONE, for_others=OFFICE),
    AUTH + "DeleteSession": ByRole(EVERYONE, for_others=frozenset({"admin"})),
    AUTH + "EndSessions": ByRole(EVERYONE, for_others=frozenset({"admin"})),
    AUTH + "ChangePassword": ByRole(EVERYONE),
    AUTH + "Reauthenticate": ByRole(EVERYONE),
    SECOND_FACTOR + "EnrolTotp": ByRole(EVERYONE),
    SECOND_FACTOR + "ConfirmTotp": ByRole(EVERYONE),
    SECOND_FACTOR + "GetSecondFactor": ByRole(EVERYONE, for_others=frozenset()),
    SECOND_FACTOR + "RemoveTotp": ByRole(EVERYONE, for_others=frozenset({"admin"})),
    AUTH + "GetJwks": Public(ignores_token=True),
    AUTH + "ListEndings": Internal(frozenset({*NAMES, "gateway"} - {"user"})),
    RECOVERY + "GetMailQueue": Internal(frozenset({"operator"})),
    AUTH + "IssueOperatorToken": Internal(frozenset({"operator"})),
    OAUTH + "CreateClient": Internal(frozenset({"operator"})),
    OAUTH + "ListClients": Internal(frozenset({"operator"})),
    OAUTH + "DeleteClient": Internal(frozenset({"operator"})),
    OAUTH + "RotateClientSecret": Internal(frozenset({"operator"})),
    OAUTH + "CheckAuthorization": Internal(frozenset({"gateway"})),
    OAUTH + "BeginAuthorization": Internal(frozenset({"gateway"})),
    OAUTH + "DecideAuthorization": Internal(frozenset({"gateway"})),
    OAUTH + "ExchangeCode": Internal(frozenset({"gateway"})),
    OAUTH + "RefreshGrant": Internal(frozenset({"gateway"})),
    OAUTH + "IssueClientToken": Internal(frozenset({"gateway"})),
    OAUTH + "RevokeToken": Internal(frozenset({"gateway"})),
    OAUTH + "IntrospectToken": Internal(frozenset({"gateway"})),
    OAUTH + "GetUserInfo": Internal(frozenset({"gateway"})),
    RECOVERY + "RequestEmailVerification": ByRole(EVERYONE, for_others=frozenset({"admin"})),
    RECOVERY + "ConfirmEmail": Public(ignores_token=True),
    RECOVERY + "RequestPasswordReset": Public(ignores_token=True),
    RECOVERY + "ResetPassword": Public(ignores_token=True),
    PRIVACY + "ExportUserData": ByRole(EVERYONE, for_others=frozenset({"admin"})),
    PIPELINE + "ListParkedOrders": Internal(frozenset({"operator"})),
    PIPELINE + "RetryParkedOrder": Internal(frozenset({"operator"})),
    PRIVACY + "ListErasures": Internal(frozenset({"operator"})),
    PRIVACY + "ReplayErasures": Internal(frozenset({"operator"})),
    PRIVACY + "ListKeyVersions": Internal(frozenset({"operator"})),
    AUDIT + "ListAuditEvents": ByRole(EVERYONE, for_others=frozenset({"admin"})),
    AUDIT + "GetAuditHead": ByRole(frozenset({"admin"})),
    PRODUCTS + "GetProduct": Public(),
    PRODUCTS + "BatchGetProducts": Public(),
    PRODUCTS + "ListProducts": Public(),
    PRODUCTS + "SearchProducts": Public(),
    PRODUCTS + "SuggestProducts": Public(),
    PRODUCTS + "WatchProducts": Public(),
    PRODUCTS + "CreateProduct": ByRole(SHOPKEEPERS),
    PRODUCTS + "UpdateProduct": ByRole(SHOPKEEPERS),
    PRODUCTS + "DeleteProduct": ByRole(SHOPKEEPERS),
    PRODUCTS + "ImportProducts": ByRole(SHOPKEEPERS),
    PRODUCTS + "ExportProducts": ByRole(SHOPKEEPERS),
    CATEGORIES + "GetCategory": Public(),
    CATEGORIES + "BatchGetCategories": Public(),
    CATEGORIES + "ListCategories": Public(),
    CATEGORIES + "CreateCategory": ByRole(SHOPKEEPERS),
    CATEGORIES + "UpdateCategory": ByRole(SHOPKEEPERS),
    CATEGORIES + "DeleteCategory": ByRole(SHOPKEEPERS),
    MATCHES + "FindMatches": ByRole(SHOPKEEPERS),
    MATCHES + "ListMatches": ByRole(SHOPKEEPERS),
    MATCHES + "ListSupplierRecords": ByRole(SHOPKEEPERS),
    MATCHES + "AcceptMatch": ByRole(SHOPKEEPERS),
    MATCHES + "RejectMatch": ByRole(SHOPKEEPERS),
    MATCHES + "UndoMatch": ByRole(SHOPKEEPERS),
    INVENTORY + "GetStock": ByRole(STAFF),
    INVENTORY + "BatchGetStock": ByRole(STAFF),
    INVENTORY + "AdjustStock": ByRole(SHOPKEEPERS),
    INVENTORY + "SetStockPolicy": ByRole(SHOPKEEPERS),
    INVENTORY + "TransferStock": ByRole(SHOPKEEPERS),
    INVENTORY + "CreateLocation": ByRole(SHOPKEEPERS),
    INVENTORY + "ListLocations": ByRole(STAFF),
    INVENTORY + "UpdateLocation": ByRole(SHOPKEEPERS),
    INVENTORY + "ListStockMovements": ByRole(STAFF),
    INVENTORY + "WatchStock": ByRole(STAFF),
    INVENTORY + "VerifyStock": ByRole(STAFF),
    INVENTORY + "ReserveStock": Internal(frozenset({"order"})),
    INVENTORY + "CommitReservation": Internal(frozenset({"order"})),
    INVENTORY + "ReleaseReservation": Internal(frozenset({"order"})),
    INVENTORY + "BatchReserveStock": Internal(frozenset({"order"})),
    INVENTORY + "BatchCommitReservations": Internal(frozenset({"order"})),
    INVENTORY + "BatchReleaseReservations": Internal(frozenset({"order"})),
    ORDERS + "PlaceOrder": ByRole(BUYERS),
    ORDERS + "GetOrder": ByRole(EVERYONE, for_others=STAFF),
    ORDERS + "ListOrders": ByRole(EVERYONE, for_others=STAFF),
    ORDERS + "CancelOrder": ByRole(frozenset({"customer", "support", "admin"}), for_others=OFFICE),
    ORDERS + "ListOrderEvents": ByRole(EVERYONE, for_others=STAFF),
    LEDGER + "VerifyLedger": ByRole(STAFF),
    FEED + "Follow": Internal(frozenset({*NAMES, *OTHER_CALLERS, *FROM_OUTSIDE})),
}


def _unknown() -> str:
    return str(uuid4())


def _client() -> oauth_pb2.ClientCredentials:
    return oauth_pb2.ClientCredentials(client_id=_unknown(), client_secret="never issued")


def _asked() -> oauth_pb2.AuthorizationRequest:
    return oauth_pb2.AuthorizationRequest(client_id=_unknown())


# A request of each method that its server understands and that leaves no trace on the next call: where
# a method writes, it names something that does not exist, or a version that is long past.
REQUESTS: Mapping[str, Callable[[World], Message]] = {
    USERS + "CreateUser": lambda w: user_pb2.CreateUserRequest(
        user=user_pb2.User(email=w.anna.email), password=PASSWORD
    ),
    USERS + "GetUser": lambda w: user_pb2.GetUserRequest(user_id="me"),
    USERS + "UpdateUser": lambda w: user_pb2.UpdateUserRequest(
        user=user_pb2.User(user_id="me", display_name="New", etag="past")
    ),
    USERS + "DeleteUser": lambda w: user_pb2.DeleteUserRequest(user_id="me", etag="past"),
    USERS + "ListUsers": lambda w: user_pb2.ListUsersRequest(page_size=1),
    # Of somebody new each time: many log-ins of one person at once are throttled.
    AUTH + "CreateSession": lambda w: auth_pb2.CreateSessionRequest(
        email=f"{_unknown()}@example.com", password=PASSWORD
    ),
    AUTH + "RefreshSession": lambda w: auth_pb2.RefreshSessionRequest(refresh_token="never issued"),
    AUTH + "ListSessions": lambda w: auth_pb2.ListSessionsRequest(page_size=1),
    AUTH + "DeleteSession": lambda w: auth_pb2.DeleteSessionRequest(session_id=_unknown()),
    AUTH + "EndSessions": lambda w: auth_pb2.EndSessionsRequest(user_id=_unknown()),
    # Refused before the old one is looked at: wrong ones would be throttled.
    AUTH + "ChangePassword": lambda w: auth_pb2.ChangePasswordRequest(
        old_password=PASSWORD, new_password="password123"
    ),
    AUTH + "GetJwks": lambda w: auth_pb2.GetJwksRequest(),
    AUTH + "Reauthenticate": lambda w: auth_pb2.ReauthenticateRequest(password="not the password"),
    # None of their accounts has a secret to confirm, and an operator's has none to be made.
    SECOND_FACTOR + "EnrolTotp": lambda w: second_factor_pb2.EnrolTotpRequest(),
    SECOND_FACTOR + "ConfirmTotp": lambda w: second_factor_pb2.ConfirmTotpRequest(totp_code="000000"),
    SECOND_FACTOR + "GetSecondFactor": lambda w: second_factor_pb2.GetSecondFactorRequest(user_id="me"),
    SECOND_FACTOR + "RemoveTotp": lambda w: second_factor_pb2.RemoveTotpRequest(user_id="me"),
    AUTH + "ListEndings": lambda w: auth_pb2.ListEndingsRequest(),
    RECOVERY + "GetMailQueue": lambda w: recovery_pb2.GetMailQueueRequest(),
    AUTH + "IssueOperatorToken": lambda w: auth_pb2.IssueOperatorTokenRequest(role=role_pb2.ROLE_CUSTOMER),
    OAUTH + "CreateClient": lambda w: oauth_pb2.CreateClientRequest(
        name="A machine with a redirect URI",
        kind="CLIENT_KIND_MACHINE",
        redirect_uris=["https://shop.example/"],
        scopes=["orders.read"],
    ),
    OAUTH + "ListClients": lambda w: oauth_pb2.ListClientsRequest(),
    OAUTH + "DeleteClient": lambda w: oauth_pb2.DeleteClientRequest(client_id=_unknown()),
    OAUTH + "RotateClientSecret": lambda w: oauth_pb2.RotateClientSecretRequest(client_id=_unknown()),
    OAUTH + "CheckAuthorization": lambda w: oauth_pb2.CheckAuthorizationRequest(request=_asked()),
    OAUTH + "BeginAuthorization": lambda w: oauth_pb2.BeginAuthorizationRequest(
        request=_asked(), email=w.anna.email, password=PASSWORD
    ),
    OAUTH + "DecideAuthorization": lambda w: oauth_pb2.DecideAuthorizationRequest(consent_token="never made"),
    OAUTH + "ExchangeCode": lambda w: oauth_pb2.ExchangeCodeRequest(client=_client(), code="never made"),
    OAUTH + "RefreshGrant": lambda w: oauth_pb2.RefreshGrantRequest(
        client=_client(), refresh_token="never issued"
    ),
    OAUTH + "IssueClientToken": lambda w: oauth_pb2.IssueClientTokenRequest(client=_client()),
    OAUTH + "RevokeToken": lambda w: oauth_pb2.RevokeTokenRequest(client=_client(), token="never issued"),
    OAUTH + "IntrospectToken": lambda w: oauth_pb2.IntrospectTokenRequest(
        client=_client(), token="never issued"
    ),
    # Without `openid`: its caller may be told nothing.
    OAUTH + "GetUserInfo": lambda w: oauth_pb2.GetUserInfoRequest(access_token=w.anna.token),
    RECOVERY + "RequestEmailVerification": lambda w: recovery_pb2.RequestEmailVerificationRequest(
        user_id="me", etag="past"
    ),
    RECOVERY + "ConfirmEmail": lambda w: recovery_pb2.ConfirmEmailRequest(token="never made"),
    RECOVERY + "RequestPasswordReset": lambda w: recovery_pb2.RequestPasswordResetRequest(
        email=f"{_unknown()}@example.com"
    ),
    RECOVERY + "ResetPassword": lambda w: recovery_pb2.ResetPasswordRequest(
        token="never made", new_password=PASSWORD
    ),
    PRIVACY + "ExportUserData": lambda w: privacy_pb2.ExportUserDataRequest(user_id="me"),
    PIPELINE + "ListParkedOrders": lambda w: pipeline_pb2.ListParkedOrdersRequest(page_size=1),
    PIPELINE + "RetryParkedOrder": lambda w: pipeline_pb2.RetryParkedOrderRequest(order_id=w.order_id),
    LEDGER + "VerifyLedger": lambda w: ledger_pb2.VerifyLedgerRequest(),
    PRIVACY + "ListErasures": lambda w: privacy_pb2.ListErasuresRequest(page_size=1),
    PRIVACY + "ReplayErasures": lambda w: privacy_pb2.ReplayErasuresRequest(
        erasures=[privacy_pb2.Erasure(user_id=_unknown())]
    ),
    PRIVACY + "ListKeyVersions": lambda w: privacy_pb2.ListKeyVersionsRequest(),
    AUDIT + "ListAuditEvents": lambda w: audit_pb2.ListAuditEventsRequest(user_id="me", page_size=1),
    AUDIT + "GetAuditHead": lambda w: audit_pb2.GetAuditHeadRequest(),
    PRODUCTS + "GetProduct": lambda w: product_pb2.GetProductRequest(product_id=w.product_id),
    PRODUCTS + "BatchGetProducts": lambda w: product_pb2.BatchGetProductsRequest(product_ids=[w.product_id]),
    PRODUCTS + "ListProducts": lambda w: product_pb2.ListProductsRequest(page_size=1),
    PRODUCTS + "SearchProducts": lambda w: product_pb2.SearchProductsRequest(query="lamp", page_size=1),
    PRODUCTS + "SuggestProducts": lambda w: product_pb2.SuggestProductsRequest(query="lam"),
    PRODUCTS + "WatchProducts": lambda w: product_pb2.WatchProductsRequest(
        product_ids=[w.product_id], resume_token="none"
    ),
    PRODUCTS + "CreateProduct": lambda w: product_pb2.CreateProductRequest(
        product=product_pb2.Product(sku=w.sku, name="Taken", price={"currency_code": "EUR", "units": 1})
    ),
    PRODUCTS + "UpdateProduct": lambda w: product_pb2.UpdateProductRequest(
        product=product_pb2.Product(product_id=_unknown(), name="Nothing")
    ),
    PRODUCTS + "DeleteProduct": lambda w: product_pb2.DeleteProductRequest(product_id=_unknown()),
    PRODUCTS + "ImportProducts": lambda w: product_pb2.ImportProductsRequest(row_number=1),
    PRODUCTS + "ExportProducts": lambda w: product_pb2.ExportProductsRequest(sku_prefix="none-"),
    CATEGORIES + "GetCategory": lambda w: category_pb2.GetCategoryRequest(category_id=w.category_id),
    CATEGORIES + "BatchGetCategories": lambda w: category_pb2.BatchGetCategoriesRequest(
        category_ids=[w.category_id]
    ),
    CATEGORIES + "ListCategories": lambda w: category_pb2.ListCategoriesRequest(page_size=1),
    CATEGORIES + "CreateCategory": lambda w: category_pb2.CreateCategoryRequest(
        category=category_pb2.Category(display_name="Orphan", parent_id=_unknown())
    ),
    CATEGORIES + "UpdateCategory": lambda w: category_pb2.UpdateCategoryRequest(
        category=category_pb2.Category(category_id=_unknown(), display_name="Nothing")
    ),
    CATEGORIES + "DeleteCategory": lambda w: category_pb2.DeleteCategoryRequest(category_id=_unknown()),
    MATCHES + "FindMatches": lambda w: match_pb2.FindMatchesRequest(propose_only=True),
    MATCHES + "ListMatches": lambda w: match_pb2.ListMatchesRequest(page_size=1),
    MATCHES + "ListSupplierRecords": lambda w: match_pb2.ListSupplierRecordsRequest(product_id=w.product_id),
    MATCHES + "AcceptMatch": lambda w: match_pb2.AcceptMatchRequest(match_id=_unknown()),
    MATCHES + "RejectMatch": lambda w: match_pb2.RejectMatchRequest(match_id=_unknown()),
    MATCHES + "UndoMatch": lambda w: match_pb2.UndoMatchRequest(match_id=_unknown()),
    INVENTORY + "GetStock": lambda w: inventory_pb2.GetStockRequest(product_id=w.product_id),
    INVENTORY + "BatchGetStock": lambda w: inventory_pb2.BatchGetStockRequest(product_ids=[w.product_id]),
    INVENTORY + "AdjustStock": lambda w: inventory_pb2.AdjustStockRequest(product_id=_unknown(), delta=1),
    INVENTORY + "SetStockPolicy": lambda w: inventory_pb2.SetStockPolicyRequest(product_id=_unknown()),
    INVENTORY + "TransferStock": lambda w: inventory_pb2.TransferStockRequest(
        product_id=_unknown(), to_location_id=_unknown(), quantity=1
    ),
    # Each time another one: nothing names it afterwards.
    INVENTORY + "CreateLocation": lambda w: inventory_pb2.CreateLocationRequest(
        location=inventory_pb2.Location(display_name=_unknown())
    ),
    INVENTORY + "ListLocations": lambda w: inventory_pb2.ListLocationsRequest(page_size=1),
    INVENTORY + "UpdateLocation": lambda w: inventory_pb2.UpdateLocationRequest(
        location=inventory_pb2.Location(location_id=_unknown(), display_name="New")
    ),
    INVENTORY + "ListStockMovements": lambda w: inventory_pb2.ListStockMovementsRequest(
        product_id=w.product_id
    ),
    # With a token of no stream, it ends at once.
    INVENTORY + "WatchStock": lambda w: inventory_pb2.WatchStockRequest(
        product_ids=[w.product_id], resume_token="none"
    ),
    INVENTORY + "VerifyStock": lambda w: inventory_pb2.VerifyStockRequest(),
    INVENTORY + "ReserveStock": lambda w: inventory_pb2.ReserveStockRequest(
        order_id=_unknown(), lines=[inventory_pb2.ReserveStockLine(product_id=_unknown(), quantity=1)]
    ),
    INVENTORY + "CommitReservation": lambda w: inventory_pb2.CommitReservationRequest(order_id=_unknown()),
    INVENTORY + "ReleaseReservation": lambda w: inventory_pb2.ReleaseReservationRequest(order_id=_unknown()),
    INVENTORY + "BatchReserveStock": lambda w: inventory_pb2.BatchReserveStockRequest(
        requests=[
            inventory_pb2.ReserveStockRequest(
                order_id=_unknown(),
                lines=[inventory_pb2.ReserveStockLine(product_id=_unknown(), quantity=1)],
            )
        ]
    ),
    INVENTORY + "BatchCommitReservations": lambda w: inventory_pb2.BatchCommitReservationsRequest(
        requests=[inventory_pb2.CommitReservationRequest(order_id=_unknown())]
    ),
    INVENTORY + "BatchReleaseReservations": lambda w: inventory_pb2.BatchReleaseReservationsRequest(
        requests=[inventory_pb2.ReleaseReservationRequest(order_id=_unknown())]
    ),
    ORDERS + "PlaceOrder": lambda w: order_of(_unknown()),
    ORDERS + "GetOrder": lambda w: order_pb2.GetOrderRequest(order_id=_unknown()),
    ORDERS + "ListOrders": lambda w: order_pb2.ListOrdersRequest(page_size=1),
    ORDERS + "CancelOrder": lambda w: order_pb2.CancelOrderRequest(order_id=_unknown()),
    ORDERS + "ListOrderEvents": lambda w: order_pb2.ListOrderEventsRequest(order_id=_unknown()),
    FEED + "Follow": lambda w: event_pb2.FollowRequest(after_position=_FAR_POSITION, until_caught_up=True),
}

# The same with an id of one's choice: a person's, an order's or a session's.
NAMING: Mapping[str, Callable[[str], Message]] = {
    USERS + "GetUser": lambda named: user_pb2.GetUserRequest(user_id=named),
    USERS + "UpdateUser": lambda named: user_pb2.UpdateUserRequest(
        user=user_pb2.User(user_id=named, display_name="New", etag="past")
    ),
    USERS + "DeleteUser": lambda named: user_pb2.DeleteUserRequest(user_id=named, etag="past"),
    AUTH + "ListSessions": lambda named: auth_pb2.ListSessionsRequest(user_id=named),
    AUTH + "DeleteSession": lambda named: auth_pb2.DeleteSessionRequest(session_id=named),
    SECOND_FACTOR + "GetSecondFactor": lambda named: second_factor_pb2.GetSecondFactorRequest(user_id=named),
    SECOND_FACTOR + "RemoveTotp": lambda named: second_factor_pb2.RemoveTotpRequest(user_id=named),
    RECOVERY + "RequestEmailVerification": lambda named: recovery_pb2.RequestEmailVerificationRequest(
        user_id=named, etag="past"
    ),
    PRIVACY + "ExportUserData": lambda named: privacy_pb2.ExportUserDataRequest(user_id=named),
    AUDIT + "ListAuditEvents": lambda named: audit_pb2.ListAuditEventsRequest(user_id=named),
    AUTH + "EndSessions": lambda named: auth_pb2.EndSessionsRequest(user_id=named),
    ORDERS + "GetOrder": lambda named: order_pb2.GetOrderRequest(order_id=named),
    ORDERS + "ListOrders": lambda named: order_pb2.ListOrdersRequest(user_id=named),
    ORDERS + "CancelOrder": lambda named: order_pb2.CancelOrderRequest(order_id=named, etag="past"),
    ORDERS + "ListOrderEvents": lambda named: order_pb2.ListOrderEventsRequest(order_id=named),
}

OWNED = tuple(
    method for method, rule in RULES.items() if isinstance(rule, ByRole) and rule.for_others is not None
)
