"""A kept plan is the plan that evaluation would give, whatever happened to the files in between."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from fairlead.build.evaluate import evaluate
from fairlead.build.plans import Plans
from fairlead.build.tree import DiskTree
from fairlead.cli.project import Project
from fairlead.config import load
from fairlead.store import Store
from tests.build.project import write

FILES = {
    ".buckconfig": "[cells]\nother = o\n[mine]\nword = one\n",
    "requirements.lock": "",
    "BUCK": "python_toolchain(name = 'python', lock = 'requirements.lock')\n",
    "rules.bzl": "load('//more:text.bzl', 'TEXT')\n"
    "def made(name):\n"
    "    word = read_config('mine', 'word')\n"
    "    native.genrule(name = name, out = 'o', cmd = 'echo ' + TEXT + word + ' > $OUT')\n",
    "more/text.bzl": "TEXT = 'text'\n",
    "a/BUCK": "load('//:rules.bzl', 'made')\nmade('m')\n"
    "filegroup(name = 'all', srcs = glob(['**/*.txt']), visibility = ['PUBLIC'])\n"
    "sh_test(name = 't', test = 't.sh')\n",
    "a/t.sh*": "#!/bin/sh\n",
    "a/one.txt": "one",
    "a/deep/two.txt": "two",
    "a/link.txt": "-> deep/two.txt",
    "o/BUCK": "filegroup(name = 'g', srcs = ['//a:all'])\n"
    "python_test(name = 'p', srcs = ['test_p.py'], timeout = 5, labels = ['x'])\n",
    "o/test_p.py": "def test_p(): pass\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", FILES)


@pytest.fixture
def plans(tmp_path: Path) -> Plans:
    return Plans(Store.open(tmp_path / "store"))


def kept(plans: Plans, root: Path) -> bytes | None:
    """The encoded plan that is known for the files as they are."""
    plan = plans.find(DiskTree(root, plans.store.results), ["//..."])
    return None if plan is None else plan.encode()


def evaluated(plans: Plans, root: Path) -> bytes:
    tree = DiskTree(root, plans.store.results)
    assert plans.find(tree, ["//..."]) is None
    plan = evaluate(tree, ["//..."])
    plans.keep(tree, ["//..."], plan)
    return plan.encode()


def test_a_kept_plan_is_the_plan(plans: Plans, root: Path) -> None:
    made = evaluated(plans, root)
    assert kept(plans, root) == made
    assert plans.find(DiskTree(root), ["//a/..."]) is None


@pytest.mark.parametrize(
    "edit",
    [
        {"a/BUCK": "sh_test(name = 'other', test = 't.sh')\n"},
        {"more/text.bzl": "TEXT = 'TEXT'\n"},
        {".buckconfig": "[cells]\nother = o\n[mine]\nword = two\n"},
        {".buckconfig.local": "[mine]\nword = two\n"},
        {"a/deep/three.txt": "three"},
        {"a/deep/BUCK": ""},
        {"new/BUCK": "genrule(name = 'n', out = 'o', cmd = 'true')\n"},
    ],
)
def test_what_evaluation_asked_for_makes_it_another_plan(
    plans: Plans, root: Path, edit: dict[str, str]
) -> None:
    before = evaluated(plans, root)
    write(root, edit)
    assert kept(plans, root) is None
    assert evaluated(plans, root) != before


def test_the_bytes_of_a_source_were_never_asked_for(plans: Plans, root: Path) -> None:
    made = evaluated(plans, root)
    write(root, {"a/one.txt": "ONE", "o/test_p.py": "def test_p(): assert 1\n"})
    assert kept(plans, root) == made


def test_removed_files_modes_and_links_count(plans: Plans, root: Path) -> None:
    evaluated(plans, root)
    (root / "a/t.sh").chmod(0o644)
    assert kept(plans, root) is None
    (root / "a/t.sh").chmod(0o755)
    assert kept(plans, root) is not None
    (root / "a/link.txt").unlink()
    (root / "a/link.txt").symlink_to("one.txt")
    assert kept(plans, root) is None
    evaluated(plans, root)
    shutil.rmtree(root / "a/deep")
    assert kept(plans, root) is None


def test_after_any_edits_it_is_what_evaluation_gives(plans: Plans, root: Path) -> None:
    chance = random.Random(1)
    names = ["a/x.txt", "a/deep/y.txt", "a/z.py", "more/text.bzl", "o/w", "n/BUCK"]
    texts = ["", "TEXT = 'a'\n", "TEXT = 'b'\n", "TEXT = 'a' + 'b'\n"]
    found = 0
    for _ in range(40):
        name = chance.choice(names)
        path = root / name
        if path.exists() and name != "more/text.bzl" and chance.random() < 0.4:
            path.unlink()
        else:
            write(root, {name: chance.choice(texts[1:] if name == "more/text.bzl" else texts)})
        truth = evaluate(DiskTree(root), ["//..."]).encode()
        known = kept(plans, root)
        if known is None:
            assert evaluated(plans, root) == truth
        else:
            found += 1
            assert known == truth
    assert found > 3


def test_a_damaged_plan_is_evaluated_again(plans: Plans, root: Path) -> None:
    evaluated(plans, root)
    row = dict(plans.store.results.items("plan")).popitem()[1]
    for name in (row[:64].decode(), row[64:].decode()):
        path = plans.store.blobs.path(name)
        good = path.read_bytes()
        path.chmod(0o644)
        for bad in (b"", good[:-1], good[::-1]):
            path.write_bytes(bad)
            assert kept(plans, root) is None
        path.write_bytes(good)
        assert kept(plans, root) is not None
    os.unlink(plans.store.blobs.path(row[64:].decode()))
    assert kept(plans, root) is None


def test_what_a_file_prints_is_printed_each_time(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, {"more/text.bzl": "TEXT = 'text'\nprint('seen')\n"})
    here = Project(root, "", load(root))
    store = here.store()
    for _ in range(2):
        here.plan(here.disk(store), ["//..."], store)
        assert "seen" in capsys.readouterr().err
    write(root, {"more/text.bzl": "TEXT = 'text'\n"})
    here.plan(here.disk(store), ["//..."], store)
    known = Plans(store).find(here.disk(store), ["", "//..."])
    assert known is not None and known.encode() == evaluate(here.disk(), ["//..."]).encode()
