"""Which answers the edge keeps and gives again: those that the contract lets everyone keep, and no others.

It is one script with the first look, before which it stands on the routes of such methods: what is kept was
judged when it was asked for, and a read that it answers costs the edge no look, no token's, no method's limit
and no transcoder. On the way back it sees the answer as JSON, not compressed, without what belongs to one
caller: the id, CORS and the other headers of REST are written further out, for each call.
"""

from pathlib import Path

from gateway.contract.model import Contract, Method, seconds
from gateway.edge.extension import filter_config
from gateway.edge.lua import source
from gateway.edge.request_headers import FIRST_LOOK, first_look_parts
from gateway.proto_json import Json

# The script of the routes that keep answers, among those of the first look's filter.
KEPT = "kept"
# Each thread of Envoy keeps its own, for each share of callers (gateway/edge/shares.py) on each listener.
# With two threads, nine shares and two listeners all that is kept takes at most 72 MiB, and what the callers
# of one share can fill 8; twice that with garbage that is not swept yet. 2 MiB hold 1,000 products of 1 kB.
MOST_BYTES = 2 * 1024 * 1024
# Small answers cost more in tables than in bytes.
MOST_ENTRIES = 2048
# Two of a generation's. A page of 25 products has 30 kB; one of 100 large ones goes to its service.
LARGEST_BYTES = 128 * 1024
# A search of 500 letters, a page token and a category fit; what is longer is asked once.
LONGEST_KEY_BYTES = 1024
# What a table of Lua, its headers and its place in the other table take, about.
_ENTRY_BYTES = 1024
# What was not used since one of them was full is forgotten (kept.lua).
_GENERATIONS = 2
# From here on in its life one call asks anew while the others get what is kept. Of 2 s it leaves 0.4: a
# search takes 0.02, and where one takes longer the entry is gone, as if nothing were kept.
FRESH_PERCENT = 80
# So long that call has, before another one asks.
_CLAIM_MILLISECONDS = 200
_SCRIPT = Path(__file__).with_suffix(".lua")


def is_kept(method: Method) -> bool:
    """Tell whether the edge keeps answers of a method: they are everyone's, and good for a while."""
    cache = method.rules.cache
    return method.access == "public" and not cache.private and seconds(cache.max_age) > 0


def kept_answers(contract: Contract) -> Json:
    """Return the source of the script (DataSource): the first look's, and what keeps answers before it."""
    names, files = first_look_parts(contract)
    bounds = {
        "GENERATION_ENTRIES": MOST_ENTRIES // _GENERATIONS,
        "GENERATION_BYTES": MOST_BYTES // _GENERATIONS,
        "ENTRY_BYTES": _ENTRY_BYTES,
        "LARGEST_BYTES": LARGEST_BYTES,
        "LONGEST_KEY": LONGEST_KEY_BYTES,
        "FRESH_PERCENT": FRESH_PERCENT,
        "CLAIM_MILLISECONDS": _CLAIM_MILLISECONDS,
        "METHODS": {each.name: _rules(each) for each in contract.exposed if is_kept(each)},
    }
    return source({**names, **bounds}, *files, _SCRIPT)


def keeps(method: Method, path: str = "") -> Json:
    """Return what a route says to the filter of the first look; nothing where no answer is kept.

    Args:
        method: The method that the route leads to.
        path: The path's template, for the log; empty for the route of gRPC. Its calls are not answered from
            what is kept, but an answer to REST comes back by it.
    """
    if not is_kept(method):
        return {}
    context = {"method": method.name, "path": path} if path else {}
    return {FIRST_LOOK: filter_config("lua.v3.LuaPerRoute", name=KEPT, filter_context=context)}


def _rules(method: Method) -> Json:
    """Tell how long a method's answers are kept, and its fields by each name that they have."""
    fields = {
        name: str(field.name)
        for field in method.descriptor.input_type.fields
        if field.message_type is None and not field.is_repeated
        for name in (str(field.name), str(field.camelcase_name))
    }
    milliseconds = round(seconds(method.rules.cache.max_age) * 1000)
    return {"milliseconds": milliseconds, "fields": dict(sorted(fields.items()))}
