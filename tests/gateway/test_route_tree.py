"""Routes by prefix find what the list finds."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gateway
from gateway.edge.extension import filter_config
from gateway.edge.route_tree import by_prefix

Route = dict[str, Any]

GENERATED = Path(gateway.__file__).parents[1] / "generated" / "envoy" / "routes.json"
COMPILED: list[Route] = json.loads(GENERATED.read_bytes())["virtual_hosts"][0]["routes"]
ID = "0198c0de-0000-7000-8000-000000000001"


def named(name: str, **match: Any) -> Route:
    return {"name": name, "match": match}


def regex(pattern: str) -> dict[str, Any]:
    return {"safe_regex": {"regex": pattern}}


# Of every kind, nested and crossing.
MADE = [
    named("one path", path="/v1/things"),
    named("one path with a query of its own", path="/v1/things:search"),
    named("one", **regex("/v1/things/[^/:]+")),
    named("verb", **regex("/v1/things/[^/:]+:close")),
    named("escaped", **regex(r"/v1/a\-b/[^/]+")),
    named("optional letter", **regex("/v1/things?/x")),
    named("optional escaped", **regex(r"/v1/things\-?/y")),
    named("choice", **regex("/v1/other|/v2/[^/]+")),
    named("inner prefix", prefix="/v1/things/inner"),
    named("one path below a prefix", path="/v1/things/inner/deep"),
    named("all", prefix="/"),
]


def matches(match: Route, path: str) -> bool:
    plain = path.partition("?")[0]
    if "path" in match:
        return bool(match["path"] == plain)
    if "prefix" in match:
        return path.startswith(match["prefix"])
    return re.fullmatch(match["safe_regex"]["regex"], plain) is not None


def of_list(routes: Sequence[Route], path: str) -> list[Route]:
    return [route for route in routes if matches(route["match"], path)]


def lists_of(routes: Sequence[Route]) -> Route:
    found: Route = by_prefix(routes)["matcher_tree"]["prefix_match_map"]["map"]
    return found


def of_tree(lists: Route, path: str) -> list[Route]:
    prefixes = [prefix for prefix in lists if path.startswith(prefix)]
    if not prefixes:
        return []
    return of_list(lists[max(prefixes, key=len)]["action"]["typed_config"]["routes"], path)


PIECES = sorted(
    {
        "/",
        ":",
        "-",
        "?",
        "x",
        "y",
        ID,
        "?a=b",
        "things",
        "thing",
        "a-b",
        "inner",
        "deep",
        "other",
        "v2",
        "close",
    }
    | {
        piece
        for route in COMPILED
        for piece in re.split(r"([/:])", route["match"].get("path", route["match"].get("prefix", "")))
    }
)
paths = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda parts: "/" + "".join(parts)),
    st.sampled_from(COMPILED).map(
        lambda route: re.sub(
            r"\\(\W)",
            r"\1",
            route["match"].get("safe_regex", {}).get("regex", "/").replace("[^/:]+", ID),
        )
    ),
)


@pytest.mark.parametrize(
    ("routes", "lists"), [(COMPILED, lists_of(COMPILED)), (MADE, lists_of(MADE))], ids=["compiled", "made"]
)
# How long an example takes depends on what else runs.
@settings(deadline=None)
@given(path=paths, end=st.sampled_from(["", "?a=b", "/", ":x", "x"]))
def test_a_path_finds_the_routes_of_the_list_in_their_order(
    routes: list[Route], lists: Route, path: str, end: str
) -> None:
    assert of_tree(lists, path + end) == of_list(routes, path + end)


@pytest.mark.parametrize(
    ("path", "first"),
    {
        "/v1/things": "one path",
        "/v1/things?page=2": "one path",
        "/v1/things:search": "one path with a query of its own",
        f"/v1/things/{ID}": "one",
        f"/v1/things/{ID}:close": "verb",
        "/v1/a-b/c": "escaped",
        "/v1/thing/x": "optional letter",
        "/v1/things/x": "one",
        "/v1/things/y": "one",
        "/v1/things-/y": "optional escaped",
        "/v1/other": "choice",
        "/v2/c": "choice",
        "/v1/things/inner": "one",
        "/v1/things/inner/most": "inner prefix",
        "/v1/things/inner/deep": "inner prefix",
        "/v1/things/inner/deeper": "inner prefix",
        "/": "all",
    }.items(),
)
def test_a_path_finds_its_route(path: str, first: str) -> None:
    assert of_list(MADE, path)[0]["name"] == of_tree(lists_of(MADE), path)[0]["name"] == first


def test_a_call_is_compared_with_few_routes() -> None:
    product = lists_of(COMPILED)["/v1/products/"]["action"]["typed_config"]["routes"]
    assert len(product) * 5 < len(COMPILED)


def test_a_route_of_one_path_stands_once() -> None:
    """Its limits are a table of its own wherever it stands: two would let twice as many calls through."""
    limited = {"typed_per_filter_config": {"limit": filter_config("local_ratelimit.v3.LocalRateLimit")}}
    with pytest.raises(ValueError, match="limits of its own"):
        by_prefix([*MADE, {**named("many", prefix="/v1/many"), **limited}])
    text = json.dumps(by_prefix([*COMPILED, *MADE, {**named("limited", path="/v1/limited"), **limited}]))
    assert text.count('"limited"') == 1
    assert text.count('"one path"') == text.count('"one path below a prefix"') == 1
