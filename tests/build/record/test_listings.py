"""Listings that finders make count as the modules that were looked for, all others as all names."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.build import sandbox
from fairlead.build.record import entered
from fairlead.build.record.asked import Asked
from fairlead.build.record.dependencyset import DependencySet, differences, evaluate
from fairlead.build.record.listings import narrowed
from fairlead.build.sandbox import MIB, Bind, Command
from fairlead.build.tree import DiskTree
from fairlead.store import Record
from tests.build.record.interpreters import PYTHONS

PROGRAMS = {"this": os.path.realpath(sys.executable), **PYTHONS}
START = """
import os, sys
found = {}
with open("out/entered.finders.py") as stream:
    exec(compile(stream.read(), "<fairlead>", "exec"), found)
found["start"](os.getcwd() + "/out/entered", os.getcwd())
sys.path[:] = [os.getcwd() + "/src", os.getcwd() + "/more", *sys.path[1:]]
def tried(name):
    try:
        print(name, sorted(n for n in vars(__import__(name)) if n[:2] != "__"))
    except ImportError as error:
        print(type(error).__name__)
"""
STEPS = {
    "module": "tried('one')",
    "another": "tried('two')",
    "again": "__import__('importlib').invalidate_caches(); tried('one')",
    "inside": "tried('package.inner'); tried('package.three')",
    "odd": "tried('a/b'); tried('a\\tb')",
    "distributions": "import importlib.metadata as m; print(sorted(d.metadata['Name'] or '' for d in"
    " m.distributions(path=[os.getcwd() + '/src'])))",
    "names": "print(sorted(os.listdir('src')))",
    "scan": "print(sorted(entry.name for entry in os.scandir('more')))",
    "link": "print(sorted(os.listdir('link')))",
    "up": "print(sorted(os.listdir('link/../src')))",
    "walk": "print(sorted(name for _, inner, names in os.walk('src') for name in inner + names))",
    "modules": "import pkgutil; print(sorted(name for _, name, _ in pkgutil.iter_modules(['src'])))",
    "cached": "import importlib.machinery as m\nclass F(m.FileFinder):\n    def find_spec(self, *_):\n"
    "        self._fill_cache(); print(sorted(self._path_cache))\nF(os.getcwd() + '/src').find_spec('x')",
    "children": "import importlib.metadata as m; print(sorted(m.FastPath('src').children()))",
    "fork": "if os.fork() == 0:\n    tried('forked'); sys.stdout.flush(); os._exit(0)\nos.wait()",
    "program": "import subprocess; print(subprocess.run([sys.executable, '-ISc', 'import sys;"
    ' sys.path[:0] = ["src"]\\ntry: import three\\nexcept ImportError: print(0)\'],'
    " capture_output=True).stdout)",
    "closed": "os.closerange(3, 4096); tried('four')",
    "own": "import importlib.machinery as m\nfinder = m.FileFinder('src', (m.SourceFileLoader, ['.txt']))\n"
    "print(finder.find_spec('five') is None)",
}
"""What a program may do, and print what it sees."""
NAMES = (
    *("one.py", "two.py", "two/__init__.py", "two/x.py", "three.py", "four.so", "five.txt", "one.pyc"),
    *("one.abi3.so", "package/three.py", "package/__init__.pyi", "package/four.py", "forked.py", "other.txt"),
    *("x.dist-info/METADATA", "X.EGG-INFO/PKG-INFO", "x.egg-info/PKG-INFO", "os.py", "ONE.py", "one.txt"),
)


class Project:
    """A folder with a program, which is run under the recorder."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder, self.root = folder, folder / "p"
        for path in ("src/package", "more", "out"):
            (self.root / path).mkdir(parents=True)
        (self.root / "src/package/__init__.py").write_text("")
        (self.root / "src/package/inner.py").write_text("inner = 1\n")
        (self.root / "src/one.py").write_text("one = 1\n")
        (self.root / "more/README").write_text("")
        (self.root / "link").symlink_to("src")

    def run(self, python: str, *steps: str) -> tuple[str, bytes, Asked]:
        """What the program printed, what was noted, and what it asked for."""
        log = self.root / "out" / "entered"
        log.unlink(missing_ok=True)
        entered.place(log)
        (self.root / "program.py").write_text(START + "\n".join(STEPS[step] for step in steps) + "\n")
        level: sandbox.Requested = "none" if sandbox.refusal() else "namespace"
        seen = "/project" if level == "namespace" else str(self.root)
        prefix = Path(python).parents[1]
        command = Command(
            [python, "-I", "-S", "-B", "program.py"],
            {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
            seen,
            self.folder / "log",
            root_binds=[
                Bind(self.root, seen),
                Bind(self.root / "out", f"{seen}/out", True),
                Bind(prefix, str(prefix)),
            ],
            wall_seconds=120,
            memory_bytes=4096 * MIB,
            level=level,
            record=True,
        )
        done = sandbox.run(command)
        said = (self.folder / "log").read_text()
        assert done.code == 0, said
        assert done.asked is not None
        asked = done.asked.below(seen)
        return said, entered.noted(log), narrowed(entered.noted(log), asked, seen)

    def questions(self, asked: Asked) -> DependencySet:
        found = DependencySet.of(asked, DiskTree(self.root))
        assert DependencySet.from_record(Record.decode(found.record().encode())) == found
        return found

    def put(self, name: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Name: new\n" if path.name in ("METADATA", "PKG-INFO") else "new = 1\n")

    def take(self, name: str) -> None:
        (self.root / name).unlink()
        for folder in (self.root / name).parents:
            if folder in (self.root / "src", self.root / "more", self.root / "src/package"):
                break
            folder.rmdir()


@pytest.mark.parametrize("version", PROGRAMS)
def test_a_new_file_counts_if_a_module_of_that_name_was_looked_for(version: str) -> None:
    with tempfile.TemporaryDirectory(prefix="fairlead-listings-") as name:
        project = Project(Path(name).resolve())
        _, _, asked = project.run(PROGRAMS[version], "module", "another", "inside", "distributions")
        assert asked.listed == frozenset()
        assert asked.sought["src"] >= {"one", "two", "package"} and asked.described == {"src"}
        questions = project.questions(asked)
        before = evaluate(questions, DiskTree(project.root))
        counted = {}
        for path in [f"src/{name}" for name in NAMES]:
            if not (project.root / path).exists():
                project.put(path)
                now = evaluate(questions, DiskTree(project.root))
                counted[path.removeprefix("src/")] = differences(before, now)
                project.take(path)
        met = {"two.py", "two/__init__.py", "two/x.py", "one.pyc", "one.abi3.so", "package/three.py"}
        met |= {"x.dist-info/METADATA", "X.EGG-INFO/PKG-INFO", "x.egg-info/PKG-INFO"}
        assert met <= {path for path, lines in counted.items() if lines}
        assert not counted["other.txt"] and not counted["one.txt"] and not counted["four.so"]
        assert "two.py came in src, where a module of that name was looked for" in counted["two.py"]


@pytest.mark.parametrize(
    "step", ["names", "link", "up", "walk", "modules", "cached", "children", "program", "own"]
)
def test_names_that_anybody_else_has_read_count_all(step: str) -> None:
    with tempfile.TemporaryDirectory(prefix="fairlead-listings-") as name:
        project = Project(Path(name).resolve())
        for steps in ((step,), ("module", step), (step, "distributions")):
            _, noted, asked = project.run(PROGRAMS["this"], *steps)
            assert "src" in asked.listed, (steps, noted)


def test_nothing_is_concluded_from_an_account_that_is_none() -> None:
    asked = Asked("seccomp", listed=frozenset({"src", ""}), listings={"src": 1, "": 2})
    noted = b"sought\tone\t/p/src\0filled\t/p/src\0described\t/p\0"
    found = narrowed(noted, asked, "/p")
    assert found.listed == {""} and found.sought == {"src": {"one"}} and found.described == frozenset()
    for other in (
        *(b"", noted[:-1], noted + b"filled\t/p/src\0", noted + b"unclear\t/p/src\0", noted + b"else\0"),
        noted.replace(b"/p/", b"/p/../p/src/"),
    ):
        assert narrowed(other, asked, "/p").listed == {"src", ""}
    assert narrowed(noted, Asked("seccomp", listed=asked.listed), "/p").listed == {"src", ""}


@settings(max_examples=12, deadline=None)
@given(
    version=st.sampled_from(sorted(PROGRAMS)),
    steps=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4),
    names=st.lists(
        st.tuples(st.sampled_from(["src", "more"]), st.sampled_from(NAMES)), min_size=3, max_size=8
    ),
)
def test_whoever_prints_something_else_has_asked(
    version: str, steps: list[str], names: list[tuple[str, str]]
) -> None:
    """The oracle is the program itself, run again with one more file."""
    with tempfile.TemporaryDirectory(prefix="fairlead-listings-") as name:
        project = Project(Path(name).resolve())
        said, _, asked = project.run(PROGRAMS[version], *steps)
        questions = project.questions(asked)
        before = evaluate(questions, DiskTree(project.root)).key
        for path in {f"{folder}/{name}" for folder, name in names}:
            if (project.root / path).exists():
                continue
            project.put(path)
            same = evaluate(questions, DiskTree(project.root)).key == before
            if same:
                assert project.run(PROGRAMS[version], *steps)[0] == said, path
            project.take(path)
        assert evaluate(questions, DiskTree(project.root)).key == before
