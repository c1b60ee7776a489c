"""All targets as numbers: each question has the answer that it has target by target, also after edits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fairlead.build.daemon.files import Files as Watched
from fairlead.build.query import whole
from fairlead.build.query.functions import Files, ask
from fairlead.build.query.graph import DeclaredGraph
from fairlead.build.query.reached import reached
from fairlead.build.tree import DiskTree
from fairlead.errors import FairleadError
from fairlead.store import Store
from tests.build.project import keys, write

PACKAGES = ["", "a", "a-b", "a/b", "c", "cell"]
QUESTIONS = [
    "//...", "//a/...", "//a:", "other//...", "deps({})", "deps({}, 1)", "deps(//a/...)", "deps({} + {}, 2)",
    "rdeps(//..., {})", "rdeps(//..., {}, 1)", "rdeps(//a/..., {})", "rdeps(//a: + {}, {} + {})",
    "allpaths({}, {})", "somepath({}, {})", "somepath(//a/..., {})", "kind(group, //...)", "owner(a/s.txt)",
    "inputs(deps({}))", "buildfile({})", "attrfilter(name, t1, //...)", "//nowhere/...", "{} - deps({})",
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", {".buckconfig": "[cells]\nother = cell\nalias = cell\n"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


class Model:
    """A random graph of filegroups and genrules in several packages and two cells."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root, self.chance = root, chance
        self.labels = [self.label(chance.choice(PACKAGES), f"t{i}") for i in range(14)]
        self.needs = {
            label: chance.sample(self.labels[:i], min(i, chance.randrange(4)))
            for i, label in enumerate(self.labels)
        }
        for package in PACKAGES:
            write(root, {f"{package}/s.txt".lstrip("/"): "source"})
            self.write(package)

    @staticmethod
    def label(package: str, name: str) -> str:
        return f"other//:{name}" if package == "cell" else f"//{package}:{name}"

    def write(self, package: str) -> None:
        lines = []
        for label, deps in self.needs.items():
            before, _, name = label.rpartition(":")
            if before == self.label(package, "").rpartition(":")[0]:
                srcs = ["s.txt", *(dep if dep.startswith("other") else f"root{dep}" for dep in deps)]
                rule = "filegroup" if name < "t5" else "genrule"
                more = "" if rule == "filegroup" else f", out = '{name}.o', cmd = 'true'"
                lines.append(f"{rule}(name = '{name}', srcs = {srcs}, visibility = ['PUBLIC']{more})\n")
        write(self.root, {f"{package}/BUCK".lstrip("/"): "".join(lines)})

    def edit(self) -> None:
        """Other dependencies of one target, now and then with one that is not there."""
        label = self.chance.choice(self.labels)
        before = self.labels[: self.labels.index(label)]
        self.needs[label] = self.chance.sample(before, min(len(before), self.chance.randrange(4)))
        if self.chance.random() < 0.2:
            self.needs[label].append("//a:missing")
        for package in PACKAGES:
            self.write(package)

    def question(self) -> str:
        text = self.chance.choice(QUESTIONS)
        return text.format(*self.chance.choices(self.labels, k=text.count("{}")))


def answer(graph: DeclaredGraph, text: str) -> object:
    try:
        found = ask(graph, text)
    except FairleadError as error:
        return str(error)
    return found.paths if isinstance(found, Files) else found.labels


@pytest.mark.parametrize("seed", range(3))
def test_every_question_has_the_answer_that_it_has_target_by_target(
    root: Path, store: Store, seed: int
) -> None:
    model = Model(root, random.Random(seed))
    wholes = 0
    for _ in range(6):
        DeclaredGraph(DiskTree(root, store.results), store=store).targets("//...")
        graph = DeclaredGraph(DiskTree(root, store.results), store=store)
        wholes += graph.whole is not None
        plain = DeclaredGraph(DiskTree(root))
        for _ in range(25):
            text = model.question()
            assert answer(graph, text) == answer(plain, text), text
        model.edit()
    assert wholes >= 2


def test_it_holds_while_nothing_that_it_was_made_of_changes(root: Path, store: Store) -> None:
    Model(root, random.Random(1))
    write(root, {"a/x.bzl": "X = 1\n"})

    def known() -> bool:
        return whole.find(store, DiskTree(root, store.results)) is not None

    def made() -> None:
        DeclaredGraph(DiskTree(root, store.results), store=store).targets("//...")

    assert not known()
    made()
    assert known()
    write(root, {"a/s.txt": "edited"})
    assert known(), "what sources hold is no part of it"
    for name in ("a/BUCK", "new/BUCK", ".buckconfig", "a/new.txt"):
        before = (root / name).read_text() if (root / name).exists() else ""
        write(root, {name: f"{before}# more\n"})
        assert not known(), name
        made()
        assert known(), name


@pytest.mark.parametrize(
    "text", ["filegroup(name = 'x', srcs = [':nowhere'])\n", "print('x')\n", "fail('no')\n", "oh no\n"]
)
def test_a_project_that_is_no_whole_is_asked_package_by_package(root: Path, store: Store, text: str) -> None:
    Model(root, random.Random(2))
    write(root, {"wrong/BUCK": text})
    for _ in range(2):
        graph = DeclaredGraph(DiskTree(root, store.results), store=store, on_print=lambda text: None)
        said = answer(graph, "//...")
        assert said == answer(DeclaredGraph(DiskTree(root), on_print=lambda text: None), "//...")
        assert graph.whole is None
        assert answer(graph, "deps(//a:)") == answer(DeclaredGraph(DiskTree(root)), "deps(//a:)")


def test_a_damaged_graph_is_made_again(root: Path, store: Store) -> None:
    Model(root, random.Random(3))
    made = DeclaredGraph(DiskTree(root, store.results), store=store).targets("//...")
    ((_, row),) = store.results.items("whole")
    for name in (row[:64].decode(), row[64:].decode()):
        path = store.blobs.path(name)
        good = path.read_bytes()
        path.chmod(0o644)
        for bad in (b"", good[:-1], good[::-1]):
            path.write_bytes(bad)
            graph = DeclaredGraph(DiskTree(root, store.results), store=store)
            assert graph.whole is None
        path.write_bytes(good)
    assert DeclaredGraph(DiskTree(root, store.results), store=store).targets("//...") == made


def test_in_a_daemon_one_look_at_the_changes_says_whether_it_holds(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Model(root, random.Random(4))
    watched = Watched(root, store.results)
    try:
        first = DeclaredGraph(watched.view(), store=store)
        first.targets("//...")
        assert first.whole is not None
        with monkeypatch.context() as patch:
            patch.setattr(whole, "parts", None)  # nothing is read
            write(root, {"a/s.txt": "edited"})
            watched.refresh()
            assert DeclaredGraph(watched.view(), store=store).whole is first.whole
        write(root, {"a/BUCK": "filegroup(name = 'only')\n"})
        watched.refresh()
        second = DeclaredGraph(watched.view(), store=store)
        assert second.whole is None
        assert second.targets("//a:") == ["//a:only"]
        watched.forget()
        assert DeclaredGraph(watched.view(), store=store).whole is None
    finally:
        watched.end()


MACROS = "def group(name, srcs):\n    native.genrule(name = name, srcs = srcs, out = 'o', cmd = 'true')\n"


@pytest.mark.parametrize("seed", range(3))
def test_a_change_of_files_reaches_all_targets_whose_key_differs(root: Path, store: Store, seed: int) -> None:
    chance = random.Random(seed)
    model = Model(root, chance)
    (root / "cell/BUCK").unlink()  # keys are those of the root's cell
    model.needs = {label: deps for label, deps in model.needs.items() if not label.startswith("other")}
    for deps in model.needs.values():
        deps[:] = [dep for dep in deps if not dep.startswith("other")]
    for package in PACKAGES[:-1]:
        model.write(package)
    mine = "load('//c:x.bzl', 'group')\ngroup(name = 'mine', srcs = glob(['*.in']))\n"
    write(root, {"c/x.bzl": MACROS, "new/BUCK": mine, "new/a.in": "a", "new/b.in": "b"})
    edits: list[tuple[str, str | None]] = [
        *((f"{package}/s.txt".lstrip("/"), "edited") for package in PACKAGES[:-1]),
        ("c/x.bzl", MACROS.replace("true", "false")),
        ("new/c.in", "c"),
        ("new/a.in", None),
        ("a/BUCK", (root / "a/BUCK").read_text().replace("[", "[ ").replace("'true'", "'false'")),
        (".buckconfig", "[mine]\nx = y\n"),
    ]
    for name, text in chance.sample(edits, 5):
        before = keys(root)
        if text is None:
            (root / name).unlink()
        else:
            write(root, {name: text})
        after = keys(root)
        different = {label for label in after if after[label] != before.get(label)}
        graph = DeclaredGraph(DiskTree(root, store.results), store=store)
        found = {item.label for item in reached(graph, [name])}
        assert different <= found, name
        assert (
            found == {item.label for item in reached(DeclaredGraph(DiskTree(root)), [name])}
            or name == "c/x.bzl"
        )


def test_a_source_reaches_what_names_it_and_no_more(root: Path) -> None:
    write(
        root,
        {
            "a/BUCK": "filegroup(name = 'a', srcs = ['x'], visibility = ['PUBLIC'])\n"
            "sh_test(name = 't', test = 't.sh', resources = [':a'])\nfilegroup(name = 'b', srcs = ['y'])\n",
            "a/t.sh*": "",
            "a/x": "",
            "a/y": "",
        },
    )
    graph = DeclaredGraph(DiskTree(root))
    assert [(item.label, item.test) for item in reached(graph, ["a/x"])] == [
        ("//a:a", False),
        ("//a:t", True),
    ]
    assert [item.label for item in reached(graph, ["a/y"])] == ["//a:b"]
    assert reached(graph, ["README"]) == []


def test_it_takes_few_bytes(root: Path) -> None:
    import sys

    count, width = 20_000, 20
    labels = [f"//p{i // width}:t{i}" for i in range(count)]
    edges = [[i - 1] if i % width else [] for i in range(count)]
    made = whole.Whole(labels, ["r"] * count, [], whole._packed(edges), whole._packed(edges))
    held = [made.labels, made.ids, made.rules, *made.deps, *made.above]
    size = sum(map(sys.getsizeof, held)) + sum(map(sys.getsizeof, labels))
    assert size / count < 250
    assert len(made.encode()) / count < 60
