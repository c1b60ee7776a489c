"""Equal values of a plan are one object, also when it has been kept and read, and it says the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.evaluate import evaluate
from fairlead.build.plan import Action, Target
from fairlead.build.plans import Plans
from fairlead.build.sharing import Sharing
from fairlead.build.tree import DiskTree
from fairlead.store import Store
from tests.build.project import write

words = st.sampled_from(["a", "b", "", "é", "a/b"]).map(lambda word: "".join([*word]))  # not one object
rows = st.lists(words, max_size=3).map(tuple)
tables = st.dictionaries(words, words, max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
)
actions = st.builds(
    Action,
    *(words, words, words, st.just("run")),
    outputs=rows,
    argv=rows,
    env=tables,
    entries=tables,
    sources=rows,
    inputs=rows,
    directories=rows,
)
targets = st.builds(
    Target, words, words, rows, st.dictionaries(words, values, max_size=4), sources=rows, deps=rows
)


@given(st.lists(actions, max_size=5), st.lists(targets, max_size=5))
def test_nothing_is_told_otherwise(some: list[Action], others: list[Target]) -> None:
    before = [dataclasses.replace(one) for one in some], [dataclasses.replace(one) for one in others]
    told = [one.to_json() for one in some], [one.to_json() for one in others]
    sharing = Sharing()
    for action in some:
        sharing.action(action)
    for target in others:
        sharing.target(target)
    assert (some, others) == before
    # repr, for True is equal to 1
    assert repr(([one.to_json() for one in some], [one.to_json() for one in others])) == repr(told)
    for one in some:
        for two in others:
            assert one.outputs != two.sources or one.outputs is two.sources


def test_a_kept_plan_shares_as_the_evaluated_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.build.evaluate.SHARING", 1)
    rule = 'genrule(name = "{0}", srcs = ["s.txt"], cmd = "cp $SRCS $OUT", out = "{0}.txt")\n'
    write(tmp_path, {".buckconfig": "", "BUCK": rule.format("a") + rule.format("b"), "s.txt": ""})
    store = Store.open(tmp_path / "fairlead-out/store")
    tree = DiskTree(tmp_path, store.results)
    made = evaluate(tree, ["//..."], store=store)
    plans = Plans(store)
    plans.keep(tree, ["//..."], made)
    kept = plans.find(DiskTree(tmp_path, store.results), ["//..."])
    assert kept is not None and kept.encode() == made.encode()
    for plan in (made, kept):
        one, two = plan.targets["//:a"], plan.targets["//:b"]
        assert one.sources is two.sources and one.rule_bzl is two.rule_bzl and one.config is two.config
        steps = {action.category: action for action in plan.actions if action.owner == "//:a"}
        assert steps["genrule"].outputs is one.default_outputs
        assert steps["genrule"].inputs is steps["link_tree"].outputs
        assert steps["link_tree"].directories is steps["link_tree"].outputs
        assert steps["link_tree"].sources is one.sources
