"""A call of every method that changes something, on things that were made for it alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID, uuid4

from commerce.order.v1 import order_pb2, pipeline_pb2
from commerce.product.v1 import category_pb2, inventory_pb2, match_pb2, product_pb2
from commerce.user.v1 import auth_pb2, recovery_pb2, role_pb2, second_factor_pb2, user_pb2

from services.rpc.fields import to_money
from services.rpc.identity import Caller
from services.user.mail.domain import Kind
from tests.attacks import oauth_mutations, privacy_mutations
from tests.attacks.parts import Attempt, Parts
from tests.order.conftest import OK
from tests.support.mails import last_token
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.world import (
    AUTH,
    CATEGORIES,
    INVENTORY,
    MATCHES,
    ORDERS,
    PIPELINE,
    PRODUCTS,
    RECOVERY,
    SECOND_FACTOR,
    USERS,
)
from tests.user.conftest import MAIL_TOKENS, PASSWORD, some_email
from tests.user.test_second_factor import code_of

PERSON_SCOPES = frozenset({"orders.read", "orders.write", "users.read", "users.write"})
MERCHANT = Caller(
    "edge", uuid4(), uuid4(), frozenset({"products.write", "inventory.write"}), acts_for_any=False
)
ORDER_SERVICE = Caller("order", None, None, frozenset(), acts_for_any=False)
OPERATOR = Caller("operator", None, None, frozenset(), acts_for_any=False)
ANYONE = Caller("edge", None, None, frozenset(), acts_for_any=False)


Prepare: TypeAlias = Callable[[Parts], Awaitable[Attempt]]


def _new_product() -> product_pb2.Product:
    price = to_money(Decimal("12.50"), "USD")
    return product_pb2.Product(sku=uuid4().hex, name="A lamp", price=price, active=True)


async def place_order(parts: Parts) -> Attempt:
    line = order_pb2.PlaceOrderLine(product_id=await parts.mesh.new_product(), quantity=2)
    request = order_pb2.PlaceOrderRequest(request_id=str(uuid4()), lines=[line], payment_token=OK)
    return Attempt(request, _new_buyer(parts))


async def cancel_order(parts: Parts) -> Attempt:
    placing = await place_order(parts)
    order = await parts.call(ORDERS + "PlaceOrder", placing)
    return Attempt(order_pb2.CancelOrderRequest(order_id=order.order_id), placing.caller)


async def retry_parked_order(parts: Parts) -> Attempt:
    placing = await place_order(parts)
    order = await parts.call(ORDERS + "PlaceOrder", placing)
    await parts.mesh.park(order.order_id)
    # A repetition finds it where the first attempt put it.
    request = pipeline_pb2.RetryParkedOrderRequest(order_id=order.order_id)
    return Attempt(request, OPERATOR, answers_alike=False)


async def create_product(_: Parts) -> Attempt:
    request = product_pb2.CreateProductRequest(product=_new_product(), request_id=str(uuid4()))
    return Attempt(request, MERCHANT)


async def update_product(parts: Parts) -> Attempt:
    product = product_pb2.Product(product_id=await parts.mesh.new_product(), name="Another lamp")
    return Attempt(product_pb2.UpdateProductRequest(product=product), MERCHANT)


async def delete_product(parts: Parts) -> Attempt:
    request = product_pb2.DeleteProductRequest(product_id=await parts.mesh.new_product())
    return Attempt(request, MERCHANT, frozenset({"PRODUCT_NOT_FOUND"}))


async def import_products(_: Parts) -> Attempt:
    rows = [
        product_pb2.ImportProductsRequest(
            row_number=number, product=_new_product(), category_path=[uuid4().hex], initial_quantity=5
        )
        for number in (1, 2, 3)
    ]
    # The first run creates what a repetition finds.
    return Attempt(rows, MERCHANT, answers_alike=False)


async def find_matches(parts: Parts) -> Attempt:
    await _import_record(parts, attributes={})
    # Notes the record's keys; the attempt compares it.
    await _find_matches(parts)
    # What was looked at is not looked at again.
    return Attempt(match_pb2.FindMatchesRequest(), MERCHANT, answers_alike=False)


async def accept_match(parts: Parts) -> Attempt:
    return Attempt(match_pb2.AcceptMatchRequest(match_id=await _proposed_match(parts)), MERCHANT)


async def reject_match(parts: Parts) -> Attempt:
    return Attempt(match_pb2.RejectMatchRequest(match_id=await _proposed_match(parts)), MERCHANT)


async def undo_match(parts: Parts) -> Attempt:
    attempt = await accept_match(parts)
    match = await parts.call(MATCHES + "AcceptMatch", attempt)
    return Attempt(match_pb2.UndoMatchRequest(match_id=match.match_id), MERCHANT)


async def create_category(_: Parts) -> Attempt:
    category = category_pb2.Category(display_name=uuid4().hex)
    request = category_pb2.CreateCategoryRequest(category=category, request_id=str(uuid4()))
    return Attempt(request, MERCHANT)


async def update_category(parts: Parts) -> Attempt:
    category = category_pb2.Category(
        category_id=await _new_category(parts), display_name=uuid4().hex, parent_id=await _new_category(parts)
    )
    return Attempt(category_pb2.UpdateCategoryRequest(category=category), MERCHANT)


async def delete_category(parts: Parts) -> Attempt:
    request = category_pb2.DeleteCategoryRequest(category_id=await _new_category(parts))
    return Attempt(request, MERCHANT, frozenset({"CATEGORY_NOT_FOUND"}))


async def adjust_stock(parts: Parts) -> Attempt:
    request = inventory_pb2.AdjustStockRequest(
        product_id=await parts.mesh.new_product(), delta=5, request_id=str(uuid4())
    )
    return Attempt(request, MERCHANT)


async def set_stock_policy(parts: Parts) -> Attempt:
    request = inventory_pb2.SetStockPolicyRequest(
        product_id=await parts.mesh.new_product(), backorder_limit=5, hold_limit=3
    )
    return Attempt(request, MERCHANT)


async def transfer_stock(parts: Parts) -> Attempt:
    location_id = await _new_location(parts)
    request = inventory_pb2.TransferStockRequest(
        product_id=await parts.mesh.new_product(),
        to_location_id=location_id,
        quantity=1,
        request_id=str(uuid4()),
    )
    return Attempt(request, MERCHANT)


async def create_location(parts: Parts) -> Attempt:
    location = inventory_pb2.Location(display_name=uuid4().hex)
    return Attempt(inventory_pb2.CreateLocationRequest(location=location, request_id=str(uuid4())), MERCHANT)


async def update_location(parts: Parts) -> Attempt:
    location = inventory_pb2.Location(location_id=await _new_location(parts), display_name=uuid4().hex)
    return Attempt(inventory_pb2.UpdateLocationRequest(location=location), MERCHANT)


async def reserve_stock(parts: Parts) -> Attempt:
    return Attempt(await _wanted(parts), ORDER_SERVICE)


async def reserve_batch(parts: Parts) -> Attempt:
    request = inventory_pb2.BatchReserveStockRequest(requests=[await _wanted(parts) for _ in range(2)])
    return Attempt(request, ORDER_SERVICE)


async def _wanted(parts: Parts) -> inventory_pb2.ReserveStockRequest:
    line = inventory_pb2.ReserveStockLine(product_id=await parts.mesh.new_product(), quantity=2)
    return inventory_pb2.ReserveStockRequest(
        order_id=str(uuid4()),
        holder_id=str(uuid4()),
        lines=[line],
        expected_total=to_money(Decimal(25), "USD"),
    )


async def commit_reservation(parts: Parts) -> Attempt:
    request = inventory_pb2.CommitReservationRequest(order_id=await _new_hold(parts))
    return Attempt(request, ORDER_SERVICE)


async def commit_batch(parts: Parts) -> Attempt:
    held = [await _new_hold(parts) for _ in range(2)]
    each = [inventory_pb2.CommitReservationRequest(order_id=order_id) for order_id in held]
    return Attempt(inventory_pb2.BatchCommitReservationsRequest(requests=each), ORDER_SERVICE)


async def release_reservation(parts: Parts) -> Attempt:
    request = inventory_pb2.ReleaseReservationRequest(order_id=await _new_hold(parts))
    return Attempt(request, ORDER_SERVICE)


async def release_batch(parts: Parts) -> Attempt:
    held = [await _new_hold(parts) for _ in range(2)]
    each = [inventory_pb2.ReleaseReservationRequest(order_id=order_id) for order_id in held]
    return Attempt(inventory_pb2.BatchReleaseReservationsRequest(requests=each), ORDER_SERVICE)


async def create_user(_: Parts) -> Attempt:
    request = user_pb2.CreateUserRequest(
        user=user_pb2.User(email=some_email()), password=PASSWORD, request_id=str(uuid4())
    )
    return Attempt(request, ANYONE)


async def update_user(parts: Parts) -> Attempt:
    _, who = await _new_user(parts)
    user = user_pb2.User(user_id=str(who.subject), display_name="Another name")
    return Attempt(user_pb2.UpdateUserRequest(user=user), who)


async def delete_user(parts: Parts) -> Attempt:
    _, who = await _new_user(parts)
    request = user_pb2.DeleteUserRequest(user_id=str(who.subject))
    return Attempt(request, who, frozenset({"USER_NOT_FOUND"}))


async def create_session(parts: Parts) -> Attempt:
    email, _ = await _new_user(parts)
    request = auth_pb2.CreateSessionRequest(email=email, password=PASSWORD)
    return Attempt(request, ANYONE, answers_alike=False)


async def refresh_session(parts: Parts) -> Attempt:
    _, answer = await _new_session(parts)
    request = auth_pb2.RefreshSessionRequest(refresh_token=answer.tokens.refresh_token)
    # A token is good once: a second use ends the session, and a third finds none.
    reasons = frozenset({"REFRESH_TOKEN_REUSED", "REFRESH_TOKEN_INVALID"})
    return Attempt(request, ANYONE, reasons, answers_alike=False)


async def delete_session(parts: Parts) -> Attempt:
    who, answer = await _new_session(parts)
    request = auth_pb2.DeleteSessionRequest(session_id=answer.session.session_id)
    return Attempt(request, who, frozenset({"SESSION_NOT_FOUND"}))


async def request_email_verification(parts: Parts) -> Attempt:
    _, who = await _new_user(parts)
    request = recovery_pb2.RequestEmailVerificationRequest(user_id=str(who.subject))
    # The first mail was sent at the registration, a third and last one by a repetition.
    return Attempt(request, who, frozenset({"TOO_MANY_MAILS"}))


async def confirm_email(parts: Parts) -> Attempt:
    email, _ = await _new_user(parts)
    token = await last_token(parts.users, MAIL_TOKENS, email, Kind.CONFIRM_EMAIL)
    return Attempt(recovery_pb2.ConfirmEmailRequest(token=token), ANYONE, frozenset({"MAIL_TOKEN_INVALID"}))


async def request_password_reset(parts: Parts) -> Attempt:
    email, _ = await _new_user(parts)
    return Attempt(recovery_pb2.RequestPasswordResetRequest(email=email), ANYONE)


async def reset_password(parts: Parts) -> Attempt:
    request = await request_password_reset(parts)
    await parts.call(RECOVERY + "RequestPasswordReset", request)
    email = request.request.email  # type: ignore[union-attr]
    token = await last_token(parts.users, MAIL_TOKENS, email, Kind.RESET_PASSWORD)
    attempt = recovery_pb2.ResetPasswordRequest(
        token=token, new_password=f"another {PASSWORD}", request_id=str(uuid4())
    )
    return Attempt(attempt, ANYONE)


async def end_sessions(parts: Parts) -> Attempt:
    who, _ = await _new_session(parts)
    # The first run ends what a repetition does not find.
    return Attempt(auth_pb2.EndSessionsRequest(user_id="me"), who, answers_alike=False)


async def change_password(parts: Parts) -> Attempt:
    who, _ = await _new_session(parts)
    request = auth_pb2.ChangePasswordRequest(
        old_password=PASSWORD, new_password=f"{PASSWORD}, another", request_id=str(uuid4())
    )
    return Attempt(request, who)


async def reauthenticate(parts: Parts) -> Attempt:
    who, answer = await _new_session(parts)
    who = replace(who, session_id=UUID(answer.session.session_id))
    return Attempt(auth_pb2.ReauthenticateRequest(password=PASSWORD), who, answers_alike=False)


async def enrol_totp(parts: Parts) -> Attempt:
    email, who = await _new_user(parts)
    token = await last_token(parts.users, MAIL_TOKENS, email, Kind.CONFIRM_EMAIL)
    confirm = Attempt(recovery_pb2.ConfirmEmailRequest(token=token), ANYONE)
    await parts.call(RECOVERY + "ConfirmEmail", confirm)
    return Attempt(second_factor_pb2.EnrolTotpRequest(), who, answers_alike=False)


async def confirm_totp(parts: Parts) -> Attempt:
    enrolling = await enrol_totp(parts)
    secret = (await parts.call(SECOND_FACTOR + "EnrolTotp", enrolling)).secret
    request = second_factor_pb2.ConfirmTotpRequest(totp_code=code_of(secret, time.time()))
    return Attempt(request, enrolling.caller, frozenset({"TOTP_ALREADY_ON"}))


async def remove_totp(parts: Parts) -> Attempt:
    confirming = await confirm_totp(parts)
    await parts.call(SECOND_FACTOR + "ConfirmTotp", confirming)
    return Attempt(second_factor_pb2.RemoveTotpRequest(user_id="me"), confirming.caller)


async def issue_operator_token(_: Parts) -> Attempt:
    request = auth_pb2.IssueOperatorTokenRequest(role=role_pb2.ROLE_SUPPORT)
    return Attempt(request, OPERATOR, answers_alike=False)


def _new_buyer(parts: Parts) -> Caller:
    """Somebody who may order."""
    buyer = _person(uuid4())
    parts.buyers.add(buyer.require_subject())
    return buyer


async def _new_user(parts: Parts) -> tuple[str, Caller]:
    """Register somebody: their e-mail and who they are."""
    email = some_email()
    request = user_pb2.CreateUserRequest(user=user_pb2.User(email=email), password=PASSWORD)
    user = await parts.call(USERS + "CreateUser", Attempt(request, ANYONE))
    return email, _person(UUID(user.user_id))


async def _new_session(parts: Parts) -> tuple[Caller, auth_pb2.CreateSessionResponse]:
    """Register somebody and log them in."""
    email, who = await _new_user(parts)
    request = auth_pb2.CreateSessionRequest(email=email, password=PASSWORD)
    answer: auth_pb2.CreateSessionResponse = await parts.call(
        AUTH + "CreateSession", Attempt(request, ANYONE)
    )
    return who, answer


async def _proposed_match(parts: Parts) -> str:
    # A model of its brand that no other record has, short enough for a record to be found by it.
    model = {"model": f"M1{uuid4().hex[:12]}"}
    for _ in range(2):
        await _import_record(parts, attributes=model)
    # What a call that was cancelled has locked for a moment yet is looked at in the next round.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await _find_matches(parts)
            async for match in _proposed(parts):
                return str(match.match_id)


async def _proposed(parts: Parts) -> AsyncIterator[match_pb2.Match]:
    request = match_pb2.ListMatchesRequest(page_size=100)
    while True:
        page = await parts.call(MATCHES + "ListMatches", Attempt(request, MERCHANT))
        for match in page.matches:
            if match.rule == match_pb2.MATCH_RULE_BRAND_AND_MODEL:
                yield match
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def _import_record(parts: Parts, attributes: dict[str, str]) -> None:
    """Import a record of a supplier of its own."""
    product, supplier = _new_product(), uuid4().hex
    product.sku, product.name, product.brand = f"{supplier}-1", uuid4().hex, "Lux"
    product.attributes.update(attributes)
    rows = [product_pb2.ImportProductsRequest(row_number=1, product=product, supplier=supplier)]
    await parts.call(PRODUCTS + "ImportProducts", Attempt(rows, MERCHANT))


async def _find_matches(parts: Parts) -> bool:
    """Let the next records be looked at; return whether there were none."""
    request = match_pb2.FindMatchesRequest(propose_only=True)
    return bool((await parts.call(MATCHES + "FindMatches", Attempt(request, MERCHANT))).is_done)


async def _new_category(parts: Parts) -> str:
    category = category_pb2.Category(display_name=uuid4().hex)
    request = category_pb2.CreateCategoryRequest(category=category)
    made = await parts.call(CATEGORIES + "CreateCategory", Attempt(request, MERCHANT))
    return str(made.category_id)


async def _new_location(parts: Parts) -> str:
    made = await parts.call(INVENTORY + "CreateLocation", await create_location(parts))
    return str(made.location_id)


async def _new_hold(parts: Parts) -> str:
    """Hold stock for an order; its id."""
    attempt = await reserve_stock(parts)
    held = await parts.call(INVENTORY + "ReserveStock", attempt)
    return str(held.order_id)


def _person(user_id: UUID) -> Caller:
    return Caller("edge", user_id, uuid4(), PERSON_SCOPES, acts_for_any=False)


CASES: dict[str, Prepare] = {
    ORDERS + "PlaceOrder": place_order,
    ORDERS + "CancelOrder": cancel_order,
    PIPELINE + "RetryParkedOrder": retry_parked_order,
    PRODUCTS + "CreateProduct": create_product,
    PRODUCTS + "UpdateProduct": update_product,
    PRODUCTS + "DeleteProduct": delete_product,
    PRODUCTS + "ImportProducts": import_products,
    CATEGORIES + "CreateCategory": create_category,
    CATEGORIES + "UpdateCategory": update_category,
    CATEGORIES + "DeleteCategory": delete_category,
    MATCHES + "FindMatches": find_matches,
    MATCHES + "AcceptMatch": accept_match,
    MATCHES + "RejectMatch": reject_match,
    MATCHES + "UndoMatch": undo_match,
    INVENTORY + "AdjustStock": adjust_stock,
    INVENTORY + "SetStockPolicy": set_stock_policy,
    INVENTORY + "TransferStock": transfer_stock,
    INVENTORY + "CreateLocation": create_location,
    INVENTORY + "UpdateLocation": update_location,
    INVENTORY + "ReserveStock": reserve_stock,
    INVENTORY + "CommitReservation": commit_reservation,
    INVENTORY + "ReleaseReservation": release_reservation,
    INVENTORY + "BatchReserveStock": reserve_batch,
    INVENTORY + "BatchCommitReservations": commit_batch,
    INVENTORY + "BatchReleaseReservations": release_batch,
    USERS + "CreateUser": create_user,
    USERS + "UpdateUser": update_user,
    USERS + "DeleteUser": delete_user,
    AUTH + "CreateSession": create_session,
    AUTH + "RefreshSession": refresh_session,
    AUTH + "DeleteSession": delete_session,
    AUTH + "EndSessions": end_sessions,
    AUTH + "ChangePassword": change_password,
    AUTH + "Reauthenticate": reauthenticate,
    AUTH + "IssueOperatorToken": issue_operator_token,
    SECOND_FACTOR + "EnrolTotp": enrol_totp,
    SECOND_FACTOR + "ConfirmTotp": confirm_totp,
    SECOND_FACTOR + "RemoveTotp": remove_totp,
    RECOVERY + "RequestEmailVerification": request_email_verification,
    RECOVERY + "ConfirmEmail": confirm_email,
    RECOVERY + "RequestPasswordReset": request_password_reset,
    RECOVERY + "ResetPassword": reset_password,
    **oauth_mutations.CASES,
    **privacy_mutations.CASES,
}
