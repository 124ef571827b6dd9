"""Changes of the headers of answers, and of which answers."""

from collections.abc import Sequence

from gateway.edge.extension import extension, filter_config, http_filter
from gateway.proto_json import Json


def written(key: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    return {"append": {"header": {"key": key, "value": value}, "append_action": action}}


def unless(conditions: Sequence[Json], mutations: Sequence[Json]) -> Json:
    """Return a filter that changes the headers of answers, unless the request is one of these."""
    change = {"mutations": {"response_mutations": list(mutations)}}
    skip = extension("skip", "envoy.extensions.filters.common.matcher.action.v3.SkipFilter")
    matchers = [{"predicate": each, "on_match": {"action": skip}} for each in conditions]
    return extension(
        "envoy.filters.http.match_delegate",
        "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=http_filter(
            "header_mutation", filter_config("header_mutation.v3.HeaderMutation", **change)
        ),
        xds_matcher={"matcher_list": {"matchers": matchers}},
    )


def is_grpc() -> Json:
    return header("content-type", prefix="application/grpc")


def is_answer_over_grpc() -> Json:
    """Return what matches an answer that a caller of gRPC or gRPC-Web gets.

    What a request was is unknown to a filter that has not seen it: where many come at once, one may be given
    up before it has been looked at.
    """
    return header_of_answer("content-type", {"prefix": "application/grpc"})


def header(name: str, **value: object) -> Json:
    read = extension(name.strip(":"), "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)
    return {"single_predicate": {"input": read, "value_match": value}}


def header_of_answer(name: str, value: Json) -> Json:
    """Return what matches a header of the answer (StringMatcher); one that is not there matches nothing."""
    read = extension(name, "envoy.type.matcher.v3.HttpResponseHeaderMatchInput", header_name=name)
    return {"single_predicate": {"input": read, "value_match": value}}


def every(*predicates: Json) -> Json:
    """Return what matches where all of these do."""
    return {"and_matcher": {"predicate": list(predicates)}}


ANYTHING: Json = {"safe_regex": {"google_re2": {}, "regex": ".+"}}
