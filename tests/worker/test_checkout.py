"""Commits as folders: the bytes of the object store, whatever the commit says about itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fairlead.errors import MachineryError, UsageError
from fairlead.git import Repo
from fairlead.worker import checkout


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo.init_bare(tmp_path / "repo.git")


def blob(repo: Repo, data: bytes) -> str:
    return repo.run("hash-object", "-w", "--stdin", stdin=data).text


def tree(repo: Repo, *entries: tuple[str, str, str]) -> str:
    """A tree object of (mode, oid, name), written without git's checks of names."""
    body = b"".join(
        f"{mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(oid)
        for mode, oid, name in sorted(entries, key=lambda e: e[2] + ("/" if e[0] == "040000" else ""))
    )
    return repo.run("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=body).text


def commit(repo: Repo, *entries: tuple[str, str, str]) -> str:
    return repo.commit_tree(tree(repo, *entries), [], "message")


def test_modes_links_and_folders(repo: Repo, tmp_path: Path) -> None:
    plain, script, link = blob(repo, b"text\n"), blob(repo, b"#!/bin/sh\n"), blob(repo, b"sub/plain")
    inner = tree(repo, ("100644", plain, "plain"), ("100755", script, "script"))
    made = commit(
        repo,
        ("040000", inner, "sub"),
        ("120000", link, "link"),
        ("160000", "1" * 40, "module"),
        ("100644", plain, "ü"),
    )
    checkout.write(repo, made, tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "sub/plain").read_bytes() == b"text\n" and (out / "ü").is_file()
    assert os.access(out / "sub/script", os.X_OK) and not os.access(out / "sub/plain", os.X_OK)
    assert (out / "link").is_symlink() and (out / "link").read_bytes() == b"text\n"
    assert (out / "module").is_dir() and not any((out / "module").iterdir())
    assert not (out / ".git").exists()


def test_attributes_of_the_commit_change_nothing(repo: Repo, tmp_path: Path) -> None:
    attributes = blob(repo, b"* text eol=crlf ident working-tree-encoding=UTF-16 filter=evil\n")
    data = b"$Id$\nline\n"
    made = commit(repo, ("100644", attributes, ".gitattributes"), ("100644", blob(repo, data), "a.txt"))
    checkout.write(repo, made, tmp_path / "out")
    assert (tmp_path / "out/a.txt").read_bytes() == data


@pytest.mark.parametrize("name", ["..", ".", ".git", ".GIT"])
def test_names_that_leave_the_folder_are_refused(repo: Repo, tmp_path: Path, name: str) -> None:
    inner = tree(repo, ("100644", blob(repo, b"x"), "evil"))
    made = commit(repo, ("040000", inner, name))
    with pytest.raises(UsageError, match="no work tree may have"):
        checkout.write(repo, made, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "evil").exists()


def test_a_name_that_is_a_link_and_a_folder_is_refused(repo: Repo, tmp_path: Path) -> None:
    """No file may be written through a link that the same commit brings."""
    outside = tmp_path / "outside"
    outside.mkdir()
    inner = tree(repo, ("100644", blob(repo, b"x"), "evil"))
    made = commit(repo, ("120000", blob(repo, str(outside).encode()), "a"), ("040000", inner, "a"))
    with pytest.raises(UsageError, match="two things alike"):
        checkout.write(repo, made, tmp_path / "out")
    assert not any(outside.iterdir()) and not (tmp_path / "out").exists()


def test_a_link_to_nowhere_is_refused(repo: Repo, tmp_path: Path) -> None:
    made = commit(repo, ("120000", blob(repo, b""), "a"))
    with pytest.raises(UsageError, match="points nowhere"):
        checkout.write(repo, made, tmp_path / "out")


def test_a_folder_in_use_is_not_taken_for_the_commit(repo: Repo, tmp_path: Path) -> None:
    made = commit(repo, ("100644", blob(repo, b"new"), "a"))
    (tmp_path / "out").mkdir()
    with pytest.raises(MachineryError, match="not free"):
        checkout.write(repo, made, tmp_path / "out")


def test_the_written_folder_is_what_git_would_check_out(tmp_path: Path) -> None:
    """git is the oracle, on a tree of many sizes, modes and depths."""
    origin = tmp_path / "origin"
    for number in range(60):
        path = origin / "/".join(f"d{part}" for part in range(number % 4)) / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(range(256)) * number)
        path.chmod(0o755 if number % 3 else 0o644)
    (origin / "to-a-folder").symlink_to("d0/d1")
    who = ("-c", "user.name=author", "-c", "user.email=author@example.org")
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=origin, check=True)
    checkout.write(Repo(origin), "HEAD", tmp_path / "ours")
    subprocess.run(["git", "worktree", "add", "-q", "--detach", tmp_path / "theirs"], cwd=origin, check=True)
    (tmp_path / "theirs/.git").unlink()
    assert (
        subprocess.run(["diff", "-r", "--no-dereference", tmp_path / "ours", tmp_path / "theirs"]).returncode
        == 0
    )
    modes = [{str(p.relative_to(top)): p.lstat().st_mode & 0o111 for p in top.rglob("*") if p.is_file()}
             for top in (tmp_path / "ours", tmp_path / "theirs")]  # fmt: skip
    assert modes[0] == modes[1]


@pytest.mark.parametrize("name", ["long" * 75, "/".join(["folder" * 20] * 40) + "/x"])
def test_a_name_that_no_work_tree_can_have_is_the_commits_fault(
    repo: Repo, tmp_path: Path, name: str
) -> None:
    made = commit(
        repo, ("100644", blob(repo, b"x"), name.rpartition("/")[2]), ("100644", blob(repo, b"x"), "a")
    )
    for folder in reversed(name.split("/")[:-1]):
        made = commit(repo, ("040000", repo.commit(made).tree, folder))
    with pytest.raises(UsageError, match="too long for a work tree") as caught:
        checkout.write(repo, made, tmp_path / "out")
    assert caught.value.where == name[:400] and "255 bytes" in caught.value.remedy
    assert not (tmp_path / "out").exists()
