"""alias, test_suite, sh_binary and sh_library: built, run and tested by the real engine."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fairlead.build.builder import BuildReport
from fairlead.build.engine import Engine, TestReport
from fairlead.build.evaluate import evaluate
from fairlead.build.event import Event
from fairlead.build.plan import Plan
from fairlead.build.sandbox import Requested
from fairlead.build.tree import DiskTree
from fairlead.errors import FairleadError, UsageError
from fairlead.store import Store
from tests.build.project import write


class Yard:
    """A project and its store. `ran` are the actions and tests that ran in the last call."""

    def __init__(
        self, folder: Path, files: Mapping[str, str | bytes], *, sandbox: Requested = "auto"
    ) -> None:
        self.sandbox = sandbox
        self.root = write(folder / "project", files)
        self.store = Store.open(folder / "store")
        self.ran: list[str] = []

    def write(self, files: Mapping[str, str | bytes]) -> None:
        write(self.root, files)

    def plan(self, *patterns: str) -> Plan:
        plan = evaluate(DiskTree(self.root), patterns or ["//..."])
        assert Plan.decode(plan.encode()) == plan
        return plan

    def _engine(self, plan: Plan, hosts: Sequence[str] | None = None) -> Engine:
        self.ran = []

        def event(seen: Event) -> None:
            if seen.kind == "action":
                self.ran.append(seen.text)
            elif seen.kind == "test" and seen.result is not None and not seen.result.reused:
                self.ran.append(seen.label)

        tree = DiskTree(self.root)
        return Engine(
            self.store,
            self.root,
            tree,
            plan,
            sandbox=self.sandbox,
            jobs=2,
            on_event=event,
            download_hosts=hosts,
        )

    def build(self, *patterns: str, hosts: Sequence[str] | None = None) -> BuildReport:
        plan = self.plan(*patterns)
        return self._engine(plan, hosts).build(plan.requested)

    def test(self, *patterns: str) -> TestReport:
        plan = self.plan(*patterns)
        return self._engine(plan).test(plan.requested)

    def output(self, label: str) -> Path:
        (path,) = self.build(label).outputs[label]
        return self.root / path

    def log(self, report: TestReport, label: str) -> str:
        (result,) = [result for result in report.results if result.label == label]
        return self.store.blobs.get(result.log).decode()


def outcomes(report: TestReport) -> dict[str, str]:
    return {result.label: result.outcome for result in report.results}


def test_an_alias_stands_for_its_target(tmp_path: Path) -> None:
    yard = Yard(
        tmp_path,
        {
            "BUCK": "alias(name = 'other', actual = '//a:tool', visibility = ['PUBLIC'])\n"
            "alias(name = 'third', actual = ':other')\n"
            "genrule(name = 'use', srcs = [':third'], out = 'o',"
            " cmd = '$(exe :third) > $OUT; cat $SRCS >> $OUT')\n"
            "genrule(name = 'part', srcs = [':parts[b]'], out = 'p', cmd = 'cat $SRCS > $OUT')\n"
            "alias(name = 'parts', actual = '//a:many')\n"
            "alias(name = 'check', actual = '//a:check')\n",
            "a/BUCK": "genrule(name = 'tool', out = 't', executable = True, visibility = ['PUBLIC'],"
            " cmd = 'echo \"#!/bin/sh\" > $OUT; echo echo ran >> $OUT; chmod +x $OUT')\n"
            "genrule(name = 'many', outs = {'a': ['1'], 'b': ['2']}, visibility = ['PUBLIC'],"
            " cmd = 'echo A > $OUT_a; echo B > $OUT_b')\n"
            "sh_test(name = 'check', test = 'check.sh', visibility = ['PUBLIC'])\n",
            "a/check.sh*": "#!/bin/sh\n",
        },
    )
    assert yard.output("//:use").read_text() == "ran\n#!/bin/sh\necho ran\n"
    assert yard.output("//:part").read_text() == "B\n"
    assert yard.build("//:third").outputs["//:third"] == yard.build("//a:tool").outputs["//a:tool"]
    plan = yard.plan("//:third")
    assert plan.targets["//:third"].run == plan.targets["//a:tool"].run
    assert outcomes(yard.test("//:check")) == {"//a:check": "pass"}
    assert outcomes(yard.test("//...")) == {"//a:check": "pass"}
    assert yard.ran == []  # it has passed, by whatever name


SUITES = {
    "BUCK": "test_suite(name = 'all', tests = ['//a:fast', ':both', ':named'])\n"
    "test_suite(name = 'both', tests = ['//a:fast', '//a:slow', ':all'])\n"
    "alias(name = 'named', actual = '//a:open')\n",
    "a/BUCK": "sh_test(name = 'fast', test = 'ok.sh')\nsh_test(name = 'slow', test = 'ok.sh')\n"
    "sh_test(name = 'open', test = 'ok.sh', visibility = ['PUBLIC'])\n"
    "sh_test(name = 'bad', test = 'bad.sh')\n"
    "filegroup(name = 'files')\n",
    "a/ok.sh*": "#!/bin/sh\n",
    "a/bad.sh*": "#!/bin/sh\nexit 3\n",
}


def test_a_suite_runs_its_tests_once_each(tmp_path: Path) -> None:
    yard = Yard(tmp_path, SUITES)
    assert outcomes(yard.test("//:all")) == dict.fromkeys(["//a:fast", "//a:open", "//a:slow"], "pass")
    assert sorted(yard.ran) == ["//a:fast", "//a:open", "//a:slow"]
    assert outcomes(yard.test("//:both")) == outcomes(yard.test("//:all"))
    assert yard.ran == []
    yard.write({"BUCK": "test_suite(name = 'all', tests = ['//a:bad'])\n"})
    assert outcomes(yard.test("//:all")) == {"//a:bad": "fail"}
    assert yard.build("//:all").outputs == {"//:all": ()}


def test_what_a_suite_lists_is_there_and_is_a_test(tmp_path: Path) -> None:
    yard = Yard(tmp_path, SUITES)
    yard.write({"BUCK": "\ntest_suite(name = 'all', tests = ['//a:fats'])\n"})
    with pytest.raises(UsageError) as caught:
        yard.plan("//:all")
    assert "unknown target //a:fats" in caught.value.what
    assert (caught.value.where, "//a:fast" in caught.value.remedy) == ("BUCK:2", True)
    yard.write({"BUCK": "\ntest_suite(name = 'all', tests = ['//a:files'])\n"})
    with pytest.raises(UsageError) as caught:
        yard.plan("//:all")
    assert caught.value.what == "//:all lists //a:files, and a filegroup is no test"
    assert (caught.value.where, bool(caught.value.remedy)) == ("BUCK:2", True)


SCRIPTS = {
    "BUCK": "sh_binary(name = 'hello', main = 'bin/main.sh', resources = ['data.txt'],"
    " deps = ['//lib:words'])\n"
    "genrule(name = 'said', out = 'o', cmd = '$(exe :hello) from a rule > $OUT')\n"
    "sh_test(name = 'test', test = ':hello', args = ['tested'])\n"
    "sh_test(name = 'sees', test = 'sees.sh', deps = ['//lib:words'])\n",
    "bin/main.sh*": '#!/bin/sh\n. "$BUCK_PROJECT_ROOT/lib/words.sh"\n'
    'say "$(cat "$BUCK_DEFAULT_RUNTIME_RESOURCES/data.txt")" "$*"\n',
    "sees.sh*": "#!/bin/sh\ncat lib/words.sh base/base.sh\n",
    "data.txt": "data",
    "lib/BUCK": "sh_library(name = 'words', srcs = ['words.sh'], deps = ['//base:base'],"
    " visibility = ['PUBLIC'])\n",
    "lib/words.sh": '. "$BUCK_PROJECT_ROOT/base/base.sh"\nsay() { shout "$@"; }\n',
    "base/BUCK": "sh_library(name = 'base', srcs = ['base.sh'], visibility = ['PUBLIC'])\n",
    "base/base.sh": 'shout() { echo "$@!"; }\n',
}


def test_a_shell_program_has_its_files_wherever_it_runs(tmp_path: Path) -> None:
    yard = Yard(tmp_path, SCRIPTS)
    program = yard.output("//:hello")
    assert program.name == "hello.sh"
    link = tmp_path / "elsewhere"
    link.symlink_to(program)
    for start in (program, link):
        done = subprocess.run([start, "a", "b"], cwd="/", capture_output=True, text=True, check=True)
        assert done.stdout == "data a b!\n"
    assert yard.output("//:said").read_text() == "data from a rule!\n"
    report = yard.test("//:test", "//:sees")
    assert outcomes(report) == {"//:sees": "pass", "//:test": "pass"}
    assert yard.log(report, "//:test") == "data tested!\n"
    yard.write({"base/base.sh": 'shout() { echo "$@?"; }\n'})
    assert yard.log(yard.test("//:test"), "//:test") == "data tested?\n"


def test_a_shell_program_that_cannot_work_says_why(tmp_path: Path) -> None:
    yard = Yard(tmp_path, SCRIPTS)
    (yard.root / "bin/main.sh").chmod(0o644)
    done = subprocess.run([yard.output("//:hello")], capture_output=True, text=True)
    assert done.returncode == 126
    assert "the main script of //:hello, is not executable" in done.stderr and "chmod +x" in done.stderr
    yard.write({"lib/BUCK": "sh_library(name = 'words', srcs = {'../data.txt': 'words.sh'},"
                " visibility = ['PUBLIC'])\n"})  # fmt: skip
    with pytest.raises(FairleadError, match="no path inside a folder"):
        yard.plan("//:hello")
    yard.write(
        {"BUCK": "sh_library(name = 'l', srcs = {'x.sh': 'data.txt'})\n"
         "sh_binary(name = 'b', main = 'x.sh', deps = [':l'])\n", "x.sh*": "#!/bin/sh\n"}
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"//:l and //:b both put a file at x\.sh") as caught:
        yard.plan("//:b")
    assert "BUCK:2" in caught.value.where


@pytest.mark.parametrize("level", ["namespace", "none"])
def test_the_folders_of_outputs_are_there_when_a_genrule_begins(tmp_path: Path, level: Requested) -> None:
    yard = Yard(
        tmp_path,
        {
            ".buckconfig": "",
            "p/BUCK": "genrule(name = 'deep', out = 'a/b/it is', cmd = 'echo deep > \"$OUT\"')\n"
            "genrule(name = 'many', outs = {'x': ['1', 'c/2', 'c/d/3']}, default_outs = ['x'],"
            " cmd = 'for at in $OUT_x; do echo $at > $at; done')\n"
            "genrule(name = 'tree', out = 'o', directory = True, cmd = 'echo x > $OUT/x')\n",
        },
        sandbox=level,
    )
    outputs = yard.build().outputs
    assert (yard.root / outputs["//p:deep"][0]).read_text() == "deep\n"
    assert [(yard.root / path).read_text() for path in outputs["//p:many"]] == [
        f"{path}\n" for path in outputs["//p:many"]
    ]
    assert (yard.root / outputs["//p:tree"][0] / "x").read_text() == "x\n"
