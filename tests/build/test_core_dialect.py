"""What BUCK and .bzl files may say, what they get for it, and what they are told otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.build.dialect.functions import Budget, universe
from fairlead.build.dialect.run import run
from fairlead.build.dialect.syntax import compile_source
from fairlead.errors import FairleadError, UsageError


def evaluate(source: str, *, is_bzl: bool = True, steps: int = 100_000, loaded: Any = None) -> dict[str, Any]:
    printed: list[str] = []
    names = universe(Budget(steps), printed.append)
    path = "a.bzl" if is_bzl else "BUCK"
    made = run(compile_source(source.encode(), path, is_bzl=is_bzl), names, loaded or {})
    return {**made, "printed": printed}


def value(expression: str) -> Any:
    return evaluate(f"x = {expression}")["x"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('str(["x", 1, None, True])', '["x", 1, None, True]'),
        ("str({'a': ('b',)})", '{"a": ("b",)}'),
        (r'repr("a\"b\\c\n")', r'"a\"b\\c\n"'),
        ('"%s and %r" % ("a", "a")', 'a and "a"'),
        ('"%d%%" % 5', "5%"),
        ('"{} {1} {n!r}".format("a", "b", n = "c")', 'a b "c"'),
        ("True == 1", False),
        ("1 != True", True),
        ("[1] == [1]", True),
        ("type({}.keys())", "list"),
        ('{"a": 1}.items()', [("a", 1)]),
        ("type(enumerate([]))", "list"),
        ("type(zip([1], [2]))", "list"),
        ('"héy".elems()', ["h", "é", "y"]),
        (
            "[type(v) for v in [None, True, 1, 1.5, '', [], {}, (), set(), len, range(1)]]",
            [
                "NoneType",
                "bool",
                "int",
                "float",
                "string",
                "list",
                "dict",
                "tuple",
                "set",
                "function",
                "range",
            ],
        ),
        ("isinstance('a', str | None)", True),
        ("isinstance(True, int)", False),
        ("isinstance([], list[str])", True),
        ('hash("hello")', 99162322),
        ("dir(struct(b = 1, a = 2))", ["a", "b"]),
        ('hasattr(struct(a = 1), "__class__")', False),
        ('getattr(struct(_a = 1), "_a")', 1),
        ('getattr("text", "__class__", "none")', "none"),
        ("list(set([3, 1, 3, 2]))", [3, 1, 2]),
        ("str(set([1]) | set([2]))", "set([1, 2])"),
        ("7 // 2 + 7 % 4 - -1", 7),
        ("1 if [] else 2", 2),
        ("(lambda n, *rest: (n, rest))(1, 2)", (1, (2,))),
        ("sorted([3, 1, 2], reverse = True)", [3, 2, 1]),
        ("max([1, 5], key = lambda n: -n)", 1),
        ('json.decode(json.encode({"b": [1, None], "a": "é"}))', {"a": "é", "b": [1, None]}),
        ("dedupe([1, 2, 1])", [1, 2]),
        ("partial(lambda a, b: a - b, 5)(3)", 2),
        ("[1, 2, 3][1:]", [2, 3]),
        ("type([1, 2][:1] + [3])", "list"),
    ],
)
def test_expressions_mean_what_starlark_says(expression: str, expected: object) -> None:
    assert value(expression) == expected
    assert type(value(expression)) is type(expected) or isinstance(expected, list | dict)


def test_a_struct_cannot_pose_as_something_else() -> None:
    assert value("type(struct(TYPE = 'Artifact', _type_name = len))") == "struct"


def test_popitem_takes_the_first_item() -> None:
    made = evaluate('d = {"a": 1, "b": 2}\nx = d.popitem()\ny = d.keys()')
    assert (made["x"], list(made["y"])) == (("a", 1), ["b"])


def test_fstrings_annotations_and_keyword_only_parameters() -> None:
    made = evaluate(
        'def f(a: str | None, *, b: list[str] = ["q"]) -> str:\n    return f"{a}{b}"\nx: str = f("p")'
    )
    assert made["x"] == 'p["q"]'
    assert set(made) == {"f", "x", "printed"}


def test_functions_may_recur() -> None:
    assert (
        evaluate("def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nx = f(20)")["x"] == 2432902008176640000
    )


@pytest.mark.parametrize(
    ("source", "says", "place"),
    [
        ("import os", "no import", "1:1"),
        ("x = 1\nclass A: pass", "no class", "2:1"),
        ("def f():\n    while True: pass", "no while", "2:5"),
        ("def f():\n    try: pass\n    except: pass", "no try", "2:5"),
        ("with x: pass", "no with", "1:1"),
        ("raise x", "no raise", "1:1"),
        ("assert x", "no assert", "1:1"),
        ("del x", "no del", "1:1"),
        ("def f():\n    global x", "no global", "2:5"),
        ("def f():\n    yield 1", "no yield", "2:5"),
        ("async def f(): pass", "no async", "1:1"),
        ("x = {1, 2}", "no set literal", "1:5"),
        ("x = (a for a in [])", "no generator", "1:5"),
        ("x = [(y := 1)]", "no the operator :=", "1:7"),
        ("x = 1 < 2 < 3", "cannot be chained", "1:5"),
        ("x = 1 is 2", "no 'is'", "1:5"),
        ("x = 2 ** 3", "no operator **", "1:5"),
        ("x = b'a'", "no bytes", "1:5"),
        ("x = True + 1", "no numbers", "1:5"),
        ("a = b = 1", "one target", "1:1"),
        ("a, *b = [1, 2]", "starred", "1:4"),
        ("x = 1\nx = 2", "assigned again (first on line 1)", "2:1"),
        ("x = []\nx += [1]", "assigned again", "2:1"),
        ("@f\ndef g(): pass", "decorators", "1:2"),
        ("def f(a, /): pass", "positional-only", "1:7"),
        ("x = ''.__class__", "no field '__class__'", "1:5"),
        ("x = __builtins__", "Python's own", "1:5"),
        ("x = __import__", "Python's own", "1:5"),
        ('x = {"a": 1, "a": 2}', "stands twice", "1:14"),
        ('x = f"{1 + 1}"', "plain names only", "1:5"),
        ("for a in []:\n    pass\nelse:\n    pass", "no else", "4:5"),
        ("s.a = 1", "field cannot be assigned", "1:1"),
        ("def f():\n    load('//:x.bzl', 'a')", "line of its own", "2:5"),
        ("load(x, 'a')", "written-out strings", "1:6"),
        ("load('//:a.bzl')", "names nothing", "1:1"),
        ("load('//:a.bzl', '_a')", "private", "1:18"),
        ("x = (", "never closed", "1:5"),
        ("é = 1; y = nope.__x__", "no field '__x__'", "1:12"),
    ],
)
def test_what_the_language_lacks_is_refused_with_its_place(source: str, says: str, place: str) -> None:
    with pytest.raises(UsageError) as error:
        evaluate(source)
    assert says in error.value.what
    assert error.value.where == f"a.bzl:{place}"


@pytest.mark.parametrize(
    ("source", "says", "place"),
    [
        ("def f(): pass", "defines no functions", "BUCK:1:1"),
        ("if True:\n    x = 1", "no if statement", "BUCK:1:1"),
        ("for x in []:\n    pass", "no for statement", "BUCK:1:1"),
        ("x: int = 1", "no type annotations", "BUCK:1:1"),
    ],
)
def test_buck_files_are_stricter(source: str, says: str, place: str) -> None:
    with pytest.raises(UsageError) as error:
        evaluate(source, is_bzl=False)
    assert says in error.value.what
    assert error.value.where == place


@pytest.mark.parametrize(
    ("source", "says", "place"),
    [
        ('x = [c for c in "abc"]', "string cannot be gone through", "1:17"),
        ('a, b = "ab"', "string cannot be gone through", "1:8"),
        ('x = list("abc")', "string cannot be gone through", "1:5"),
        ('x = len(*"abc")', "string cannot be gone through", ""),
        ('x = ",".join("abc")', "string cannot be gone through", "1:5"),
        ('x = "a".zfill(3)', "no field 'zfill'", "1:5"),
        ("x = [1].sort()", "no field 'sort'", "1:5"),
        ("x = [1].copy()", "no field 'copy'", "1:5"),
        ("x = (1).real", "no field 'real'", "1:5"),
        ('x = "{0.__class__}".format(1)', "no value for", "1:5"),
        ('x = "{:>9}".format(1)', "no format codes", "1:5"),
        ('x = "%s" % (1, 2)', "more values", "1:5"),
        ('x = "%d" % "a"', "takes a number", "1:5"),
        ('x = {"a": 1}["b"]', 'key "b"', "1:5"),
        ("x = [1][3]", "out of range", "1:5"),
        ("x = 1 // 0", "zero", "1:5"),
        ('x = "a" + 1', "concatenate", "1:5"),
        ("x = [1] + (2,)", "unsupported", "1:5"),
        ("x = lenn([])", "unknown name 'lenn'", "1:5"),
        ("x = open('f')", "unknown name 'open'", "1:5"),
        ("x = struct(name = 1).nam", "no field 'nam'", "1:5"),
        ('fail("no", 3)', "no 3", "1:1"),
        ("def f(a):\n    return a\nx = f(b = 1)", "f() got an unexpected keyword argument 'b'", "3:5"),
        ("def f():\n    x = y\n    y = 1\nf()", "before it has a value", "2:9"),
        ("x = [1]\nfor y in x:\n    x.append(y)", "changed while a loop", "3:5"),
        ("x = {1: 2}\nfor y in x:\n    x[3] = 4", "changed while a loop", "3:5"),
        ("x = set([1])\nfor y in x:\n    x.add(2)", "changed while a loop", "3:5"),
        ("x = [1]\nfor y in x:\n    x[0] = 2", "changed while a loop", "3:5"),
        ("x = {[]: 1}", "unhashable", "1:5"),
    ],
)
def test_errors_while_running_name_their_place(source: str, says: str, place: str) -> None:
    with pytest.raises(FairleadError) as error:
        evaluate(source)
    assert says in error.value.what
    if place:
        assert error.value.where.split(", ")[0] == f"a.bzl:{place}"


def test_an_error_names_who_called() -> None:
    with pytest.raises(FairleadError) as error:
        evaluate("def f():\n    fail('stop')\ndef g():\n    f()\ng()")
    assert error.value.where == "a.bzl:2:5, called from a.bzl:4:5, called from a.bzl:5:1"


def test_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(UsageError) as error:
        evaluate("x = sortd([])")
    assert error.value.remedy.startswith("did you mean sorted")


@pytest.mark.parametrize(
    "change",
    [
        "A.append(1)",
        "A += [1]",
        "A[0] = 1",
        "A.pop()",
        "D['k'] = 1",
        "D.update(a = 1)",
        "S.add(1)",
        "A[1].append(1)",
        "D['l'].append(1)",
        "T[0].append(1)",
        "st.f.append(1)",
        "W.append('x')",
        "default()",
    ],
)
def test_what_a_loaded_file_made_is_frozen(change: str) -> None:
    library = evaluate(
        "A = [1, []]\nD = {'l': []}\nS = set([0])\nT = ([],)\nst = struct(f = [])\nW = 'a b'.split()\n"
        "def default(items = []):\n    items.append(1)"
    )
    del library["printed"]
    with pytest.raises(FairleadError) as error:
        evaluate(f"def f():\n    {change.replace('A +=', 'B = A; B +=')}\nf()", loaded=library)
    assert "frozen" in error.value.what


def test_aliases_stay_one_container_when_frozen() -> None:
    made = evaluate("words = 'a b'.split()\nboth = [words, words]\n")
    assert made["both"][0] is made["both"][1] is made["words"]


def test_a_file_may_change_its_own_containers_and_build_files_theirs() -> None:
    assert evaluate("A = [1]\nA.append(2)")["A"] == [1, 2]
    assert evaluate('x = ["a"]\ny = [v for k, v in {"k": x}.items()]', is_bzl=False)["y"] == [["a"]]


@pytest.mark.parametrize(
    "source",
    [
        "def f(n):\n    return f(n - 1) + f(n - 1) if n else 0\nf(40)",
        "f = lambda n: [g(n - 1), g(n - 1)] if n else 0\ng = lambda n: f(n)\nf(60)",
        "for a in range(100000000000):\n    pass",
        "x = [b for a in range(1000) for b in range(1000)]",
    ],
)
def test_runaway_code_ends_with_an_error(source: str) -> None:
    with pytest.raises(FairleadError) as error:
        evaluate(source)
    assert "more than 100000 steps" in error.value.what
    assert error.value.where.startswith("a.bzl:")


def test_endless_recursion_ends_with_an_error() -> None:
    with pytest.raises(FairleadError) as error:
        evaluate("def f():\n    return f()\nf()", steps=10_000_000)
    assert error.value.what == "calls are nested too deep"


def test_a_long_range_is_not_charged_for_what_it_does_not_reach() -> None:
    source = "def f():\n    for a in range(1 << 60):\n        if a == 9:\n            return a\nx = f()"
    assert evaluate(source)["x"] == 9


@pytest.mark.parametrize(
    "source", ["def f[T](a): pass", "type A = int", "match 1:\n    case _: pass", "x = t'{y}'"]
)
def test_what_newer_pythons_add_is_refused_by_all(source: str) -> None:
    with pytest.raises(UsageError) as error:
        evaluate(source)
    assert error.value.where.startswith("a.bzl:1:")


def test_print_goes_where_it_is_told() -> None:
    assert evaluate('print("a", ["b"])')["printed"] == ['a ["b"]']


@pytest.mark.parametrize("source", [b"x = '\xff'", b"x = 1\n\0", b"\x00", b"(" * 5000])
def test_bytes_that_are_no_source_are_refused(source: bytes) -> None:
    with pytest.raises(UsageError) as error:
        compile_source(source, "BUCK", is_bzl=False)
    assert error.value.where.startswith("BUCK")
