"""`fairlead lint` and `fairlead fix` as a person meets them: real output, pinned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fairlead

SOURCES = {
    "app/query.py": """\
        def find(rows, key):
            for row in rows:
                if row == None or row.key != key:
                    continue
                if (row.gone == False) == True:
                    return None == row.value
        """,
    "app/odd.py": "same = 1 == None\n",
    "app/clean.py": "x = 1\nok = x == None  # lint-ignore: CompareSingletonPrimitivesByIs\n",
}
ROOT = Path(fairlead.__file__).resolve().parent.parent


class Shell:
    """Runs verbs in a scratch repository; times in the output are replaced by T."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("FAIRLEAD_")}
        self.env |= {"PYTHONPATH": str(ROOT), "FAIRLEAD_CONFIG_DIR": str(state), "NO_COLOR": "1"}

    def __call__(self, *args: str, cwd: str = ".", **env: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "fairlead", *args],
            cwd=self.folder / cwd,
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, re.sub(r"\b[\d.m]+s\n", "T\n", done.stderr)

    def git(self, *args: str) -> str:
        who = ["-c", "user.name=author", "-c", "user.email=author@localhost", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *who, *args], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "repo"
    folder.mkdir()
    shell = Shell(folder, tmp_path / "state")
    for name, text in SOURCES.items():
        shell.write(name, text)
    shell.git("init", "-q", "-b", "main")
    shell.git("add", "-A")
    shell.git("commit", "-q", "-m", "one")
    return shell


SAYS = "CompareSingletonPrimitivesByIs: compare to None, True and False with `is` or `is not`"
FOUND = f"""\
app/odd.py:1:8: {SAYS}
app/query.py:3:12: {SAYS} [can be fixed]
app/query.py:5:12: {SAYS} [can be fixed]
app/query.py:5:13: {SAYS} [can be fixed]
app/query.py:6:20: {SAYS} [can be fixed]
"""
DIFF = """\
--- a/app/query.py
+++ b/app/query.py
@@ -1,6 +1,6 @@
 def find(rows, key):
     for row in rows:
-        if row == None or row.key != key:
+        if row is None or row.key != key:
             continue
-        if (row.gone == False) == True:
-            return None == row.value
+        if (row.gone is False) is True:
+            return None is row.value
"""
LEFT = FOUND.splitlines(keepends=True)[0]


def test_lint_finds_and_the_second_run_knows(shell: Shell) -> None:
    assert shell("lint") == (1, FOUND, "5 findings in 2 of 3 files, `fairlead fix` mends 4; T\n")
    again = "5 findings in 2 of 3 files, `fairlead fix` mends 4; 3 known from before; T\n"
    assert shell("lint") == (1, FOUND, again)
    assert shell("lint", "--no-cache")[2] == "5 findings in 2 of 3 files, `fairlead fix` mends 4; T\n"
    assert shell.git("status", "--porcelain") == ""  # the store hides itself from git


def test_paths_are_shown_from_where_one_stands(shell: Shell) -> None:
    code, out, _ = shell("lint", "odd.py", cwd="app")
    assert (code, out) == (1, LEFT.removeprefix("app/"))


def test_lint_of_clean_files_and_of_no_file(shell: Shell) -> None:
    assert shell("lint", "app/clean.py") == (0, "", "no findings in 1 file; T\n")
    shell.git("rm", "-q", "-r", "app")
    said = "no Python files here that git tracks; name a file to check it all the same\n"
    assert shell("lint") == (0, "", said)


def test_lint_with_diff_shows_what_fix_would_do(shell: Shell) -> None:
    assert shell("lint", "--diff")[:2] == (1, FOUND + DIFF)
    assert shell.git("status", "--porcelain") == ""


def test_lint_as_json_is_a_bare_list(shell: Shell) -> None:
    code, out, err = shell("lint", "--json", "app/odd.py", "app/clean.py")
    assert (code, err) == (1, "")
    assert json.loads(out) == [
        {
            "path": "app/odd.py",
            "line": 1,
            "column": 8,
            "end_line": 1,
            "end_column": 17,
            "rule": "CompareSingletonPrimitivesByIs",
            "message": "compare to None, True and False with `is` or `is not`",
            "fixable": False,
        }
    ]
    assert shell("lint", "--json", "app/clean.py") == (0, "[]\n", "")


BROKEN = """\
error: not valid Python: '(' was never closed
  where: app/broken.py:2:6
  what to do: mend that place; no rule has looked at this file
"""


def test_a_file_that_is_not_python_is_named_and_the_others_are_linted(shell: Shell) -> None:
    shell.write("app/broken.py", "x = 1\nprint(x\n")
    shell.git("add", "-A")
    for known in ("", "; 4 known from before"):
        code, out, err = shell("lint")
        assert (code, out) == (2, FOUND)
        assert err == BROKEN + f"5 findings in 2 of 4 files, `fairlead fix` mends 4{known}; T\n"
    code, out, err = shell("lint", "--json")
    assert (code, len(json.loads(out))) == (2, 5)
    assert json.loads(err)["where"] == "app/broken.py:2:6"
    code, out, err = shell("fix")
    assert (code, out) == (2, "app/query.py: mended 4 findings in 2 passes\n" + LEFT)
    assert err == BROKEN + "mended 4 findings in 1 file, 1 finding left; 4 files; T\n"
    assert shell.read("app/broken.py") == "x = 1\nprint(x\n"


def test_fix_mends_says_what_is_left_and_has_nothing_to_do_again(shell: Shell) -> None:
    code, out, err = shell("fix")
    assert (code, out) == (1, "app/query.py: mended 4 findings in 2 passes\n" + LEFT)
    assert err == "mended 4 findings in 1 file, 1 finding left; 3 files; T\n"
    assert shell.git("diff", "--name-only") == "app/query.py\n"
    assert shell("fix") == (1, LEFT, "nothing to mend, 1 finding left; 3 files; T\n")


def test_fix_exits_0_when_all_is_mended(shell: Shell) -> None:
    said = ("app/query.py: mended 4 findings in 2 passes\n", "mended 4 findings in 1 file; 1 file; T\n")
    assert shell("fix", "app/query.py") == (0, *said)
    assert shell("fix", "app/query.py") == (0, "", "nothing to mend; 1 file; T\n")
    assert shell("lint", "app/query.py")[0] == 0


def test_fix_with_diff_writes_nothing_and_git_applies_it(shell: Shell) -> None:
    code, out, err = shell("fix", "--diff")
    assert (code, out, err) == (1, DIFF, "would mend 4 findings in 1 file; 3 files; T\n")
    assert shell.git("status", "--porcelain") == ""
    subprocess.run(["git", "apply"], cwd=shell.folder, input=out, text=True, check=True)
    assert shell("lint")[1] == LEFT


def test_fix_as_json(shell: Shell) -> None:
    code, out, err = shell("fix", "--json", "--diff")
    said = json.loads(out)
    assert (code, err, said["schema"], said["written"], len(said["left"])) == (
        1,
        "",
        "fairlead.fix/1",
        False,
        5,
    )
    assert said["files"] == [{"path": "app/query.py", "fixes": 4, "passes": 2, "diff": DIFF}]
    said = json.loads(shell("fix", "--json")[1])
    assert (said["written"], [f["path"] for f in said["left"]]) == (True, ["app/odd.py"])
    assert said["files"] == [{"path": "app/query.py", "fixes": 4, "passes": 2}]


def test_since_looks_at_what_changed(shell: Shell) -> None:
    shell.write("app/clean.py", "y = 1 if x == None else 2\n")
    code, out, err = shell("lint", "--since", "HEAD")
    assert (code, out.count("\n")) == (1, 1) and err.startswith("1 finding in 1 of 1 file, ")
    shell.git("checkout", "-q", "app/clean.py")
    said = "no Python file here differs from where this branch left HEAD\n"
    assert shell("lint", "--since", "HEAD") == (0, "", said)
    code, _, err = shell("lint", "--since", "nope")
    assert code == 2 and err.startswith("error: there is no commit 'nope' here\n")


def test_settings_leave_files_and_rules_out(shell: Shell) -> None:
    shell.write("fairlead.toml", '[lint]\nexclude = ["query.py", "app/o*"]\n')
    assert shell("lint")[0] == 0
    said = "no Python files there: git tracks none, or lint.exclude leaves them out\n"
    assert shell("lint", "app/odd.py") == (0, "", said)
    shell.write("fairlead.toml", '[lint]\ndisable = ["CompareSingletonPrimitivesByIs"]\n')
    assert shell("lint") == (0, "", "no findings in 3 files; 3 known from before; T\n")
    shell.write("fairlead.toml", '[lint]\ndisable = ["CompareSingletonPrimitiveByIs"]\n')
    code, _, err = shell("lint")
    assert code == 2 and "did you mean CompareSingletonPrimitivesByIs?" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["lint", "nope"], "there is no file or folder nope"),
        (["lint", "--json", "--diff"], "--json and --diff do not go together"),
        (["fix", "--sinse", "x"], "did you mean --since"),
        (["lint", "--since"], "--since stands alone"),
    ],
)
def test_wrong_usage_exits_2(shell: Shell, args: list[str], said: str) -> None:
    code, out, err = shell(*args)
    assert (code, out) == (2, "") and said in err and "Traceback" not in err


def test_without_the_extra_the_command_that_adds_it_is_printed(shell: Shell) -> None:
    """In an interpreter that sees no installed package."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from fairlead.cli import main; sys.exit(main(['lint']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        cwd=shell.folder,
        env=shell.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "error: lint needs LibCST, which is not installed",
        "  what to do: pip install 'fairlead[lint]'",
    ]


def test_a_warm_run_imports_neither_libcst_nor_a_rule(shell: Shell) -> None:
    shell("lint")
    program = (
        "import sys; from fairlead.cli import main; main(['lint'])\n"
        "print([m for m in sys.modules if m.startswith(('libcst', 'fairlead.lint.rule'))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shell.folder,
        env=shell.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == FOUND + "[]\n" and "3 known from before" in done.stderr


def test_a_store_that_cannot_be_is_said_and_does_no_harm(shell: Shell) -> None:
    shell.write("file", "")
    code, out, err = shell("lint", FAIRLEAD_STORE_DIR=str(shell.folder / "file" / "store"))
    assert (code, out) == (1, FOUND)
    assert err.startswith("note: answers are not kept: ") and "Traceback" not in err


def test_a_file_name_that_is_not_text(shell: Shell) -> None:
    name = os.fsencode(shell.folder) + b"/\xff.py"
    with open(name, "wb") as file:
        file.write(b"x == None\n")
    shell.git("add", "-A")
    code, out, _ = shell("lint")
    assert code == 1 and f"\\xff.py:1:1: {SAYS} [can be fixed]\n" in out
    assert shell("fix", "--diff")[0] == 1 and shell("fix")[0] == 1
    with open(name, "rb") as file:
        assert file.read() == b"x is None\n"


def test_outside_of_a_repository(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.py").write_text("x == None\n")
    code, out, _ = shell("lint", cwd="../plain")
    assert (code, out.partition(":")[0]) == (1, "a.py")
    assert shell("fix", cwd="../plain")[0] == 0
    assert (tmp_path / "plain" / "a.py").read_text() == "x is None\n"
