"""A mesh of dummy parts, run by the real supervisor: dummy_mesh.py DATA NAME:PORT…"""

import sys
from pathlib import Path
from unittest import mock

from deploy.local.layout import Options
from deploy.local.parts.blueprint import Blueprint
from deploy.local.parts.part import Part, Step
from deploy.local.supervision import daemon
from tests.deploy.dummies import dummy


def main() -> None:
    """Run until SIGTERM."""
    data, *names = sys.argv[1:]
    ports = dict(name.split(":") for name in names)

    def build(_: Blueprint) -> list[Part | Step]:
        return [dummy(name, int(port), Path(data)) for name, port in ports.items()]

    def no_ports(_: Blueprint) -> list[str]:
        return []

    with mock.patch.multiple(daemon, build=build, used_ports=no_ports):
        daemon.run(Options(Path(data)), lambda *_: None, lambda: print("ready", flush=True))


main()
