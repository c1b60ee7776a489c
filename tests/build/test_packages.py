"""Kept packages give the plan that evaluation gives, whatever happens to the files in between."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fairlead.build.dialect.run import run
from fairlead.build.dialect.syntax import Code, compile_source
from fairlead.build.evaluate import evaluate
from fairlead.build.tree import DiskTree, GitTree, Tree
from fairlead.errors import FairleadError
from fairlead.git import Repo
from fairlead.store import Store
from fairlead.store.results import Results
from tests.build.project import commit, write

RULES = """\
load("//lib:text.bzl", "TEXT")

Info = provider(fields = ["word"])
_Other = provider(fields = ["word"])

def _made(ctx):
    out = ctx.actions.write("o", "\\n".join([ctx.attrs.text, TEXT, repr(ctx.attrs.free)]))
    sources = [one for one in ctx.attrs.either if type(one) != "string"]
    deps = [dep[Info].word for dep in ctx.attrs.deps]
    ctx.actions.write("d", cmd_args(deps, sources, ctx.attrs.said, delimiter = " "))
    found = [Info(word = ctx.label.name), _Other(word = "x"), RunInfo(args = [out])]
    return [DefaultInfo(default_output = out)] + found

made = rule(impl = _made, attrs = {
    "deps": attrs.list(attrs.dep(providers = [Info, _Other]), default = []),
    "either": attrs.list(attrs.one_of(attrs.source(allow_directory = True), attrs.string()), default = []),
    "free": attrs.any(default = {"a": [1, None, True, ("t", "u")]}),
    "kinds": attrs.dict(attrs.string(), attrs.tuple(attrs.label(), attrs.bool()), default = {}),
    "said": attrs.arg(default = ""),
    "text": attrs.string(default = read_config("mine", "loaded", "none")),
})

def named(name, **kwargs):
    made(name = name, text = repr(read_config("mine", "called")) + TEXT, **kwargs)
"""

FILES = {
    ".buckconfig": "[cells]\nother = o\n[mine]\nloaded = one\n",
    "lib/text.bzl": "TEXT = 'text'\n",
    "lib/rules.bzl": RULES,
    "lib/BUCK": "export_file(name = 'text', src = 'text.bzl', visibility = ['PUBLIC'])\n",
    "a/BUCK": "load('//lib:rules.bzl', 'named', 'made')\n"
    "named('m', either = ['one.txt', 'two.txt', 'folder', 'plain', '//lib:text'], visibility = ['PUBLIC'])\n"
    "made(name = 'k', said = 'x $(location :m) $(exe :m) \\\\$(date)', kinds = {'k': (':m', True)})\n"
    "filegroup(name = 'all', srcs = glob(['**/*.txt']), visibility = ['PUBLIC'])\n",
    "a/one.txt": "one",
    "a/folder/in.txt": "in",
    "a/link.txt": "-> folder/in.txt",
    "o/BUCK": "filegroup(name = 'g', srcs = ['root//a:all'])\nsh_test(name = 't', test = 't.sh')\n",
    "o/t.sh*": "#!/bin/sh\n",
    "b/BUCK": "load('//lib:rules.bzl', our = 'named')\nour('n', deps = ['//a:m'])\n",
}

EDITS: dict[str, list[str | None]] = {
    ".buckconfig": [
        FILES[".buckconfig"],
        "[cells]\nother = o\n[mine]\nloaded = two\n",
        "[cells]\nother = o\n[mine]\ncalled =\n",
        "[cells]\nother = o\n[mine]\ncalled = a\n[project]\nignore = a/folder\n",
        "[buildfile]\nname = NAME, BUCK\n",
    ],
    "lib/text.bzl": ["TEXT = 'text'\n", "TEXT = 'TEXT'\n", "TEXT = 'a' + 'b'\n", "TEXT = fail('no')\n", None],
    "lib/rules.bzl": [RULES, RULES.replace("'one'", "1"), RULES.replace("Info, _Other", "_Other"), "x = 1\n"],
    "a/BUCK": [FILES["a/BUCK"], FILES["a/BUCK"].replace("'plain'", "'three.txt'"), "", None],
    "b/BUCK": [FILES["b/BUCK"], FILES["b/BUCK"].replace("//a:m", "//a:k"), FILES["b/BUCK"] + "print('x')\n"],
    "a/NAME": [None, "filegroup(name = 'named')\n"],
    "a/two.txt": [None, "two", "-> one.txt", "-> nowhere"],
    "a/one.txt": ["one", "ONE", None, "-> two.txt"],
    "a/plain": [None, "file"],
    "a/folder/in.txt": ["in", None],
    "a/folder/more.txt": [None, "more"],
    "a/folder/BUCK": [None, ""],
    "o/t.sh*": [FILES["o/t.sh*"]],
    "o/t.sh": ["#!/bin/sh\n"],
    "o/new/BUCK": [None, "load('root//lib:rules.bzl', 'made')\nmade(name = 'w')\n"],
}


def edit(root: Path, name: str, text: str | None) -> None:
    path = root / name.removesuffix("*")
    if path.is_symlink() or path.exists():
        path.unlink()
    if text is not None:
        write(root, {name: text})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", FILES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The build files that were evaluated."""
    seen: list[str] = []
    real = run

    def noted(code: Code, names: Mapping[str, Any], loaded: Mapping[str, Any]) -> dict[str, Any]:
        if not code.is_bzl:
            seen.append(code.path)
        return real(code, names, loaded)

    monkeypatch.setattr("fairlead.build.loader.run", noted)
    return seen


def come_to(tree: Tree, store: Store | None = None) -> tuple[bytes | str, list[str]]:
    """The plan, or the error that a person sees; and what was printed."""
    printed: list[str] = []
    try:
        return evaluate(tree, ["//...", "other//..."], on_print=printed.append, store=store).encode(), printed
    except FairleadError as error:
        return str(error), printed


@pytest.mark.parametrize("seed", range(4))
def test_after_any_edits_it_is_what_evaluation_gives(
    root: Path, store: Store, seed: int, ran: list[str]
) -> None:
    chance = random.Random(seed)
    known = plans = 0
    for step in range(40):
        truth = come_to(DiskTree(root))
        everything = len(ran)
        ran.clear()
        assert come_to(DiskTree(root, store.results), store) == truth, step
        known += everything - len(ran)
        plans += isinstance(truth[0], bytes)
        ran.clear()
        if isinstance(truth[0], str) and chance.random() < 0.5:
            for name, choices in EDITS.items():
                edit(root, name, choices[0])
        for name in chance.sample(sorted(EDITS), chance.choice([1, 1, 2])):
            edit(root, name, chance.choice(EDITS[name]))
    assert known > 20 and plans > 5


def test_a_process_that_has_just_started_evaluates_nothing(root: Path, store: Store, ran: list[str]) -> None:
    made = come_to(DiskTree(root), store)
    assert sorted(ran) == ["a/BUCK", "b/BUCK", "lib/BUCK", "o/BUCK"]
    ran.clear()
    again = Store.open(store.root)
    assert come_to(DiskTree(root, again.results), again) == made
    assert ran == []


@pytest.mark.parametrize(
    ("name", "text", "again"),
    [
        ("b/BUCK", FILES["b/BUCK"] + "\n", ["b/BUCK"]),
        ("a/three.txt", "three", ["a/BUCK"]),
        ("a/two.txt", "two", ["a/BUCK"]),
        ("a/one.txt", "ONE", []),
        ("o/new.txt", "new", []),
        ("lib/rules.bzl", RULES + "\n", ["a/BUCK", "b/BUCK"]),
        (".buckconfig", FILES[".buckconfig"] + "called = x\n", ["a/BUCK", "b/BUCK"]),
        (".buckconfig", FILES[".buckconfig"] + "free = x\n", []),
        ("a/folder/BUCK", "", ["a/BUCK", "a/folder/BUCK"]),
    ],
)
def test_only_what_asked_for_the_change_is_evaluated(
    root: Path, store: Store, ran: list[str], name: str, text: str, again: list[str]
) -> None:
    before = come_to(DiskTree(root), store)[0]
    ran.clear()
    edit(root, name, text)
    come_to(DiskTree(root), store)
    assert sorted(ran) == again
    ran.clear()
    edit(root, name, FILES.get(name))
    assert come_to(DiskTree(root), store)[0] == before
    assert not ran or name != "b/BUCK", "a build file's earlier bytes are known"


def test_a_commit_and_the_disk_know_each_others_packages(root: Path, store: Store, ran: list[str]) -> None:
    tree = GitTree(Repo(root), commit(root), store.results)
    made = come_to(tree, store)
    ran.clear()
    assert come_to(DiskTree(root, store.results), store) == made
    assert ran == []


def test_a_damaged_package_is_evaluated_again(root: Path, store: Store, ran: list[str]) -> None:
    made = come_to(DiskTree(root), store)
    for damage in (lambda row: row[:-1], lambda row: row[::-1], lambda row: b""):
        for key, row in store.results.items("package"):
            store.results.put("package", key, damage(row))
        ran.clear()
        assert come_to(DiskTree(root), store) == made
        assert len(ran) == 4


def test_what_a_file_prints_is_printed_each_time(root: Path, store: Store) -> None:
    write(root, {"lib/text.bzl": "TEXT = 'text'\nprint('loaded')\n", "o/BUCK": "print('evaluated')\n"})
    for _ in range(2):
        assert sorted(come_to(DiskTree(root), store)[1]) == ["evaluated", "loaded"]


def test_rules_that_are_no_globals_are_not_kept(root: Path, store: Store, ran: list[str]) -> None:
    text = "def hidden(name):\n    rule(impl = lambda ctx: [DefaultInfo()], attrs = {})(name = name)\n"
    write(root, {"lib/hidden.bzl": text, "o/BUCK": "load('root//lib:hidden.bzl', 'hidden')\nhidden('h')\n"})
    for _ in range(2):
        ran.clear()
        assert isinstance(come_to(DiskTree(root), store)[0], bytes)
        assert "o/BUCK" in ran


# Compiled files ------------------------------------------------------------------------------------------


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were compiled."""
    seen: list[str] = []
    real = compile_source

    def noted(source: bytes, path: str, *, is_bzl: bool) -> Code:
        seen.append(path)
        return real(source, path, is_bzl=is_bzl)

    monkeypatch.setattr("fairlead.build.dialect.codes.compile_source", noted)
    return seen


def test_a_file_is_compiled_once(root: Path, store: Store, compiled: list[str]) -> None:
    made = come_to(DiskTree(root), store)
    assert "a/BUCK" in compiled and "prelude//prelude.bzl" in compiled
    compiled.clear()
    write(root, {"lib/text.bzl": "TEXT = 'new'\n"})
    changed = come_to(DiskTree(root), store)
    assert compiled == ["lib/text.bzl"]
    assert changed != made and changed == come_to(DiskTree(root))


def test_an_error_names_its_line_also_in_a_compiled_file(root: Path, store: Store) -> None:
    write(root, {"lib/text.bzl": "TEXT = 'text'\n\ndef f():\n    return [][1]\n\nX = f()\n"})
    first, second = (come_to(DiskTree(root), store)[0] for _ in range(2))
    assert first == second and "lib/text.bzl:4" in str(first)


def test_compiled_files_lie_where_nobody_else_can_write_them(
    root: Path, store: Store, compiled: list[str]
) -> None:
    come_to(DiskTree(root), store)
    folder = store.root / "private"
    assert folder.stat().st_mode & 0o777 == 0o700
    for spoil in (open_to_the_group, swap_for_link):
        spoil(folder)
        compiled.clear()
        write(root, {"a/BUCK": (root / "a/BUCK").read_text() + "\n"})
        fresh = Store.open(store.root)
        assert come_to(DiskTree(root), fresh) == come_to(DiskTree(root))
        assert "prelude//prelude.bzl" in compiled, "what others could have written is not run"


def open_to_the_group(folder: Path) -> None:
    folder.chmod(0o770)


def swap_for_link(folder: Path) -> None:
    folder.chmod(0o700)
    os.rename(folder, folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def test_damaged_code_is_compiled_again(root: Path, store: Store, compiled: list[str]) -> None:
    made = come_to(DiskTree(root), store)
    shutil.rmtree(store.root / "private")
    assert come_to(DiskTree(root), Store.open(store.root)) == made
    table = Results(store.root / "private/code.sqlite")
    for key, row in list(table.items("code")):
        table.put("code", key, row[:-1] + bytes([row[-1] ^ 1]))
    compiled.clear()
    for key, _ in list(store.results.items("package")):
        store.results.delete("package", key)
    assert come_to(DiskTree(root), Store.open(store.root)) == made
    assert "a/BUCK" in compiled
