"""Every method of the contract, over gRPC, with messages of any shape: nothing surprises a service."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import product_pb2
from commerce.user.v1 import role_pb2
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.rpc.policy import policy_of, scopes_of_role
from tests.attacks.fuzz_calls import EDGE_CALLER, Tokens, WireCaller, assert_no_surprise
from tests.attacks.fuzz_messages import requests
from tests.attacks.vitals import LogMark, Processes
from tests.contract.access_table import REQUESTS
from tests.support.calls import Target
from tests.support.stack import Stack
from tests.support.world import AUTH, ORDERS, PRODUCTS, ROLES, USERS, World, Worlds

pytestmark = pytest.mark.stack

IDENTITIES = (EDGE_CALLER, "edge", "operator", "order")
EXAMPLES = 30
LONG_EXAMPLES = 150
# Each of these hashes a password, which is dear on purpose.
DEAR = {USERS + "CreateUser": 4, AUTH + "CreateSession": 4, AUTH + "ChangePassword": 4}
_MOST_MESSAGES = 4

_QUICK = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


@dataclass(frozen=True)
class Ground:
    """A mesh to send messages to, and what is known of it."""

    stack: Stack
    caller: WireCaller
    world: World
    tokens: Tokens

    @property
    def known(self) -> Sequence[str]:
        """Ids and texts that mean something. Boris's account may be changed or go; nobody else needs it."""
        world = self.world
        return (world.boris.user_id, world.product_id, world.category_id, world.order_id, world.sku)


@pytest.fixture(scope="session")
def ground(guarded: Stack, worlds: Worlds) -> Iterator[Ground]:
    world, caller = worlds.first, WireCaller(Target.of(guarded.place))
    try:
        yield Ground(guarded, caller, world, _tokens(world))
    finally:
        caller.close()


@pytest.mark.parametrize("method", REQUESTS)
def test_no_message_surprises_a_service(ground: Ground, method: str) -> None:
    send_many(ground, method, settings(_QUICK, max_examples=max(4, EXAMPLES // DEAR.get(method, 1))))


@pytest.mark.long
@pytest.mark.parametrize("method", REQUESTS)
def test_no_message_surprises_a_service_for_long(ground: Ground, method: str) -> None:
    many = LONG_EXAMPLES // DEAR.get(method, 1)
    send_many(ground, method, settings(_QUICK, derandomize=False, print_blob=True, max_examples=many))


@pytest.mark.parametrize(
    "request_of_much",
    [
        order_pb2.PlaceOrderRequest(lines=[order_pb2.PlaceOrderLine(product_id="x" * 100)] * 100),
        order_pb2.PlaceOrderRequest(request_id="x" * 10_000),
    ],
    ids=["many bad fields", "a long bad field"],
)
@pytest.mark.parametrize("identity", IDENTITIES)
def test_a_refusal_fits_into_its_trailers(ground: Ground, request_of_much: Message, identity: str) -> None:
    """gRPC drops an answer whose trailers are past 16 kB: its caller would get no reason."""
    raw = request_of_much.SerializeToString()
    outcome = ground.caller.call(ORDERS + "PlaceOrder", [raw], ground.world.anna.token, identity)
    assert outcome.verdict == ("INVALID_ARGUMENT", "INVALID_REQUEST"), outcome


def test_a_refusal_names_no_more_of_a_key_than_fits(ground: Ground) -> None:
    """The path of a bad field holds its map's key, which is the caller's and as long as the request."""
    product = product_pb2.Product(sku="LONG", name="Long", price={"currency_code": "EUR", "units": 1})
    product.attributes["k" * 20_000] = "value"
    raw = product_pb2.CreateProductRequest(product=product).SerializeToString()
    outcome = ground.caller.call(PRODUCTS + "CreateProduct", [raw], ground.world.admin, EDGE_CALLER)
    assert outcome.verdict == ("INVALID_ARGUMENT", "INVALID_REQUEST"), outcome


def send_many(ground: Ground, method: str, how: settings) -> None:
    """Send what is drawn, and see that the service lives as before and has logged no surprise."""
    processes, logs = Processes.of(ground.stack), LogMark.of(ground.stack)
    good = REQUESTS[method](ground.world)

    @how
    @given(
        _messages(method, good, ground.known),
        st.sampled_from(IDENTITIES),
        st.sampled_from(list(ground.tokens)),
    )
    def send(raws: list[bytes], identity: str, bearer: str) -> None:
        assert_no_surprise(method, ground.caller.call(method, raws, ground.tokens[bearer], identity))

    send()
    assert not logs.surprises()
    assert Processes.of(ground.stack) == processes, "a part was restarted"


def _messages(method: str, good: Message, known: Sequence[str]) -> st.SearchStrategy[list[bytes]]:
    one = requests(good, known)
    if policy_of(method).client_streaming:
        return st.lists(one, max_size=_MOST_MESSAGES)
    return st.lists(one, min_size=1, max_size=1)


def _tokens(world: World) -> Tokens:
    """Sign a token of each role for nobody's account: what is done with it harms no other test."""
    tokens: dict[str, str | None] = {"nobody": None, "anna": world.anna.token}
    for role in ROLES:
        scopes = scopes_of_role(role_pb2.Role.Value(f"ROLE_{role.upper()}"))
        tokens[role] = world.signer.sign(sub=str(uuid4()), scope=" ".join(sorted(scopes)))
    return tokens
