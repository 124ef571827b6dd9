"""The contract's rules, as a process reads them."""

from commerce.user.v1 import role_pb2

from services.rpc.policy import Access, policies, policy_of, scopes_of_role


def test_every_method_of_the_contract_has_a_policy() -> None:
    found = policies()
    assert {method.split("/")[1] for method in found} == {
        "commerce.event.v1.EventFeed",
        "commerce.order.v1.LedgerService",
        "commerce.order.v1.OrderService",
        "commerce.order.v1.PipelineService",
        "commerce.product.v1.CategoryService",
        "commerce.product.v1.InventoryService",
        "commerce.product.v1.MatchService",
        "commerce.product.v1.ProductService",
        "commerce.user.v1.AuditService",
        "commerce.user.v1.AuthService",
        "commerce.user.v1.OAuthService",
        "commerce.user.v1.RecoveryService",
        "commerce.user.v1.PrivacyService",
        "commerce.user.v1.SecondFactorService",
        "commerce.user.v1.UserService",
    }
    assert all(policy.max_request_bytes > 0 for policy in found.values())
    unbounded = {method for method, policy in found.items() if policy.deadline_seconds is None}
    assert unbounded == {"/commerce.event.v1.EventFeed/Follow"}


def test_policy_says_what_the_contract_says() -> None:
    policy = policy_of("/commerce.order.v1.OrderService/GetOrder")
    assert policy.access is Access.SCOPED
    assert policy.scopes == {"orders.read", "orders.read_any"}
    assert policy.any_owner == "orders.read_any"
    assert policy.exposed
    assert policy.sends_etag
    assert policy_of("/commerce.product.v1.InventoryService/ReserveStock").services == {"order"}


def test_scopes_of_a_role_are_the_contracts() -> None:
    assert "orders.write" in scopes_of_role(role_pb2.ROLE_CUSTOMER)
    assert "products.write" not in scopes_of_role(role_pb2.ROLE_CUSTOMER)
    assert scopes_of_role(role_pb2.ROLE_UNSPECIFIED) == frozenset()
