"""What the edge answers from files of its own: the OpenAPI document, a page that shows it, the guide.

Envoy reads a file piece by piece, as its caller takes it: 240 callers who take nothing of the largest cost
4 MB. Bodies in the configuration would wait in memory as a whole for each of them, 360 MB. The files are
copies, so that they and their ETags change as one.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.edge.errors import EdgeSettingsError
from gateway.edge.extension import filter_config
from gateway.edge.files import move_into_place
from gateway.edge.guide import guide_pages
from gateway.edge.limits import page_limits, scale
from gateway.edge.lua import script
from gateway.edge.request_headers import answered_with_verbs, told_as
from gateway.edge.rest import ETAGS_SCRIPT
from gateway.edge.routes import ADDRESS_LIMIT, NOWHERE
from gateway.proto_json import Json

_HEADERS, _KNOWN, _FILES = "commerce.page_headers", "commerce.page_known", "envoy.filters.http.file_server"
OPENAPI_PATH, DOCS_PATH, GRAPHIQL_PATH = "/openapi.json", "/docs", "/graphiql"
_DOCS = Path(__file__).with_name("docs")
_OF_THE_DOCUMENT, _OF_THE_GUIDE = ("index.html", "start.js"), "guide.css"
_OF_SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js")
_OURS_FOR_GRAPHIQL = {"index.html": "graphiql.html", "start.js": "graphiql.js", "start.css": "graphiql.css"}
_OF_GRAPHIQL = (
    "graphiql.min.css",
    "graphiql.min.js",
    "react.production.min.js",
    "react-dom.production.min.js",
)
# Of one file. The largest is Swagger UI's, with 1.5 MB.
_LARGEST_BYTES = 4 * 1024 * 1024
_DIGEST_DIGITS = 16
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
}
# Swagger UI draws its arrows from data, and GraphiQL its letters. Every script and style is a file of ours.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; font-src data:; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SCRIPTS = (ETAGS_SCRIPT, Path(__file__).with_suffix(".lua"))
# As long a caller may take for a file: the largest at 50 kB a second. Who takes nothing is given up before.
_TAKEN = {"max_stream_duration": {"max_stream_duration": "30s"}}
# All listeners have the same one.
_READERS = {"id": "pages", "thread_pool": {"thread_count": 1}}


@dataclass(frozen=True)
class Pages:
    """The files that the edge answers with, by the path of each below `folder`, which names their version."""

    folder: Path
    contents: Mapping[str, bytes]

    @classmethod
    def read(
        cls,
        document: Path,
        swagger_ui: Path | None,
        docs: Path | None,
        folder: Path,
        *,
        graphiql: Path | None = None,
    ) -> "Pages":
        """Read the files that the pages are made of.

        Args:
            document: The OpenAPI document.
            swagger_ui: The folder of Swagger UI's files; None leaves out the page for people.
            docs: The folder of the guide's sources; None leaves it out.
            folder: Where the copies will be, each version in a folder of its own.
            graphiql: The folder of GraphiQL's files; None leaves out the page that asks GraphQL.

        Raises:
            EdgeSettingsError: a file is missing or too large.
        """
        files = {OPENAPI_PATH: document}
        if swagger_ui is not None:
            files |= {f"{DOCS_PATH}/{name}": _DOCS / name for name in _OF_THE_DOCUMENT}
            files |= {f"{DOCS_PATH}/{name}": swagger_ui / name for name in _OF_SWAGGER_UI}
        if graphiql is not None:
            files |= {f"{GRAPHIQL_PATH}/{name}": _DOCS / own for name, own in _OURS_FOR_GRAPHIQL.items()}
            files |= {f"{GRAPHIQL_PATH}/{name}": graphiql / name for name in _OF_GRAPHIQL}
        if docs is not None:
            files |= {f"{DOCS_PATH}/{_OF_THE_GUIDE}": _DOCS / _OF_THE_GUIDE}
        contents = {name: _content(path) for name, path in files.items()}
        contents |= guide_pages(docs) if docs is not None else {}
        version = _digest("".join(map(_digest, contents.values())).encode())
        return cls(folder / version, contents)

    def write(self) -> None:
        """Write the copies, unless they are there; those before stay for the calls that are under way."""
        for name, content in self.contents.items():
            path = self.folder / name.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                move_into_place(path, content)

    def routes(self, rate_limit_scale: float) -> Iterator[Json]:
        """Yield the routes to each file, and what other verbs are told."""
        limits = scale(page_limits(), rate_limit_scale)
        for name, content in self.contents.items():
            path = name.removesuffix("/index.html")
            settings = {
                ADDRESS_LIMIT: limits,
                _HEADERS: _headers(_etag(content), _DOCS_POLICY if name.endswith(".html") else None),
                _KNOWN: filter_config("lua.v3.LuaPerRoute", filter_context={"etag": _etag(content)}),
                _FILES: _file_server([{"request_path_prefix": "/", "file_path_prefix": str(self.folder)}]),
            }
            for verb in ("GET", "HEAD"):
                yield {
                    "name": path,
                    "match": _match(path, verb),
                    "route": {**NOWHERE, **_TAKEN},
                    "metadata": {"filter_metadata": told_as(path)},
                    "typed_per_filter_config": settings,
                }
            yield {
                "name": path,
                "match": {"path": path},
                "route": NOWHERE,
                "metadata": answered_with_verbs({"GET", "HEAD"}, path),
            }


def page_headers() -> Json:
    """Return the filter that writes the headers of pages; it stands nearest to the caller."""
    return {
        "name": _HEADERS,
        "disabled": True,
        "typed_config": filter_config("header_mutation.v3.HeaderMutation"),
    }


def page_files() -> list[Json]:
    """Return the filters that answer with pages, on the routes that ask for them; behind the first look."""
    known = {"name": _KNOWN, "disabled": True, "typed_config": script({}, *_SCRIPTS)}
    return [known, {"name": _FILES, "disabled": True, "typed_config": _file_server([])}]


def _match(path: str, verb: str) -> Json:
    return {"path": path, "headers": [{"name": ":method", "string_match": {"exact": verb}}]}


def _headers(etag: str, policy: str | None) -> Json:
    """Return what is written into the answers of a page's route, refusals excepted."""
    written = {
        "etag": _where_read(etag),
        # Kept by whoever likes, and asked about each time.
        "cache-control": _where_read("public, no-cache", "no-store"),
        **({"content-security-policy": policy} if policy else {}),
    }
    mutations: list[Json] = [
        {"append": {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for key, value in written.items()
    ]
    # Nobody gets a part: the header that asks for one does not pass the first look.
    mutations.append({"remove": "accept-ranges"})
    return filter_config(
        "header_mutation.v3.HeaderMutationPerRoute", mutations={"response_mutations": mutations}
    )


def _where_read(value: str, otherwise: str = "") -> str:
    return f"%CEL(response.headers[':status'] in ['200', '304'] ? '{value}' : '{otherwise}')%"


def _file_server(mappings: list[Json]) -> Json:
    return filter_config(
        "file_server.v3.FileServerConfig",
        manager_config=_READERS,
        path_mappings=mappings,
        content_types=_TYPES,
        directory_behaviors=[{"default_file": "index.html"}],
    )


def _content(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > _LARGEST_BYTES:
        raise EdgeSettingsError(f"{path} is no file of at most {_LARGEST_BYTES} bytes")
    return path.read_bytes()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS]


def _etag(content: bytes) -> str:
    """Name a version, weakly: it is the same one compressed."""
    return f'W/"{_digest(content)}"'
