"""Evaluation apart: the same plan as here, and nothing gained by a child that lies or breaks out."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.build import evaluator, sandbox
from fairlead.build.evaluate import evaluate
from fairlead.build.evaluator import evaluate_apart
from fairlead.build.plan import Plan
from fairlead.build.tree import DiskTree
from fairlead.errors import FairleadError, UsageError
from tests.disk import small_disk


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "a").mkdir(parents=True)
    (root / ".buckconfig").touch()
    (root / "a/x.txt").write_text("x\n")
    (root / "a/BUCK").write_text(
        'load(":names.bzl", "NAME")\n'
        'genrule(name = NAME, srcs = ["x.txt"], out = "y.txt", cmd = "cat $SRCS > $OUT")\n'
        'sh_test(name = "t", test = "t.sh")\n'
    )
    (root / "a/names.bzl").write_text('NAME = "gen"\n')
    (root / "a/t.sh").write_text("#!/bin/sh\n")
    (root / "a/t.sh").chmod(0o755)
    return root


Lie = Callable[[str], None]


@pytest.fixture
def lie(monkeypatch: pytest.MonkeyPatch) -> Lie:
    """Make the child run this program in place of the evaluator, as a dialect with a hole would let it."""

    def become(program: str) -> None:
        monkeypatch.setattr(evaluator, "_CHILD", "import os, sys\n" + program)

    return become


@pytest.mark.parametrize("level", ["namespace", "landlock", "none"])
def test_the_plan_is_the_one_that_evaluating_here_gives(project: Path, level: sandbox.Requested) -> None:
    plan = evaluate_apart(project, ["//..."], sandbox=level)
    assert plan.encode() == evaluate(DiskTree(project), ["//..."]).encode()
    assert sorted(plan.requested) == ["//a:gen", "//a:t"]


def test_what_a_file_prints_is_no_part_of_the_answer(project: Path) -> None:
    (project / "a/names.bzl").write_text('print("plan\\n{}")\nNAME = "gen"\n')
    assert "//a:gen" in evaluate_apart(project, ["//a:gen"], sandbox="namespace").targets


def test_an_error_of_the_files_comes_back_with_its_place(project: Path) -> None:
    (project / "a/names.bzl").write_text("NAME = 1 / 0\n")
    with pytest.raises(UsageError) as here:
        evaluate(DiskTree(project), ["//..."])
    with pytest.raises(UsageError) as apart:
        evaluate_apart(project, ["//..."], sandbox="namespace")
    assert (apart.value.what, apart.value.where) == (here.value.what, here.value.where)
    assert "a/names.bzl:1" in apart.value.where


def test_the_child_sees_the_tree_read_only_and_nothing_else(project: Path, lie: Lie, tmp_path: Path) -> None:
    secret = tmp_path / "server.sqlite"
    secret.write_text("s3cret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        lie(f"""
import json, socket
tries = {{
    "read": lambda: open({str(secret)!r}).read(),
    "home": lambda: os.listdir({str(Path.home() / ".ssh")!r}),
    "write": lambda: open("/project/a/BUCK", "a"),
    "new": lambda: open("/project/new", "w"),
    "package": lambda: open("/fairlead/fairlead/evil.py", "w"),
    "network": lambda: socket.create_connection({server.getsockname()!r}, timeout=1),
}}
done = []
for name, act in tries.items():
    try:
        act(); done.append(name)
    except OSError:
        pass
error = {{"what": "allowed: " + ",".join(done), "where": str(os.getuid()), "remedy": ""}}
os.write(1, b"error\\n" + json.dumps(error).encode())
""")
        with pytest.raises(UsageError, match=r"^allowed: \n") as caught:
            evaluate_apart(project, ["//..."], sandbox="namespace")
    assert caught.value.where == "1000"
    assert not (project / "new").exists()


def good(project: Path) -> dict[str, object]:
    document = json.loads(evaluate(DiskTree(project), ["//..."]).encode())
    assert isinstance(document, dict)
    return document


def answer(document: object) -> str:
    return f"os.write(1, b'plan\\n' + {json.dumps(document).encode()!r})"


def test_a_plan_that_reads_outside_the_project_is_refused(project: Path, lie: Lie) -> None:
    for path in (
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../x",
        ".git/config",
        "fairlead-out/store/x",
        "absent.txt",
    ):
        document = good(project)
        test = next(t for t in document["targets"] if t["test"])  # type: ignore[attr-defined]
        test["test"]["sources"] = [path]
        lie(answer(document))
        with pytest.raises(UsageError, match="the evaluated plan is not valid"):
            evaluate_apart(project, ["//..."], sandbox="namespace")


def test_a_plan_that_writes_outside_of_fairlead_out_is_refused(project: Path, lie: Lie) -> None:
    for path in ("a/BUCK", "fairlead-out/store/results.sqlite", "../x", "fairlead-out/gen/../../a"):
        document = good(project)
        action = document["actions"][0]  # type: ignore[index]
        action["outputs"] = [path]
        action["directories"] = []
        lie(answer(document))
        with pytest.raises(UsageError, match="the evaluated plan is not valid"):
            evaluate_apart(project, ["//..."], sandbox="namespace")


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("os.write(1, b'plan\\nnot json')", "not valid"),
        ("os.write(1, b'plan\\n' + b'[' * 100000)", "not valid"),
        ("os.write(1, b'plan\\n{}')", "not valid"),
        ("os.write(1, b'error\\n[]')", "its error is not readable"),
        ("pass", "ended with code 0 and no answer"),
        (
            "print('my last words', file=sys.stderr); os._exit(9)",
            "ended with code 9 and no answer\n  | my last words",
        ),
        ("os.kill(os.getpid(), 9)", "ended with code -9"),
        ("import ctypes; ctypes.string_at(0)", "ended with code -11"),
        (
            'os.write(1, b\'error\\n\' + b\'{"what": "\\\\u001b[2Jx", "where": "", "remedy": ""}\')',
            "\ufffd\\[2Jx",
        ),
    ],
)
def test_any_other_answer_is_an_error_in_words(project: Path, lie: Lie, program: str, says: str) -> None:
    lie(program)
    with pytest.raises(UsageError, match=says):
        evaluate_apart(project, ["//..."], sandbox="namespace")


def test_an_answer_without_end_is_cut_off(project: Path, lie: Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "PLAN_BYTES", 1024 * 1024)
    lie("while True: os.write(1, b'plan\\n' * 1000)")
    with pytest.raises(UsageError, match="no answer"):
        evaluate_apart(project, ["//..."], sandbox="namespace")


def test_a_child_that_does_not_end_is_ended(project: Path, lie: Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "SECONDS", 1.0)
    lie("while True: pass")
    with pytest.raises(UsageError, match="took longer than 1 seconds"):
        evaluate_apart(project, ["//..."], sandbox="namespace")


def test_memory_without_end_is_ended(project: Path, lie: Lie) -> None:
    lie("x = bytearray(1 << 40)")
    with pytest.raises(UsageError, match="MemoryError"):
        evaluate_apart(project, ["//..."], sandbox="namespace")


def test_too_many_targets_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan: Plan = evaluate(DiskTree(project), ["//..."])
    monkeypatch.setattr(evaluator, "TARGETS", 1)
    with pytest.raises(UsageError, match="it has 2 targets"):
        evaluator.check(plan, DiskTree(project))


def test_a_full_disk_is_said_so(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        (disk / "filler").write_bytes(bytes(64 * 1024))
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        with pytest.raises(FairleadError) as caught:
            evaluate_apart(project, ["//..."], sandbox="namespace")
        assert caught.value.exit == 3
        assert [path.name for path in disk.iterdir()] == ["filler"]
