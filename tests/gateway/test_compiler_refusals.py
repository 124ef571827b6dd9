"""The compiler refuses what no hop could keep, and says in which line and what to do."""

from pathlib import Path

import pytest

from gateway.contract.checks import find_faults
from gateway.contract.protoc import ContractError
from gateway.generate import generate
from tests.gateway.tiny import Tiny

POLICY = "option (commerce.policy.v1.policy)"
RPC = "rpc GetThing"
HTTP = "option (google.api.http)"
SCOPED = """scoped: {
        any_of: ["users.read"]
        any_owner: "users.read_any"
      }
"""
LEVEL = "    option idempotency_level = NO_SIDE_EFFECTS;\n"
CACHE = """      cache: {
        private: true
        etag: true
      }
"""
RATE_LIMIT = """      rate_limit: {
        requests: 5
        per: {seconds: 1}
      }
"""
INTERNAL = 'internal: {services: ["order"]}\n'
HIDDEN = ("EDGE_EXPOSURE_EXPOSED", "EDGE_EXPOSURE_HIDDEN")
NO_HTTP = ('    option (google.api.http) = {get: "/v1/things/{thing_id}"};\n', "")
NO_CACHE = (CACHE, "")
HOLDER = "string thing_id = 1;\n  string holder_id = 2;\n}\n\nmessage Thing "
PERSONAL = "[(commerce.policy.v1.personal) = true, debug_redact = true]"
NAMED = ("  string etag = 2;\n", f"  string etag = 2;\n  string name = 3 {PERSONAL};\n")
IN_PATH = f"  string thing_id = 1 {PERSONAL};\n}}\n\nmessage Thing "
NO_RETRY = ("      max_attempts: 3\n", "")
STREAMS = ("returns (Thing)", "returns (stream Thing)")


def limit(text: str) -> tuple[str, str]:
    """Give the method a limit for its streams."""
    return ("      max_request_bytes: 1024\n", f"      max_request_bytes: 1024\n      streams: {{{text}}}\n")


def step_up(rule: str) -> tuple[str, str]:
    """Have the method want a recent log-in."""
    return ("      max_attempts: 3\n", f"      max_attempts: 3\n      step_up: {{{rule}}}\n")


def reasons(names: str) -> tuple[str, str]:
    """Give the method reasons of its own."""
    return ("      max_request_bytes: 1024\n", f"      max_request_bytes: 1024\n      reasons: [{names}]\n")


REFUSED = [
    pytest.param([(SCOPED, "")], POLICY, "says nothing of who may call", id="no access"),
    pytest.param([STREAMS, NO_HTTP, NO_RETRY], POLICY, "streams without a limit", id="unlimited streams"),
    pytest.param(
        [limit("per_caller: 1 total: 2 idle: {seconds: 3}")],
        "streams:",
        "does not stream",
        id="limit for streams of a unary method",
    ),
    *(
        pytest.param(
            [STREAMS, NO_HTTP, NO_RETRY, limit(text)],
            "streams:",
            "lets no stream live",
            id=f"streams: {text}",
        )
        for text in (
            "",
            "per_caller: 1 total: 2",
            "per_caller: 3 total: 2 idle: {seconds: 3}",
            "total: 2 idle: {seconds: 3}",
        )
    ),
    pytest.param([("      deadline: {seconds: 2}\n", "")], POLICY, "has no deadline", id="no deadline"),
    pytest.param(
        [("{seconds: 2}", "{seconds: 0}")], "deadline:", "has no time to answer", id="deadline of nothing"
    ),
    pytest.param([(RATE_LIMIT, "")], POLICY, "exposed without a limit", id="no rate limit"),
    *(
        pytest.param([reasons(names)], "reasons:", told, id=f"reasons: {names}")
        for names, told in (
            ("REASON_UNSPECIFIED", "names no reason"),
            ("REASON_SKU_TAKEN, REASON_SKU_TAKEN", "names SKU_TAKEN more than once"),
            ("REASON_TOKEN_MISSING", "names TOKEN_MISSING, which all methods of its kind give"),
        )
    ),
    pytest.param(
        [("requests: 5", "requests: 0")], "rate_limit:", "lets nothing through", id="rate limit of nothing"
    ),
    pytest.param(
        [("      max_request_bytes: 1024\n", "")], POLICY, "does not limit its requests", id="no size"
    ),
    pytest.param([("      edge: EDGE_EXPOSURE_EXPOSED\n", "")], POLICY, "set `edge`", id="no edge"),
    pytest.param(
        [(LEVEL, ""), NO_CACHE], "max_attempts:", "is retried but may not be repeated", id="bad retry"
    ),
    pytest.param(
        [("max_attempts: 3", "max_attempts: 6")], "max_attempts:", "5 or less", id="too many attempts"
    ),
    pytest.param(
        [("returns (Thing)", "returns (stream Thing)"), NO_HTTP],
        "max_attempts:",
        "is retried but streams",
        id="retried stream",
    ),
    pytest.param(
        [(SCOPED, INTERNAL), HIDDEN], POLICY, "is internal and has a REST path", id="internal with a path"
    ),
    pytest.param(
        [(SCOPED, INTERNAL), NO_HTTP], "edge:", "is internal and exposed", id="internal and exposed"
    ),
    pytest.param([HIDDEN], POLICY, "is hidden and has a REST path", id="hidden with a path"),
    pytest.param(
        [(SCOPED, 'internal: {services: ["oder"]}\n'), HIDDEN, NO_HTTP],
        "internal:",
        "lets in oder",
        id="unknown caller",
    ),
    pytest.param(
        [(SCOPED, "internal: {}\n"), HIDDEN, NO_HTTP],
        "internal:",
        "lets no service in",
        id="internal to nobody",
    ),
    pytest.param([('any_of: ["users.read"]', "")], "scoped:", "asks for no scope", id="scoped by nothing"),
    pytest.param(
        [('"users.read"]', '"users.red"]')], "scoped:", "users.red, which no role grants", id="unknown scope"
    ),
    pytest.param(
        [('"users.read_any"', '"users.all"')],
        "scoped:",
        "any_owner users.all, which no role",
        id="unknown owner scope",
    ),
    pytest.param(
        [NAMED], "scoped:", "answers with commerce.tiny.v1.Thing.name, which is personal", id="unmasked"
    ),
    pytest.param(
        [NAMED, ('"users.read_any"\n', '"users.read_any"\n        personal: "users.all"\n')],
        "scoped:",
        "has personal users.all, which no role",
        id="unknown scope for what is personal",
    ),
    pytest.param(
        [('"users.read_any"\n', '"users.read_any"\n        personal: "users.read_personal"\n')],
        "scoped:",
        "names who sees personal fields and answers with none",
        id="nothing personal to see",
    ),
    pytest.param(
        [("  string thing_id = 1;\n}\n\nmessage Thing ", IN_PATH)],
        POLICY,
        "has {thing_id} in its path, which is personal",
        id="personal path",
    ),
    pytest.param(
        [("private: true", "")], "cache:", "lets shared caches keep", id="shared cache of one's own"
    ),
    pytest.param(
        [
            (CACHE, CACHE + "      holds: {reservations: 5 units: 5}\n"),
            ("string thing_id = 1;\n}\n\nmessage Thing ", HOLDER),
        ],
        "holds:",
        "lets nobody hold anything",
        id="holds of nothing",
    ),
    pytest.param(
        [(CACHE, CACHE + "      holds: {reservations: 5 units: 5 units_of_product: 5}\n")],
        "holds:",
        "without knowing whom",
        id="holds of nobody",
    ),
    pytest.param(
        [step_up("max_age: {seconds: 0}"), reasons("REASON_STEP_UP_REQUIRED")],
        "step_up:",
        "wants a log-in that nobody has",
        id="step-up of no age",
    ),
    pytest.param(
        [step_up("max_age: {seconds: 300}")],
        "step_up:",
        "does not say that it refuses old log-ins",
        id="step-up without its reason",
    ),
    pytest.param(
        [(SCOPED, "public: {}\n"), step_up("max_age: {seconds: 300}"), reasons("REASON_STEP_UP_REQUIRED")],
        "step_up:",
        "wants a recent log-in of whom it does not know",
        id="step-up of anybody",
    ),
    pytest.param([("string etag = 2;", "")], "cache:", "without an `etag` field", id="etag of nothing"),
    pytest.param(
        [(LEVEL, "    option idempotency_level = IDEMPOTENT;\n"), ("{get:", "{delete:")],
        "cache:",
        "lets answers be kept but has effects",
        id="cached effect",
    ),
    pytest.param(
        [(LEVEL, "    option idempotency_level = IDEMPOTENT;\n"), NO_CACHE],
        HTTP,
        "is read by GET",
        id="GET with effects",
    ),
    pytest.param([('"/v1/things', '"/things')], HTTP, "begin it with /v1/", id="path without a version"),
    pytest.param([("{thing_id}", "{id}")], HTTP, "{id} in its path, no field", id="path of no field"),
    pytest.param([('{thing_id}"}', '{thing_id}" body: "*"}')], HTTP, "has a body on GET", id="body on GET"),
    pytest.param(
        [('{get: "/v1/things/{thing_id}"}', '{post: "/v1/things" body: "thing"}')],
        HTTP,
        "has the body `thing`, which",
        id="body of no field",
    ),
    pytest.param(
        [('{thing_id}"}', '{thing_id}" response_body: "etag"}')], HTTP, "response_body", id="response body"
    ),
]


def test_the_tiny_contract_is_accepted_as_it_is(tmp_path: Path) -> None:
    assert find_faults(Tiny.write(tmp_path).contract()) == []


@pytest.mark.parametrize(("changes", "where", "message"), REFUSED)
def test_a_broken_contract_is_refused_with_its_line(
    tmp_path: Path, changes: list[tuple[str, str]], where: str, message: str
) -> None:
    tiny = Tiny.write(tmp_path, *changes)
    faults = [str(fault) for fault in find_faults(tiny.contract())]
    expected = (
        f"protos/commerce/tiny/v1/tiny.proto:{tiny.line_of(where)}: commerce.tiny.v1.TinyService/GetThing "
    )
    assert any(fault.startswith(expected) and message in fault for fault in faults), faults


def test_a_method_without_a_policy_does_not_compile(tmp_path: Path) -> None:
    whole = Tiny.write(tmp_path).file.read_text()
    begin = whole.index(f"    {POLICY}")
    policy = whole[begin : whole.index("    };\n", begin) + len("    };\n")]
    tiny = Tiny.write(tmp_path / "broken", (policy, ""))
    with pytest.raises(ContractError) as refusal:
        generate(tiny.protos, tmp_path / "out")
    assert str(refusal.value) == (
        f"protos/commerce/tiny/v1/tiny.proto:{tiny.line_of(RPC)}: "
        "commerce.tiny.v1.TinyService/GetThing has no policy: "
        "add `option (commerce.policy.v1.policy) = {…};` to it"
    )


def test_two_methods_cannot_share_a_path(tmp_path: Path) -> None:
    whole = Tiny.write(tmp_path).file.read_text()
    begin = whole.index("  // Reads a thing.")
    method = whole[begin : whole.index("  }\n}\n", begin) + len("  }\n")]
    second = method.replace("rpc GetThing(", "rpc ReadThing(")
    tiny = Tiny.write(tmp_path / "broken", (method, method + second))
    (fault,) = find_faults(tiny.contract())
    assert "ReadThing has GET /v1/things/{thing_id}, which commerce.tiny.v1.TinyService/GetThing has" in str(
        fault
    )


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    tiny = Tiny.write(
        tmp_path, ("string thing_id = 1;\n}\n\nmessage Thing {", "strin thing_id = 1;\n}\n\nmessage Thing {")
    )
    with pytest.raises(ContractError, match=r"tiny\.proto:\d+:\d+: \"strin\" is not defined"):
        tiny.contract()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (
            "string name = 3 [(commerce.policy.v1.personal) = true]",
            "is personal and shown wherever its message is printed",
        ),
        (
            "int32 name = 3 [(commerce.policy.v1.personal) = true, debug_redact = true]",
            "is personal and no text",
        ),
    ],
)
def test_what_is_personal_is_a_text_that_no_print_shows(tmp_path: Path, option: str, told: str) -> None:
    tiny = Tiny.write(tmp_path, ("  string etag = 2;\n", f"  string etag = 2;\n  {option};\n"))
    faults = [str(fault) for fault in find_faults(tiny.contract())]
    place = f"protos/commerce/tiny/v1/tiny.proto:{tiny.line_of(option)}: commerce.tiny.v1.Thing.name {told}"
    assert any(fault.startswith(place) for fault in faults), faults


def test_no_event_holds_what_is_personal_not_even_in_a_message_within_it(tmp_path: Path) -> None:
    tiny = Tiny.write(tmp_path)
    events = tiny.file.with_name("events.proto")
    events.write_text(
        f"""syntax = "proto3";

package commerce.tiny.v1;

import "commerce/policy/v1/policy.proto";

message ThingMade {{
  repeated ThingMaker makers = 1;
}}

message ThingMaker {{
  string name = 1 {PERSONAL};
}}
"""
    )
    faults = [str(fault) for fault in find_faults(tiny.contract())]
    assert [fault.partition(" is an event")[0] for fault in faults] == [
        "protos/commerce/tiny/v1/events.proto:7: commerce.tiny.v1.ThingMade",
        "protos/commerce/tiny/v1/events.proto:11: commerce.tiny.v1.ThingMaker",
    ]


@pytest.mark.parametrize("key", ["when", "help", "code"])
def test_a_reason_says_when_it_is_given_with_which_code_and_what_helps(tmp_path: Path, key: str) -> None:
    tiny = Tiny.write(tmp_path)
    path = tiny.protos / "commerce" / "policy" / "v1" / "reason.proto"
    lines = path.read_text().splitlines(keepends=True)
    first = next(at for at, line in enumerate(lines) if "REASON_SKU_TAKEN" in line)
    removed = next(at for at in range(first, len(lines)) if lines[at].strip().startswith(f"{key}:"))
    path.write_text("".join(lines[:removed] + lines[removed + 1 :]))
    [fault] = find_faults(tiny.contract())
    assert (fault.place.file, fault.place.line) == ("protos/commerce/policy/v1/reason.proto", first + 1)
    assert fault.message.startswith("SKU_TAKEN does not say all")
