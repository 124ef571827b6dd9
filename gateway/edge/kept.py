"""Which answers the edge keeps and gives again: those that the contract lets everyone keep, and no others.

It stands behind the first look, which has judged the target and thinned out the headers, and before tokens,
the methods' limits and the transcoder. On the way back it sees the answer as JSON, not compressed, without
what belongs to one caller: the id, CORS and the other headers of REST are written further out, for each call.
"""

from pathlib import Path

from gateway.contract.model import Contract, Method, seconds
from gateway.edge.arrival import WHOLE_HEADER
from gateway.edge.extension import filter_config
from gateway.edge.lua import script
from gateway.proto_json import Json

KEPT = "commerce.kept"
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
    """Return the filter. It is off where a route does not say `keeps`."""
    names = {
        "WHOLE_HEADER": WHOLE_HEADER,
        "GENERATION_ENTRIES": MOST_ENTRIES // _GENERATIONS,
        "GENERATION_BYTES": MOST_BYTES // _GENERATIONS,
        "ENTRY_BYTES": _ENTRY_BYTES,
        "LARGEST_BYTES": LARGEST_BYTES,
        "LONGEST_KEY": LONGEST_KEY_BYTES,
        "FRESH_PERCENT": FRESH_PERCENT,
        "CLAIM_MILLISECONDS": _CLAIM_MILLISECONDS,
        "METHODS": {each.name: _rules(each) for each in contract.exposed if is_kept(each)},
    }
    return {**script(names, _SCRIPT), "stat_prefix": "kept"}


def keeps(method: Method) -> Json:
    """Return what a REST route says to the filter, by its name; nothing where no answer is kept."""
    if not is_kept(method):
        return {}
    return {KEPT: filter_config("lua.v3.LuaPerRoute", filter_context={"method": method.name})}


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
