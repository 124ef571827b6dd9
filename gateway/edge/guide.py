"""The pages of docs/ as HTML, for the edge's /docs/guide: what docs/README.md links to, in its order.

markdown-it-py renders them. There is no script on any page and no HTML from their sources, so the policy of
the edge's pages holds for them as it is; what a theme for documentation brings would need exceptions from it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

GUIDE_PATH = "/docs/guide"
_INDEX = "README.md"
# What Markdown writes into a page without looking at it: here, the marks of the tested blocks.
_RAW = {"html_block", "html_inline"}
_PAGE = """\
<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>{title} - Commerce Mesh</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/docs/guide.css">
  </head>
  <body>
    <nav aria-label="Guide">
      <ul>
{links}
        <li><a href="/docs">Try the API</a></li>
      </ul>
    </nav>
    <main>
{body}    </main>
  </body>
</html>
"""


def guide_pages(docs: Path) -> dict[str, bytes]:
    """Render docs/README.md and every page that it links to.

    Returns:
        HTML files by their path at the edge, such as /docs/guide/rest/index.html.

    Raises:
        OSError: a page that is linked to is missing.
    """
    index = (docs / _INDEX).resolve()
    sources = {index: GUIDE_PATH}
    for source in _linked(index):
        sources[source] = f"{GUIDE_PATH}/{source.stem.lower()}"
    parsed = {source: _parse(source) for source in sources}
    titles = {sources[source]: _title(tokens) for source, tokens in parsed.items()}
    return {
        f"{path}/index.html": _page(path, titles, _body(parsed[source], source, sources)).encode()
        for source, path in sources.items()
    }


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark").enable("table")
    markdown.add_render_rule("fence", _block)
    return markdown


def _block(_: object, tokens: Sequence[Token], index: int, *__: object) -> str:
    """Write a block of code under the name of its file, which stands behind the name of its language."""
    _, _, file = tokens[index].info.strip().partition(" ")
    above = f"<p><code>{escape(file)}</code></p>\n" if file else ""
    return f"{above}<pre><code>{escape(tokens[index].content)}</code></pre>\n"


def _parse(source: Path) -> list[Token]:
    tokens = [
        token for token in _markdown().parse(source.read_text(encoding="utf-8")) if token.type not in _RAW
    ]
    for opening, inline in _headings(tokens):
        opening.attrSet("id", _anchor(inline.content))
    return tokens


def _headings(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token]]:
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            yield opening, inline


def _title(tokens: Sequence[Token]) -> str:
    return next(inline.content for _, inline in _headings(tokens))


def _anchor(heading: str) -> str:
    """Name a heading as the usual hosts of source code do, whose links the pages contain."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _linked(index: Path) -> Iterator[Path]:
    """Yield the Markdown files that a page links to, in its order."""
    for token in _parse(index):
        for child in token.children or ():
            target, _, _ = str(child.attrGet("href") or "").partition("#")
            if target.endswith(".md") and ":" not in target:
                yield (index.parent / target).resolve()


def _body(tokens: list[Token], source: Path, paths: Mapping[Path, str]) -> str:
    for token in tokens:
        if token.children:
            token.children = list(_with_links(token.children, source, paths))
    markdown = _markdown()
    html: str = markdown.renderer.render(tokens, markdown.options, {})
    return html


def _with_links(children: Sequence[Token], source: Path, paths: Mapping[Path, str]) -> Iterator[Token]:
    """Yield the tokens of a line with links to pages of the guide; those to other files fall away."""
    kept: list[bool] = []
    for token in children:
        if token.type in _RAW:
            continue
        if token.type == "link_open":
            target = _target(str(token.attrGet("href")), source, paths)
            kept.append(target is not None)
            token.attrSet("href", target or "")
        if token.type not in {"link_open", "link_close"} or kept[-1]:
            yield token
        if token.type == "link_close":
            kept.pop()


def _target(href: str, source: Path, paths: Mapping[Path, str]) -> str | None:
    if href.startswith(("#", "https:")):
        return href
    name, mark, anchor = href.partition("#")
    path = paths.get((source.parent / name).resolve())
    return path and f"{path}{mark}{anchor}"


def _page(path: str, titles: Mapping[str, str], body: str) -> str:
    links = "\n".join(_link(to, title, is_here=to == path) for to, title in titles.items())
    return _PAGE.format(title=escape(titles[path]), links=links, body=body)


def _link(to: str, title: str, *, is_here: bool) -> str:
    here = ' aria-current="page"' if is_here else ""
    return f'        <li><a href="{to}"{here}>{escape(title)}</a></li>'
