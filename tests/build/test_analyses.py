"""What rules came to is kept: it is what they would come to, and only those run that must."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fairlead.build import evaluate as evaluation
from fairlead.build.evaluate import evaluate
from fairlead.build.rule import Declared
from fairlead.build.tree import DiskTree
from fairlead.errors import UsageError
from fairlead.store import Store
from tests.build.project import write

RULES = """\
Info = provider(fields = ["words"])

def _impl(ctx):
    words = [ctx.attrs.word] + [word for dep in ctx.attrs.deps for word in dep[Info].words()]
    if ctx.attrs.shout:
        print(ctx.label)
    out = ctx.actions.write("o", "\\n".join(words))
    return [DefaultInfo(default_output = out), Info(words = lambda: words)]

joined = rule(impl = _impl, attrs = {
    "deps": attrs.list(attrs.dep(providers = [Info]), default = []),
    "shout": attrs.bool(default = False),
    "word": attrs.string(),
})
"""


class Model:
    """A random graph of targets in some packages; each tells its dependants, by a function, all words."""

    def __init__(self, root: Path, chance: random.Random, size: int = 12) -> None:
        self.root, self.chance = root, chance
        self.words = {f"t{i}": "w" for i in range(size)}
        self.home = {name: f"p{chance.randrange(4)}" for name in self.words}
        self.deps = {
            f"t{i}": chance.sample([f"t{j}" for j in range(i)], min(i, chance.randrange(3)))
            for i in range(size)
        }
        self.shouts: set[str] = set()
        write(root, {".buckconfig": "", "rules.bzl": RULES, "BUCK": ""})
        self.write()

    def write(self) -> None:
        files = {f"p{i}/BUCK": "load('//:rules.bzl', 'joined')\n" for i in range(4)}
        for name, word in self.words.items():
            deps = [f"//{self.home[dep]}:{dep}" for dep in self.deps[name]]
            # On one line each, so that an edit moves no other target to another line.
            files[f"{self.home[name]}/BUCK"] += (
                f"joined(name = '{name}', word = '{word}', deps = {deps}, shout = {name in self.shouts}, "
                "visibility = ['PUBLIC'])\n"
            )
        write(self.root, files)

    def above(self, name: str) -> set[str]:
        """The target and all that depends on it."""
        found = {name}
        for other in self.words:  # in order, so what it depends on was before
            if found.intersection(self.deps[other]):
                found.add(other)
        return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The targets whose rules ran."""
    seen: list[str] = []
    real = evaluation._Analysis._run_rule

    def noted(self: evaluation._Analysis, declared: Declared) -> object:
        seen.append(declared.label.name)
        return real(self, declared)

    monkeypatch.setattr(evaluation._Analysis, "_run_rule", noted)
    return seen


def plan(root: Path, store: Store | None, *patterns: str) -> tuple[bytes, list[str]]:
    printed: list[str] = []
    made = evaluate(DiskTree(root), patterns or ["//..."], on_print=printed.append, store=store)
    return made.encode(), printed


@pytest.mark.parametrize("seed", range(3))
def test_after_any_edits_the_plan_is_what_the_rules_give(
    tmp_path: Path, store: Store, ran: list[str], seed: int
) -> None:
    chance = random.Random(seed)
    model = Model(tmp_path / "root", chance)
    plan(model.root, store)
    saved = 0
    for _ in range(20):
        name = chance.choice(sorted(model.words))
        action = chance.random()
        if action < 0.5:
            model.words[name] = chance.choice("abcdef")
        elif action < 0.8:
            before = sorted(model.words)[: sorted(model.words).index(name)]
            lower = [one for one in before if int(one[1:]) < int(name[1:])]
            model.deps[name] = chance.sample(lower, min(len(lower), chance.randrange(3)))
        else:
            model.shouts ^= {name}
        model.write()
        pattern = chance.choice(["//...", f"//{model.home[name]}:", f"//{model.home[name]}:{name}"])
        ran.clear()
        kept = plan(model.root, store, pattern)
        again = len(set(ran))
        ran.clear()
        assert kept == plan(model.root, None, pattern)
        saved += len(ran) - again
    assert saved > 20


def test_only_what_an_edit_reaches_runs_and_what_that_needs_to_be_told(
    tmp_path: Path, store: Store, ran: list[str]
) -> None:
    model = Model(tmp_path / "root", random.Random(5))
    plan(model.root, store)
    assert sorted(ran) == sorted(model.words)
    ran.clear()
    plan(model.root, Store.open(store.root))
    assert ran == [], "a process that has just started"
    for name in ("t0", "t7", "t11"):
        model.words[name] = "new"
        model.write()
        ran.clear()
        plan(model.root, store)
        reached = model.above(name)
        below = set(reached)
        for other in reversed(model.words):
            if other in below:
                below.update(model.deps[other])
        assert reached <= set(ran) <= below
        assert len(ran) == len(set(ran))


def test_a_rule_that_prints_is_run_each_time(tmp_path: Path, store: Store, ran: list[str]) -> None:
    model = Model(tmp_path / "root", random.Random(6))
    model.shouts = {"t3"}
    model.write()
    for _ in range(2):
        ran.clear()
        assert [text.rpartition(":")[2] for text in plan(model.root, store)[1]] == ["t3"]
    assert "t3" in ran and len(ran) < len(model.words)


def test_a_setting_that_a_rule_file_reads_runs_its_rules(
    tmp_path: Path, store: Store, ran: list[str]
) -> None:
    model = Model(tmp_path / "root", random.Random(7))
    write(model.root, {"rules.bzl": RULES.replace('"o"', "NAME") + "NAME = read_config('a', 'b', 'o')\n"})
    plan(model.root, store)
    write(model.root, {".buckconfig": "[a]\nb = other\n"})
    ran.clear()
    kept = plan(model.root, store)
    assert len(ran) == len(model.words)
    assert kept == plan(model.root, None)


def test_a_program_that_can_no_longer_be_run_is_an_error_as_before(tmp_path: Path, store: Store) -> None:
    root = write(tmp_path / "root", {"BUCK": "sh_test(name = 't', test = 't.sh')\n", "t.sh*": "#!/bin/sh\n"})
    before = plan(root, store)
    (root / "t.sh").chmod(0o644)
    for known in (store, None):
        with pytest.raises(UsageError, match="not executable"):
            plan(root, known)
    (root / "t.sh").chmod(0o755)
    assert plan(root, store) == before


def test_long_chains_are_no_deeper_than_short_ones(tmp_path: Path, store: Store, ran: list[str]) -> None:
    lines = ["load('//:rules.bzl', 'joined')\n", "joined(name = 't0', word = 'a')\n"]
    lines += [f"joined(name = 't{i}', word = 'x', deps = [':t{i - 1}'])\n" for i in range(1, 300)]
    root = write(tmp_path / "root", {".buckconfig": "", "rules.bzl": RULES, "p/BUCK": "".join(lines)})
    plan(root, store)
    write(root, {"p/BUCK": "".join(lines).replace("'t299', word = 'x'", "'t299', word = 'y'")})
    ran.clear()
    kept = plan(root, store)
    assert len(ran) == 300, "it asks all below it for their words"
    assert kept == plan(root, None)


def test_a_damaged_result_is_made_again(tmp_path: Path, store: Store, ran: list[str]) -> None:
    model = Model(tmp_path / "root", random.Random(8))
    made = plan(model.root, store)
    for key, row in list(store.results.items("analysis")):
        store.results.put("analysis", key, row[:-1] + bytes([row[-1] ^ 1]))
    ran.clear()
    assert plan(model.root, store) == made
    assert sorted(ran) == sorted(model.words)
