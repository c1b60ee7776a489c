"""Drawing edits of a project: so many of each kind, by a seed.

Two of five edits are of one function's body in the source; one of ten is of a test's body, one of ten
historic; the other kinds take turns. A kind's edits are shuffled by a seed of its own, so that a new kind
changes nothing about those that were drawn before it came.

What has to be among them, and under which kind it is: a module that shadows another ("shadowing module"); a
conftest.py, a pytest.ini, an __init__.py more ("add ..."); a data file less ("delete data"); a file more in
a folder that somebody globs ("add to glob", "add to folder"); mode and link ("mode", "symlink", "link",
"link target"); a method that overrides another ("override"); a default, a decorator, a constant, a docstring
that `getsource` shows ("default", "decorator", "constant", "docstring"); a line above a function whose line
a test prints ("line above"); another release of a distribution ("release"), a new plugin ("plugin"); a
variable of the environment ("variable", "declared variable"); a file that only a child reads, or C code, or
sqlite3 ("file of ..."). `EVERY` has them all, with those of the source, the tests and the older release.
"""

from __future__ import annotations

import ast
import difflib
import random
import zlib
from collections.abc import Iterator, Mapping

from selection import mutation, planted
from selection.edit import BODY, Content, Edit, File, Link
from selection.mutation import Mutation, Source

Files = Mapping[str, Content]

EVERY = frozenset(
    {
        *BODY, "add __init__.py", "add conftest.py", "add data", "add pytest.ini", "add test file",
        "add to folder", "add to glob", "comment", "constant", "data", "declared variable", "decorator",
        "default", "delete data", "delete test file", "docstring", "file of C code", "file of a child",
        "file of sqlite3", "historic", "historic hunk", "line above", "link", "link target", "mode",
        "override", "plugin", "release", "shadowing module", "symlink", "test body", "variable",
    }
)  # fmt: skip
"""All kinds. A project may allow fewer: one without classes has no method to override."""

_FROM_ONE_FILE = 15
"""So many edits of a kind are tried at most: each is parsed, and files may be long."""


class Kinds:
    """The edits that a tree allows, by kind. `files` is its content, `folder` its test folder, `older` what
    another release has otherwise, `given` edits that need more than the tree (other locks)."""

    def __init__(
        self, files: Files, folder: str, older: Files, given: Mapping[str, list[Edit]], seed: int
    ) -> None:
        self.files = files
        self.folder = folder
        self.older = older
        self.seed = seed
        self.pools: dict[str, list[Edit]] = {kind: list(edits) for kind, edits in given.items()}
        for edit in (
            *self._python(),
            *self._added(),
            *self._data(),
            *self._historic(),
            *self._declared(),
            *planted.edits(folder),
        ):
            self.pools.setdefault(edit.kind, []).append(edit)
        for kind in sorted(self.pools):
            self._random(kind).shuffle(self.pools[kind])

    def draw(self) -> Iterator[Edit]:
        """All edits, each once: a body two times out of five, then a test's body or a historic change, then
        the next of the other kinds."""
        seen: set[str] = set()
        last = ("test body", "historic", "test body", "historic hunk")
        rest = sorted(self.pools.keys() - {*BODY, *last}, key=lambda kind: self._random(kind).random())
        turns = [
            self._cycle(BODY),
            self._cycle(rest),
            self._cycle(BODY),
            self._cycle(rest),
            self._cycle(last),
        ]
        while turns:
            for turn in list(turns):
                edit = next((edit for edit in turn if edit.digest not in seen), None)
                if edit is None:
                    turns.remove(turn)
                else:
                    seen.add(edit.digest)
                    yield edit

    def _random(self, *about: str) -> random.Random:
        return random.Random(repr((self.seed, *about)))

    def _cycle(self, kinds: tuple[str, ...] | list[str]) -> Iterator[Edit]:
        """One of each kind in turn, until all are used up."""
        left = [kind for kind in kinds if self.pools.get(kind)]
        while left:
            for kind in list(left):
                pool = self.pools[kind]
                if pool:
                    yield pool.pop()
                else:
                    left.remove(kind)

    def _is_test(self, path: str) -> bool:
        return path.startswith(f"{self.folder}/")

    def _own(self) -> Iterator[tuple[str, File]]:
        """The Python files of the project that are not planted, nor documentation or examples."""
        packages = {path.rpartition("/")[0] for path in self.files if path.endswith("/__init__.py")}
        for path, content in self.files.items():
            if not path.endswith(".py") or "/planted/" in path or not isinstance(content, File):
                continue
            if self._is_test(path) or (path.rpartition("/")[0] in packages and not path.startswith("docs")):
                yield path, content

    def _python(self) -> Iterator[Edit]:
        for path, content in self._own():
            try:
                source = Source(content.data)
            except (SyntaxError, ValueError):
                continue
            chosen: dict[str, list[Mutation]] = {}
            for found in (*mutation.bodies(source), *mutation.declarations(source)):
                chosen.setdefault(found.kind, []).append(found)
            for kind, many in chosen.items():
                if self._is_test(path):
                    if kind in BODY:
                        kind = "test body"
                    elif kind not in ("comment", "line above"):
                        continue
                for one in self._random(path, kind).sample(many, min(len(many), _FROM_ONE_FILE)):
                    text = source.made(one)
                    if text is not None and text != content.data:
                        made = File(text, content.executable)
                        yield Edit(kind, f"{path}:{one.line} {one.where}", {path: made})

    def _added(self) -> Iterator[Edit]:
        tests = [path for path, _ in self._own() if path.rpartition("/")[2].startswith("test_")]
        folders = sorted({path.rpartition("/")[0] for path in tests})
        stop = File(b"raise RuntimeError('shadowed by an edit')\n")
        for name in (
            "json",
            "typing_extensions",
            "socket",
            "datetime",
            "random",
            "string",
            "copy",
            "warnings",
        ):
            for folder in sorted({*folders[:2], self.folder, "src", ""}):
                path = f"{folder}/{name}.py".lstrip("/")
                if path not in self.files and (
                    not folder or any(p.startswith(f"{folder}/") for p in self.files)
                ):
                    yield Edit("shadowing module", path, {path: stop})
        for path in self._packages():
            yield Edit("shadowing module", path, {path: stop})
        fixture = b"import pytest\n\n\n@pytest.fixture(autouse=True)\ndef edited(request):\n"
        for folder in sorted({*folders, "", f"{self.folder}/planted"}):
            path = f"{folder}/conftest.py".lstrip("/")
            if path not in self.files:
                for title, body in (
                    ("fails some", b"    assert len(request.node.name) % 3\n"),
                    ("changes nothing", b"    return None\n"),
                ):
                    yield Edit("add conftest.py", f"{path} {title}", {path: File(fixture + body)})
        for title, text in (
            ("other names", b"[pytest]\npython_functions = check_* test_*a*\n"),
            ("warnings are errors", b"[pytest]\nfilterwarnings = error\n"),
            ("nothing", b"[pytest]\n"),
        ):
            for path in ("pytest.ini", f"{self.folder}/pytest.ini"):
                if path not in self.files:
                    yield Edit("add pytest.ini", f"{path} {title}", {path: File(text)})
        for folder in sorted({p.rpartition("/")[0] for p in self.files if self._is_test(p)}):
            path = f"{folder}/__init__.py"
            if path not in self.files:
                yield Edit("add __init__.py", path, {path: File(b"")})
                yield Edit("add __init__.py", f"{path} raises", {path: stop})
        for folder in folders:
            path = f"{folder}/test_added_by_an_edit.py"
            yield Edit("add test file", path, {path: File(b"def test_added():\n    assert False\n")})
        for path in tests:
            yield Edit("delete test file", path, {path: None})

    def _packages(self) -> Iterator[str]:
        """A package that would stand before a module of the same name."""
        for path, _ in self._own():
            folder, _, name = path.rpartition("/")
            package = f"{folder}/{name.removesuffix('.py')}/__init__.py"
            if not name.startswith(("_", "test_", "conftest")) and package not in self.files:
                yield package

    def _data(self) -> Iterator[Edit]:
        data = [
            (path, content)
            for path, content in self.files.items()
            if isinstance(content, File) and not path.endswith(".py") and "planted" not in path
        ]
        near = [(p, c) for p, c in data if self._is_test(p) or p.startswith("src/")]
        for path, content in near or data:
            yield Edit("delete data", path, {path: None})
            yield Edit("data", path, {path: File(content.data + b"\nedited\n", content.executable)})
            yield Edit("mode", path, {path: File(content.data, not content.executable)})
            folder, _, name = path.rpartition("/")
            moved = f"{folder}/moved-{name}".lstrip("/")
            yield Edit("symlink", f"{path} to its moved self", {path: Link(f"moved-{name}"), moved: content})
            yield Edit("add to folder", moved, {moved: File(b"added by an edit\n")})

    def _declared(self) -> Iterator[Edit]:
        """The planted variable in the settings, from where it reaches the tests."""
        settings = self.files.get("fairlead.toml")
        if isinstance(settings, File) and b"[build]\n" in settings.data and b"\nenv = " not in settings.data:
            line = b'[build]\nenv = ["PLANTED_VARIABLE=two"]\n'
            made = File(settings.data.replace(b"[build]\n", line))
            yield Edit("declared variable", "the planted one", {"fairlead.toml": made})

    def _historic(self) -> Iterator[Edit]:
        for path, content in self.older.items():
            if (
                path.endswith(".py")
                or self._is_test(path)
                or path in ("pyproject.toml", "setup.cfg", "tox.ini")
            ):
                yield Edit("historic", f"{path} as it was", {path: content})
            now = self.files.get(path)
            if path.endswith(".py") and isinstance(content, File) and isinstance(now, File):
                for line, text in _hunks(now.data, content.data):
                    yield Edit(
                        "historic hunk", f"{path}:{line} as it was", {path: File(text, now.executable)}
                    )
        python = {path for path in self.older if path.endswith(".py")}
        tests = {path for path in self.older if self._is_test(path)}
        everything = {
            "all Python files": python,
            "the source": python - tests,
            "all tests": tests,
            "all files": set(self.older),
        }
        for title, paths in everything.items():
            some = {path: content for path, content in self.older.items() if path in paths}
            if some:
                yield Edit("historic", f"{title} as they were", some)


def _hunks(now: bytes, then: bytes) -> Iterator[tuple[int, bytes]]:
    """Each change between two texts made alone in the newer one, with its first line, where that leaves
    Python."""
    new, old = now.splitlines(keepends=True), then.splitlines(keepends=True)
    changes = difflib.SequenceMatcher(None, new, old, autojunk=False).get_opcodes()
    for what, begin, end, first, last in changes:
        if what != "equal":
            text = b"".join((*new[:begin], *old[first:last], *new[end:]))
            try:
                ast.parse(text)
            except (SyntaxError, ValueError):
                continue
            yield begin + 1, text


def seed_of(name: str, seed: int) -> int:
    """A seed for each project, the same on every machine."""
    return zlib.crc32(f"{name} {seed}".encode())
