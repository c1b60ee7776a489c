"""What a person means who names a path where `fairlead test` takes a label.

`tests/test_x.py` is the test target that has this file, `tests/` all targets of that folder, and
`tests/test_x.py::test_name` one test of it, as pytest writes it. The last is a target of its own, with a key
of its own: one test that passes says nothing about its file. Its verdict names it by the label of its file,
`//:tests/test_x::test_name`, and that is understood too. Any other word with `//`, one that begins with `:`,
and the name of a folder with a build file mean what they always mean.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fairlead.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from fairlead.build.label import Cells
    from fairlead.build.loader import Loader
    from fairlead.build.plan import Plan, Target
    from fairlead.build.tree import Tree
    from fairlead.cli.project import Project
    from fairlead.store import Store

ALL = "//..."


@dataclass(frozen=True)
class Asked:
    """`labels` are patterns as they are; `files` the test files that are named, with the node ids below them
    (none for the whole file); `parts` the node ids that are asked for of targets, by their labels; `packages`
    the patterns of the targets among which all these are looked for."""

    labels: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names_files(self) -> bool:
        """Whether what is asked for is more than patterns can say."""
        return bool(self.files or self.parts)

    def plan(self, here: Project, tree: Tree, store: Store | None = None) -> Plan:
        """The plan of what is asked for; UsageError if a file is in no test."""
        if not self.names_files:
            return here.plan(tree, self.labels or [ALL], store)
        plan = here.plan(tree, [*self.labels, *self.packages], store)
        wanted = set(here.plan(tree, self.labels, store).requested) if self.labels else set()
        made: dict[str, Target] = {}
        for label, nodes in self.parts.items():
            for node in nodes:
                target = _only(plan.targets[label], node)
                made[target.label] = target
        for path, nodes in self.files.items():
            found = [label for label in plan.requested if _runs(plan.targets[label], path)]
            if not found:
                raise _in_no_test(plan, path)
            if not nodes:
                wanted.update(found)
            for node in nodes:
                for label in found:
                    target = _only(plan.targets[label], node)
                    made[target.label] = target
        return replace(plan, targets={**plan.targets, **made}, requested=tuple(sorted({*wanted, *made})))


def understand(here: Project, tree: Tree, words: Sequence[str]) -> Asked:
    """Tell paths from labels."""
    from fairlead.build.buckconfig import BuckConfig
    from fairlead.build.loader import Loader

    if not any(_may_be_path(word) or _may_be_wrong(word) or _is_part(word) for word in words):
        return Asked(tuple(words))
    config = BuckConfig.load(tree)
    loader = Loader(tree, config, lambda _: None)
    labels: list[str] = []
    packages: list[str] = []
    files: dict[str, tuple[str, ...]] = {}
    parts: dict[str, tuple[str, ...]] = {}
    for word in words:
        if _is_part(word):
            label, node = _part(word, here.package, config.cells)
            parts[label] = (*parts.get(label, ()), node)
            packages.append(label)
            continue
        if _may_be_wrong(word):
            _check(loader, word)
        path, _, node = word.partition("::")
        at = _inside(here, path) if _may_be_path(word) else None
        kind = tree.kind(at) if at is not None else None
        if at is None or (kind is None and not path.endswith(".py")):
            labels.append(word)
        elif kind == "file":
            known = files.get(at)
            files[at] = () if not node or known == () else (*(known or ()), node)
            packages.append(_package(loader, posixpath.dirname(at)))
        elif kind == "folder":
            is_label = loader.build_file(at) and not path.endswith("/") and at
            labels.append(word if is_label else f"//{at}/..." if at else ALL)
        else:
            beside = [
                posixpath.join(posixpath.dirname(at), name) for name in tree.list(posixpath.dirname(at))
            ]
            remedy = did_you_mean(at, beside) or "correct the path; paths are meant from the current folder"
            raise UsageError(f"there is no file {at}", where=word, remedy=remedy)
    return Asked(tuple(labels), files, tuple(dict.fromkeys(packages)), parts)


def _is_part(word: str) -> bool:
    """Whether it is a label with a node id behind it, as verdicts print one test of a file."""
    label, colons, _ = word.partition("::")
    return bool(colons) and ("//" in label or label.startswith(":"))


def _part(word: str, package: str, cells: Cells) -> tuple[str, str]:
    """The label and the node id."""
    from fairlead.build.label import parse_pattern

    text, _, node = word.partition("::")
    pattern = parse_pattern(text, "", package, cells)
    if pattern.kind != "target" or not node:
        raise UsageError(
            f"{word!r} names no test of a target",
            remedy="write //package:name::test_name, or tests/test_x.py::test_name",
        )
    return str(pattern), node


def _may_be_path(word: str) -> bool:
    path = word.partition("::")[0]
    return not ("//" in path or path.startswith(":") or ":" in path or path.endswith("..."))


def _may_be_wrong(word: str) -> bool:
    """Whether it may be a label of a folder that is no package, as targets are named elsewhere."""
    return word.startswith("//") and not word.startswith("//:") and ":" in word and "::" not in word


def _check(loader: Loader, word: str) -> None:
    from fairlead.build.loader import INFERRED

    folder, _, name = word[2:].partition(":")
    if loader.build_file("") == INFERRED and not loader.build_file(folder):
        inferred = f"//:{folder}/{name.removesuffix('.py')}" if name else f"//{folder}/..."
        raise UsageError(
            f"{folder} is no package: the inferred targets of all folders belong to the root",
            where=word,
            remedy=f"write {inferred}, or the path of the file",
        )


def _inside(here: Project, path: str) -> str | None:
    """The path relative to the project, None if it is not inside."""
    at = os.path.normpath(os.path.join(here.root, here.package, path))
    relative = os.path.relpath(at, here.root).replace(os.sep, "/")
    if relative == ".":
        return ""
    return None if relative == ".." or relative.startswith("../") else relative


def _package(loader: Loader, folder: str) -> str:
    """The pattern of the targets that may have a file of this folder."""
    from fairlead.build.loader import INFERRED

    owner = loader.owner(folder)
    if not owner and loader.build_file("") == INFERRED:
        return f"//{folder}/..." if folder else "//:"
    return f"//{owner}:"


def _runs(target: Target, path: str) -> bool:
    """Whether the test has the file as one that it runs, and not only as one that it imports."""
    if target.test is None or path not in target.sources:
        return False
    named = target.attrs.get("test_files")
    if isinstance(named, list) and named:
        return any(path == test or path.endswith(f"/{test}") for test in named)
    name = posixpath.basename(path)
    return target.rule != "python_test" or name.startswith("test_") or name.endswith("_test.py")


def _only(target: Target, node: str) -> Target:
    """The test with one node id of its file alone."""
    spec = target.test
    if spec is None or len(spec.argv) < 2 or not spec.argv[1].endswith("/run_pytest.py"):
        raise UsageError(
            f"{target.label} is not run by pytest: it has no part {node}",
            where=target.place,
            remedy="leave out what stands behind ::",
        )
    argv = (*spec.argv[:2], "--only", node, *spec.argv[2:])
    return replace(target, label=f"{target.label}::{node}", test=replace(spec, argv=argv))


def _in_no_test(plan: Plan, path: str) -> UsageError:
    users = [label for label in plan.requested if path in plan.targets[label].sources]
    tests = [label for label in users if plan.targets[label].test is not None]
    if tests:
        remedy = (
            f"no test runs it; {tests[0]} may import it. `fairlead affected` says which tests an edit affects"
        )
    elif users:
        remedy = f"it belongs to {users[0]}; `fairlead affected` says which tests an edit affects"
    else:
        remedy = "its name or pytest's settings (testpaths, python_files) leave it out: see `fairlead init`"
    return UsageError(f"{path} is in no test target", where=path, remedy=remedy)
