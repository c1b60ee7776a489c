"""Highlighted code is the code: nothing is lost, nothing is hidden, nothing runs."""

from __future__ import annotations

import html
import re
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.serve.highlight import LONGEST_LINE, Highlighter, colour, line_html, plain, plain_lines, shown

PYTHON = 'def f(x):\n    """two\n    lines"""\n    return x + 1  # more\n'
PATHS = st.sampled_from(
    ["a.py", "BUCK", "x.bzl", "a.js", "a.html", "a.c", "Makefile", "a.md", "a.unknown", "a.yaml"]
)
VISIBLE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Cn"]) | st.just("\n"))


def text_of(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


@settings(deadline=None)  # the first call imports a lexer
@given(PATHS, VISIBLE)
def test_colours_change_no_character(path: str, text: str) -> None:
    lines = colour(path, text)
    assert ["".join(piece for _, piece in line) for line in lines] == [
        "".join(p for _, p in row) for row in plain_lines(text)
    ]


@given(st.text(max_size=80), st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)), max_size=3))
def test_a_line_holds_no_markup_but_ours(text: str, changed: list[tuple[int, int]]) -> None:
    line = (("k", text[:7]), ("", text[7:]))
    made = line_html(line, sorted(changed))
    assert set(re.findall(r"<(/?\w+)", made)) <= {"span", "/span", "mark", "/mark"}
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f]", made)


@given(VISIBLE.filter(lambda text: "\n" not in text), st.integers(0, 30), st.integers(0, 30))
def test_marks_cover_exactly_the_changed_characters(text: str, start: int, length: int) -> None:
    line = (("k", text[:5]), ("s", text[5:11]), ("", text[11:]))
    made = line_html(line, [(start, start + length)])
    assert text_of(made) == text
    assert (
        "".join(text_of(piece) for piece in re.findall(r"<mark>(.*?)</mark>", made))
        == text[start : start + length]
    )


def test_python_gets_its_roles() -> None:
    made = [line_html(line) for line in colour("a.py", PYTHON)]
    assert '<span class="k">def</span>' in made[0]
    assert made[2].startswith('<span class="s">')  # a string that began a line above
    assert '<span class="x"># more</span>' in made[3]


def test_build_files_are_python_to_the_eye() -> None:
    assert colour("tools/BUCK", "x = 'a'\n") == colour("x.bzl", "x = 'a'\n") == colour("x.py", "x = 'a'\n")


def test_hidden_characters_are_named() -> None:
    made = shown("a\u202e\u200b\x1b[0m\ud800\udcff<b>")
    for name in ("U+202E RLO", "U+200B ZWSP", "U+001B ESC", "U+D800", "\\xFF", "&lt;b&gt;"):
        assert name in made
    assert plain("a\u202eb") == "a[U+202E RLO]b"
    made.encode()


def test_a_long_line_is_cut_and_says_so() -> None:
    made = line_html((("", "x" * (LONGEST_LINE + 77)),))
    assert "77 more characters" in made
    assert len(made) < LONGEST_LINE + 200


def test_a_blob_is_read_and_worked_on_once() -> None:
    highlighter = Highlighter(patience=30)
    asked: list[list[str]] = []

    def read(blobs: list[str]) -> list[tuple[str, bytes]]:
        asked.append(blobs)
        return [(blob, PYTHON.encode()) for blob in blobs]

    wanted = [("one", "a.py"), ("two", "b.py"), ("one", "a.py")]
    first = highlighter.many(wanted, read)
    assert highlighter.many(wanted, read) == first
    assert first["one", "a.py"] == colour("a.py", PYTHON)
    assert asked == [["one", "two"]]


def test_a_slow_lexer_does_not_hold_the_page() -> None:
    highlighter = Highlighter(patience=0.05)
    gate = threading.Event()
    highlighter._pool.submit(gate.wait, 30)  # the one thread is busy
    read = lambda blobs: [(blob, PYTHON.encode()) for blob in blobs]  # noqa: E731
    assert highlighter.many([("one", "a.py")], read)["one", "a.py"] == plain_lines(PYTHON)
    gate.set()
    highlighter._patience = 30.0
    assert highlighter.many([("one", "a.py")], read)["one", "a.py"] == colour("a.py", PYTHON)
