"""docs/build.md tells of every rule, attribute and built-in name, and its examples are evaluated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairlead.build.buckconfig import BuckConfig
from fairlead.build.context import Actions
from fairlead.build.dialect.functions import Budget, universe
from fairlead.build.loader import Loader
from fairlead.build.rule import Rule
from fairlead.build.tree import DiskTree
from tests.build.project import plan, write

PAGE = (Path(__file__).parents[2] / "docs" / "build.md").read_text("utf-8")


def section(heading: str) -> str:
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^##)", PAGE + "\n##", re.MULTILINE | re.DOTALL)
    assert found, f"docs/build.md has no section {heading}"
    return found[1]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rule]:
    tree = DiskTree(tmp_path_factory.mktemp("empty"))
    loader = Loader(tree, BuckConfig.load(tree), print)
    native = loader.module("prelude//prelude.bzl").names["native"].__dict__
    modules = [
        loader.module(path) for path in loader.module("prelude//prelude.bzl").closure if path.endswith(".bzl")
    ]
    made = [value for module in modules for value in module.names.values() if isinstance(value, Rule)]
    found = {rule._name: rule for rule in made}
    assert set(found) == set(native)
    return found


def test_every_rule_and_attribute_is_documented(rules: dict[str, Rule]) -> None:
    for name, rule in rules.items():
        text = section(f"`{name}`")
        for attribute in rule._attrs:
            assert f"`{attribute}`" in text, f"{name}: {attribute}"


def test_every_documented_attribute_exists(rules: dict[str, Rule]) -> None:
    for name, rule in rules.items():
        rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section(f"`{name}`"), re.MULTILINE)
        documented = {attribute for row in rows for attribute in re.findall(r"`(\w+)`", row)}
        assert documented == set(rule._attrs), name


def test_every_rule_and_attribute_says_what_it_is_for(rules: dict[str, Rule]) -> None:
    for rule in rules.values():
        assert rule._doc
        assert all(kind._doc for kind in rule._attrs.values()), rule._name


def test_built_in_names_are_documented() -> None:
    names = {name for name in universe(Budget(), print) if name[0] != "$"} - {"None", "True", "False"}
    assert (
        set(re.findall(r"`(\w+)`", section("BUCK files").partition("built in:")[2].partition("\n\n")[0]))
        == names
    )


def test_actions_and_attribute_types_are_documented() -> None:
    text = section("Rules of your own")
    for name in vars(Actions):
        assert name.startswith("_") or name == "TYPE" or name in text, name
    from fairlead.build.attrs import ATTRS

    for name in ATTRS.__dict__:
        assert f"`{name}`" in text, name


def test_examples_are_evaluated(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    first, *others = blocks
    files = dict.fromkeys(
        ["requirements.lock", "greet.py", "test_greet.py", "test_a.py", "test_b.py", "a.txt"], ""
    )
    files["BUCK"] = first
    for block in others:
        path, _, text = block.removeprefix("# ").partition("\n")
        if path == "BUCK":
            files["BUCK"] = text + files["BUCK"]
        else:
            files[path] = text
    files["BUCK"] = (
        'load("//tools:upper.bzl", "upper")\n' + files["BUCK"] + '\nupper(name = "up", src = "a.txt")\n'
    )
    made = plan(write(tmp_path, files))
    assert made.requested == ("//:greet", "//:python", "//:test", "//:test_a", "//:test_b", "//:up")
