"""Routes by how their paths begin, so that a call is compared with a few of them and not with all.

Envoy tries a list in order, and each of a hundred regular expressions costs: the route of a product stood
93rd, and was looked for twice a call.
"""

import json
import re
from collections.abc import Sequence

from gateway.edge.extension import extension
from gateway.proto_json import Json

_PATH = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_LIST = "envoy.config.route.v3.RouteList"
_LIMITS = "local_ratelimit.v3.LocalRateLimit"
# What is the same in a regular expression and in the paths that it matches: plain characters, and escaped
# ones.
_LITERAL = re.compile(r"(?:[\w/:-]|\\\W)*")


def by_prefix(routes: Sequence[Json]) -> Json:
    """Return a matcher that finds, for each path, the same route as the list: the first one that matches.

    The longest prefix that a path has leads to those routes whose paths can begin so, in their order. A
    route that stands behind several prefixes is as many routes to Envoy, each with limits of its own: what
    has limits of its own must match one path alone.

    Raises:
        ValueError: a route has limits of its own, and matches more than one path.
    """
    for route in routes:
        if "path" not in route["match"] and _LIMITS in json.dumps(route.get("typed_per_filter_config", {})):
            raise ValueError(f"the route {route['name']} has limits of its own: it must match one path")
    prefixes = sorted({_beginning(route["match"]) for route in routes})
    lists = {prefix: [route for route in routes if _may_begin(route["match"], prefix)] for prefix in prefixes}
    return {
        "matcher_tree": {
            "input": extension("path", _PATH, header_name=":path"),
            "prefix_match_map": {"map": {prefix: _choose(among) for prefix, among in lists.items()}},
        }
    }


def _may_begin(match: Json, prefix: str) -> bool:
    """Tell whether a route can match a path of which this is the longest prefix."""
    beginning = _beginning(match)
    return prefix == beginning if "path" in match else prefix.startswith(beginning)


def _choose(routes: Sequence[Json]) -> Json:
    return {"action": extension("routes", _LIST, routes=list(routes))}


def _beginning(match: Json) -> str:
    """Return what every path that a route matches begins with.

    Raises:
        KeyError: the route matches by something else than `path`, `prefix` or `safe_regex`.
    """
    if "safe_regex" not in match:
        return str(match["path"] if "path" in match else match["prefix"])
    regex = match["safe_regex"]["regex"]
    literal = _LITERAL.match(regex)
    text = literal[0] if literal else ""
    # A repetition or a choice says that the last character, or all of it, need not be there.
    if "|" in regex:
        return ""
    if regex[len(text) : len(text) + 1] in {"*", "?", "{"}:
        text = text[: -2 if text[-2:-1] == "\\" else -1]
    return re.sub(r"\\(\W)", r"\1", text)
