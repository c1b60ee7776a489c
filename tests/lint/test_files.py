"""Which files are meant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fairlead.errors import UsageError
from fairlead.lint.files import find, glob


def git(folder: Path, *args: str) -> None:
    who = ["-c", "user.name=author", "-c", "user.email=author@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True)


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """a.py, d/b.py, d/stub.pyi, d/notes.txt tracked; new.py not; ignored.py ignored."""
    folder = tmp_path / "repo"
    put(folder, "a.py", "d/b.py", "d/stub.pyi", "d/notes.txt", "ignored.py")
    (folder / ".gitignore").write_text("ignored.py\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    put(folder, "new.py")
    return folder


def names(cwd: Path, *paths: str, exclude: tuple[str, ...] = (), since: str | None = None) -> list[str]:
    return [file.name for file in find(cwd, paths, exclude=exclude, since=since)]


def test_by_default_what_git_tracks_below_this_folder(repo: Path) -> None:
    assert names(repo) == ["a.py", "d/b.py", "d/stub.pyi"]
    assert names(repo / "d") == ["b.py", "stub.pyi"]
    assert names(repo / "d", "..") == ["../a.py", "b.py", "stub.pyi"]


def test_a_named_file_is_taken_as_it_is_and_once(repo: Path) -> None:
    assert names(repo, "new.py", "ignored.py", "d/notes.txt", "d") == [
        "d/b.py",
        "d/notes.txt",
        "d/stub.pyi",
        "ignored.py",
        "new.py",
    ]
    assert names(repo, "a.py", "./a.py", str(repo / "a.py"), ".") == ["a.py", "d/b.py", "d/stub.pyi"]


def test_deleted_files_links_and_submodules_are_left_out(repo: Path, tmp_path: Path) -> None:
    put(repo, "gone.py", "swapped.py")
    (repo / "link.py").symlink_to("a.py")
    git(repo, "add", "gone.py", "link.py", "swapped.py")
    (repo / "gone.py").unlink()
    (repo / "swapped.py").unlink()
    (repo / "swapped.py").symlink_to("a.py")
    put(tmp_path / "other", "s.py")
    git(tmp_path / "other", "init", "-q")
    git(tmp_path / "other", "add", "-A")
    git(tmp_path / "other", "commit", "-q", "-m", "one")
    git(
        repo,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(tmp_path / "other"),
        "sub.py",
    )
    assert names(repo) == ["a.py", "d/b.py", "d/stub.pyi"]
    assert names(repo, "sub.py") == ["sub.py/s.py"]


def test_names_that_git_could_mistake(repo: Path) -> None:
    put(repo, ":(top)/x.py", "*/y.py", "-n/z.py", "é\n.py")
    git(repo, "--literal-pathspecs", "add", "-A")
    assert names(repo, ":(top)", "*", "-n") == ["*/y.py", "-n/z.py", ":(top)/x.py"]
    assert "é\n.py" in names(repo)


def test_a_path_that_does_not_exist(repo: Path) -> None:
    with pytest.raises(UsageError, match="no file or folder nope"):
        names(repo, "a.py", "nope")


def test_a_folder_through_a_link_to_the_repository(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repo)
    assert names(tmp_path / "link") == ["a.py", "d/b.py", "d/stub.pyi"]


def test_outside_of_a_repository_folders_are_walked(tmp_path: Path, repo: Path) -> None:
    put(tmp_path, "p/a.py", "p/.hidden/b.py", "p/__pycache__/c.py", "p/q/d.py", "p/venv/lib/e.py", "p/f.txt")
    (tmp_path / "p/venv/pyvenv.cfg").touch()
    (tmp_path / "p/link.py").symlink_to("a.py")
    assert names(tmp_path / "p") == ["a.py", "q/d.py"]
    assert names(tmp_path, "p/q", "repo") == ["p/q/d.py", "repo/a.py", "repo/d/b.py", "repo/d/stub.pyi"]


def test_since_means_what_this_branch_changed_committed_or_not(repo: Path) -> None:
    git(repo, "checkout", "-q", "-b", "topic")
    (repo / "d/b.py").write_text("y = 2\n")
    git(repo, "commit", "-q", "-a", "-m", "two")
    git(repo, "checkout", "-q", "main")
    (repo / "a.py").write_text("z = 3\n")
    git(repo, "commit", "-q", "-a", "-m", "theirs")
    git(repo, "checkout", "-q", "topic")
    assert names(repo, since="main") == ["d/b.py"]
    (repo / "d/stub.pyi").write_text("w: int\n")
    assert names(repo, since="main") == ["d/b.py", "d/stub.pyi"]
    assert names(repo / "d", since="HEAD") == ["stub.pyi"]
    assert names(repo, "a.py", since="main") == []
    with pytest.raises(UsageError, match="no commit 'nope'"):
        names(repo, since="nope")


def test_since_needs_a_repository(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a git work tree"):
        names(tmp_path, since="main")


def test_what_the_settings_leave_out(repo: Path) -> None:
    assert names(repo, exclude=("d",)) == ["a.py"]
    assert names(repo / "d", exclude=("d/*.pyi",)) == ["b.py"]
    assert names(repo, "a.py", exclude=("a.py",)) == []


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("vendor", ["vendor/a.py", "x/vendor/a.py", "vendor"], ["vendored/a.py", "x/a.py"]),
        ("vendor/", ["x/vendor/a.py"], ["a.py"]),
        ("/vendor", ["vendor/a.py"], ["x/vendor/a.py"]),
        ("*_pb2.py", ["a_pb2.py", "x/y/a_pb2.py"], ["a_pb2.pyi", "pb2.py"]),
        ("x/*.py", ["x/a.py"], ["x/y/a.py", "z/x/a.py"]),
        ("x/**/a.py", ["x/a.py", "x/y/z/a.py"], ["x/y/ba.py", "a.py"]),
        ("x/**", ["x/a.py", "x/y/a.py"], ["y/x/a.py"]),
        ("a?.py", ["ab.py"], ["a/.py", "abc.py"]),
        ("a+b.py", ["a+b.py"], ["aab.py"]),
    ],
)
def test_globs(pattern: str, inside: list[str], outside: list[str]) -> None:
    assert [path for path in inside + outside if glob(pattern).fullmatch(path)] == inside
