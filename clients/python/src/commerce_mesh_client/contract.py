"""What the contract says of a method, read from the stubs; and what it says to channels of each service."""

from functools import cache
from pathlib import Path

from commerce.policy.v1 import policy_pb2
from google.protobuf import descriptor_pool

_HERE = Path(__file__)
_INSTALLED = _HERE.with_name("service_configs")
# In the tree that packages are built of, they lie where `make generate` writes them.
_CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _HERE.parents[4] / "generated" / "clients"


@cache
def deadline_of(method: str) -> float | None:
    """Return the deadline of "/package.Service/Method", whose stubs are imported.

    Returns:
        Seconds. None: a stream, or a method that is not of the contract, such as a health check.
    """
    service, _, name = method.removeprefix("/").partition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None
    policy: policy_pb2.Policy = found.GetOptions().Extensions[policy_pb2.policy]  # type: ignore[index, unused-ignore]
    return policy.deadline.ToNanoseconds() / 1e9 if policy.HasField("deadline") else None


def service_config(service: str) -> str:
    """Return the gRPC service config for callers of a service: its retries, as the contract has them.

    Raises:
        ValueError: the contract knows no such service.
    """
    path = _CONFIGS / f"{service}.json"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in _CONFIGS.iterdir()))
        raise ValueError(f"there is no service {service!r}; there are {known}")
    return path.read_text(encoding="utf-8")
