"""Edits of many kinds in a project made for it: after each, `fairlead test` must say of every test what plain
pytest over everything says, and run nothing once the edit is taken back. The long form is `scripts/edits`.
"""

from __future__ import annotations

import compileall
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.build.wheels import Wheelhouse, real_pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from checking.start import UNDECLARED  # noqa: E402
from selection import kinds, outcomes, planted, process  # noqa: E402
from selection.catalogue import Foreign  # noqa: E402
from selection.edit import BODY, Content, Edit, File, Link, applied, look, put  # noqa: E402
from selection.measure import TOO_LONG, Fairlead, Measure, Run  # noqa: E402
from selection.mutation import Source, bodies, declarations  # noqa: E402
from selection.oracle import CLEAN, Oracle  # noqa: E402
from selection.outcomes import Suite  # noqa: E402
from selection.workplace import GENERATED, Workplace  # noqa: E402

FILES = {
    "pyproject.toml": """
[build-system]
build-backend = "hatchling.build"
[project]
name = "harbour"
version = "1.2"
dependencies = ["words"]
[dependency-groups]
tests = ["pytest"]
[tool.pytest.ini_options]
testpaths = ["tests"]
""",
    "src/harbour/__init__.py": "from harbour.ship import Boat, Ship\n",
    "src/harbour/ship.py": '''"""Things that float."""

import functools

import words

LIMIT = 3


class Ship:
    """It carries."""

    def load(self, tons=1):
        """What it carries then."""
        total = tons + 2
        if total > LIMIT:
            return total
        return 0

    def name(self):
        return words.WORD + "!"

    @functools.cache
    def twice(self):
        return self.load(4) * 2


class Boat(Ship):
    def load(self, tons=0):
        log(tons)
        return tons


SEEN = []


def log(tons):
    SEEN.append(tons)
''',
    "src/harbour/crew.py": '''"""People of a ship."""


def hands(ship):
    return 2 if ship else 1


def song(verse):
    """One line."""
    return ["heave", "ho"][verse % 2]
''',
    "src/harbour/tides.txt": "low\nhigh\n",
    "tests/test_ship.py": """from harbour import Boat, Ship


def test_load():
    assert Ship().load() == 0
    assert Ship().load(2) == 4


def test_twice():
    assert Ship().twice() == 12


def test_name():
    assert Ship().name() == "hello!"


def test_boat():
    assert Boat().load() == 0
""",
    "tests/test_crew.py": """import pytest

from harbour import crew


@pytest.mark.parametrize("verse", [0, 1])
def test_song(verse):
    assert crew.song(verse) in ("heave", "ho")


def test_hands():
    assert crew.hands(True) + 1 == 3
""",
    "tests/test_tides.py": """from pathlib import Path

import harbour


def test_tides():
    text = Path(harbour.__file__).with_name("tides.txt").read_text()
    assert text.split() == ["low", "high"]


def test_list():
    here = Path(__file__).parent / "lists"
    assert sorted(path.name for path in here.iterdir()) == ["a.csv"]
""",
    "tests/lists/a.csv": "a\n",
}
OLDER = {"src/harbour/crew.py": FILES["src/harbour/crew.py"].replace("else 1", "else 0")}


KNOWN = planted.edits("tests")
DRAWN = sorted(kinds.EVERY - {edit.kind for edit in KNOWN} - {"shadowing module"})
"""Kinds of which one is drawn. Of the others all that is known to matter is tried."""
FOR_ALL = {
    "add conftest.py", "add pytest.ini", "add __init__.py", "declared variable", "historic", "plugin",
    "release",
}  # fmt: skip
"""Kinds that may concern every test, so that beside them nothing else would be seen."""


class Place(Workplace):
    """The project above in place of an archive, its distributions from wheels made on the spot."""

    def __init__(self, base: Path, wheels: Path, lines: Mapping[str, str]) -> None:
        command = process.INSTALLED
        super().__init__(Foreign("harbour", "1.2", "1.1"), base, command)
        self.wheels = wheels
        self.lines = lines

    def tree(self, to: Path) -> None:
        shutil.rmtree(to, ignore_errors=True)
        for path, content in self.given().items():
            put(to / path, content)

    def given(self) -> dict[str, Content]:
        files = {path: File(text.encode()) for path, text in FILES.items()}
        return {**files, **planted.files("tests")}

    def historic(self) -> dict[str, Content]:
        return {path: File(text.encode()) for path, text in OLDER.items()}

    def releases(self) -> dict[str, list[Edit]]:
        """Another release of what the project uses, and a plugin that lets every test fail."""
        other = self.lock.replace(self.lines["words-1.0.1"].strip(), self.lines["words-1.0"].strip())
        more = self.lock + self.lines["spoiler"]
        assert len({self.lock, other, more}) == 3, self.lock
        return {
            "release": [Edit("release", "words", {GENERATED: File(other.encode())}, {}, {"words": "1.0"})],
            "plugin": [Edit("plugin", "spoiler", {GENERATED: File(more.encode())}, {}, {"spoiler": "1.0"})],
        }

    def always_tried(self) -> list[Edit]:
        """Edits whose effect is known, beside those that are drawn."""
        fails = File(b"raise RuntimeError('shadowed')\n")
        return [
            Edit("shadowing module", "of the standard library", {"tests/functools.py": fails}),
            Edit("shadowing module", "of a distribution", {"src/words.py": File(b"WORD = 'no'\n")}),
            Edit(
                "shadowing module",
                "a package",
                {"src/harbour/crew/__init__.py": File(b"hands = song = None\n")},
            ),
            Edit("add to glob", "a list", {"tests/lists/b.csv": File(b"b\n")}),
            Edit("delete data", "of the package", {"src/harbour/tides.txt": None}),
            Edit("symlink", "of the package", {"src/harbour/tides.txt": Link("crew.py")}),
        ]

    def environment(self, pins: Mapping[str, str] | None = None, more: tuple[str, ...] = ()) -> Path:
        """A Python that sees the project, pytest and the wheels with these versions, and nothing else."""
        chosen = [
            f"words-{(pins or {}).get('words', '1.0.1')}",
            *(["spoiler"] if "spoiler" in (pins or {}) else []),
        ]
        seen = [str(self.plain / "src"), str(self.wheels), *(str(self.wheels / name) for name in chosen)]
        script = self.folder / "-".join(["python", *chosen])
        if not script.exists():
            text = f'#!/bin/sh\nPYTHONPATH={":".join(seen)} exec {sys.executable} -S "$@"\n'
            put(script, File(text.encode(), True))
        return script

    def pytest(self, pins: Mapping[str, str] | None = None, more: tuple[str, ...] = ()) -> list[str]:
        script = self.folder / "scripts" / "pytest.py"
        if not script.exists():
            put(
                script, File(b"import sys\ndel sys.path[0]\nimport pytest\nsys.exit(pytest.console_main())\n")
            )
        return [str(self.environment(pins, more)), str(script)]


def together(edits: list[Edit]) -> list[Edit]:
    """The same changes in fewer edits: those of different files at once. Each is seen by tests of its own."""
    groups: list[list[Edit]] = []
    for edit in edits:
        for group in groups:
            if not any(one.content.keys() & edit.content.keys() for one in group):
                group.append(edit)
                break
        else:
            groups.append([edit])
    return [
        Edit(
            " + ".join(sorted({edit.kind for edit in group})),
            ", ".join(edit.title for edit in group),
            {path: content for edit in group for path, content in edit.content.items()},
            {name: value for edit in group for name, value in edit.variables.items()},
        )
        for group in groups
    ]


SPOILER = "import pytest\n@pytest.fixture(autouse=True)\ndef spoiled():\n    raise RuntimeError\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    real_pytest(house)
    wheels = {
        "words-1.0": {"words.py": "WORD = 'hullo'\n"},
        "words-1.0.1": {"words.py": "WORD = 'hello'\n"},
        "spoiler": {
            "spoiler.py": SPOILER,
            "spoiler-1.0.dist-info/entry_points.txt": "[pytest11]\nspoiler = spoiler\n",
        },
    }
    seen = tmp_path / "seen"
    for wheel in house.folder.glob("*.whl"):
        shutil.unpack_archive(wheel, seen, "zip")
    lines = {}
    for name, files in wheels.items():
        distribution, _, version = name.partition("-")
        lines[name] = house.add(distribution, files, version=version or "1.0")
        wheel = next(house.folder.glob(f"{distribution}-{version or '1.0'}-*.whl"))
        shutil.unpack_archive(wheel, seen / name, "zip")
    compileall.compile_dir(seen, quiet=1)
    for name in UNDECLARED:  # which an index has, and nobody asked for
        house.add(name, {f"{name}.py": ""})
    return Place(tmp_path / "places", seen, lines)


@pytest.mark.timeout(900)  # half a minute of both processors, more on a busy machine
@pytest.mark.slow
def test_no_edit_is_missed_and_nothing_runs_once_it_is_undone(place: Place) -> None:
    oracle = Oracle(place)
    fairlead = Fairlead(place.fairlead, place.for_fairlead(), 120)
    try:
        measure = Measure(place, oracle, None, fairlead)
        assert (measure.unlike, measure.always, measure.first.nodes) == ([], set(), 22)
        made = kinds.Kinds(place.content(), "tests", place.historic(), place.releases(), 2)
        shadows = [edit for edit in place.always_tried() if edit.kind == "shadowing module"]
        data = [edit for edit in place.always_tried() if edit not in shadows]
        drawn = {kind: made.pools[kind][-1] for kind in DRAWN}
        planted_edits = together([*KNOWN, *data])
        edits = [
            *planted_edits,
            *shadows,
            *together([edit for kind, edit in drawn.items() if kind not in FOR_ALL]),
            *(drawn[kind] for kind in sorted(FOR_ALL)),
        ]
        with ThreadPoolExecutor(1) as ahead:  # the oracle's runs beside Fairlead's
            asked = ahead.map(oracle.truth, edits)
            measured = [measure.edit(edit) for edit in edits]
            assert len(list(asked)) == len(edits)
    finally:
        fairlead.stop()
    tried = {kind for one in measured for kind in one.kind.split(" + ")}
    assert tried >= kinds.EVERY, sorted(kinds.EVERY - tried)
    assert [one.failures for one in measured[: len(planted_edits)]] == [12, 4]
    for one in measured:
        assert (one.missed, one.differ, one.apart, one.after_undo, one.refused) == ([], [], [], 0, ""), one
    assert sum(one.failures > 0 for one in measured) > 8


class Unread(Place):
    """The same without `fairlead init`, for what concerns the oracle alone."""

    def as_it_is(self) -> Path:
        if not self.clean.is_dir():
            self.tree(self.clean)
        return self.clean


@pytest.mark.timeout(300)
def test_the_oracle_answers_of_the_tree_that_is_meant(place: Place) -> None:
    oracle = Oracle(Unread(place.folder, place.wheels, place.lines))
    clean = oracle.clean().outcomes
    assert clean is not None and len(clean) == 22 and set(clean.values()) == {"passed"}
    plain = oracle.place.for_oracle()
    put(plain / "tests/test_crew.py", File(b"assert False\n"))  # as a run leaves it that was killed
    put(plain / "src/harbour/more/__init__.py", File(b""))
    put(plain / "src/harbour/tides.txt", None)
    shadow = {"string.py": File(b"raise RuntimeError\n")}  # of pytest's own, where no test looks for modules
    assert oracle.truth(Edit("shadowing module", "", shadow)).outcomes == clean
    assert oracle.place.restore() == []
    assert not (plain / "src/harbour/more").exists()
    now = File(FILES["tests/test_crew.py"].encode())
    assert oracle.key(Edit("data", "", {"tests/test_crew.py": now, "none": None})) == oracle.key(CLEAN)
    loops = File(FILES["tests/test_crew.py"].replace("import pytest", "while True: pass").encode())
    endless = Edit("test body", "", {"tests/test_crew.py": loops})
    assert oracle.truth(endless, seconds=3).outcomes is None

    class Says(Fairlead):
        """A Fairlead of which is known what it says."""

        def test(self, variables: Mapping[str, str] | None = None, limit: float = 0) -> Run:
            return said

    passes = {"tests.test_crew::test_hands": "passed"}
    said = Run([Suite("//:tests/test_crew", True, True, passes)], "", 1.0)
    measure = Measure(oracle.place, oracle, None, Says([], plain, 1))
    measured = measure.edit(endless)
    assert measured.endless and len(measured.missed) == 1
    said = Run([], TOO_LONG, 60.0)
    assert measure.edit(endless).missed == []


def test_an_edit_is_taken_back_exactly(tmp_path: Path) -> None:
    put(tmp_path / "a", File(b"1", True))
    put(tmp_path / "b", Link("a"))
    edit = Edit("", "", {"a": None, "b": File(b"2"), "new/folder/c": File(b"3")})
    with applied(edit, tmp_path):
        assert (look(tmp_path / "a"), look(tmp_path / "b")) == (None, File(b"2"))
        assert look(tmp_path / "new/folder/c") == File(b"3")
    assert (look(tmp_path / "a"), look(tmp_path / "b")) == (File(b"1", True), Link("a"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_mutated_body_leaves_everything_else_as_it_was() -> None:
    text = FILES["src/harbour/ship.py"].encode()
    source = Source(text)
    assert {mutation.kind for mutation in bodies(source)} == set(BODY)
    for mutation in bodies(source):
        made = source.made(mutation)
        assert made is not None
        lines = enumerate(zip(text.splitlines(), made.splitlines(), strict=True), 1)
        assert [number for number, (before, after) in lines if before != after] == [mutation.line]
    kinds_of_rest = {mutation.kind for mutation in declarations(source)}
    rest = {"default", "decorator", "docstring", "constant", "line above", "comment", "override"}
    assert kinds_of_rest == rest


@pytest.mark.parametrize(
    ("said", "oracle", "missed"),
    [
        ({"t::a": "passed"}, {"t::a": "passed"}, []),
        ({"t::a": "failed"}, {"t::a": "error"}, []),
        ({"t::a": "passed"}, {"t::a": "failed"}, [("t::a", True)]),
        ({"t::a": "failed"}, {"t::a": "passed"}, [("t::a", False)]),
        ({"t::a": "passed"}, {"::t": "error"}, [("::t", True), ("t::a", True)]),
        ({"::t": "error"}, {"::t": "error"}, []),
        ({"t::a": "passed"}, {"t::a": "passed", "t::b": "passed"}, [("t::b", False)]),
        ({"t::a": "passed"}, {"t::a": "passed", "other::b": "failed"}, [("other::b", True)]),
    ],
)
def test_two_tellings_are_compared_by_node(
    said: dict[str, str], oracle: dict[str, str], missed: list[tuple[str, bool]]
) -> None:
    suites = [Suite("//:t", True, "failed" not in said.values(), said)]
    assert [(one.node, one.missed) for one in outcomes.compare(suites, oracle)] == missed
    assert outcomes.compare(suites, oracle, [*said, *oracle]) == []
