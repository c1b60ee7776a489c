"""Which words of a line changed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.ship.hunks import parse
from fairlead.ship.intraline import LONGEST, Spans, of_hunk, spans


def marked(text: str, ranges: Spans) -> str:
    for start, end in reversed(ranges):
        text = f"{text[:start]}[{text[start:end]}]{text[end:]}"
    return text


@pytest.mark.parametrize(
    ("old", "new", "old_marked", "new_marked"),
    [
        ("return name[:12]", "return name[:8]", "return name[:[12]]", "return name[:[8]]"),
        ("call(a, b)", "call(a, b, c)", "call(a, b)", "call(a, b[, c])"),
        ("old_name = read()", "new_name = read()", "[old_name] = read()", "[new_name] = read()"),
        ("    x = 1", "        x = 1", "[    ]x = 1", "[        ]x = 1"),
        ("x = 1  ", "x = 1", "x = 1[  ]", "x = 1"),
        ("if a and b:", "if a or c:", "if a [and b]:", "if a [or c]:"),
        ("nothing alike", "quite other words", "nothing alike", "quite other words"),
        ("same", "same", "same", "same"),
        ("", "something", "", "something"),
        ("naïve = 'ü'", "naïve = 'ö'", "naïve = '[ü]'", "naïve = '[ö]'"),
    ],
)
def test_the_words_that_changed(old: str, new: str, old_marked: str, new_marked: str) -> None:
    left, right = spans(old, new)
    assert (marked(old, left), marked(new, right)) == (old_marked, new_marked)


lines = st.text(st.sampled_from("ab1 _(.ü"), max_size=20)


@given(lines, lines)
def test_what_is_outside_the_ranges_is_the_same_but_for_spaces(old: str, new: str) -> None:
    left, right = spans(old, new)
    if not left and not right:
        return

    def rest(text: str, ranges: Spans) -> str:
        for start, end in reversed(ranges):
            assert 0 <= start < end <= len(text)
            text = text[:start] + text[end:]
        return "".join(text.split())

    assert rest(old, left) == rest(new, right)
    for ranges in (left, right):
        assert all(one[1] < two[0] for one, two in pairwise(ranges))


def test_very_long_lines_are_left_alone() -> None:
    assert spans("a " * LONGEST, "b " * LONGEST) == ((), ())


@pytest.mark.parametrize(
    ("old", "new"),
    [("a " * 490, "b a " * 240), (".," * 490, ",." * 490), ("a b c d " * 120, "d c b a " * 120)],
)
def test_no_line_takes_long(old: str, new: str) -> None:
    """Patches come from outside: the first of these took 2 seconds before there was a limit."""
    import time

    start = time.process_time()
    spans(old, new)
    assert time.process_time() - start < 0.05


def test_a_long_middle_is_marked_as_a_whole() -> None:
    head, tail = "keep_" * 30 + " ", " " + "tail_" * 30
    left, right = spans(head + "x " * 60 + "1" + tail, head + "y " * 60 + "1" + tail)
    assert left == ((len(head), len(head) + 121 - 2),) == right


def test_lines_of_a_run_are_paired_in_order() -> None:
    patch = (
        b"diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n"
        b"-first = 1\n-second = 2\n+first = 10\n+second = 20\n kept\n-third = 3\n+third = 30\n-alone\n+\n"
    )
    (file,) = parse(patch)
    (hunk,) = file.hunks
    found = {index: marked(hunk.lines[index].text, ranges) for index, ranges in of_hunk(hunk).items()}
    assert found == {
        0: "first = [1]",
        1: "second = [2]",
        2: "first = [10]",
        3: "second = [20]",
        5: "third = [3]",
        6: "third = [30]",
    }
