"""The OWASP API Security Top 10 (2023): each risk has tests, and docs/security.md names the same ones."""

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from commerce.product.v1 import product_pb2

from tests.support.calls import Target, open_caller
from tests.support.stack import Stack
from tests.support.waiting import until
from tests.support.world import PRODUCTS, operator_token

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"

# By risk, the tests that would notice its return: folder/file::test below tests/, or a whole file.
PROVEN: Mapping[str, tuple[str, ...]] = {
    "API1": (
        "contract/test_ownership.py::test_anothers_id_is_answered_as_one_that_does_not_exist",
        "contract/test_ownership.py::test_every_method_with_an_id_of_somebodys_is_tried",
        "contract/test_access.py::test_anothers_resource_is_open_to_the_roles_that_the_table_names",
    ),
    "API2": (
        "contract/test_token_attacks.py::test_a_bad_token_is_refused_at_the_edge_and_behind_it",
        "user/test_sessions.py::test_ten_failures_close_the_door_to_an_account_also_for_its_owner",
        "user/test_sessions.py::test_a_wrong_password_and_an_unknown_email_get_one_answer",
        "end_to_end/test_session_ends.py",
        "user/test_client_sessions.py::test_no_client_takes_an_account",
        "user/test_waiting_codes.py",
    ),
    "API3": (
        "contract/test_server_owned_fields.py::test_server_owned_field_cannot_be_set_by_any_role",
        "contract/test_server_owned_fields.py::test_every_method_that_takes_server_owned_fields_is_tried",
        "user/test_audit.py::test_what_staff_does_to_an_account_names_them_to_administrators_alone",
    ),
    "API4": (
        "gateway/test_edge_limits.py::test_who_shows_no_token_has_few_calls_and_who_shows_one_has_their_own",
        "gateway/test_edge_limits.py::test_a_huge_request_is_too_large",
        "gateway/test_graphql_limits.py",
        "attacks/test_catalogue.py::test_no_page_is_larger_than_its_bound_whatever_is_on_it",
        "attacks/test_victims.py",
    ),
    "API5": (
        "contract/test_access.py::test_method_is_open_to_the_roles_that_the_table_names",
        "contract/test_access.py::test_internal_method_is_open_to_the_services_that_the_table_names",
        "contract/test_server_owned_fields.py::test_nobody_but_an_administrator_gives_roles",
    ),
    "API6": (
        "attacks/test_holds.py::test_one_person_holds_a_bounded_part_and_another_can_buy_the_rest",
        "user/test_recovery.py::test_who_registers_again_and_again_with_anothers_address_fills_no_mailbox",
    ),
    "API7": (
        "attacks/test_owasp.py::test_no_part_fetches_an_address_that_somebody_writes",
        "contract/test_token_attacks.py::test_keys_that_a_token_points_to_are_never_fetched",
    ),
    "API8": (
        "gateway/test_edge_browser.py::test_every_answer_has_the_headers_that_helmet_sets",
        "gateway/test_edge_browser.py::test_a_preflight_is_answered_for_a_known_origin_only",
        "attacks/test_edge_frames.py::test_the_edge_listens_on_its_two_ports_alone",
        "attacks/test_canaries.py::test_nothing_that_a_person_sent_stands_in_a_log",
    ),
    "API9": (
        "contract/test_access.py::test_every_rpc_of_the_contract_is_in_the_table",
        "contract/test_access.py::test_internal_method_is_unknown_at_the_edge",
        "contract/test_access.py::test_infrastructure_services_are_unknown_at_the_edge",
        "contract/test_openapi.py::test_no_answer_is_outside_the_document",
    ),
    "API10": (
        "order/test_payments.py::test_a_provider_that_is_away_is_unavailable_not_empty",
        "order/test_payments.py::test_an_amount_that_no_ledger_takes_is_refused_and_harms_no_call_beside_it",
        "order/test_payments.py::test_what_became_of_an_authorization_is_always_known",
    ),
}


def test_each_risk_of_the_list_has_tests_that_are_there() -> None:
    assert list(PROVEN) == [f"API{number}" for number in range(1, 11)]
    named = [each for tests in PROVEN.values() for each in tests]
    assert [each for each in named if not _is_there(each)] == []


def _is_there(named: str) -> bool:
    file, _, test = named.partition("::")
    path = ROOT / "tests" / file
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if hasattr(node, "name"))
    return not test or test in {node.name for node in functions}


def test_the_page_names_the_files_of_these_tests() -> None:
    told = dict(_rows())
    assert list(told) == list(PROVEN)
    for risk, tests in PROVEN.items():
        files = {f"tests/{each.partition('::')[0]}" for each in tests}
        assert set(re.findall(r"`(tests/[^`]+)`", told[risk])) == files, risk


def _rows() -> Iterator[tuple[str, str]]:
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\| (API\d+)[ :]", line):
            yield found[1], line


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[int, list[int]]]:
    """Listen on a port, and note who connects."""
    came: list[int] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(1)
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came


@pytest.mark.stack
@pytest.mark.asyncio(loop_scope="session")
async def test_no_part_fetches_an_address_that_somebody_writes(guarded: Stack) -> None:
    """Of what people write, a product's images alone are addresses; they are shown and never asked for."""
    async with listener() as (port, came), open_caller(Target.of(guarded.place)) as caller:
        admin = (await operator_token(caller, "admin")).token
        urls = [f"http://127.0.0.1:{port}/{name}.png" for name in ("one", "two")]
        sku, price = f"SSRF-{uuid4().hex[:12]}", {"currency_code": "EUR", "units": 1}
        product = product_pb2.Product(sku=sku, name="Bait", price=price, image_urls=urls, active=True)
        create = product_pb2.CreateProductRequest(product=product)
        made = (await caller.call_grpc(PRODUCTS + "CreateProduct", create, admin)).response
        row = product_pb2.Product(sku=f"{sku}-2", name="Bait", price=price, image_urls=urls)
        imported = product_pb2.ImportProductsRequest(row_number=1, product=row)
        report = (await caller.call_grpc(PRODUCTS + "ImportProducts", imported, admin)).response
        assert report.created_count == 1
        read = product_pb2.GetProductRequest(product_id=made.product_id)
        assert list((await caller.call_rest(PRODUCTS + "GetProduct", read)).response.image_urls) == urls
        # To be seen is a connection that comes: this one does.
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

        async def has_come() -> bool:
            return bool(came)

        await until(has_come)
        assert came == [1]
