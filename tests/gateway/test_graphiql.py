"""GraphiQL's page fits the files that the package has."""

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from gateway.edge import pages

# The script of the page, with the package's own React; what it has React show is told, for there is no page.
PROGRAM = """
const {readFileSync} = require("fs"), {runInThisContext} = require("vm");
const [react, reactDom, script] = process.argv.slice(1).map(path => readFileSync(path, "utf8"));
// What follows are scripts of a page, not modules.
Object.assign(globalThis, {module: undefined, exports: undefined, self: globalThis});
runInThisContext(react);
runInThisContext(reactDom);
const shown = [];
const tell = name => (page, place) => shown.push([name, React.isValidElement(page), place.id]);
globalThis.ReactDOM = new Proxy(ReactDOM, {
  get: (library, name) => typeof library[name] === "function" ? tell(name) : library[name]
});
globalThis.GraphiQL = Object.assign(() => null, {createFetcher: ({url}) => url});
globalThis.document = {getElementById: id => ({id})};
runInThisContext(script);
console.log(JSON.stringify(shown));
"""


def test_the_page_asks_of_react_what_the_packages_version_has() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    package = find_spec("graphene_django_graphiql_static")
    assert package is not None
    assert package.origin is not None
    files = Path(package.origin).parent / "static" / "graphene_django_graphiql_static"
    paths = [files / "react.production.min.js", files / "react-dom.production.min.js"]
    script = Path(pages.__file__).with_name("docs") / "graphiql.js"
    done = subprocess.run([node, "-e", PROGRAM, *paths, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    assert json.loads(done.stdout) == [["render", True, "graphiql"]]
