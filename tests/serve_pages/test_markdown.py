"""Markdown: what people write shows; what would do something does not."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.serve import markdown

TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
NASTY = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&#58;alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox)",
    "![x](http://elsewhere.example/pixel.png)",
    "<a href='x' onclick='y'>z</a>",
    "<svg/onload=alert(1)>",
    '[x](http://a.example "\\"><script>")',
    "<http://a.example/<script>>",
    "`<b>`",
    "http://a.example/\"onmouseover=alert(1)",
    "D12\u202e",
    "</p></div></main><form action=//evil.example>",
    "<style>*{display:none}</style>",
    "[a]: javascript:x\n\n[a]",
    "&lt;script&gt;",
]  # fmt: skip


class Reader(HTMLParser):
    """Collects elements and refuses what is not on the list."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attrs:
            assert (tag, name) in {("a", "href"), ("a", "rel"), ("a", "title"), ("ol", "start")}, (tag, name)
            if name == "href":
                self.links.append(value or "")
                scheme = (value or "").partition(":")[0].lower() if ":" in (value or "") else ""
                assert scheme in {"", "http", "https", "mailto"}, value


def read(text: str) -> list[str]:
    reader = Reader()
    reader.feed(markdown.html(text))
    reader.close()
    return reader.links


def test_nasty_texts_do_nothing() -> None:
    for text in NASTY:
        assert all("evil" not in link for link in read(text)), text


@settings(deadline=None)  # the first call imports the parser
@given(
    st.lists(
        st.sampled_from([*NASTY, "\n", "\n\n", "- ", "> ", "`", "*", "|", "    ", "D3"])
        | st.text(max_size=20)
    )
)
def test_no_mixture_of_nasty_texts_does_anything(parts: list[str]) -> None:
    read("".join(parts))


def test_images_become_links() -> None:
    assert read("![graph](http://elsewhere.example/pixel.png)") == ["http://elsewhere.example/pixel.png"]


def test_diffs_and_addresses_become_links_outside_code() -> None:
    text = "See D12 and https://a.example/b?c=1. Not `D13`, not XD14, not [D15](/D16)."
    assert read(text) == ["/D12", "https://a.example/b?c=1", "/D16"]


def test_hidden_characters_are_named() -> None:
    assert "U+202E RLO" in markdown.html("a \u202e b")
    assert "\u202e" not in markdown.html("a \u202e `b \u202e`")


def test_the_usual_marks_work() -> None:
    made = markdown.html(
        "# Title\n\n*a* **b** ~~c~~\n\n1. x\n2. y\n\n```python\n<b>\n```\n\n|a|b|\n|-|-|\n|1|2|"
    )
    for piece in ("<h3>Title</h3>", "<em>a</em>", "<s>c</s>", "<ol>", "&lt;b&gt;", "<td>2</td>"):
        assert piece in made
