"""`fairlead build`, `test` and `why` as people run them: words, exit codes, JSON, kills and full disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from fairlead.build import execute, materialise, testing
from fairlead.store import crashpoint
from tests.build.wheels import PYTEST, Wheelhouse
from tests.disk import small_disk

ROOT = Path(__file__).parents[2]
ROOMS = ("build.action", "build.output", "build.test")
POINTS = sorted(name for name in crashpoint.NAMES if name.startswith(ROOMS))


class Clone:
    """A project in a git repository, and the command line in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.write(".buckconfig", "")
        self.write("lib/BUCK", LIB)
        self.write("lib/words.txt", "one\ntwo\n")
        self.write("lib/check.sh", '#!/bin/sh\ngrep -q "$1" fairlead-out/gen/lib/__upper__/upper.txt\n')
        (root / "lib/check.sh").chmod(0o755)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("begin")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def git(self, *args: str) -> str:
        who = ["-c", "user.name=author", "-c", "user.email=author@example.org"]
        return subprocess.run(
            ["git", *who, *args], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)

    def start(self, *args: str, at: str = "", env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fairlead", *args],
            cwd=self.root / at,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *args: str, code: int = 0, at: str = "", env: dict[str, str] | None = None
    ) -> tuple[str, str]:
        process = self.start(*args, at=at, env=env)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"{args}: {process.returncode}\n{out}{err}"
        assert "Traceback" not in err
        return out, err

    def json(self, *args: str, code: int = 0) -> dict[str, object]:
        document = json.loads(self.run(*args, "--json", code=code)[0])
        assert isinstance(document, dict)
        return document

    def read(self, path: str) -> str:
        return (self.root / path).read_text()


LIB = """
genrule(name = "upper", srcs = ["words.txt"], out = "upper.txt", cmd = "tr a-z A-Z < $SRCS > $OUT")
genrule(name = "count", out = "n", cmd = "wc -l < $(location :upper) > $OUT")
sh_test(name = "has_one", test = "check.sh", args = ["ONE"], deps = [":upper"])
sh_test(name = "has_two", test = "check.sh", args = ["TWO"], deps = [":upper"])
"""


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


def test_build_shows_outputs_and_the_second_run_runs_nothing(clone: Clone) -> None:
    out, err = clone.run("build", "//...")
    assert "//lib:count  fairlead-out/gen/lib/__count__/n" in out.splitlines()
    assert "4 targets built: " in out and " ran, 0 known already" in out
    assert "ran   //lib:upper  genrule" in err
    out, err = clone.run("build", "//...")
    assert "no action ran" in out and err == ""
    assert clone.read("fairlead-out/gen/lib/__upper__/upper.txt") == "ONE\nTWO\n"
    assert clone.git("status", "--short") == ""


def test_test_shows_verdicts_and_the_second_run_runs_no_test(clone: Clone) -> None:
    out, _ = clone.run("test", "//...")
    assert out.count("pass    //lib:has_") == 2 and "2 of 2 passed, 2 ran, 0 passed before" in out
    out, _ = clone.run("test", "//...")
    assert out.count("passed before\n") == 2
    assert "2 of 2 passed, no test ran, 2 passed before, no action ran" in out


def test_a_failing_test_shows_its_log_and_exits_1(clone: Clone) -> None:
    clone.write("lib/check.sh", "#!/bin/sh\necho looking for $1\ngrep $1 lib/none\n")
    out, _ = clone.run("test", "//lib:has_one", code=1)
    assert "fail    //lib:has_one" in out and "failed with exit code 2" in out
    assert "  | looking for ONE" in out and "0 of 1 passed" in out
    document = clone.json("test", "//lib:has_one", code=1)
    assert document["passed"] is False


def test_json(clone: Clone) -> None:
    built = clone.json("build", "//lib:upper")
    assert built["schema"] == "fairlead.build/1"
    assert built["targets"] == {"//lib:upper": ["fairlead-out/gen/lib/__upper__/upper.txt"]}
    tested = clone.json("test", "//lib:")
    assert tested["schema"] == "fairlead.test/1" and tested["passed"] is True
    results = tested["results"]
    assert isinstance(results, list)
    assert [(row["label"], row["outcome"], row["reused"]) for row in results] == [
        ("//lib:has_one", "pass", False),
        ("//lib:has_two", "pass", False),
    ]
    why = clone.json("why", "//lib:has_one")
    assert (why["schema"], why["key"], why["state"]) == ("fairlead.why/1", results[0]["key"], "passed")


def test_patterns_are_meant_from_where_one_stands(clone: Clone) -> None:
    assert clone.run("build", ":upper", at="lib")[0].startswith("//lib:upper  ")
    assert "4 targets" in clone.run("build", "...", at="lib")[0]
    assert "//lib:count" in clone.run("build", "lib:count")[0]


def test_why_names_the_parts_and_after_an_edit_what_differs(clone: Clone) -> None:
    out, _ = clone.run("why", "//lib:has_one")
    assert "It has not been built or tested here before." in out
    clone.run("test", "//...")
    out, _ = clone.run("why", "//lib:has_one")
    assert "Nothing has changed" in out and "(passed with this key)" in out
    for part in ("rule:", "attributes:", "inputs: lib/check.sh", "platform:", "dependencies:", "steps:"):
        assert part in out, part
    clone.write("lib/words.txt", "one\ntwo\nthree\n")
    out, _ = clone.run("why", "//lib:has_one")
    assert "(no pass with this key)" in out and "What differs:" in out
    (line,) = [line for line in out.splitlines() if "lib/words.txt" in line]
    old, new = (_sha256(text) for text in ("one\ntwo\n", "one\ntwo\nthree\n"))
    assert line.strip() == f"inputs lib/words.txt: [100644 {old[:12]}] -> [100644 {new[:12]}]"
    (clone.root / "lib/check.sh").chmod(0o755)
    clone.write("lib/BUCK", LIB.replace('args = ["ONE"]', 'args = ["TWO"]'))
    out, _ = clone.run("why", "//lib:has_one")
    assert "attributes args" in out and "ONE" in out and "TWO" in out


def _sha256(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def test_a_commit_is_tested_whatever_is_on_disk_and_the_key_is_printed(clone: Clone) -> None:
    """The replay command of the landing evidence."""
    head = clone.git("rev-parse", "HEAD").strip()
    key = _row(clone.json("test", "//lib:has_one"))["key"]
    clone.write("lib/words.txt", "three\n")
    clone.write("lib/junk.txt", "not committed\n")
    clone.run("test", "//lib:has_one", code=1)
    out, _ = clone.run("test", "--rev", head, "//lib:has_one", "--no-test-cache")
    assert f"key {key}" in out and "1 of 1 passed, 1 ran" in out
    assert clone.run("test", "--rev", head, "//lib:has_one")[0].count("passed before") == 2
    _, err = clone.run("test", "--rev", "nowhere", "//lib:has_one", code=2)
    assert "nowhere" in err


def test_a_commit_in_a_project_below_the_repositorys_root(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    (clone.root / "inner").mkdir()
    for name in (".buckconfig", "lib"):
        (clone.root / name).rename(clone.root / "inner" / name)
    clone.commit("move")
    out, _ = clone.run("test", "--rev", "HEAD", "//lib:has_one", at="inner")
    assert "1 of 1 passed" in out


def _row(document: dict[str, object]) -> dict[str, object]:
    results = document["results"]
    assert isinstance(results, list) and len(results) == 1
    row = results[0]
    assert isinstance(row, dict)
    return row


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["build", "//lib:uper"], 2, ["//lib:uper", "did you mean", "//lib:upper"]),
        (["test", "//libs:x"], 2, ["//libs", "did you mean", "//lib"]),
        (["why", "lib/words.txt"], 2, ["lib/words.txt is no label"]),
        (["build", "//...", "--sandbox", "total"], 2, ["total"]),
        (["build"], 2, ["PATTERN"]),
        (["build", "//...", "--jobs", "-1"], 2, ["-1 is no number of jobs", "--jobs", "1 or more"]),
        (["test", "//lib:upper"], 2, ["//lib:upper is no test", "fairlead build"]),
        (["test", "//lib:upper", "//lib:count"], 2, ["none of //lib:upper, //lib:count is a test"]),
        (["test", "//bare:"], 0, ["no target here is a test"]),
        (["test", "//bare/...", "--json"], 0, ['"results": []']),
    ],
)
def test_bad_input_is_told_in_words(clone: Clone, args: list[str], code: int, words: list[str]) -> None:
    clone.write("bare/BUCK", "genrule(name = 'x', out = 'x', cmd = 'touch $OUT')\n")
    said = "".join(clone.run(*args, code=code))
    for word in words:
        assert word in said


def test_a_broken_file_names_its_place(clone: Clone) -> None:
    clone.write("lib/BUCK", LIB + "\ngenrule(name = 'x', out = 'y', cmd = 1 +)\n")
    _, err = clone.run("build", "//...", code=2)
    assert "lib/BUCK:7" in err and "what to do" in err


def test_a_broken_lock_is_bad_input_and_no_failed_test(clone: Clone) -> None:
    rules = (
        "python_toolchain(name = 'py', lock = 'lock')\n"
        "python_test(name = 't', srcs = ['test_a.py'], toolchain = ':py')\n"
        "sh_test(name = 'bad', test = 'bad.sh')\n"
    )
    clone.write("locked/BUCK", rules)
    clone.write("locked/lock", "pytest\n")
    clone.write("locked/test_a.py", "def test_a(): pass\n")
    clone.write("locked/bad.sh", "#!/bin/sh\nexit 1\n")
    (clone.root / "locked/bad.sh").chmod(0o755)
    out, err = clone.run("test", "//locked:t", code=2)
    assert "a lock holds name==version with --hash only, not: pytest" in out + err
    clone.run("test", "//locked:", code=1)


def test_outside_of_a_project(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairlead", "build", "//..."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and ".buckconfig" in done.stderr


def test_a_failing_action_says_how_to_repeat_it(clone: Clone) -> None:
    clone.write("lib/BUCK", LIB + 'genrule(name = "bad", out = "x", cmd = "echo broken; exit 3")\n')
    _, err = clone.run("build", "//...", code=1)
    assert (
        "genrule failed with exit code 3" in err and "  | broken" in err and "//lib:bad (lib/BUCK:6)" in err
    )
    command = err.partition("to repeat it: ")[2].strip()
    again = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (3, "broken\n")
    error = json.loads(clone.run("build", "//lib:bad", "--json", code=1)[1].splitlines()[-1])
    assert error["exit"] == 1 and "to repeat it" in error["remedy"]


def test_a_python_test_sees_its_toolchain_and_its_libraries(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    clone.write("lock.txt", house.add("pytest", {"pytest.py": PYTEST}))
    clone.write("BUCK", 'python_toolchain(name = "python", lock = "lock.txt", visibility = ["PUBLIC"])\n')
    clone.write("py/BUCK", PY)
    clone.write("py/__init__.py", "")
    clone.write("py/greet.py", "def greet(who):\n    return 'hello ' + who\n")
    clone.write("py/main.py", "from py.greet import greet\nprint(greet('world'))\n")
    clone.write(
        "py/test_greet.py",
        "import importlib.util\nfrom py.greet import greet\n\n\n"
        "def test_greet():\n    assert greet('you') == 'hello you'\n\n\n"
        "def test_alone():\n    others = ('fairlead', 'hypothesis', 'pip')\n"
        "    assert not any(map(importlib.util.find_spec, others))\n",
    )
    out, _ = clone.run("test", "//py:test")
    assert "pass    //py:test" in out
    clone.run("build", "//py:app")
    assert subprocess.check_output([clone.root / "fairlead-out/gen/py/__app__/app"]) == b"hello world\n"
    clone.write("py/greet.py", "def greet(who):\n    return 'bye ' + who\n")
    out, _ = clone.run("test", "//py:test", code=1)
    assert "AssertionError" in out and "0 of 1 passed" in out
    lock = clone.read("lock.txt")
    clone.write("lock.txt", "# a comment\n" + lock)
    assert "toolchains" in clone.run("why", "//py:test")[0]


def test_a_lock_without_pytest_says_what_to_add(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    clone.write("lock.txt", house.add("other", {"other.py": ""}))
    clone.write("BUCK", 'python_toolchain(name = "python", lock = "lock.txt", visibility = ["PUBLIC"])\n')
    clone.write("py/BUCK", 'python_test(name = "test", srcs = ["test_x.py"])\n')
    clone.write("py/test_x.py", "def test_x():\n    pass\n")
    out, _ = clone.run("test", "//py:test", code=1)
    assert "error: there is no pytest" in out and "add pytest to the requirements file" in out
    assert "Traceback" not in out


PY = """
python_library(name = "lib", srcs = ["__init__.py", "greet.py"])
python_test(name = "test", srcs = ["test_greet.py"], deps = [":lib"])
python_binary(name = "app", main = "main.py", deps = [":lib"])
"""


def test_all_of_it_works_from_a_zip_alone(clone: Clone, tmp_path: Path) -> None:
    """As the published single file is: no folder of the package on disk, no library beside it."""
    with zipfile.ZipFile(tmp_path / "fairlead.pyz", "w") as archive:
        for path in sorted((ROOT / "fairlead").rglob("*")):
            if path.suffix in (".py", ".bzl"):
                archive.write(path, path.relative_to(ROOT))
        archive.writestr("__main__.py", "from fairlead.cli import console\nconsole()\n")
    isolated = [sys.executable, "-I", "-S"]
    done = subprocess.run(
        [*isolated, str(tmp_path / "fairlead.pyz"), "test", "//..."],
        cwd=clone.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "2 of 2 passed, 2 ran" in done.stdout) == (0, True), done.stdout + done.stderr
    apart = f"""
import sys; sys.path.insert(0, {str(tmp_path / "fairlead.pyz")!r})
from pathlib import Path
from fairlead.build.evaluator import evaluate_apart
print(len(evaluate_apart(Path("."), ["//..."], sandbox="namespace").requested))
"""
    done = subprocess.run(
        [*isolated, "-c", apart], cwd=clone.root, capture_output=True, text=True, check=False
    )
    assert done.stdout == "4\n", done.stderr


# -- kills, interrupts, two at once, a full disk


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_next_run_is_as_if_nothing_had_been(clone: Clone, point: str) -> None:
    known = {execute.BEFORE_RECORD, execute.AFTER_RECORD, materialise.BEFORE_SWAP, testing.BEFORE_VERDICT}
    assert known == set(POINTS)
    verb = "test" if point == testing.BEFORE_VERDICT else "build"
    clone.run("build", "//lib:count")
    clone.write("lib/words.txt", "one\ntwo\nthree\n")
    clone.run(verb, "//...", code=-signal.SIGKILL, env={"FAIRLEAD_CRASH_AT": point})
    old_or_new = clone.read("fairlead-out/gen/lib/__count__/n").strip()
    assert old_or_new in ("2", "3")
    clone.run(verb, "//...")
    clone.run("build", "//...")
    assert clone.read("fairlead-out/gen/lib/__count__/n").strip() == "3"
    assert clone.read("fairlead-out/gen/lib/__upper__/upper.txt") == "ONE\nTWO\nTHREE\n"
    assert not (clone.root / "fairlead-out/store/scratch").exists()
    left = [path for path in (clone.root / "fairlead-out/gen").rglob(".fairlead-tmp-*") if path.exists()]
    assert left == []


def test_an_interrupt_ends_what_runs_and_is_no_result(clone: Clone) -> None:
    clone.write("lib/BUCK", 'genrule(name = "slow", out = "x", cmd = "sleep 3141; echo > $OUT")\n')
    process = clone.start("build", "//...")
    _wait_for_sleep("3141", there=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert "interrupted" in err and "Traceback" not in err
    _wait_for_sleep("3141", there=False)


def test_killed_outright_nothing_runs_on(clone: Clone) -> None:
    clone.write("lib/BUCK", 'genrule(name = "slow", out = "x", cmd = "sleep 2718; echo > $OUT")\n')
    process = clone.start("build", "//...")
    _wait_for_sleep("2718", there=True)
    process.kill()
    process.communicate(timeout=30)
    _wait_for_sleep("2718", there=False)
    clone.write("lib/BUCK", 'genrule(name = "slow", out = "x", cmd = "echo quick > $OUT")\n')
    clone.run("build", "//...")
    assert not (clone.root / "fairlead-out/store/scratch").exists()


def _wait_for_sleep(seconds: str, *, there: bool) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        lines = [_line(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
        if any(line == f"sleep\0{seconds}\0".encode() for line in lines) == there:
            return
        time.sleep(0.05)
    pytest.fail(f"sleep {seconds} is {'not there' if there else 'still there'}")


def _line(path: Path) -> bytes:
    """A process's command line; nothing if it has just ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_two_builds_at_once_take_turns(clone: Clone) -> None:
    clone.write("lib/BUCK", 'genrule(name = "slow", out = "x", cmd = "sleep 1; echo > $OUT")\n')
    both = [clone.start("build", "//...") for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    ran = sorted("no action ran" in out for out, _ in said)
    assert ran == [False, True]
    assert any("waiting for another fairlead" in err for _, err in said)


def test_a_full_disk_is_exit_3_and_the_next_build_works(clone: Clone, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=1024) as disk:
        env = {"FAIRLEAD_STORE_DIR": str(disk / "store")}
        clone.run("build", "//lib:upper", env=env)
        with (disk / "filler").open("wb", buffering=0) as stream, pytest.raises(OSError):
            while True:
                stream.write(bytes(4096))
        clone.write("lib/words.txt", "other\n" * 2000)
        _, err = clone.run("build", "//lib:upper", code=3, env=env)
        assert "space" in err and str(disk) in err
        (disk / "filler").unlink()
        clone.run("build", "//lib:upper", env=env)
        assert clone.read("fairlead-out/gen/lib/__upper__/upper.txt") == "OTHER\n" * 2000


def test_a_full_project_disk_keeps_the_old_output(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=512) as disk:
        clone = Clone(disk / "clone")
        env = {"FAIRLEAD_STORE_DIR": str(tmp_path / "store")}
        clone.run("build", "//lib:upper", env=env)
        clone.write("lib/words.txt", "other\n" * 8000)
        with (disk / "filler").open("wb", buffering=0) as stream, pytest.raises(OSError):
            while True:
                stream.write(bytes(4096))
        _, err = clone.run("build", "//lib:upper", code=3, env=env)
        assert "No space left" in err and "fairlead-out/gen/lib/__upper__/upper.txt" in err
        assert clone.read("fairlead-out/gen/lib/__upper__/upper.txt") == "ONE\nTWO\n"
        assert list((clone.root / "fairlead-out/gen").rglob(".fairlead-tmp-*")) == []
