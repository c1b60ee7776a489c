"""Labels and patterns: what they mean, and that each has one spelling in the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.label import Cells, Label, parse_label, parse_pattern
from fairlead.errors import UsageError

CELLS = Cells({"": "", "root": "", "tools": "third/tools", "t": "third/tools"})

words = st.text("abcXYZ019_-.+", min_size=1, max_size=6).filter(lambda word: word.strip(".") != "")
packages = st.lists(words, max_size=3).map("/".join)
labels = st.builds(Label, st.sampled_from(["", "tools"]), packages, words)


@given(labels, labels)
def test_a_label_reads_back_from_anywhere(label: Label, here: Label) -> None:
    absolute = str(label) if label.cell else f"root{label}"
    assert parse_label(absolute, here.cell, here.package, CELLS) == label
    assert parse_label(f"@{absolute}", here.cell, here.package, CELLS) == label
    there = Label(here.cell, here.package, label.name)
    assert parse_label(f":{label.name}", here.cell, here.package, CELLS) == there


@given(labels, st.sampled_from(["target", "package", "recursive"]))
def test_a_pattern_matches_its_own_label_and_reads_back(label: Label, kind: str) -> None:
    text = {
        "target": str(label),
        "package": f"{label.cell}//{label.package}:",
        "recursive": f"{label.cell}//{label.package}/...".replace("///", "//"),
    }[kind]
    pattern = parse_pattern(text, "", "", CELLS)
    assert pattern.kind == kind
    assert pattern.matches(label)
    assert str(pattern) == text
    assert not pattern.matches(Label("tools" if not label.cell else "", label.package, label.name))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("//a/b", "//a/b:b"),
        ("b:c", "//p/b:c"),
        ("t//x:y", "tools//x:y"),
        ("root//x:y", "//x:y"),
        ("//:n[one][two]", "//:n[one][two]"),
        ("//a:dir/file.txt", "//a:dir/file.txt"),
    ],
)
def test_spellings(text: str, label: str) -> None:
    assert str(parse_label(text, "", "p", CELLS)) == label


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "//", "//a:", ":", "//a:b:c", "///a:b", "//a/:b", "//a/../b:c", "//a:../b", "//a:b[c"),
        *("a b//c:d", "nope//a:b", "//a:b c", "//a\\b:c", "//a:/b", ":a//b"),
    ],
)
def test_what_is_no_label(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_label(text, "", "p", CELLS)
    assert error.value.remedy


@pytest.mark.parametrize("text", ["//a/...:x", "/...", "", "//.../a:b", "//a:...", "//a/.../b/..."])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(UsageError):
        parse_pattern(text, "", "", CELLS)


def test_recursion_respects_names() -> None:
    pattern = parse_pattern("//ab/...", "", "", CELLS)
    assert pattern.matches(Label("", "ab", "x")) and pattern.matches(Label("", "ab/c", "x"))
    assert not pattern.matches(Label("", "abc", "x"))
