"""`fairlead run LABEL` and `fairlead publish LABEL`: built first, then run or published."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead.cli import target
from fairlead.launch import manifest
from tests.launch.tools import Run, finished, log_in
from tests.net.web import Answer, Asked, Web

RULES = """
def _program(ctx):
    out = ctx.actions.write(ctx.label.name + ".sh", ctx.attrs.text, is_executable = True)
    return [DefaultInfo(default_output = out), RunInfo(args = [out, "given"])]

program = rule(impl = _program, attrs = {"text": attrs.string()})

def _needing(ctx):
    data = ctx.actions.write("data", "from beside")
    script = ctx.actions.write("script", "#!/bin/sh\\ncat ${1#--data=}\\n", is_executable = True)
    return [DefaultInfo(), RunInfo(args = cmd_args(script, cmd_args(data, format = "--data={}")))]

needing = rule(impl = _needing, attrs = {})
"""
BUCK = r"""
load(":rules.bzl", "program", "needing")
program(name = "tool", text = "#!/bin/sh\necho \"$@\"; pwd; exit ${CODE:-0}\n")
needing(name = "needing")
export_file(name = "text", src = "text.txt")
filegroup(name = "many", srcs = ["text.txt", "rules.bzl"])
genrule(
    name = "two",
    outs = {"a": ["a"], "b": ["b"]},
    default_outs = ["a", "b"],
    cmd = "echo a > $OUT_a; echo b > $OUT_b",
)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "pkg").mkdir(parents=True)
    (root / ".buckconfig").write_text("")
    (root / "pkg/BUCK").write_text(BUCK)
    (root / "pkg/rules.bzl").write_text(RULES)
    (root / "pkg/text.txt").write_text("text")
    return root


@pytest.fixture
def run(project: Path) -> Run:
    def go(*args: str | Path, cwd: str = "", **kwargs: Any) -> finished:
        argv = [sys.executable, "-m", "fairlead", *map(str, args)]
        return finished.of(argv, cwd=project / cwd, **kwargs)

    return go


def test_a_target_is_built_and_run_where_the_person_stands(run: Run, project: Path) -> None:
    for words in (["//pkg:tool", "--", "a", "--json"], ["//pkg:tool", "a", "--json"]):
        done = run("run", *words, cwd="pkg")
        assert (done.code, done.out) == (0, f"given a --json\n{project}/pkg\n"), done.err
    done = run("run", ":tool", "--", "--", cwd="pkg", env={"CODE": "42"})
    assert (done.code, done.out.splitlines()[0]) == (42, "given --")


def test_what_the_command_needs_is_built_too(run: Run) -> None:
    done = run("run", "//pkg:needing")
    assert (done.code, done.out) == (0, "from beside"), done.err


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("//pkg:tol", "did you mean"),
        ("//pkg:text", "cannot be run"),
        ("//pkg:", "one is needed"),
        ("//none:x", "none"),
    ],
)
def test_what_cannot_be_run(run: Run, label: str, said: str) -> None:
    done = run("run", label)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_outside_of_a_project(tmp_path: Path) -> None:
    done = finished.of([sys.executable, "-m", "fairlead", "run", "//a:b"], cwd=tmp_path)
    assert done.code == 2
    assert ".buckconfig" in done.err


def test_a_target_is_published_and_runs(
    run: Run, project: Path, web: Web, fairlead: Run, dotslash: Run
) -> None:
    kept: dict[str, bytes] = {}

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT":
            kept[asked.path] = asked.body
        return Answer(body=kept[asked.path]) if asked.path in kept else Answer(404)

    web.otherwise = answer
    log_in(web.url)
    done = run("publish", "--json", "//pkg:tool", "--out", "bin/tool")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["url"].endswith(f"/a/{document['blake3']}/tool.sh")
    assert document["platforms"] == [manifest.host()]
    for launcher in (fairlead, dotslash):
        assert launcher(project / "bin/tool", "x").out.splitlines()[0] == "x"


@pytest.mark.parametrize("label", ["//pkg:many", "//pkg:two", "//pkg:needing"])
def test_what_cannot_be_published(run: Run, label: str) -> None:
    done = run("publish", label, "--url", "http://127.0.0.1:9/x")
    assert (done.code, done.out) == (2, "")
    assert label in done.err
    assert "python_binary" in done.err


def test_arguments_become_absolute() -> None:
    files = {"fairlead-out/gen/a": "/r/fairlead-out/gen/a", "fairlead-out/gen/a/b": "/r/fairlead-out/gen/a/b"}

    def made(word: str) -> str:
        return target.absolute(word, {"root//:py": "/env"}, files)

    assert made("{toolchain:root//:py}/bin/python") == "/env/bin/python"
    assert made("fairlead-out/gen/a") == "/r/fairlead-out/gen/a"
    assert made("--x=fairlead-out/gen/a/b") == "--x=/r/fairlead-out/gen/a/b"
    assert made("fairlead-out/gen/a/inner") == "/r/fairlead-out/gen/a/inner"
    for untouched in ("plain", "fairlead-out/gen/ab", "xfairlead-out/gen/a", "{toolchain:root//:other}/x"):
        assert made(untouched) == untouched
