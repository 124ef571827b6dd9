"""The edge answers with the OpenAPI document, a page that shows it and the guide, from files of its own."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.contract.protoc import ROOT
from gateway.edge.arrival import ARRIVAL_SECONDS
from gateway.edge.guide import guide_pages
from gateway.generate import GENERATED
from tests.gateway.backends import Backends
from tests.gateway.callers import rest
from tests.gateway.conftest import ORIGIN, RunningEdge
from tests.support.waiting import PATIENCE_SECONDS

DOCUMENT = (GENERATED / "openapi.json").read_text(encoding="utf-8")
OPENAPI, DOCS, GUIDE = "/openapi.json", "/docs", "/docs/guide"
LARGEST = f"{DOCS}/swagger-ui-bundle.js"
LARGEST_DOCUMENT_BYTES = 1024 * 1024


async def test_the_document_is_what_was_compiled_and_no_service_is_asked(
    edge: RunningEdge, backends: Backends
) -> None:
    before = len(backends.seen.calls)
    answer = await rest(edge, "GET", OPENAPI)
    assert (answer.http, answer.body) == (200, json.loads(DOCUMENT))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, no-cache"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors")
    assert len(backends.seen.calls) == before
    assert len(DOCUMENT) < LARGEST_DOCUMENT_BYTES


async def test_who_has_the_document_is_told_so(edge: RunningEdge) -> None:
    etag = (await rest(edge, "GET", OPENAPI)).headers["etag"]
    for known in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        answer = await rest(edge, "GET", OPENAPI, headers={"if-none-match": known})
        assert (answer.http, answer.body, answer.headers["etag"]) == (304, "", etag)
        assert answer.headers["cache-control"] == "public, no-cache"
    assert (await rest(edge, "GET", OPENAPI, headers={"if-none-match": '"other"'})).http == 200


async def test_every_link_of_the_guide_leads_somewhere(edge: RunningEdge) -> None:
    pages, unread = {}, {GUIDE}
    while unread:
        path = unread.pop()
        answer = pages[path] = await rest(edge, "GET", path)
        assert answer.http == 200, path
        if answer.headers["content-type"].startswith("text/html"):
            unread |= {urlsplit(link).path or path for link in _links(answer.body)} - pages.keys()
    assert {f"{GUIDE}/{path.stem}" for path in (ROOT / "docs").glob("[a-z]*.md")} < pages.keys()
    for path, answer in pages.items():
        for link in map(urlsplit, _links(answer.body)):
            if link.fragment:
                assert f'id="{link.fragment}"' in pages[link.path or path].body, f"{path}: {link}"


async def test_pages_of_the_guide_run_no_script_and_show_no_marks_of_the_tests(edge: RunningEdge) -> None:
    for name in ("", "/rest", "/reasons", "/security"):
        page = await rest(edge, "GET", GUIDE + name)
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assert not re.search(r"<script|<style|tested --|\son\w+=", page.body)


def test_a_page_of_the_guide_shows_no_html_of_its_source_and_links_to_pages_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# All & more\n\n[One](one.md)\n")
    (tmp_path / "one.md").write_text(
        "# <One>\n\n<script>a()</script>\n\nSee <b onclick='a()'>[all](README.md#all--more) "
        "[code](../services/) [run](javascript:a()) [here](#one) `<i>`\n"
    )
    pages = {path: page.decode() for path, page in guide_pages(tmp_path).items()}
    one = pages["/docs/guide/one/index.html"]
    assert set(pages) == {"/docs/guide/index.html", "/docs/guide/one/index.html"}
    assert '<a href="/docs/guide#all--more">all</a> code' in one
    assert 'id="all--more"' in pages["/docs/guide/index.html"]
    assert '<a href="#one">here</a> <code>&lt;i&gt;</code>' in one
    assert "a()</script>" not in one
    assert not re.search(r"<script|onclick|href=.javascript|<One>", one)


async def test_a_block_of_the_guide_stands_under_the_name_of_its_file(edge: RunningEdge) -> None:
    page = (await rest(edge, "GET", f"{GUIDE}/add-a-field")).body
    files = re.findall(r"^```\w+ (\S+)$", (ROOT / "docs" / "add-a-field.md").read_text(), re.MULTILINE)
    assert len(files) > 5
    assert re.findall(r"<p><code>(\S+)</code></p>\n<pre>", page) == files


def _links(html: str) -> list[str]:
    return [link for link in re.findall(r'href="([^"]+)"', html) if link.startswith(("/", "#"))]


@pytest.mark.parametrize("path", [OPENAPI, DOCS, GUIDE])
async def test_head_tells_what_get_would(edge: RunningEdge, path: str) -> None:
    plain = {"accept-encoding": "identity"}
    get, head = [await rest(edge, verb, path, headers=plain) for verb in ("GET", "HEAD")]
    assert (head.http, head.body) == (200, "")
    for name in ("content-length", "content-type", "etag", "cache-control"):
        assert head.headers[name] == get.headers[name]


async def test_the_document_is_compressed_for_who_wants_it(edge: RunningEdge) -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(edge.url + OPENAPI, headers={"accept-encoding": "gzip"}) as answer,
    ):
        assert answer.headers["content-encoding"] == "gzip"
        assert len(await answer.read()) < len(DOCUMENT) / 4


async def test_a_page_of_a_known_origin_may_read_the_document(edge: RunningEdge) -> None:
    answer = await rest(edge, "GET", OPENAPI, headers={"origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_the_page_runs_scripts_of_the_edge_alone(edge: RunningEdge) -> None:
    page = await rest(edge, "GET", DOCS)
    assert (page.http, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none';" in policy
    assert not re.search(r"<script>|<style|\son\w+=|https?:", page.body)
    linked = re.findall(r'<(?:script|link) [^>]*(?:src|href)="(/[^"]+)"', page.body)
    kinds = {path: await rest(edge, "GET", path, headers={"accept-encoding": "identity"}) for path in linked}
    assert {path: (each.http, each.headers["content-type"]) for path, each in kinds.items()} == {
        "/docs/start.js": (200, "text/javascript; charset=utf-8"),
        "/docs/swagger-ui-bundle.js": (200, "text/javascript; charset=utf-8"),
        "/docs/swagger-ui.css": (200, "text/css; charset=utf-8"),
    }


@pytest.mark.parametrize("path", [OPENAPI, DOCS, GUIDE])
@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE"])
async def test_other_verbs_are_told_which_there_are(edge: RunningEdge, verb: str, path: str) -> None:
    answer = await rest(edge, verb, path)
    assert (answer.http, answer.reason, answer.headers["allow"]) == (405, "METHOD_UNKNOWN", "GET, HEAD")
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/docs/",
            "/docs/nothing.js",
            "/docs/index.html",
            "/openapi.json/",
            "/docs/guide/",
            "/docs/guide/rest.md",
            "/openapi.jsonx",
            "/docs/../rds.json",
        ),
        *("/docs/%2e%2e/rds.json", "/docs/..%2frds.json", "/docs//start.js/", "/pages", "/rds.json"),
    ],
)
async def test_no_other_file_is_read(edge: RunningEdge, path: str) -> None:
    answer = await rest(edge, "GET", path)
    assert (answer.http in {400, 404}, answer.reason) in {(True, "METHOD_UNKNOWN"), (True, "INVALID_REQUEST")}


async def test_pages_are_limited_by_address_on_their_own(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge = start_edge(backends)
    asked = [rest(edge, "GET", OPENAPI, address="127.0.3.1") for _ in range(60)]
    answers = await asyncio.gather(*asked)
    assert {answer.http for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.http == 429)
    assert (refused.reason, refused.headers["cache-control"]) == ("RATE_LIMITED", "no-store")
    assert "etag" not in refused.headers
    assert (await rest(edge, "GET", OPENAPI, address="127.0.3.2")).http == 200


def test_a_caller_on_a_slow_line_gets_a_page_whole(edge: RunningEdge) -> None:
    with socket.socket() as line:
        # Small packets and a small window: the system between the two takes no more than the caller does.
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        line.settimeout(PATIENCE_SECONDS)
        line.connect(edge.place.http_address)
        line.sendall(f"GET {LARGEST} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n".encode())
        head, _, begun = line.recv(4096).partition(b"\r\n\r\n")
        # A call has no longer than this to arrive: its answer may take longer.
        time.sleep(ARRIVAL_SECONDS + 1)
        body = begun + b"".join(iter(lambda: line.recv(65536), b""))
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None, head
    assert len(body) == int(length[1])


async def test_an_edge_without_swagger_ui_still_has_the_document(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge = start_edge(backends, swagger_ui=None)
    assert (await rest(edge, "GET", OPENAPI)).http == 200
    assert (await rest(edge, "GET", DOCS)).http == (await rest(edge, "GET", GUIDE)).http == 404
    # Nor has it GraphiQL, which stands where GraphQL tells its schema alone.
    assert (await rest(edge, "GET", "/graphiql")).http == 404
