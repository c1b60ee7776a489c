"""The git room against the real binary."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import MachineryError, UsageError
from fairlead.git import GITLINK, Person, Repo, add_trailer, repository, trailers, values
from fairlead.git.measure import Measure
from fairlead.git.objects import parse_person


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    path = tmp_path / "repo"
    path.mkdir()
    repo = Repo(path)
    repo.run("init", "--quiet", "--initial-branch=main")
    repo.run("config", "user.name", "author")
    repo.run("config", "user.email", "author@localhost")
    return repo


def commit(repo: Repo, message: str, **files: str) -> str:
    for name, text in files.items():
        path = repo.path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    repo.run("add", "-A")
    repo.run("commit", "--quiet", "--allow-empty", "-m", message)
    return repo.rev("HEAD")


def test_headers_after_the_committer_are_not_believed(repo: Repo) -> None:
    first = commit(repo, "one", a="1\n")
    tree, fake = repo.commit(first).tree, "1" * 40
    lines = [f"tree {tree}", "author a b <a@b> 5 +0200", "committer c <c@d> 6 -0130"]
    more = [f"tree {fake}", f"parent {fake}", "author x <x@y> 7 +0000", "committer x <x@y> 7 +0000"]
    data = "\n".join([*lines, *more, "", "odd\n"]).encode()
    oid = repo.run("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=data).text
    found = repo.commit(oid)
    assert (found.tree, found.parents) == (tree, ())
    assert found.author == Person("a b", "a@b", 5, "+0200")
    assert found.committer == Person("c", "c@d", 6, "-0130")
    assert repo.run("rev-list", "--parents", oid).text == oid  # as git has it


@pytest.mark.parametrize(
    ("line", "person"),
    [
        ("a b <a@b> 12 +0200", Person("a b", "a@b", 12, "+0200")),
        ("a <a@b> 12 +051800", Person("a", "a@b", 12, "+0000")),
        ("a <a@b>12 +0200", Person("a", "a@b", 12, "+0200")),
        ("<a@b> 12 +0200", Person("", "a@b", 12, "+0200")),
        ("a < a@b > -3 -0100", Person("a", " a@b ", -3, "-0100")),
        ("a <a@b>", Person("a", "a@b", 0, "+0000")),
        ("nonsense", Person("", "", 0, "+0000")),
    ],
)
def test_odd_people_are_read_so_that_they_can_be_written(line: str, person: Person) -> None:
    assert parse_person(line) == person


def test_commits_are_read_as_values_oldest_first(repo: Repo) -> None:
    first = commit(repo, "one\n\nBody with é.", a="1\n")
    second = commit(repo, "two", b__c="2\n")
    found = repo.commits(f"{first}..HEAD")
    assert [c.oid for c in found] == [second]
    head = repo.commit("HEAD")
    assert head.parents == (first,) and head.subject == "two" and head.author.name == "author"
    assert repo.commit(first).message == "one\n\nBody with é.\n"
    assert [c.oid for c in repo.commits("HEAD")] == [first, second]


def test_trees_and_blobs(repo: Repo) -> None:
    commit(repo, "files", a="1\n", d__b="2\n", d__e__c="3\n")
    assert [e.path for e in repo.entries("HEAD")] == ["a", "d"]
    assert [e.path for e in repo.entries("HEAD", "d")] == ["d/b", "d/e"]
    assert [e.path for e in repo.entries("HEAD", recursive=True)] == ["a", "d/b", "d/e/c"]
    assert repo.entries("HEAD", "absent") == []
    oids = [e.oid for e in repo.entries("HEAD", recursive=True)]
    assert [data for _, data in repo.blobs(oids)] == [b"1\n", b"2\n", b"3\n"]
    assert repo.blob(oids[0]) == b"1\n"
    with pytest.raises(MachineryError, match="missing"):
        list(repo.blobs(["1" * 40]))


def test_changes_tell_modes_renames_and_submodules(repo: Repo) -> None:
    first = commit(repo, "one", keep="same text on\nseveral lines\nof it\n", gone="x\n", odd__name="y\n")
    (repo.path / "keep").rename(repo.path / "moved")
    (repo.path / "gone").unlink()
    (repo.path / "odd" / "name").chmod(0o755)
    repo.run("add", "-A")
    repo.run("update-index", "--add", "--cacheinfo", f"{GITLINK},{first},sub")
    repo.run("commit", "--quiet", "-m", "two")
    plain = {(c.status, c.path) for c in repo.changes(first, "HEAD")}
    assert plain == {("A", "moved"), ("D", "keep"), ("D", "gone"), ("M", "odd/name"), ("A", "sub")}
    renamed = [c for c in repo.changes(first, "HEAD", renames=True) if c.status == "R"]
    assert [(c.old_path, c.path) for c in renamed] == [("keep", "moved")]
    mode = next(c for c in repo.changes(first, "HEAD") if c.path == "odd/name")
    assert (mode.old_mode, mode.new_mode) == ("100644", "100755") and mode.old_blob == mode.new_blob
    sub = next(c for c in repo.changes(first, "HEAD") if c.path == "sub")
    assert sub.new_mode == GITLINK and sub.new_blob == first
    assert b"rename from keep" in repo.patch(first, "HEAD")


def test_a_merge_in_the_object_store_equals_a_rebase(repo: Repo) -> None:
    base = commit(repo, "base", f="".join(f"{n}\n" for n in range(20)))
    lines = [f"{n}\n" for n in range(20)]
    trunk = commit(repo, "trunk", f="".join(["top\n", *lines]))
    repo.run("checkout", "--quiet", "-b", "topic", base)
    topic = commit(repo, "topic", f="".join([*lines, "end\n"]))
    merged = repo.merge_tree(trunk, topic, base)
    repo.run("rebase", "--quiet", "main")
    assert merged.tree == repo.commit("HEAD").tree and merged.conflicts == ()


def test_a_conflict_names_its_paths(repo: Repo) -> None:
    base = commit(repo, "base", f="1\n", g="1\n")
    trunk = commit(repo, "trunk", f="2\n")
    repo.run("checkout", "--quiet", "-b", "topic", base)
    topic = commit(repo, "topic", f="3\n", g="2\n")
    merged = repo.merge_tree(trunk, topic, base)
    assert merged.tree is None and merged.conflicts == ("f",)


def test_refs_move_only_from_where_one_thought_they_were(repo: Repo) -> None:
    first, second = commit(repo, "one"), commit(repo, "two")
    assert repo.update_ref("refs/x/a", first, None)
    assert not repo.update_ref("refs/x/a", second, None)
    assert not repo.update_ref("refs/x/a", second, second)
    assert repo.update_ref("refs/x/a", second, first)
    assert repo.refs("refs/x/") == {"refs/x/a": second}
    assert repo.ref("refs/x/none") is None
    assert repo.delete_ref("refs/x/a", second) and repo.ref("refs/x/a") is None
    with pytest.raises(MachineryError):
        repo.update_ref("refs/x/b", "1" * 40, None)


def test_errors_name_what_is_missing(repo: Repo, tmp_path: Path) -> None:
    commit(repo, "one")
    with pytest.raises(UsageError, match="no commit 'nope'"):
        repo.rev("nope")
    with pytest.raises(UsageError, match="no range"):
        repo.commits("HEAD..nope")
    with pytest.raises(UsageError, match="not inside a git work tree"):
        Repo.discover(tmp_path)
    with pytest.raises(MachineryError) as caught:
        repo.run("-c", "http.extraHeader=Authorization: secret", "fetch", "https://user:secret@localhost:1/x")
    assert "secret" not in str(caught.value)


def test_a_commit_written_by_hand_is_what_git_reads(repo: Repo) -> None:
    oid = commit(repo, "subject")
    old = repo.commit(oid)
    again = repo.commit_tree(old.tree, old.parents, old.message, author=old.author, committer=old.committer)
    assert again == oid


TEXT = st.text(
    st.characters(categories=("L", "N", "Z", "P"), exclude_characters="\r\x85\u2028\u2029"), max_size=20
)


@given(TEXT, st.lists(TEXT, max_size=3), st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True))
def test_an_added_trailer_is_found(subject: str, paragraphs: list[str], value: str) -> None:
    message = "\n\n".join([subject.strip() or "subject", *paragraphs]) + "\n"
    once = add_trailer(message, "Diff-Id", value)
    assert values(once, "diff-id")[-1:] == [value]
    assert values(add_trailer(once, "Other", "x"), "Diff-Id")[-1:] == [value]


def test_trailers_agree_with_git(tmp_path: Path) -> None:
    messages = [
        "subject\n\nbody\n\nDiff-Id: abc\nReviewed-by: author <a@localhost>\n",
        "subject\n\nDiff-Id: abc\n continued\n",
        "Diff-Id: only the subject\n",
        "subject\n\nnot a trailer block\nDiff-Id: abc\nlast line of prose\n",
    ]
    for message in messages:
        said = subprocess.run(
            ["git", "interpret-trailers", "--parse"],
            input=message,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert [f"{key}: {value}" for key, value in trailers(message)] == said


def test_changed_paths_are_counted_as_git_lists_them(repo: Repo) -> None:
    first = commit(repo, "one", a="1", b__c="1", b__d__e="1", gone__x="1", gone__y="1", f="1")
    (repo.path / "f").unlink()
    (repo.path / "gone" / "x").unlink()
    (repo.path / "gone" / "y").unlink()
    (repo.path / "gone").rmdir()
    second = commit(repo, "two", b__c="2", f__now__folder="1", gone="a file", new__deep__er="1")
    (repo.path / "b" / "c").chmod(0o755)
    third = commit(repo, "three")
    with Measure(repo) as measure:
        for old, new in [(first, second), (second, third), (first, third), (third, first), (first, first)]:
            trees = repo.commit(old).tree, repo.commit(new).tree
            assert measure.paths(*trees, 100) == len(repo.changes(old, new))
            assert measure.paths(*trees, 0) >= min(1, len(repo.changes(old, new)))
        with pytest.raises(MachineryError, match="there is no tree"):
            measure.paths("1" * 40, trees[0], 100)


def test_lines_are_counted_where_a_patch_shows_them(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    first = commit(repo, "first", a="a\n" * 10, b="b\n", gone="x\n")
    (repo.path / "gone").unlink()
    second = commit(repo, "second", a="A\n" * 12, b="B\n", new="x\ny\n")
    assert repo.counts(first, second) == (4, 12 + 1 + 2, 10 + 1 + 1)
    assert repo.counts(first, first) == (0, 0, 0)
    monkeypatch.setattr(repository, "_LARGEST_FILE", 20)
    assert repo.counts(first, second) == (4, 3, 2)
    monkeypatch.setattr(repository, "_LONGEST_PATCH", 2)
    assert repo.counts(first, second) == (4, 0, 0)


def test_a_patch_is_never_longer_than_can_be_read(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    first = commit(repo, "one", small="a\n", large="a\n" * 30)
    second = commit(repo, "two", small="b\n", large="b\n" * 30)
    assert b"+b" in repo.patch(first, second)
    monkeypatch.setattr(repository, "_LARGEST_FILE", 50)
    shown = repo.patch(first, second)
    assert b"Binary files a/large and b/large differ" in shown and shown.count(b"+b\n") == 1
    monkeypatch.setattr(repository, "_LONGEST_PATCH", 100)
    shown = repo.patch(first, second)
    assert b"a/large and b/large differ" in shown and b"a/small and b/small differ" in shown
    monkeypatch.setattr(repository, "_LONGEST_PATCH", 10_000)
    monkeypatch.setattr(repository, "_MOST_LINES", 3)
    assert repo.patch(first, second) == shown
    with pytest.raises(MachineryError):
        repo.patch(first, "1" * 40)


def test_attributes_hide_no_file_of_a_patch(repo: Repo, tmp_path: Path) -> None:
    """Some versions of git read the attributes of a bare repository from its HEAD."""
    first = commit(repo, "one", **{".gitattributes": "* -diff\n", "a": "a\n"})
    second = commit(repo, "two", a="b\n")
    bare = Repo.clone(str(repo.path), tmp_path / "bare", bare=True)
    assert b"+b" in bare.patch(first, second)


def test_sizes(repo: Repo) -> None:
    commit(repo, "one", a="12345", b="")
    oids = {entry.path: entry.oid for entry in repo.entries("HEAD")}
    assert repo.sizes(oids.values()) == {oids["a"]: 5, oids["b"]: 0} and repo.sizes([]) == {}
