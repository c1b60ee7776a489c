"""Which files are meant: what git tracks below the given paths, less what the settings leave out.

Git decides because it already knows what is source and what is generated, ignored or vendored
environment. A file that is named is taken as it is; a folder outside of any repository is walked.
Symbolic links are not followed: their targets are files of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fairlead.errors import UsageError
from fairlead.git import SYMLINK, Repo
from fairlead.lint.engine import SourceFile

SUFFIXES = (".py", ".pyi")
_NEVER = frozenset({"__pycache__", "fairlead-out", "node_modules"})


def find(
    cwd: Path, paths: Sequence[str], *, exclude: Sequence[str] = (), since: str | None = None
) -> list[SourceFile]:
    """The files to lint, in order of name, each once; names are relative to `cwd`.

    `exclude` are globs relative to the repository (else to `cwd`). With `since`, only files that
    differ from where this branch left that revision, committed or not. `UsageError` for a path
    that does not exist, and for `since` outside of a repository.
    """
    cwd = cwd.resolve()
    repo = _repository(cwd)
    if since is not None and repo is None:
        raise UsageError("--since needs a git work tree", where=str(cwd), remedy="run it in a clone")
    base = repo.path if repo else cwd
    left_out = [glob(pattern) for pattern in exclude]
    changed = _changed(repo, since) if repo and since is not None else None
    found: dict[str, SourceFile] = {}
    for path in _expand(cwd, paths) if paths else _below(repo, cwd):
        real = os.path.realpath(path)
        inside = os.path.relpath(real, base)
        if any(pattern.fullmatch(inside) for pattern in left_out):
            continue
        if changed is not None and inside not in changed:
            continue
        shown = os.fsencode(os.path.relpath(path, cwd)).decode("utf-8", "backslashreplace")
        found.setdefault(real, SourceFile(shown, path))
    return sorted(found.values())


def glob(pattern: str) -> re.Pattern[str]:
    """A glob that matches a path or a folder above it. `*` and `?` stop at "/", `**` does not.

    Without a slash it matches at any depth, as in .gitignore.
    """
    body = pattern.strip("/")
    parts = [] if "/" in pattern.rstrip("/") else ["(?:.*/)?"]
    for token in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", body):
        parts.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(token, re.escape(token)))
    return re.compile("".join(parts) + "(?:/.*)?", re.DOTALL)


def _expand(cwd: Path, paths: Iterable[str]) -> Iterator[Path]:
    for name in paths:
        path = cwd / name
        if path.is_file():
            yield path
        elif path.is_dir():
            yield from _below(_repository(path), path)
        else:
            raise UsageError(f"there is no file or folder {name}", where=name, remedy="check the path")


def _below(repo: Repo | None, folder: Path) -> Iterator[Path]:
    return _tracked(repo, folder) if repo else _walk(folder)


def _repository(folder: Path) -> Repo | None:
    try:
        return Repo.discover(folder)
    except UsageError:
        return None


def _tracked(repo: Repo, folder: Path) -> Iterator[Path]:
    inside = os.path.relpath(folder.resolve(), repo.path)
    out = repo.run("--literal-pathspecs", "ls-files", "-z", "--stage", "--", inside).out
    for row in out.split(b"\0"):
        head, _, name = row.partition(b"\t")
        path = repo.path / os.fsdecode(name)
        if path.suffix in SUFFIXES and not head.startswith(SYMLINK.encode()) and _is_plain(path):
            yield path


def _is_plain(path: Path) -> bool:
    """Whether a tracked file is there to be read: not deleted, and no link in its place."""
    return path.is_file() and not path.is_symlink()


def _walk(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _NEVER
            and not name.startswith(".")
            and not os.path.exists(os.path.join(base, name, "pyvenv.cfg"))
        )
        for name in names:
            path = Path(base, name)
            if path.suffix in SUFFIXES and _is_plain(path):
                yield path


def _changed(repo: Repo, since: str) -> set[str]:
    """Paths, relative to the repository, that differ from the fork point with `since`."""
    start = repo.rev(since)
    fork = repo.merge_base(start, "HEAD") or start
    out = repo.run("diff", "--name-only", "-z", "--no-renames", "--diff-filter=d", fork, "--").out
    return {os.fsdecode(name) for name in out.split(b"\0") if name}
