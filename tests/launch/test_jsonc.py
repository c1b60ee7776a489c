"""JSON with comments is accepted and refused exactly where the real dotslash does."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.launch import jsonc
from tests.launch.tools import HEADER, finished

BLANKS = ["", " ", "\n", "\t", "\r\n", "//\n", "// x\r//\n", "/* x */", "/***/", "/*/", "/* ** /*/"]
NOT_BLANKS = ["/**/", "/****/", "/* **/", "/*", "/", "#\n", "\x0b", "\xa0", "\ufeff"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        ('{"a":1,"b":[true,false,null,],}', {"a": 1, "b": [True, False, None]}),
        ('{"a":1,"a":2}', {"a": 2}),
        (' // c\n["x" /* y */ , -0, 1.5e3]//', ["x", 0, 1500.0]),
        (r'"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"', '"\\/\b\f\n\r\té\U0001f600'),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775808", -(2**63)),
        ('"' + "x" * 100_000 + '"', "x" * 100_000),
    ],
)
def test_values(text: str, value: object) -> None:
    found = jsonc.parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("", "1:1", "value is missing"),
        ('{"a" 1}', "1:6", "colon"),
        ('{\n  "a": 1\n  "b": 2\n}', "3:3", "comma"),
        ("[1 2]", "1:4", "comma or ]"),
        ("[,]", "1:2", "value is missing"),
        ("{'a':1}", "1:2", "double quotes"),
        ("{} x", "1:4", "more after the end"),
        ('"abc', "1:5", "not closed"),
        ('"a\nb"', "1:3", "control character"),
        (r'"\x41"', "1:2", "unknown escape"),
        (r'"\u12g4"', "1:2", "four hexadecimal"),
        (r'"\ud800"', "1:8", "surrogate"),
        ("/**/ 1", "1:1", "not closed"),
        ("01", "1:1", "not a number"),
        ("1.", "1:1", "not a number"),
        ("1e400", "1:1", "too large"),
        ("NaN", "1:1", "value is missing"),
        ("[" * 128 + "]" * 128, "1:128", "nested"),
    ],
)
def test_errors_name_the_place(text: str, where: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        jsonc.parse(text, where="file")
    assert said in caught.value.what
    assert caught.value.where == f"file:{where}"


def test_lines_count_from_the_top_of_the_file() -> None:
    with pytest.raises(UsageError) as caught:
        jsonc.parse("{\n]", where="f", first_line=2)
    assert caught.value.where == "f:3:1"


pieces = st.one_of(
    st.sampled_from(
        [
            *BLANKS,
            *NOT_BLANKS,
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            '"a"',
            "1",
            "-0",
            "01",
            "1.5",
            "1e3",
            "2e999",
            "null",
        ]
    ),
    st.sampled_from(
        ["true", "nul", '"\\u00', '"', '"\\ud83d\\ude00"', '"\\udc00"', "99999999999999999999", "+1", "-"]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
written = st.builds(
    lambda value, ascii_only, before, after: before + json.dumps(value, ensure_ascii=ascii_only) + after,
    values,
    st.booleans(),
    st.sampled_from(BLANKS),
    st.sampled_from([*BLANKS, *NOT_BLANKS]),
)


def equal(ours: object, theirs: object) -> bool:
    """Equality of JSON values in which 1 and 1.0 differ and text is compared by code points."""
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-15) or ours == theirs
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(equal(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=st.one_of(written, st.lists(pieces, max_size=7).map("".join)))
@example(text="[" * 125 + "]" * 125)
@example(text="[" * 126 + "]" * 126)
@example(text="[" * 127 + "]" * 127)
@example(text="1e308")
@example(text="1.7976931348623159e308")
def test_same_as_dotslash(text: str, oracle: str, tmp_path: Path) -> None:
    whole = '{"name":"n","platforms":{},"z":' + text + "}"
    (tmp_path / "m").write_bytes((HEADER + whole).encode("utf-8", "replace"))
    judged = finished.of([oracle, "--", "parse", str(tmp_path / "m")])
    try:
        ours = jsonc.parse(whole.encode("utf-8", "replace").decode())
    except UsageError as error:
        assert judged.code == 1, (error.what, judged.out)
        return
    assert judged.code == 0, judged.err
    assert equal(ours, json.loads(judged.out)), judged.out
