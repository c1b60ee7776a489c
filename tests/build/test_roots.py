"""A project's modules are found through the environment, as after an editable installation: by every process
that a test starts. Real pytest, real commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.build import roots, sandbox
from tests.build.test_build_verbs import Clone
from tests.build.wheels import Wheelhouse, real_pytest

# The file is mounted, which takes a namespace. Under CI there has to be one: there the tests run and fail.
namespaces = pytest.mark.skipif(
    os.environ.get("CI") != "true" and sandbox.enforcement("auto") != "namespace",
    reason="nothing can be mounted",
)

PYPROJECT = """
[project]
name = "thing"
version = "1.5"
scripts = {speak = "thing:speak"}
dependencies = ["words"]
[dependency-groups]
test = ["pytest"]
[tool.pytest.ini_options]
testpaths = ["tests"]
"""
ASK = "import importlib.metadata as m; d, = [d for d in m.distributions() if d.name == 'thing'];"
ASK += " e, = d.entry_points; print(d.version, e.load()())"
TEST = f"""
import os, pathlib, subprocess, sys

def run(*words, **env):
    done = subprocess.run([sys.executable, *words], env=env, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

def test_in_a_scrubbed_environment():
    assert run("-c", "import thing; print(thing.speak())", PATH="/usr/bin:/bin") == "word"

def test_with_a_path_of_its_own(tmp_path):
    (tmp_path / "more.py").write_text("import thing\\nprint(thing.speak())")
    assert run("-m", "more", PYTHONPATH=str(tmp_path)) == "word"

def test_apart_from_the_users_environment():
    assert run("-I", "-c", "import thing; print(thing.speak())") == "word"

def test_with_metadata():
    assert run("-c", {ASK!r}) == "1.5 word"

def test_where_what_is_looked_for():
    assert "PYTHONPATH" not in os.environ
    import calendar, shadowed
    assert calendar.__file__ != shadowed.__file__ and shadowed.OURS and hasattr(calendar, "month")
    shown = run("-c", "import sys; print(*sys.path, sep=chr(10))").splitlines()
    own = [path for path in sys.path if not path.startswith(str(pathlib.Path(__file__).parent))]
    assert shown == own
    root, made = (own.index(path) for path in own if path.startswith(str(pathlib.Path(__file__).parents[1])))
    assert (root + 1, own[root]) == (made, str(pathlib.Path(__file__).parents[1] / "src"))
    assert own[made + 1].endswith("site-packages") and own.index(os.path.dirname(os.__file__)) < root
"""
FILES = {
    "pyproject.toml": PYPROJECT,
    "src/thing/__init__.py": "from thing.voice import speak\n",
    "src/thing/voice.py": "import words\ndef speak():\n    return words.WORD\n",
    "src/calendar.py": "",
    "src/shadowed.py": "OURS = True\n",
    "src/pluggy/nothing.txt": "",
    "tests/test_it.py": TEST,
}
LABEL = "//:tests/test_it"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    real_pytest(house)
    house.add("words", {"words.py": "WORD = 'word'", "shadowed.py": "OURS = False"})
    made = Clone(tmp_path / "clone")
    for path in (".buckconfig", "lib/BUCK", "lib/words.txt", "lib/check.sh"):
        (made.root / path).unlink()
    for path, text in FILES.items():
        made.write(path, text)
    made.run("init", "--lock", "--static")
    made.commit("a project")
    return made


@namespaces
def test_what_a_test_starts_finds_the_project_with_any_environment_and_wherever_it_is(clone: Clone) -> None:
    out, _ = clone.run("test", LABEL)
    assert "1 of 1 passed" in out
    out, _ = clone.run("test", LABEL)
    assert "no test ran" in out
    (clone.root / "src").rename(clone.root / "code")
    clone.write("pyproject.toml", PYPROJECT + "[tool.setuptools.packages.find]\nwhere = ['code']\n")
    clone.write("tests/test_it.py", TEST.replace('"src"', '"code"'))
    out, _ = clone.run("test", LABEL)
    assert "1 of 1 passed" in out and "1 ran" in out


@namespaces
def test_the_same_where_init_runs_it_and_for_a_commit(clone: Clone) -> None:
    clone.write("tests/test_asks.py", f"{TEST}\nassert run('-c', {ASK!r}) == '1.5 word'\n")
    out, _ = clone.run("init", "--check")
    assert "2 targets: 2 known; 10 tests" in out and "all tests end alike" in out
    clone.commit("another")
    out, _ = clone.run("test", "//...", "--rev", "HEAD", "--no-test-cache")
    assert "2 of 2 passed" in out


@pytest.mark.parametrize("level", ["none", "landlock"])
def test_where_nothing_can_be_mounted_the_file_asks_for_the_run(clone: Clone, level: str) -> None:
    out, _ = clone.run("test", LABEL, "--sandbox", level)
    assert "1 of 1 passed" in out
    (env,) = (clone.root / "fairlead-out/store").rglob(f"site-packages/{roots.NAME}")
    python = env.parents[3] / "bin/python"
    outside = subprocess.run([python, "-c", "import thing"], capture_output=True, text=True, check=False)
    assert "No module named 'thing'" in outside.stderr


@pytest.mark.parametrize("folder", ["/a b", "/it's", "/ü\udc80", "/a\nb"])
def test_any_path_can_stand_in_the_file(folder: str, tmp_path: Path) -> None:
    (tmp_path / roots.NAME).write_text(roots.text(str(tmp_path), [folder, "/usr"]), "ascii")
    code = f"import site, sys; site.addsitedir({str(tmp_path)!r}); print(ascii(sys.path))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    found = done.stdout.strip()
    assert f"{folder!a}, '/usr', {str(tmp_path)!a}]" in found and not done.stderr
