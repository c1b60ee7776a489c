"""Which edit of a module changes which digest: small modules made by chance, one thing of them changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.record.source import Blocks, blocks

NAMES = ("alpha", "beta", "gamma")


@dataclass(frozen=True)
class Function:
    name: str
    body: int = 0
    default: int = 0
    decorated: int | None = None
    doc: str = ""
    asynchronous: bool = False

    def text(self, indent: str) -> list[str]:
        lines = [] if self.decorated is None else [f"{indent}@mark({self.decorated})"]
        start = "async def" if self.asynchronous else "def"
        lines.append(f"{indent}{start} {self.name}(self=None, x={self.default}):")
        lines += [f'{indent}    "{self.doc}"'] if self.doc else []
        lines.append(f"{indent}    inner = lambda y: y + {self.body}")
        lines.append(f"{indent}    return [inner(z) for z in range({self.body})]")
        return lines


@dataclass(frozen=True)
class Class:
    name: str
    constant: int
    methods: tuple[Function, ...]

    def text(self) -> list[str]:
        lines = [f"class {self.name}:", f"    constant = {self.constant}"]
        for method in self.methods:
            lines += method.text("    ")
        return lines


@dataclass(frozen=True)
class Module:
    constant: int
    functions: tuple[Function, ...]
    classes: tuple[Class, ...]

    def source(self) -> bytes:
        lines = ["def mark(n):", "    return lambda f: f", f"CONSTANT = {self.constant}"]
        for function in self.functions:
            lines += function.text("")
        for klass in self.classes:
            lines += klass.text()
        return "\n".join([*lines, ""]).encode()


numbers = st.integers(0, 99)
functions = st.builds(
    Function,
    st.sampled_from(NAMES),
    numbers,
    numbers,
    st.none() | numbers,
    st.sampled_from(["", "what it does"]),
    st.booleans(),
)
classes = st.builds(
    Class, st.sampled_from(NAMES), numbers, st.lists(functions, min_size=1, max_size=3).map(tuple)
)
modules = st.builds(
    Module,
    numbers,
    st.lists(functions, min_size=1, max_size=4).map(tuple),
    st.lists(classes, min_size=1, max_size=2).map(tuple),
)


def of(source: bytes | Module) -> Blocks:
    found = blocks(source.source() if isinstance(source, Module) else source)
    assert found is not None
    return found


def with_method(module: Module, method: Function) -> Module:
    first = module.classes[0]
    klass = replace(first, methods=(method, *first.methods[1:]))
    return replace(module, classes=(klass, *module.classes[1:]))


@given(modules, st.booleans())
def test_an_edited_body_changes_that_body_alone(module: Module, in_class: bool) -> None:
    if in_class:
        method = module.classes[0].methods[0]
        edited = with_method(module, replace(method, body=method.body + 1))
        name = f"{module.classes[0].name}.{method.name}#0"
    else:
        function = module.functions[0]
        edited = replace(module, functions=(replace(function, body=function.body + 1), *module.functions[1:]))
        name = f"{function.name}#0"
    before, after = of(module), of(edited)
    assert (before.skeleton, before.lines) == (after.skeleton, after.lines)
    changed = [a.name for a, b in zip(before.bodies, after.bodies, strict=True) if a != b]
    assert changed == [name]


@given(modules, st.sampled_from(["default", "decorated", "doc", "asynchronous", "class", "module", "name"]))
def test_whatever_importing_sees_changes_the_skeleton_and_no_body(module: Module, kind: str) -> None:
    method = module.classes[0].methods[0]
    edits = {
        "default": lambda: with_method(module, replace(method, default=method.default + 1)),
        "decorated": lambda: with_method(module, replace(method, decorated=(method.decorated or 0) + 1)),
        "doc": lambda: with_method(module, replace(method, doc=method.doc + " and more")),
        "asynchronous": lambda: with_method(module, replace(method, asynchronous=not method.asynchronous)),
        "name": lambda: with_method(module, replace(method, name="delta")),
        "class": lambda: replace(
            module,
            classes=(replace(module.classes[0], constant=100), *module.classes[1:]),
        ),
        "module": lambda: replace(module, constant=100),
    }
    before, after = of(module), of(edits[kind]())
    assert before.skeleton != after.skeleton
    assert [body.digest for body in before.bodies] == [body.digest for body in after.bodies]


@given(modules)
def test_a_line_above_moves_every_line_and_changes_no_code(module: Module) -> None:
    before, after = of(module), of(b"# a remark\n" + module.source())
    assert before.skeleton == after.skeleton
    assert before.lines != after.lines
    for old, new in zip(before.bodies, after.bodies, strict=True):
        assert (old.name, old.digest, old.line + 1) == (new.name, new.digest, new.line)
        assert old.lines != new.lines


@given(modules)
def test_names_and_first_lines_are_those_of_the_code_objects(module: Module) -> None:
    def all_code(code: object) -> list[tuple[str, int]]:
        found = []
        for inner in getattr(code, "co_consts", ()):
            if hasattr(inner, "co_qualname"):
                found.append((inner.co_qualname, inner.co_firstlineno))
                found += all_code(inner)
        return found

    known = all_code(compile(module.source(), "module", "exec"))
    for body in of(module).bodies:
        assert (body.qualname, body.line) in known


def test_functions_of_one_name_are_told_apart() -> None:
    source = b"if 1:\n    def f(): return 1\nelse:\n    def f(): return 2\n"
    assert [body.name for body in of(source).bodies] == ["f#0", "f#1"]
    other = of(source.replace(b"return 2", b"return 3"))
    assert [a == b for a, b in zip(of(source).bodies, other.bodies, strict=True)] == [True, False]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"return 1", b"yield 1"),
        (b"return 1", b"return lambda x=(yield): x"),
        (b"return 1", b"return super()"),
        (b"return 1", b"return '\\d'"),  # compiling it warns
        (b"return 1", b"return 1 is 1"),
    ],
)
def test_what_shows_without_a_call_is_in_the_skeleton(before: bytes, after: bytes) -> None:
    source = b"class C:\n    def f(self):\n        return 1\n"
    assert of(source).skeleton != of(source.replace(before, after)).skeleton


def test_what_is_nested_belongs_to_the_function_around_it() -> None:
    source = b"def f():\n    class C:\n        def g(self): return 1\n    return C\n"
    old, new = of(source), of(source.replace(b"return 1", b"return 2"))
    assert [body.name for body in old.bodies] == ["f#0"]
    assert old.skeleton == new.skeleton and old.bodies != new.bodies


def test_equal_values_of_other_types_differ() -> None:
    digests = {of(b"def f():\n    return " + value).bodies[0].digest for value in (b"1", b"1.0", b"True")}
    assert len(digests) == 3


@pytest.mark.parametrize("source", [b"def f(:\n", b"return 1\n", b"x = 0\0\n", b"\xff\n", b"(" * 5000])
def test_what_cannot_be_compiled_has_no_blocks(source: bytes) -> None:
    assert blocks(source) is None
