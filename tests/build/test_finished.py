"""A build that was the last one, over files that nobody touched, is known at one look; any other is not."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.build import toolchain
from fairlead.cli import main, project
from tests.build.project import write

FILES = {
    ".buckconfig": "",
    "a/BUCK": "genrule(name = 'up', srcs = ['one.txt'], out = 'up.txt', cmd = 'tr a-z A-Z < $SRCS > $OUT')\n"
    "genrule(name = 'dir', srcs = ['one.txt'], out = 'd', directory = True, cmd = 'cp $SRCS $OUT')\n",
    "a/one.txt": "one\n",
    "b/BUCK": "genrule(name = 'b', out = 'b.txt', cmd = 'echo b > $OUT')\n",
}
UP, DIR = "fairlead-out/gen/a/__up__/up.txt", "fairlead-out/gen/a/__dir__/d/one.txt"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    found = write(tmp_path / "root", FILES)
    monkeypatch.chdir(found)
    yield found


class Run:
    """One `fairlead build`, and whether the engine was asked."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.asked = capsys, False
        engine = project.engine

        def noted(*args: object) -> object:
            self.asked = True
            return engine(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(project, "engine", noted)

    def __call__(self, *args: str) -> tuple[bool, int, int]:
        """Whether the engine was asked, actions that ran and actions that were known."""
        self.asked = False
        assert main(["build", "--json", "--sandbox", "none", *(args or ["//..."])]) == 0
        said = json.loads(self.capsys.readouterr().out)
        return self.asked, said["actions"]["ran"], said["actions"]["known"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(capsys, monkeypatch)


def test_the_second_build_is_known_without_the_engine(root: Path, run: Run) -> None:
    asked, ran, known = run()
    assert (asked, ran, known) == (True, 5, 0)
    assert run() == (False, 0, 5)
    assert run("//b:b") == (True, 0, 1)
    assert run() == (True, 0, 5)
    assert run() == (False, 0, 5)


def _gone(root: Path) -> None:
    (root / UP).unlink()


def _edited(root: Path) -> None:
    (root / UP).chmod(0o644)
    (root / UP).write_text("EVIL")


def _same_times(root: Path) -> None:
    before = (root / UP).stat()
    (root / "other").write_text("TWO\n")
    os.utime(root / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    (root / "other").replace(root / UP)


def _in_place_with_its_times(root: Path) -> None:
    before = (root / UP).stat()
    _overwrite(root / UP, "TWO\n")
    os.utime(root / UP, ns=(before.st_atime_ns, before.st_mtime_ns))


def _in_a_folder_with_its_times(root: Path) -> None:
    before = (root / DIR).stat()
    _overwrite(root / DIR, "two\n")
    os.utime(root / DIR, ns=(before.st_atime_ns, before.st_mtime_ns))


def _overwrite(path: Path, text: str) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_text(text)
    path.chmod(mode & 0o7777)


def _in_a_folder(root: Path) -> None:
    (root / DIR).unlink()


def _more_in_a_folder(root: Path) -> None:
    (root / DIR).with_name("more").write_text("more")


def _all_outputs(root: Path) -> None:
    shutil.rmtree(root / "fairlead-out/gen")


@pytest.mark.parametrize(
    "spoil",
    [
        _gone,
        _edited,
        _same_times,
        _in_place_with_its_times,
        _in_a_folder_with_its_times,
        _in_a_folder,
        _more_in_a_folder,
        _all_outputs,
    ],
)
def test_outputs_that_were_touched_are_put_right(root: Path, run: Run, spoil: Callable[[Path], None]) -> None:
    run()
    spoil(root)
    assert run() == (True, 0, 5)
    assert (root / UP).read_text() == "ONE\n"
    assert (root / DIR).read_text() == "one\n"
    assert [path.name for path in (root / DIR).parent.iterdir()] == ["one.txt"]
    assert run() == (False, 0, 5)


def test_a_changed_source_or_build_file_is_built(root: Path, run: Run) -> None:
    run()
    write(root, {"a/one.txt": "two\n"})
    assert run()[:2] == (True, 4)
    assert (root / UP).read_text() == "TWO\n"
    write(root, {"b/BUCK": FILES["b/BUCK"].replace("echo b", "echo c")})
    assert run()[:2] == (True, 1)
    write(root, {"a/one.txt": "one\n", "b/BUCK": FILES["b/BUCK"]})
    assert run()[:2] == (True, 0)
    assert (root / UP).read_text() == "ONE\n"
    assert run()[:2] == (False, 0)


def test_a_source_with_its_old_size_and_times_is_still_another(root: Path, run: Run) -> None:
    old = time.time() - 3600
    os.utime(root / "a/one.txt", (old, old))
    run()
    run()
    write(root, {"a/one.txt": "two\n"})
    os.utime(root / "a/one.txt", (old, old))
    assert run()[:2] == (True, 4)
    assert (root / UP).read_text() == "TWO\n"


def test_what_is_wrong_is_said_whatever_is_known(root: Path, run: Run) -> None:
    run()
    assert main(["build", "--jobs", "-1", "//..."]) == 2
    (root / "a/one.txt").unlink()
    assert main(["build", "//..."]) == 2


def test_another_version_of_an_interpreter_builds_again(
    root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = toolchain.interpreter("")
    monkeypatch.setattr(toolchain, "interpreter", lambda _: replace(found, version=found.version))
    named = f"interpreter = 'python{found.minor}'"
    write(
        root,
        {
            "py/lock.txt": "",
            "py/BUCK": f"python_toolchain(name = 'python', lock = 'lock.txt', {named})\n"
            "python_binary(name = 'app', main = 'app.py', toolchain = ':python')\n",
            "py/app.py": "",
        },
    )
    run()
    assert run()[0] is False
    monkeypatch.setattr(toolchain, "interpreter", lambda _: replace(found, version=f"{found.version}0"))
    asked, ran, _ = run()
    assert asked and ran > 0
    assert run()[0] is False


def test_a_build_of_another_folder_with_the_same_store_is_heeded(
    root: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `why` would go on comparing with what the other folder built."""
    monkeypatch.setenv("FAIRLEAD_STORE_DIR", str(tmp_path / "store"))
    run()  # makes fairlead-out, a new name in the folder
    run()
    assert run()[0] is False
    monkeypatch.chdir(write(tmp_path / "other", {**FILES, "a/one.txt": "other\n"}))
    run()
    monkeypatch.chdir(root)
    assert run() == (True, 0, 5)
    assert main(["why", "//a:up"]) == 0
    assert "Nothing has changed" in run.capsys.readouterr().out
    assert run() == (False, 0, 5)
