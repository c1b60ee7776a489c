"""Markdown of posts and commit messages as HTML that is safe to show.

CommonMark with tables and strikethrough by markdown-it-py, raw HTML off; then nh3 keeps a short list of
elements.  Two walls on purpose: the first is a convenience, the second is the promise.  Images become
links: an image from elsewhere would tell its host who reads which diff (and the content policy forbids it).
"D12" and bare http(s) addresses become links, outside code only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from markupsafe import Markup

from fairlead.serve.highlight import plain

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore
    from markdown_it.token import Token

_TAGS = {
    "p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a",
    "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_REFERENCE = re.compile(r"\bD([1-9][0-9]{0,8})\b(?!/)|https?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]}]")


def html(text: str) -> Markup:
    """Markdown as safe HTML; the same text gives the same HTML, so it is remembered."""
    return _html(text)


@lru_cache(maxsize=4096)
def _html(text: str) -> Markup:
    import nh3

    dirty = _parser().render(plain(text))
    return Markup(
        nh3.clean(
            dirty,
            tags=_TAGS,
            attributes=_ATTRIBUTES,
            url_schemes={"http", "https", "mailto"},
            link_rel="nofollow noopener noreferrer",
        ).strip()
    )


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.core.ruler.push("fairlead", _rewrite)
    return parser


def _rewrite(state: StateCore) -> None:
    """Headings two steps down (the page has its own), images as links, references as links."""
    for token in state.tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        if token.type == "inline" and token.children:
            token.children = _linked(token.children)


def _linked(children: list[Token]) -> list[Token]:
    out: list[Token] = []
    depth = 0
    for child in children:
        if child.type == "link_open":
            depth += 1
        elif child.type == "link_close":
            depth -= 1
        if child.type == "image":
            source = str(child.attrs.get("src", ""))
            label = child.content or source
            out.extend([_text(label)] if depth else _link(source, label))
        elif child.type == "text" and depth == 0:
            out.extend(_references(child.content))
        else:
            out.append(child)
    return out


def _references(text: str) -> list[Token]:
    out: list[Token] = []
    at = 0
    for found in _REFERENCE.finditer(text):
        if found.start() > at:
            out.append(_text(text[at : found.start()]))
        out.extend(_link(f"/D{found[1]}" if found[1] else found[0], found[0]))
        at = found.end()
    if at < len(text):
        out.append(_text(text[at:]))
    return out


def _text(content: str) -> Token:
    from markdown_it.token import Token

    return Token("text", "", 0, content=content)


def _link(href: str, label: str) -> list[Token]:
    from markdown_it.token import Token

    return [
        Token("link_open", "a", 1, attrs={"href": href}),
        _text(label),
        Token("link_close", "a", -1),
    ]
