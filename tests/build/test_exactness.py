"""The actions that rerun are exactly those whose key changed: on random graphs, edits, branches and jobs.

A model says which outputs change: each target joins its sources and the outputs of its dependencies in
upper case, so equal bytes cut a rebuild short and the expected set follows from contents alone.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fairlead.build.engine import Engine
from fairlead.build.evaluate import evaluate
from fairlead.build.event import Event
from fairlead.build.key import Platform, target_records
from fairlead.build.tree import DiskTree, GitTree, Tree
from fairlead.git import Repo
from fairlead.store import Store
from tests.build.project import git, write


class Model:
    """A random graph of genrules, and what it must make."""

    def __init__(self, chance: random.Random, root: Path, size: int) -> None:
        self.root = root
        self.sources = {f"s{i}": chance.choice("abc") for i in range(size)}
        self.needs: dict[str, tuple[list[str], list[str]]] = {}
        for i in range(size):
            deps = chance.sample([f"t{j}" for j in range(i)], min(i, chance.randrange(3)))
            srcs = chance.sample(sorted(self.sources), chance.randrange(1, 3))
            self.needs[f"t{i}"] = (sorted(srcs), sorted(deps))
        self.upper = {name: chance.random() < 0.5 for name in self.needs}
        write(root, {".buckconfig": "", "BUCK": self.buck(), **self.sources})

    def buck(self) -> str:
        lines = []
        for name, (srcs, deps) in self.needs.items():
            listed = [*(f"'{src}'" for src in srcs), *(f"':{dep}'" for dep in deps)]
            how = "tr a-z A-Z" if self.upper[name] else "cat"
            lines.append(
                f"genrule(name = '{name}', out = '{name}.out', srcs = [{', '.join(listed)}], "
                f"cmd = 'cat $SRCS | {how} > $OUT')"
            )
        return "\n".join([*lines, ""])

    def inputs(self) -> dict[str, tuple[object, ...]]:
        """Target -> what its command sees; its key is a function of this."""
        made: dict[str, str] = {}
        seen: dict[str, tuple[object, ...]] = {}
        for name, (srcs, deps) in self.needs.items():
            texts = [*(self.sources[src] for src in srcs), *(made[dep] for dep in deps)]
            seen[name] = (self.upper[name], *texts)
            made[name] = "".join(texts).upper() if self.upper[name] else "".join(texts)
        return seen

    def edit(self, chance: random.Random) -> None:
        if chance.random() < 0.2:
            name = chance.choice(sorted(self.needs))
            self.upper[name] = not self.upper[name]
        else:
            self.sources[chance.choice(sorted(self.sources))] = chance.choice("aAbBcC")
        write(self.root, {"BUCK": self.buck(), **self.sources})


def commands(store: Store, root: Path, jobs: int = 2) -> list[str]:
    """Build all; the targets whose commands ran, sorted."""
    ran: list[str] = []

    def note(event: Event) -> None:
        if event.kind == "action" and event.text.startswith("genrule"):
            ran.append(event.label.partition(":")[2])

    tree = DiskTree(root, store.results)
    plan = evaluate(tree, ["//..."])
    Engine(store, root, tree, plan, sandbox="none", jobs=jobs, on_event=note).build(plan.requested)
    return sorted(ran)


@pytest.mark.parametrize("seed", range(3))
def test_exactly_the_actions_whose_key_changed_run_again(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    model = Model(chance, tmp_path / "root", 10)
    store = Store.open(tmp_path / "store")
    known: set[tuple[object, ...]] = set()
    for step in range(8):
        now = {name: (name, *seen) for name, seen in model.inputs().items()}
        expected = sorted(name for name, key in now.items() if key not in known)
        assert commands(store, model.root) == expected, f"step {step}"
        for name, (_, upper, *texts) in now.items():
            text = "".join(map(str, texts))
            made = (model.root / f"fairlead-out/gen/__{name}__/{name}.out").read_text()
            assert made == (text.upper() if upper else text)
        known |= set(now.values())
        model.edit(chance)


def test_bytes_put_back_rerun_nothing_and_neither_does_a_branch_visited_before(tmp_path: Path) -> None:
    chance = random.Random(7)
    model = Model(chance, tmp_path / "root", 8)
    store = Store.open(tmp_path / "store")
    commit_sources(model.root)
    assert len(commands(store, model.root)) == 8
    git(model.root, "checkout", "-q", "-b", "other")
    for _ in range(4):
        model.edit(chance)
    write(model.root, {"s0": "other"})
    commit_sources(model.root)
    commands(store, model.root)
    for branch in ("main", "other", "main"):
        git(model.root, "checkout", "-q", branch)
        assert commands(store, model.root) == []
    before = (model.root / "s0").read_bytes()
    (model.root / "s0").write_bytes(b"changed")
    commands(store, model.root)
    (model.root / "s0").write_bytes(before)
    assert commands(store, model.root) == []


def test_digests_are_equal_whatever_the_number_of_jobs_and_wherever_the_tree_lies(tmp_path: Path) -> None:
    seen = []
    for jobs in (1, 2, 5):
        model = Model(random.Random(3), tmp_path / f"root{jobs}", 10)
        store = Store.open(tmp_path / f"store{jobs}")
        commands(store, model.root, jobs)
        gen = model.root / "fairlead-out/gen"
        outputs = {str(p.relative_to(gen)): p.read_bytes() for p in gen.rglob("*") if p.is_file()}
        oid = commit_sources(model.root)
        disk, plain = DiskTree(model.root, store.results), DiskTree(model.root)
        trees: list[Tree] = [disk, plain, GitTree(Repo(model.root), oid)]
        keys = []
        for tree in trees:
            records = target_records(evaluate(tree, ["//..."]), tree, Platform.here())
            keys.append({label: record.key for label, record in records.items()})
        assert keys[0] == keys[1] == keys[2]
        seen.append((outputs, keys[0], sorted(key for key, _ in store.results.items("action"))))
    assert seen[0] == seen[1] == seen[2]


def commit_sources(root: Path) -> str:
    """Commit the project without what was built."""
    write(root, {".gitignore": "fairlead-out\n"})
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "all")
    return git(root, "rev-parse", "HEAD")
