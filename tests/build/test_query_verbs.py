"""`fairlead targets`, `affected` and `query` as people run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.build.test_build_verbs import LIB, Clone


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


# -- affected


def test_affected_lists_what_depends_on_files(clone: Clone) -> None:
    clone.write("lib/more.txt", "more\n")
    clone.write("lib/BUCK", LIB + 'filegroup(name = "more", srcs = ["more.txt"])\n')
    out, err = clone.run("affected", "--files", "words.txt", at="lib")
    assert out.split() == ["//lib:has_one", "//lib:has_two"]
    assert "2 tests reached" in err
    document = clone.json("affected", "--files", "lib/more.txt", "--all")
    assert document["to"] == "files on disk"
    assert [(row["label"], row["state"], row["test"]) for row in rows(document)] == [
        ("//lib:more", "reached", False)
    ]
    assert "without a range" in clone.run("affected", "A..B", "--files", "x", code=2)[1]
    assert "no file of this project" in clone.run("affected", "--files", "../x", code=2)[1]


def rows(document: dict[str, object]) -> list[dict[str, object]]:
    found = document["targets"]
    assert isinstance(found, list)
    return found


def test_affected_between_two_commits_names_the_files(clone: Clone) -> None:
    first = clone.git("rev-parse", "HEAD").strip()
    clone.write("lib/words.txt", "one\ntwo\nthree\n")
    clone.write("lib/notes.txt", "in no key\n")
    clone.commit("a word")
    clone.write("lib/words.txt", "not committed\n")
    out, err = clone.run("affected", "HEAD~1..HEAD")
    assert out.splitlines() == [
        "changed  //lib:has_one",
        "         lib/words.txt changed (//lib:upper)",
        "changed  //lib:has_two",
        "         lib/words.txt changed (//lib:upper)",
    ]
    assert "2 of 2 tests affected" in err
    found = rows(clone.json("affected", f"{first}..", "--all"))
    assert [row["label"] for row in found] == [
        "//lib:count",
        "//lib:has_one",
        "//lib:has_two",
        "//lib:upper",
    ]
    assert [row["test"] for row in found] == [False, True, True, False]
    keys = {str(row["label"]): row["new"] for row in found}
    clone.git("checkout", "--quiet", "lib/words.txt")
    assert json.loads(clone.run("why", "//lib:has_one", "--json")[0])["key"] == keys["//lib:has_one"]
    assert clone.run("affected", "HEAD..HEAD")[0] == ""


def test_affected_leaves_the_work_tree_alone(clone: Clone) -> None:
    clone.write("lib/words.txt", "three\n")
    clone.commit("three")
    clone.write("lib/BUCK", "this is broken(\n")
    before = clone.git("status", "--short")
    assert clone.run("affected", "HEAD~1..HEAD")[0].count("changed  ") == 2
    assert clone.git("status", "--short") == before and not (clone.root / "fairlead-out/gen").exists()


def test_affected_names_new_and_removed_tests_and_other_parts(clone: Clone) -> None:
    more = 'sh_test(name = "more", test = "check.sh", args = ["ONE"], deps = [":upper"])\n'
    text = LIB.replace('"has_two"', '"has_deux"').replace('args = ["ONE"]', 'args = ["TWO"]')
    clone.write("lib/BUCK", "# a comment moves nothing\n" + text + more)
    clone.commit("other tests")
    found = {str(row["label"]): row for row in rows(clone.json("affected", "HEAD~1..HEAD"))}
    assert {label: row["state"] for label, row in found.items()} == {
        "//lib:has_deux": "new",
        "//lib:has_one": "changed",
        "//lib:has_two": "removed",
        "//lib:more": "new",
    }
    causes = found["//lib:has_one"]["causes"]
    assert isinstance(causes, list)
    assert [(cause["part"], cause["file"], cause["old"], cause["new"]) for cause in causes] == [
        (["attributes", "args"], None, ["ONE"], ["TWO"])
    ]


def test_affected_follows_the_chain_to_the_rule_file(clone: Clone) -> None:
    rule = "def _up(ctx):\n    out = ctx.actions.write('up', '%s')\n"
    rule += "    return [DefaultInfo(default_output = out)]\n\n"
    rule += "up = rule(impl = _up, attrs = {})\n"
    clone.write("up.bzl", rule % "a")
    clone.write("lib/BUCK", 'load("//:up.bzl", "up")\nup(name = "up")\n' + LIB.replace('":upper"]', '":up"]'))
    clone.commit("a rule")
    clone.write("up.bzl", rule % "b")
    clone.commit("another rule")
    out, _ = clone.run("affected", "HEAD~1..HEAD")
    assert out.count("         up.bzl changed (//lib:up)\n") == 2 and "steps" not in out


def test_affected_without_a_range_is_what_a_test_would_run(clone: Clone) -> None:
    assert clone.run("affected")[0] == ""  # HEAD and the disk are the same
    clone.write("lib/words.txt", "one\ntwo\nthree\n")
    assert clone.run("affected")[0].count("lib/words.txt changed") == 2
    clone.run("test", "//lib:has_one")
    out, _ = clone.run("affected")
    assert "//lib:has_one" not in out and "//lib:has_two" in out
    clone.commit("the same words")
    clone.run("test", "//...")
    clone.write("lib/check.sh", "#!/bin/sh\nexit 1\n")
    assert clone.run("affected")[0].count("lib/check.sh changed") == 2
    clone.run("test", "//...", code=1)
    assert clone.run("affected")[0].count("lib/check.sh changed") == 2  # a failure is no passed state
    clone.git("checkout", "--quiet", "lib/check.sh")
    assert clone.run("affected")[0] == ""


def test_affected_with_one_commit_and_from_where_it_left(clone: Clone) -> None:
    clone.git("checkout", "--quiet", "-b", "side")
    clone.write("lib/words.txt", "one\ntwo\nside\n")
    clone.commit("side")
    clone.git("checkout", "--quiet", "main")
    clone.write("lib/check.sh", '#!/bin/sh\n# main\ngrep -q "$1" fairlead-out/gen/lib/__upper__/upper.txt\n')
    clone.commit("main")
    assert "check.sh" in clone.run("affected", "main..side")[0]
    out, _ = clone.run("affected", "main...side")
    assert "check.sh" not in out and "words.txt" in out
    clone.write("lib/words.txt", "on disk\n")
    out, _ = clone.run("affected", "main")
    assert "check.sh" not in out and out.count("words.txt") == 2


def test_affected_without_a_repository_or_before_the_project_began(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    (clone.root / "lib/BUCK").unlink()
    clone.commit("no targets")
    clone.write("lib/BUCK", LIB)
    clone.commit("targets")
    assert clone.run("affected", "HEAD~1..HEAD")[0].count("new ") == 2
    assert clone.run("affected", "HEAD..HEAD~1")[0].count("removed  //lib:") == 2
    (clone.root / ".git").rename(tmp_path / "git")
    assert clone.run("affected")[0].count("new ") == 2
    clone.run("test", "//...")
    assert clone.run("affected")[0] == ""


def test_affected_says_in_which_commit_a_file_is_broken(clone: Clone) -> None:
    clone.write("lib/BUCK", "genrule(\n")
    clone.commit("broken")
    _, err = clone.run("affected", "HEAD~1..HEAD", code=2)
    assert "lib/BUCK" in err and clone.git("rev-parse", "HEAD").strip() in err
    _, err = clone.run("affected", "nowhere..HEAD", code=2)
    assert "nowhere" in err


# -- query


def test_query_answers_in_three_forms(clone: Clone) -> None:
    assert clone.run("query", "kind(_test$, rdeps(//..., owner(words.txt)))", at="lib")[0].split() == [
        "//lib:has_one",
        "//lib:has_two",
    ]
    assert json.loads(clone.run("query", "deps(:count)", "--output-format", "json", at="lib")[0]) == [
        "//lib:count",
        "//lib:upper",
    ]
    assert clone.run("query", "deps(//lib:count)", "--output-format", "dot")[0] == (
        'digraph result_graph {\n  "//lib:count";\n  "//lib:upper";\n  "//lib:count" -> "//lib:upper";\n}\n'
    )
    assert clone.json("query", "inputs(//lib:upper)") == {
        "schema": "fairlead.query/1",
        "query": "inputs(//lib:upper)",
        "result": ["lib/words.txt"],
    }
    out, _ = clone.run("query", "//lib:count", "--output-format", "json", "--output-attribute", "out|name")
    assert json.loads(out) == {"//lib:count": {"name": "count", "out": "n"}}


def test_query_is_asked_for_each_argument(clone: Clone) -> None:
    clone.write("names", "//lib:has_two\n\n//lib:count\n")
    arguments = ["//lib:has_one", "@names", "--output-format", "json"]
    found = json.loads(clone.run("query", "deps(%s, 1) - %s", *arguments)[0])
    assert found == {name: ["//lib:upper"] for name in ("//lib:has_one", "//lib:has_two", "//lib:count")}
    out, _ = clone.run("query", "deps(%Ss)", "//lib:count", "//lib:has_one")
    assert out.split() == ["//lib:count", "//lib:has_one", "//lib:upper"]


def test_query_says_who_names_a_missing_target_and_where(clone: Clone) -> None:
    clone.write("lib/BUCK", LIB + 'filegroup(name = "bad", srcs = [":gone"])\n')
    _, err = clone.run("query", "deps(//lib:bad)", code=2)
    assert "//lib:gone" in err and "dependency of //lib:bad" in err and "lib/BUCK:6" in err
    assert clone.run("query", "deps(//lib:has_one)")[0].split() == ["//lib:has_one", "//lib:upper"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["deps(//lib:uper)"], "did you mean //lib:upper"),
        (["deps(//lib:upper"], "column 17 of the query"),
        (["deps(", "//lib:upper", ")"], "quote the whole query"),
        (["deps(%s)"], "no argument"),
        (["deps(%s)", "@gone"], "cannot read the arguments"),
        (["owner('/etc/passwd')"], "no file of this project"),
        (["//lib:", "--output-attribute", "x"], "--output-format json"),
    ],
)
def test_a_bad_query_is_told_in_words(clone: Clone, args: list[str], words: str) -> None:
    assert words in clone.run("query", *args, code=2)[1]
