"""What changes a target's key, what does not, and that keys stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.build.evaluate import evaluate
from fairlead.build.key import KIND, VERSION, Platform, target_records
from fairlead.build.plan import Toolchain
from fairlead.build.tree import DiskTree
from fairlead.store.record import Record, explain
from tests.build.project import LINUX, keys, plan, write

FILES: dict[str, str | bytes] = {
    ".buckconfig": "[a]\nb = 1\n",
    "BUCK": (
        "load('//:defs.bzl', 'own')\n"
        "python_toolchain(name = 'python', lock = 'lock.txt', visibility = ['PUBLIC'])\n"
        "python_library(name = 'lib', srcs = ['lib.py'], visibility = ['PUBLIC'])\n"
        "own(name = 'own', word = 'w')\n"
    ),
    "defs.bzl": (
        "load('//:more.bzl', 'suffix')\n"
        "def _impl(ctx):\n"
        "    return [DefaultInfo(default_output = ctx.actions.write('o', ctx.attrs.word + suffix))]\n"
        "own = rule(impl = _impl, attrs = {'word': attrs.string()})\n"
    ),
    "more.bzl": "suffix = read_config('a', 'b')\n",
    "lib.py": "x = 1\n",
    "lock.txt": "pytest==9.2.0 --hash=sha256:00\n",
    "t/BUCK": (
        "python_test(name = 't', srcs = ['test_t.py'], resources = ['data.txt'], deps = ['//:lib'])\n"
        "sh_test(name = 's', test = 's.sh', args = ['$(location //:own)'])\n"
    ),
    "t/test_t.py": "def test(): pass\n",
    "t/data.txt": "",
    "t/s.sh*": "#!/bin/sh\n",
    "other.txt": "",
}

ALL = {"//:lib", "//:own", "//:python", "//t:s", "//t:t"}


def change_text(path: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        before = (root / path).read_text()
        after = change(before)
        assert after != before
        (root / path).write_text(after)

    return act


def edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    return change_text(path, lambda text: text.replace(old, new))


def append(path: str, more: str) -> Callable[[Path], None]:
    return change_text(path, lambda text: text + more)


CHANGES: list[tuple[str, Callable[[Path], object], set[str]]] = [
    ("a source", append("lib.py", "#"), {"//:lib", "//t:t"}),
    ("a test's source", append("t/test_t.py", "#"), {"//t:t"}),
    ("a resource", append("t/data.txt", "x"), {"//t:t"}),
    ("a mode", lambda root: (root / "t/data.txt").chmod(0o755), {"//t:t"}),
    ("the lock", append("lock.txt", "#"), {"//:python", "//t:t"}),
    ("a rule's file", append("defs.bzl", "#"), {"//:own", "//t:s"}),
    ("what a rule's file loads", append("more.bzl", "#"), {"//:own", "//t:s"}),
    ("a setting that a rule reads", edit(".buckconfig", "b = 1", "b = 2"), {"//:own", "//t:s"}),
    ("an attribute", edit("BUCK", "word = 'w'", "word = 'v'"), {"//:own", "//t:s"}),
    ("a dependency", edit("t/BUCK", "deps = ['//:lib']", "deps = []"), {"//t:t"}),
    ("a time limit", edit("t/BUCK", "test = 's.sh'", "test = 's.sh', timeout = 5"), {"//t:s"}),
    (
        "the interpreter",
        edit("BUCK", "lock = ", "interpreter = 'python3.12', lock = "),
        {"//:python", "//t:t"},
    ),
    ("nothing: another file", append("other.txt", "x"), set()),
    ("nothing: a comment in BUCK", append("BUCK", "# why"), set()),
    ("nothing: an empty line before", edit("t/BUCK", "sh_test", "\n\nsh_test"), set()),
    ("nothing: another setting", append(".buckconfig", "c = 3"), set()),
    (
        "nothing: visibility",
        edit("BUCK", "visibility = ['PUBLIC'])\nown", "visibility = ['//t:'])\nown"),
        set(),
    ),
    (
        "nothing: a default written out",
        edit("BUCK", "srcs = ['lib.py']", "srcs = ['lib.py'], deps = []"),
        set(),
    ),
    ("nothing: a new target", append("BUCK", "filegroup(name = 'new')"), {"//:new"}),
    ("nothing: bits of a mode that git does not keep", lambda root: (root / "lib.py").chmod(0o600), set()),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = dict(FILES)
    files["BUCK"] = str(files["BUCK"]).replace("word = 'w')", "word = 'w', visibility = ['//t:'])")
    return write(tmp_path, files)


@pytest.mark.parametrize(("change", "changed"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_key_changes_with_what_it_depends_on_and_with_nothing_else(
    root: Path, change: Callable[[Path], object], changed: set[str]
) -> None:
    before = keys(root)
    assert set(before) == ALL
    change(root)
    after = keys(root)
    assert {label for label in after if after[label] != before.get(label)} == changed


@pytest.mark.parametrize(
    "platform",
    [
        Platform("macos", "x86_64", "cpython-311"),
        Platform("linux", "aarch64", "cpython-311"),
        Platform("linux", "x86_64", "cpython-312"),
    ],
)
def test_platforms_have_their_own_keys(root: Path, platform: Platform) -> None:
    tree = DiskTree(root)
    here, there = (target_records(plan(root), tree, p) for p in (LINUX, platform))
    assert all(here[label].key != there[label].key for label in ALL)


def test_keys_do_not_depend_on_the_place_or_the_patterns(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    root.rename(elsewhere / "moved")
    assert keys(elsewhere / "moved", "//t:t").items() <= keys(elsewhere / "moved").items()
    root.mkdir()
    files = dict(FILES)
    files["BUCK"] = str(files["BUCK"]).replace("word = 'w')", "word = 'w', visibility = ['//t:'])")
    assert keys(write(root, files)) == keys(elsewhere / "moved")


def test_why_names_what_changed(root: Path) -> None:
    tree = DiskTree(root)
    before = target_records(plan(root), tree, LINUX)["//t:t"]
    (root / "t/data.txt").write_text("more")
    (root / "lib.py").write_text("x = 2\n")
    tree = DiskTree(root)
    after = target_records(plan(root), tree, LINUX)["//t:t"]
    assert [difference.path for difference in explain(before, after)] == [
        ("dependencies", "//:lib"),
        ("inputs", "t/data.txt"),
    ]


def test_a_key_names_the_environment_of_its_toolchain(tmp_path: Path) -> None:
    """The plan of a hostile evaluation may say all but this like another one."""
    write(
        tmp_path,
        {
            "BUCK": "python_toolchain(name = 'python', lock = 'lock.txt')\n"
            "python_test(name = 't', srcs = ['test_t.py'])\n",
            **dict.fromkeys(["test_t.py", "lock.txt"], ""),
        },
    )
    honest, tree = plan(tmp_path), DiskTree(tmp_path)
    other = replace(honest, toolchains={"//:python": Toolchain("//:python", "python3.9", "lock.txt")})
    keys = [target_records(p, tree, LINUX)["//:t"].key for p in (honest, other)]
    assert keys[0] != keys[1]


def test_records_can_be_kept(root: Path) -> None:
    for record in target_records(plan(root), DiskTree(root), LINUX).values():
        assert Record.decode(record.encode()).key == record.key


def test_golden_keys(tmp_path: Path) -> None:
    """If this fails, every result that anyone has kept is void: raise VERSION, and say so in the changelog.

    The rule is the project's own: an edit of the prelude rightly changes keys, and does not show here.
    """
    write(
        tmp_path,
        {
            "BUCK": "load(':r.bzl', 'r')\nr(name = 'a', srcs = ['run', 'x.txt'], n = 3)\n"
            "r(name = 'b', deps = [':a'], opts = {'k': [True, None, 'é']})\n",
            "r.bzl": "def _impl(ctx):\n"
            "    out = ctx.actions.declare_output('out')\n"
            "    command = ['tool', ctx.attrs.srcs, out.as_output()]\n"
            "    ctx.actions.run(command, category = 'make', env = {'A': 'b'})\n"
            "    test = ExternalRunnerTestInfo(type = 'x', command = [out])\n"
            "    return [DefaultInfo(default_output = out), test]\n"
            "r = rule(impl = _impl, attrs = {'deps': attrs.list(attrs.dep(), default = []),\n"
            "    'n': attrs.int(default = 0), 'opts': attrs.any(default = {}),\n"
            "    'srcs': attrs.list(attrs.source(), default = [])})\n",
            "run*": "#!/bin/sh\n",
            "x.txt": "x\n",
        },
    )
    tree = DiskTree(tmp_path)
    records = target_records(evaluate(tree, ["//..."]), tree, LINUX)
    assert (KIND, VERSION) == ("target", 2)
    assert {label: record.key for label, record in records.items()} == GOLDEN


GOLDEN = {
    "//:a": "9b55cfbfa7dafd3c727160128901a47abc8c64b4806078cfaf43700440b70476",
    "//:b": "81b73427165717b4a17f391b1eb5bf2b16e556978a69ebd50da94740f020f8e4",
}
