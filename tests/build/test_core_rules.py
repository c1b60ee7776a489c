"""The rules of the prelude, carried out by hand: each action in a folder with what it declares, no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from fairlead.build.loader import prelude_file
from fairlead.build.plan import Action, Plan
from fairlead.errors import UsageError
from tests.build.project import plan, write

PYTHON = "{toolchain://:python}/bin/python"


class Hand:
    """Carries out a plan: `made` is a folder with all outputs."""

    def __init__(self, root: Path, scratch: Path, made_of: Plan) -> None:
        self.root, self.scratch, self.plan = root, scratch, made_of
        self.made = scratch / "made"
        self.made.mkdir(parents=True)
        for action in made_of.actions:
            self.act(action)

    def stage(self, sources: Iterable[str], inputs: Iterable[str]) -> Path:
        """A new folder with these files of the project and these outputs."""
        folder = self.scratch / f"stage{len(list(self.scratch.iterdir()))}"
        for base, paths in ((self.root, sources), (self.made, inputs)):
            for path in paths:
                copy(base / path, folder / path)
        folder.mkdir(exist_ok=True)
        return folder

    def act(self, action: Action) -> None:
        folder = self.stage(action.sources, action.inputs)
        if action.kind == "run":
            for path in action.outputs:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
            done = self.run(folder, action.argv, action.env)
            assert done.returncode == 0, done.stderr
        elif action.kind == "write":
            assert action.content is not None
            write(folder, {action.outputs[0] + ("*" if action.executable else ""): action.content})
        else:
            (folder / action.outputs[0]).parent.mkdir(parents=True, exist_ok=True)
            if action.kind == "link_tree":
                (folder / action.outputs[0]).mkdir()
            for place, source in action.entries.items():
                copy(
                    folder / source,
                    folder / action.outputs[0] / place if place else folder / action.outputs[0],
                )
        for path in action.outputs:
            assert (folder / path).is_dir() == (path in action.directories)
            copy(folder / path, self.made / path)

    def run(
        self, folder: Path, argv: Iterable[str], env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        command = [word.replace(PYTHON, sys.executable) for word in argv]
        env = {"PATH": os.environ["PATH"], **env}
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)

    def test(self, label: str) -> subprocess.CompletedProcess[str]:
        spec = self.plan.targets[label].test
        assert spec is not None
        return self.run(self.stage(spec.sources, spec.inputs), spec.argv, spec.env)

    def output(self, label: str) -> Path:
        (path,) = self.plan.targets[label].default_outputs
        return self.made / path


def copy(source: Path, dest: Path) -> None:
    dest.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, dest, dirs_exist_ok=True)
    else:
        shutil.copy2(source, dest)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


TOOLCHAIN = "python_toolchain(name = 'python', lock = 'lock.txt', visibility = ['PUBLIC'])\n"


def by_hand(tmp_path: Path, files: dict[str, str | bytes]) -> Hand:
    root = write(tmp_path / "project", {"lock.txt": "", **files})
    return Hand(root, tmp_path / "hand", plan(root))


def test_export_file_and_filegroup(tmp_path: Path) -> None:
    hand = by_hand(
        tmp_path,
        {
            "BUCK": "export_file(name = 'a.txt')\n"
            "export_file(name = 'tool', src = 'bin/tool.sh', out = 'x/tool')\n"
            "filegroup(name = 'g', srcs = glob(['**/*.txt']) + [':tool'])\n"
            "filegroup(name = 'd', srcs = {'new/name': 'a.txt', 'all': 'bin', 'g': ':g'})\n",
            "a.txt": "A",
            "bin/tool.sh*": "#!/bin/sh\necho hi\n",
            "bin/b.txt": "B",
        },
    )
    assert hand.output("//:a.txt").read_text() == "A"
    assert hand.output("//:tool").name == "tool"
    assert os.access(hand.output("//:tool"), os.X_OK)
    assert tree(hand.output("//:g")) == ["a.txt", "bin/b.txt", "lock.txt", "x/tool"]
    assert tree(hand.output("//:d")) == [
        "all/b.txt",
        "all/tool.sh",
        "g/a.txt",
        "g/bin/b.txt",
        "g/lock.txt",
        "g/x/tool",
        "new/name",
    ]
    assert hand.plan.targets["//:d"].sources == ("a.txt", "bin/b.txt", "bin/tool.sh")


def test_genrule(tmp_path: Path) -> None:
    hand = by_hand(
        tmp_path,
        {
            "BUCK": "genrule(name = 'cat', srcs = ['a.txt', 'b.txt'], out = 'sub/all.txt',"
            " env = {'WHO': 'me $(location :dir)'}, cmd = 'cat $SRCS > $OUT; cat $SRCDIR/b.txt >> $OUT;"
            ' echo \\\\$(basename "$WHO") >> $OUT\')\n'
            "genrule(name = 'dir', out = 'd', directory = True, cmd = 'echo 1 > $OUT/one')\n"
            "genrule(name = 'tool', out = 't', executable = True,"
            " cmd = 'echo \"#!/bin/sh\" > $OUT; echo echo made \\\\$1 >> $OUT; chmod +x $OUT')\n"
            "genrule(name = 'use', out = 'o', cmd = '$(exe :tool) 7 > $OUT')\n"
            "genrule(name = 'many', outs = {'a': ['x/1', '2'], 'b': ['3']}, default_outs = ['b'],"
            " cmd = 'for f in $OUT_a $OUT_b; do echo x > $f; done')\n"
            "export_file(name = 'e', src = ':many[b]')\n",
            "a.txt": "A\n",
            "b.txt": "B\n",
        },
    )
    assert hand.output("//:cat").read_text() == "A\nB\nB\nd\n"
    assert hand.output("//:use").read_text() == "made 7\n"
    assert tree(hand.output("//:dir")) == ["one"]
    assert hand.output("//:many").name == "3"
    assert hand.output("//:e").read_text() == "x\n"
    assert hand.plan.targets["//:tool"].run == ("fairlead-out/gen/__tool__/t",)


def test_genrule_outputs_may_have_a_quote_in_their_name(tmp_path: Path) -> None:
    outs = "outs = {'a': [\"it's/one\"]}, default_outs = ['a']"
    build = f"genrule(name = 'odd', {outs}, cmd = 'echo x > \"$OUT_a\"')\n"
    assert by_hand(tmp_path, {"BUCK": build}).output("//:odd").read_text() == "x\n"


LIBRARIES: dict[str, str | bytes] = {
    "BUCK": TOOLCHAIN,
    "util/BUCK": "python_library(name = 'util', srcs = glob(['**/*.py']), resources = ['data.txt'],"
    " visibility = ['PUBLIC'])\n",
    "util/__init__.py": "",
    "util/deep/more.py": "import pkgutil\n"
    "def text():\n    return pkgutil.get_data('util', 'data.txt').decode()\n",
    "util/data.txt": "from a resource",
    "top/BUCK": "python_library(name = 'top', base_module = '', srcs = {'renamed.py': 'top.py'},"
    " deps = ['//util:util'], visibility = ['PUBLIC'])\n"
    "python_library(name = 'named', base_module = 'a.b', srcs = ['top.py'])\n",
    "top/top.py": "from util.deep.more import text\n",
}


def test_libraries_place_their_files(tmp_path: Path) -> None:
    hand = by_hand(tmp_path, LIBRARIES)
    assert tree(hand.output("//util:util")) == ["util/__init__.py", "util/data.txt", "util/deep/more.py"]
    assert tree(hand.output("//top:top")) == ["renamed.py"]
    assert tree(hand.output("//top:named")) == ["a/b/top.py"]


@pytest.mark.parametrize(
    ("how", "program"),
    [
        ("main = 'main.py'", "import sys, renamed\nprint(renamed.text(), sys.argv[1:])\n"),
        ("main_module = 'app.main', srcs", "import sys, renamed\nprint(renamed.text(), sys.argv[1:])\n"),
        ("main_function = 'app.main.go', srcs",
         "import sys, renamed\ndef go():\n    print(renamed.text(), sys.argv[1:])\n    return 3\n"),
    ],
)  # fmt: skip
def test_a_binary_is_one_file_that_runs(tmp_path: Path, how: str, program: str) -> None:
    library = how.endswith(", srcs")
    how = how.removesuffix(", srcs")
    lib = "python_library(name = 'lib', srcs = ['main.py'])\n" if library else ""
    deps = "deps = ['//top:top'" + (", ':lib']" if library else "]")
    hand = by_hand(
        tmp_path,
        LIBRARIES
        | {"app/BUCK": f"{lib}python_binary(name = 'app', {how}, {deps})\n", "app/main.py": program},
    )
    out = hand.output("//app:app")
    alone = tmp_path / "alone"
    shutil.copy2(out, alone)
    assert out.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    for command in ([str(alone)], [sys.executable, str(alone)]):
        done = subprocess.run([*command, "x"], cwd="/", capture_output=True, text=True)
        assert done.stdout == "from a resource ['x']\n", done.stderr
        assert done.returncode == (3 if "function" in how else 0)
    assert [name for name in zipfile.ZipFile(out).namelist() if not name.endswith("/")] == [
        "__main__.py",
        "app/main.py",
        "renamed.py",
        "util/__init__.py",
        "util/data.txt",
        "util/deep/more.py",
    ]
    again = Hand(hand.root, tmp_path / "again", hand.plan)
    for path in (again.made / "fairlead-out").rglob("*"):
        os.utime(path, (1, 1))
    assert again.output("//app:app").read_bytes() == out.read_bytes()


def test_python_tests_see_their_link_tree(tmp_path: Path) -> None:
    test = (
        "import os, pathlib, subprocess, sys\n"
        "import renamed\n"
        "def test_resource():\n    assert renamed.text() == 'from a resource'\n"
        "def test_place():\n    assert pathlib.Path('t/data.txt').read_text() == 'data'\n"
        "    assert os.environ['MODE'] == 'a b'\n"
        "def test_child():\n"
        "    code = 'import renamed; print(renamed.text())'\n"
        "    assert subprocess.check_output([sys.executable, '-c', code]) == b'from a resource\\n'\n"
        "def test_undeclared():\n    assert not os.path.exists('t/secret.txt')\n"
        "    assert not os.path.exists('../../../../../../t/secret.txt')\n"
    )
    hand = by_hand(
        tmp_path,
        LIBRARIES
        | {
            "t/BUCK": "python_test(name = 'good', srcs = ['test_good.py', 'conftest.py'],"
            " resources = ['data.txt'],"
            " deps = ['//top:top'], env = {'MODE': 'a b'}, timeout = 9, labels = ['fast'])\n"
            "python_test(name = 'bad', srcs = ['bad_test.py'])\n"
            "python_test(name = 'some', srcs = ['test_some.py'], args = ['-k', 'one'])\n"
            "python_test(name = 'none', srcs = ['test_none.py'])\n",
            "t/test_good.py": test,
            "t/conftest.py": "",
            "t/data.txt": "data",
            "t/secret.txt": "",
            "t/bad_test.py": "def test_bad():\n    assert 1 == 2\n",
            "t/test_some.py": "def test_one(): pass\ndef test_two(): assert False\n",
            "t/test_none.py": "x = 1\n",
        },
    )
    good = hand.test("//t:good")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "4 passed" in good.stdout
    bad = hand.test("//t:bad")
    assert bad.returncode == 1
    assert "assert 1 == 2" in bad.stdout
    assert hand.test("//t:some").returncode == 0
    assert hand.test("//t:none").returncode != 0, "no test at all is no pass"
    spec = hand.plan.targets["//t:good"].test
    assert spec is not None
    assert (spec.timeout, spec.labels, spec.toolchains) == (9, ("fast",), ("//:python",))


def test_shell_tests(tmp_path: Path) -> None:
    hand = by_hand(
        tmp_path,
        {
            "BUCK": "sh_test(name = 'a', test = 'a.sh', args = ['$(location :g)', 'x y'],"
            " env = {'G': '$(location :g)'},"
            " resources = ['r.txt'], deps = [':other'])\n"
            "sh_test(name = 'fails', test = 'f.sh')\n"
            "sh_test(name = 'made', test = ':t')\n"
            "genrule(name = 'g', out = 'g.txt', cmd = 'echo g > $OUT')\n"
            "genrule(name = 'other', out = 'o.txt', cmd = 'echo o > $OUT')\n"
            "genrule(name = 't', out = 't', executable = True,"
            " cmd = 'echo \"#!/bin/sh\" > $OUT; chmod +x $OUT')\n",
            "a.sh*": '#!/bin/sh -e\ntest "$(cat $1 $G)" = "g\ng"\ntest "$2" = "x y"\ntest -f r.txt\n'
            "test -f fairlead-out/gen/__other__/o.txt\ntest ! -e undeclared.txt\n",
            "f.sh*": "#!/bin/sh\nexit 4\n",
            "r.txt": "",
            "undeclared.txt": "",
        },
    )
    done = hand.test("//:a")
    assert done.returncode == 0, done.stderr
    assert hand.test("//:fails").returncode == 4
    assert hand.test("//:made").returncode == 0


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"t/BUCK": "python_test(name = 't', srcs = ['a.py'])", "t/a.py": ""},
            "none of the sources is a test",
        ),
        ({"t/BUCK": "python_binary(name = 't')"}, "one of main, main_module and main_function"),
        ({"t/BUCK": "python_binary(name = 't', main_function = 'f')"}, "module.function"),
        (
            {
                "t/BUCK": "[python_library(name = n, srcs = {'m.py': n + '.py'}) for n in ['a', 'b']]\n"
                "python_test(name = 't', srcs = ['test_t.py'], deps = [':a', ':b'])",
                **dict.fromkeys(["t/a.py", "t/b.py", "t/test_t.py"], ""),
            },
            "//t:a and //t:b both put a file at t/m.py",
        ),
        (
            {
                "t/BUCK": "python_test(name = 't', srcs = ['test_t.py'], deps = ['//:python'])",
                "t/test_t.py": "",
            },
            "needs a dependency with PythonLibraryInfo, and //:python (python_toolchain) has none",
        ),
        (
            {"t/BUCK": "python_library(name = 't', srcs = {'x': 'a', 'x/y': 'a'})", "t/a": ""},
            "'t/x/y' would lie inside 't/x'",
        ),
        ({"t/BUCK": "genrule(name = 't', outs = {'a': ['x']}, default_outs = ['b'], cmd = '')"}, 'key "b"'),
    ],
)
def test_misused_rules_say_what_is_wrong(tmp_path: Path, files: dict[str, str | bytes], says: str) -> None:
    with pytest.raises(UsageError) as error:
        plan(write(tmp_path, {"BUCK": TOOLCHAIN, "lock.txt": "", **files}))
    assert says in error.value.what
    assert "t/BUCK:" in error.value.where


def test_a_missing_toolchain_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        plan(write(tmp_path, {"BUCK": "python_test(name = 't', srcs = ['test_t.py'])", "test_t.py": ""}))
    assert "unknown target //:python" in error.value.what


def test_another_toolchain_by_configuration(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".buckconfig": "[python]\ntoolchain = //tools:py\n",
            "tools/BUCK": "python_toolchain(name = 'py', lock = 'l', interpreter = 'python3.12',"
            " visibility = ['PUBLIC'])",
            "tools/l": "",
            "BUCK": "python_test(name = 't', srcs = ['test_t.py'])",
            "test_t.py": "",
        },
    )
    made = plan(tmp_path, "//:t")
    assert made.targets["//:t"].toolchains == ("//tools:py",)
    assert made.targets["//:t"].config == {"python.toolchain": "//tools:py"}
    toolchain = made.toolchains["//tools:py"]
    assert (toolchain.interpreter, toolchain.lock) == ("python3.12", "tools/l")


def run_pytest(folder: Path, files: Mapping[str, str | bytes], *tests: str) -> tuple[int, str]:
    """What python_test runs, over a link tree with these files; exit code and output."""
    runner = folder / "run_pytest.py"
    runner.write_bytes(prelude_file("run_pytest.py") or b"")
    tree = write(folder / "around" / "tree", files)
    argv = [sys.executable, str(runner), str(tree), *(tests or ["test_t.py"]), "--", "-q"]
    env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


BAD = "def test_bad(): assert False\n"


@pytest.mark.parametrize(
    "text, code",
    [
        ("def test_good(): pass\n", 0),
        (BAD, 1),
        ("", 5),
        ("import os\ndef test_a(): os._exit(0)\n" + BAD, 1),
        ("import os\nos._exit(0)\n", 1),
        ("import os, atexit\natexit.register(os._exit, 0)\n" + BAD, 1),
        ("import os\ndef test_a(): os._exit(7)\n", 7),
        ("import os\ndef test_a(): os.kill(os.getpid(), 9)\n", -9),
        ("import os\ndef test_a(): os.kill(os.getppid(), 9)\n", -9),
        ("import os\ndef test_a():\n    if os.fork(): os.wait()\n", 0),
        ("import subprocess\ndef test_a(): subprocess.Popen(['sleep', '2'], close_fds=False)\n", 0),
    ],
)
def test_only_a_run_that_came_to_its_end_is_a_pass(tmp_path: Path, text: str, code: int) -> None:
    found, said = run_pytest(tmp_path, {"test_t.py": text})
    assert found == code, said


def test_settings_count_inside_of_the_link_tree_only(tmp_path: Path) -> None:
    around = {"pytest.ini": "[pytest]\naddopts = --collect-only\n", "conftest.py": "print('AROUND')\n"}
    write(tmp_path / "around", around)
    code, said = run_pytest(tmp_path, {"test_t.py": BAD})
    assert code == 1 and "AROUND" not in said


@pytest.mark.parametrize(
    "files",
    [
        {"pytest.ini": "[pytest]\npython_functions = check\n"},
        {"a/pyproject.toml": "[tool.pytest.ini_options]\npython_functions = 'check'\n"},
        {"a/pyproject.toml": "[tool.x]\n", "tox.ini": "[pytest]\npython_functions = check\n"},
        {"a/b/setup.cfg": "[tool:pytest]\npython_functions = check\n"},
        {"a/conftest.py": "def pytest_collection_modifyitems(items): items.clear()\n"},
    ],
)
def test_settings_in_the_link_tree_count(tmp_path: Path, files: dict[str, str]) -> None:
    text = "def check(): pass\ndef test_bad(): assert 'conftest' in __file__\n"
    code, said = run_pytest(tmp_path, {"a/b/test_t.py": text, **files}, "a/b/test_t.py")
    assert code == (5 if "a/conftest.py" in files else 0), said
