"""Refuses to pack this tree: it runs where it lies, beside its compiled contract."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class OnlyInPlaceHook(BuildHookInterface[Any]):
    """Lets `pip install -e` through, which is what `make install` does, and nothing else."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fail unless the build is an editable one.

        Raises:
            SystemExit: it is another.
        """
        if version != "editable":
            raise SystemExit(
                "Commerce Mesh runs from its tree and is not packed: call `make install` there. "
                "What callers install is built by `make clients`."
            )
