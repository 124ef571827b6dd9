"""The archive of the contract, as others take it: buf curl, and stubs for Node.js, Go and Java."""

import base64
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from commerce.order.v1 import order_pb2
from google.rpc import error_details_pb2

from gateway.export import write_archive
from tests.clients.tools import HERE, find, install_with_npm, run, run_installer, with_variables
from tests.conftest import ROOT
from tests.support.stack import Stack

pytestmark = pytest.mark.clients

BUF = ROOT / ".venv" / "bin" / "buf"
SHOPPED = {"name": "Ada", "sku": "BOK-CFE-02", "placed": "ORDER_STATE_PENDING"}
MAVEN_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    """The archive, unpacked."""
    with tarfile.open(write_archive(tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = (each for each in tmp_path.iterdir() if each.is_dir())
    return folder


def generate(contract: Path, language: str, plugins: Path) -> None:
    """Write stubs for a language into the folder `gen` of the archive."""
    env = with_variables(PATH=f"{plugins}:{os.environ['PATH']}")
    run((*env, BUF, "generate"), "--template", f"buf.gen.{language}.yaml", folder=contract)


def test_proto_loader_loads_every_file_of_the_archive(contract: Path) -> None:
    folder = HERE / "protos"
    install_with_npm(folder)
    methods = order_pb2.DESCRIPTOR.services_by_name["OrderService"].methods_by_name
    printed = run(("node", "load.js"), contract / "protos", folder=folder)
    assert json.loads(printed) == list(methods)


@pytest.mark.stack
@pytest.mark.parametrize("protocol", ["grpc", "grpcweb"])
def test_buf_curl_calls_with_the_archive_alone(stack: Stack, contract: Path, protocol: str) -> None:
    def call(method: str, request: str) -> "subprocess.CompletedProcess[str]":
        program: list[str | Path] = [
            BUF,
            "curl",
            "--schema",
            contract,
            "--protocol",
            protocol,
            "--data",
            request,
        ]
        return subprocess.run(
            [*program, f"{stack.rest_url}/{method}"], capture_output=True, text=True, check=False
        )

    found = call("commerce.product.v1.ProductService/SearchProducts", '{"query": "coffee", "pageSize": 1}')
    assert json.loads(found.stdout)["products"][0]["sku"] == SHOPPED["sku"]
    refused = call("commerce.order.v1.OrderService/ListOrders", "{}")
    told = json.loads(refused.stderr)
    assert told["code"] == "unauthenticated"
    details = {each["type"]: base64.b64decode(each["value"] + "==") for each in told["details"]}
    info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
    assert info.reason == "TOKEN_MISSING"


@pytest.mark.stack
def test_stubs_for_go_shop(stack: Stack, contract: Path) -> None:
    go, plugins = find("go"), contract / "bin"
    for source in (HERE / "go").iterdir():
        (contract / source.name).write_bytes(source.read_bytes())
    # With the Go that is here, and not one that it would fetch.
    env = with_variables(GOBIN=str(plugins), GOTOOLCHAIN="local")
    run_installer([*env, go, "mod", "download"], "what go.mod names", contract)
    run((*env, go, "install", "tool"), folder=contract)
    generate(contract, "go", plugins)
    run((*env, go, "build", "-o", plugins / "shop", "."), folder=contract)
    shop = (plugins / "shop", stack.edge_target)
    assert json.loads(run(shop, "service_configs", folder=contract)) == {
        **SHOPPED,
        "missing": "NotFound ORDER_NOT_FOUND",
        "tokenless": "Unauthenticated TOKEN_MISSING",
    }


@pytest.mark.stack
def test_stubs_for_java_shop(stack: Stack, contract: Path) -> None:
    mvn, javac, jars = find("mvn"), find("javac"), contract / "jars"
    command = [mvn, "--quiet", "--batch-mode", "--file", str(HERE / "java" / "pom.xml"), MAVEN_DEPENDENCIES]
    run_installer(
        [*command, f"-DoutputDirectory={jars}", "-Dmdep.stripVersion=true"], "what pom.xml names", contract
    )
    for program in ("protoc", "protoc-gen-grpc-java"):
        [executable] = jars.glob(f"{program}-linux-*.exe")
        executable.rename(jars / program).chmod(0o700)
    generate(contract, "java", jars)
    options = ("-proc:none", "-cp", f"{jars}/*", "-sourcepath", "gen", "-d", "out")
    run((javac, *options), HERE / "java" / "Shop.java", folder=contract)
    java = ("java", "-cp", f"out:{jars}/*", "Shop", stack.edge_target)
    assert json.loads(run(java, "service_configs", folder=contract)) == {
        **SHOPPED,
        "missing": "NOT_FOUND ORDER_NOT_FOUND",
        "tokenless": "UNAUTHENTICATED TOKEN_MISSING",
    }
