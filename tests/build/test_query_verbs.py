"""`fairlead targets`, `affected` and `query` as people run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.build.test_build_verbs import Clone


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


# -- targets


def test_targets_lists_rules_and_places(clone: Clone) -> None:
    clone.write("BUCK", 'filegroup(name = "all", srcs = glob(["*.md"]))\n')
    out, err = clone.run("targets")
    assert err == ""
    assert [line.split() for line in out.splitlines()] == [
        ["//:all", "filegroup", "BUCK:1"],
        ["//lib:count", "genrule", "lib/BUCK:3"],
        ["//lib:has_one", "sh_test", "lib/BUCK:4"],
        ["//lib:has_two", "sh_test", "lib/BUCK:5"],
        ["//lib:upper", "genrule", "lib/BUCK:2"],
    ]
    assert clone.run("targets", ":", at="lib")[0].count("//lib:") == 4
    document = clone.json("targets", "//lib:upper", "//lib:upper")
    assert document == {
        "schema": "fairlead.targets/1",
        "targets": [{"label": "//lib:upper", "rule": "genrule", "package": "//lib", "place": "lib/BUCK:2"}],
    }


def test_targets_runs_no_rule(clone: Clone) -> None:
    clone.write("rules.bzl", "def _no(ctx):\n    fail('not now')\n\nno = rule(impl = _no, attrs = {})\n")
    clone.write("BUCK", 'load("//:rules.bzl", "no")\nno(name = "x")\n')
    assert "//:x" in clone.run("targets", "//:")[0]
    assert "not now" in clone.run("build", "//:", code=2)[1]


def test_targets_refuses_what_is_not_there(clone: Clone) -> None:
    _, err = clone.run("targets", "//lib:uper", code=2)
    assert "did you mean //lib:upper" in err
    error = json.loads(clone.run("targets", "//libs:", "--json", code=2)[1])
    assert "//lib:" in error["remedy"]
