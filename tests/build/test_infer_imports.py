"""What one file says that it uses, and which of the project's files an import may load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.infer import imports
from fairlead.build.infer.imports import Import
from fairlead.build.infer.modules import Modules


def facts(text: str) -> imports.Facts:
    return imports.read(text.encode())


def test_imports_in_every_scope_count() -> None:
    found = facts(
        "import a.b\n"
        "def f():\n    from c import d\n    class X:\n        try:\n            import e\n"
        "        except ImportError:\n            from .. import g\n"
        "if False:\n    from .h import *\n"
    )
    assert set(found.imports) == {
        Import("a.b"),
        Import("c", 0, ("d",)),
        Import("e"),
        Import("", 2, ("g",)),
        Import("h", 1, ("*",)),
    }
    assert not found.dynamic


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("importlib.import_module('a.b')", Import("a.b")),
        ("__import__('a')", Import("a")),
        ("pytest.importorskip('a.b')", Import("a.b")),
        ("import_module('.c', __package__)", Import("", 1, ("c",))),
    ],
)
def test_a_literal_name_is_an_import(line: str, expected: Import) -> None:
    found = facts(line)
    assert found.imports == (expected,) and not found.dynamic


@pytest.mark.parametrize(
    "line",
    [
        "importlib.import_module(name)",
        "import_module('.c', package)",
        "__import__(name)",
        "exec(code)",
        "exec(compile(open('x.py').read(), 'x', 'exec'))",
        "importlib.metadata.entry_points(group='x')",
        "pkgutil.iter_modules(x.__path__)",
        "list(here.glob('*.py'))",
        "os.listdir('.')",
        "os.walk('.')",
        "inspect.getsource(f)",
        "subprocess.run([sys.executable, '-m', 'a'])",
        "subprocess.Popen(command)",
        "os.system('a')",
        "os.execv('a', [])",
        "runpy.run_module('a')",
        "doctest.testmod(a)",
        "here = __file__",
        "where = a.__file__",
        "sys.path.insert(0, 'x')",
        "def test_it(pytester): pass",
        "pytest_plugins = ['a', name]",
        "pytest_plugins: list[str] = names()",
        "from importlib import import_module as load",
        "from subprocess import run",
        "from sys import executable",
        "import subprocess as elsewhere",
        "pytest.main(['x'])",
        "def broken(:",
        "x = '\0'",
    ],
)
def test_what_cannot_be_followed_is_dynamic_and_has_a_line(line: str) -> None:
    (first, *_) = facts(f"\n{line}\n").dynamic
    assert first.line == (2 if "\0" not in line else 1)


@pytest.mark.parametrize(
    "line", ["ast.walk(tree)", "platform.system()", "re.sub('a', 'b', c)", "runner.run(x)", "a.call(b)"]
)
def test_what_only_sounds_alike_is_not_dynamic(line: str) -> None:
    assert not facts(line).dynamic


def test_paths_and_modules_in_texts() -> None:
    found = facts(
        "a = base / 'data' / 'x.txt'\nopen('res/y.bin')\npatch('pkg.mod.name')\nos.path.join(h, 'd', 'z')\n"
    )
    assert {"data/x.txt", "res/y.bin", "d/z"} <= set(found.paths)
    assert "pkg.mod.name" in found.dotted


def test_plugins_and_ignored_files_of_a_conftest() -> None:
    found = facts("pytest_plugins = ('a.plugin',)\ncollect_ignore = ['test_old.py']\n")
    assert found.plugins == ("a.plugin",) and found.ignored == ("test_old.py",)


@given(st.binary(max_size=200))
def test_no_bytes_stop_the_reader(source: bytes) -> None:
    imports.read(source)


FILES = [
    "src/a/__init__.py",
    "src/a/b.py",
    "src/a/c/__init__.py",
    "src/a/c/d.py",
    "ns/x/y.py",
    "tests/helper.py",
]


def test_an_import_loads_the_packages_above_it() -> None:
    modules = Modules(FILES)
    assert modules.named("a.c.d", "src") == ["src/a/__init__.py", "src/a/c/__init__.py", "src/a/c/d.py"]
    assert modules.named("a.b.attribute", "src") == ["src/a/__init__.py", "src/a/b.py"]
    assert modules.named("x.y", "ns") == ["ns/x/y.py"]
    assert modules.named("elsewhere", "src") == []


def test_relative_imports_names_and_stars() -> None:
    modules = Modules(FILES)
    got = set(modules.imported(Import("", 2, ("b",)), "src/a/c/d.py", ()))
    assert got == {"src/a/__init__.py", "src/a/b.py"}
    got = set(modules.imported(Import("a", 0, ("*",)), "tests/helper.py", ["src"]))
    assert got == {"src/a/__init__.py", "src/a/b.py"}
    assert set(modules.imported(Import("a", 0, ("c",)), "x.py", ["src"])) >= {"src/a/c/__init__.py"}


def test_every_owner_of_a_name_is_taken() -> None:
    modules = Modules(["one/same.py", "two/same.py"])
    assert set(modules.imported(Import("same"), "t.py", ["one", "two"])) == {"one/same.py", "two/same.py"}


def test_plugins_are_added_too() -> None:
    assert facts("pytest_plugins: list[str] = ['a']\npytest_plugins += ['b.c']\n").plugins != ()
    assert set(facts("pytest_plugins = ['a']\npytest_plugins += ['b.c']\n").plugins) == {"a", "b.c"}


def test_circles_end() -> None:
    modules = Modules(["a.py", "b.py"])
    said = {"a.py": facts("import b"), "b.py": facts("import a")}
    assert modules.closure(["a.py"], said, [""]) == ("a.py", "b.py")
