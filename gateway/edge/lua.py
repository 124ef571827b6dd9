"""Values of Python as Lua writes them, for the scripts of the edge."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.edge.extension import filter_config
from gateway.proto_json import Json

# Anything else would have to be escaped, and nothing in the contract is.
_PLAIN = re.compile(r"[ -!#-\[\]-~]*")


def literal(value: object) -> str:
    """Write a value of JSON's kinds; keys are texts.

    Raises:
        ValueError: it is of another kind, or a text with quotes, backslashes or anything beside ASCII.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{_text(key)}]={literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence):
        return "{" + ", ".join(literal(each) for each in value) + "}"
    raise ValueError(f"Lua has nothing for {value!r}")


def script(names: Mapping[str, object], *files: Path, long_runs: bool = False) -> Json:
    """Return a filter that runs scripts as one; above them stand `names`, compiled."""
    return filter_config("lua.v3.Lua", default_source_code=source(names, *files, long_runs=long_runs))


def source(names: Mapping[str, object], *files: Path, long_runs: bool = False) -> Json:
    """Return the source of scripts as one (DataSource).

    LuaJIT compiles nothing of it, unless it has `long_runs`, such as the reading of a whole body. What runs
    for some microseconds, and calls Envoy in between, loses more by it than it gains: a tenth of a kept read.
    """
    lines = [] if long_runs else ["jit.off()"]
    lines += [f"local {name} = {literal(value)}" for name, value in names.items()]
    text = "\n".join([*lines, *(file.read_text(encoding="utf-8") for file in files)])
    return {"inline_string": text}


def _text(value: str) -> str:
    if not _PLAIN.fullmatch(value):
        raise ValueError(f"{value!r} is no plain text")
    return f'"{value}"'
