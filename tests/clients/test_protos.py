"""The archive of the contract, as Node.js takes it: proto-loader, with nothing beside it."""

import json
import tarfile
from pathlib import Path

import pytest
from commerce.order.v1 import order_pb2

from gateway.export import write_archive
from tests.clients.tools import HERE, install_with_npm, run

pytestmark = pytest.mark.clients


def test_proto_loader_loads_every_file_of_the_archive(tmp_path: Path) -> None:
    folder = HERE / "protos"
    install_with_npm(folder)
    with tarfile.open(write_archive(tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    [protos] = tmp_path.glob("*/protos")
    methods = order_pb2.DESCRIPTOR.services_by_name["OrderService"].methods_by_name
    assert json.loads(run(("node", "load.js"), protos, folder=folder)) == list(methods)
