"""Whole repositories as people lay them out, and what inference makes of them: read through real trees."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from fairlead.build import infer
from fairlead.build.buckconfig import BuckConfig
from fairlead.build.infer import Repository
from fairlead.build.infer.targets import Test
from fairlead.build.loader import Loader
from fairlead.build.tree import DiskTree, GitTree
from fairlead.errors import UsageError
from fairlead.git import Repo
from tests.build import project

HASH = "--hash=sha256:" + "0" * 64
LOCK = {"requirements.tests.lock": f"pytest==9.2.0 {HASH}\n"}
ASK = {"fairlead.toml": "[build]\ninfer = true\n"}


def read(root: Path, files: Mapping[str, str | bytes]) -> Repository:
    project.write(root, files)
    tree = DiskTree(root)
    return infer.infer(tree, Loader(tree, BuckConfig(), print).inferred_files())


def test_of(found: Repository, path: str) -> Test:
    return next(test for test in found.targets.tests if test.path == path)


test_of.__test__ = False  # type: ignore[attr-defined]


def sure(found: Repository, subject: str) -> str:
    return next(finding.sure for finding in found.findings if finding.subject == subject)


def backend(name: str, more: str = "", dynamic: bool = False) -> str:
    version = 'dynamic = ["version"]' if dynamic else 'version = "1.2"'
    return f'[build-system]\nbuild-backend = "{name}"\n[project]\nname = "my-pkg"\n{version}\n{more}'


LAYOUTS: list[tuple[dict[str, str], list[str], list[str], str]] = [
    (
        {"pyproject.toml": backend("hatchling.build"), "src/my_pkg/__init__.py": ""},
        ["src"],
        ["src/my_pkg"],
        "1.2",
    ),
    (
        {
            "pyproject.toml": backend(
                "hatchling.build",
                '[tool.hatch.version]\npath = "lib/other/about.py"\n'
                '[tool.hatch.build.targets.wheel]\npackages = ["lib/other"]\n',
                dynamic=True,
            ),
            "lib/other/about.py": '__version__ = "3.0"',
        },
        ["lib"],
        ["lib/other"],
        "3.0",
    ),
    (
        {"pyproject.toml": backend("flit_core.buildapi", dynamic=True), "my_pkg.py": "__version__ = '4'"},
        [""],
        ["my_pkg.py"],
        "4",
    ),
    (
        {
            "pyproject.toml": backend("flit_core.buildapi", '[tool.flit.module]\nname = "real"\n'),
            "src/real/__init__.py": "",
        },
        ["src"],
        ["src/real"],
        "1.2",
    ),
    (
        {
            "pyproject.toml": backend(
                "setuptools.build_meta", '[tool.setuptools.packages.find]\nwhere = ["code"]\n'
            ),
            "code/one/__init__.py": "",
            "code/space/two.py": "",
        },
        ["code"],
        ["code/one", "code/space"],
        "1.2",
    ),
    (
        {
            "setup.cfg": "[metadata]\nname = old\nversion = attr: old.version\n[options]\n"
            "package_dir =\n    = src\npackages = find:\n",
            "setup.py": "raise SystemExit('never run')\n",
            "src/old/__init__.py": "version = '0.9'",
        },
        ["src"],
        ["src/old"],
        "0.9",
    ),
    (
        {
            "pyproject.toml": '[build-system]\nbuild-backend = "poetry.core.masonry.api"\n[tool.poetry]\n'
            'name = "p"\nversion = "5"\npackages = [{include = "p", from = "python"}]\n',
            "python/p/__init__.py": "",
        },
        ["python"],
        ["python/p"],
        "5",
    ),
    (
        {"pyproject.toml": backend("uv_build"), "src/my_pkg/__init__.py": ""},
        ["src"],
        ["src/my_pkg"],
        "1.2",
    ),
    (
        {"pyproject.toml": backend("hatchling.build"), "my_pkg/__init__.py": "", "docs/__init__.py": ""},
        [""],
        ["my_pkg"],
        "1.2",
    ),
    (
        {"pyproject.toml": backend("setuptools.build_meta"), "src/space/inner/mod.py": ""},
        ["src"],
        ["src/space"],
        "1.2",
    ),
]


@pytest.mark.parametrize(("files", "roots", "packages", "version"), LAYOUTS)
def test_layouts(
    tmp_path: Path, files: dict[str, str], roots: list[str], packages: list[str], version: str
) -> None:
    found = read(tmp_path, {**files, "tests/test_a.py": ""})
    (only,) = found.projects
    assert (only.roots, only.packages, only.version) == (roots, packages, version)
    assert sure(found, "packages") == sure(found, "version") == "known"
    assert [test.path for test in found.targets.tests] == ["tests/test_a.py"]


def test_a_repository_that_says_nothing_is_guessed_and_asked_for(tmp_path: Path) -> None:
    found = read(tmp_path, {"thing/__init__.py": "", "test_thing.py": "import thing"})
    assert sure(found, "packages") == "guessed"
    assert {f.add for f in found.findings if f.subject == "packages"} == {'packages = ["thing"]'}
    assert sure(found, "environment") == sure(found, "pytest") == "unknown"


def test_extension_modules_are_said_to_be_missing(tmp_path: Path) -> None:
    files = {"setup.py": "", "src/fast/__init__.py": "", "src/fast/_speed.c": ""}
    found = read(tmp_path, files)
    assert sure(found, "extension modules") == "unknown"


def test_the_settings_have_the_last_word(tmp_path: Path) -> None:
    settings = '[build]\ninfer = true\npackages = ["b"]\nversion = "7"\n'
    found = read(
        tmp_path,
        {
            "pyproject.toml": backend("hatchling.build", dynamic=True),
            "a/__init__.py": "",
            "b/__init__.py": "",
            "fairlead.toml": settings,
        },
    )
    assert found.projects[0].packages == ["b"] and found.projects[0].version == "7"
    with pytest.raises(UsageError, match=r"build\.packages"):
        read(tmp_path, {"fairlead.toml": '[build]\npackages = "b"\n'})


BASE = {
    "pyproject.toml": backend("hatchling.build", '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n'),
    "src/my_pkg/__init__.py": "",
    "src/my_pkg/a.py": "from . import b",
    "src/my_pkg/b.py": "",
    "src/my_pkg/c.py": "",
    "src/my_pkg/words.txt": "",
    "tests/conftest.py": "import helper",
    "tests/helper.py": "",
    "tests/data/x.json": "",
    "tests/sub/conftest.py": "",
    "tests/sub/test_deep.py": "import my_pkg",
    "tests/test_a.py": "def test():\n    from my_pkg import a",
    "docs/notes.md": "",
    "README.md": "",
    **LOCK,
    **ASK,
}


def test_a_test_gets_its_imports_its_conftests_and_all_data(tmp_path: Path) -> None:
    found = read(tmp_path, BASE)
    one = test_of(found, "tests/test_a.py")
    assert not one.whole
    assert set(one.srcs) == {
        "src/my_pkg/__init__.py",
        "src/my_pkg/a.py",
        "src/my_pkg/b.py",
        "tests/conftest.py",
        "tests/helper.py",
        "tests/test_a.py",
    }
    assert set(one.resources) == {"src/my_pkg/words.txt", "tests/data/x.json", "pyproject.toml"}
    deep = test_of(found, "tests/sub/test_deep.py")
    assert {"tests/conftest.py", "tests/sub/conftest.py"} <= set(deep.srcs)
    assert "src/my_pkg/a.py" not in deep.srcs and "tests/data/x.json" in deep.resources


def test_something_dynamic_anywhere_below_brings_the_whole_project(tmp_path: Path) -> None:
    found = read(tmp_path, {**BASE, "src/my_pkg/b.py": "import importlib\nimportlib.import_module(name)\n"})
    one = test_of(found, "tests/test_a.py")
    assert one.whole and one.why.startswith("src/my_pkg/b.py:2 ")
    assert {"src/my_pkg/c.py", "tests/sub/test_deep.py"} <= set(one.srcs)
    assert not test_of(found, "tests/sub/test_deep.py").whole


def test_a_project_that_its_own_environment_needs_is_whole_in_every_test(tmp_path: Path) -> None:
    lock = LOCK["requirements.tests.lock"] + f"my.pkg==1.0 {HASH}\n"
    found = read(tmp_path, {**BASE, "requirements.tests.lock": lock})
    one = test_of(found, "tests/test_a.py")
    assert one.whole and "src/my_pkg/c.py" in one.srcs
    assert any(finding.subject == "my-pkg in the lock" for finding in found.findings)


def test_the_whole_project_brings_what_it_imports_from_another(tmp_path: Path) -> None:
    other = {
        "other/pyproject.toml": '[project]\nname = "other"\n',
        "other/src/other.py": "",
        "other/src/z.txt": "",
    }
    files = {**BASE, **other, "src/my_pkg/b.py": "exec(x)", "src/my_pkg/c.py": "import other"}
    one = test_of(read(tmp_path, files), "tests/test_a.py")
    assert "other/src/other.py" in one.srcs


def test_paths_in_texts_are_inputs(tmp_path: Path) -> None:
    text = "def test():\n    open(ROOT / 'docs' / 'notes.md')\n    open('README.md')\n"
    one = test_of(read(tmp_path, {**BASE, "tests/test_a.py": text}), "tests/test_a.py")
    assert {"docs/notes.md", "README.md"} <= set(one.resources)


def test_what_the_settings_add_is_given_to_every_test(tmp_path: Path) -> None:
    settings = '[build]\ninfer = true\ndata = ["docs", "more/run.py"]\n'
    found = read(tmp_path, {**BASE, "fairlead.toml": settings, "more/run.py": "import my_pkg.c"})
    for one in found.targets.tests:
        assert "docs/notes.md" in one.resources
        assert {"more/run.py", "src/my_pkg/c.py"} <= set(one.srcs)


def test_plugins_by_every_way(tmp_path: Path) -> None:
    pyproject = backend(
        "hatchling.build",
        '[project.entry-points.pytest11]\nmine = "my_pkg.plugin"\n'
        '[tool.pytest.ini_options]\naddopts = "-p my_pkg.named --import-mode=importlib"\n',
    )
    found = read(
        tmp_path,
        {
            **BASE,
            "pyproject.toml": pyproject,
            "src/my_pkg/plugin.py": "",
            "src/my_pkg/named.py": "",
            "tests/conftest.py": "pytest_plugins = ['fixtures']",
            "tests/fixtures.py": "import my_pkg.c",
        },
    )
    one = test_of(found, "tests/test_a.py")
    wanted = {"src/my_pkg/plugin.py", "src/my_pkg/named.py", "tests/fixtures.py", "src/my_pkg/c.py"}
    assert wanted <= set(one.srcs) and one.import_mode == "importlib"


def test_which_files_are_tests(tmp_path: Path) -> None:
    ini = "[pytest]\ntestpaths = tests\npython_files = check_*.py\nnorecursedirs = skipped\n"
    found = read(
        tmp_path,
        {
            "pytest.ini": ini,
            "tests/conftest.py": "collect_ignore = ['check_old.py']",
            "tests/check_old.py": "",
            "tests/check_new.py": "",
            "tests/test_other.py": "",
            "tests/skipped/check_x.py": "",
            "check_outside.py": "",
        },
    )
    assert [test.path for test in found.targets.tests] == ["tests/check_new.py"]


def test_doctests_make_every_module_a_test(tmp_path: Path) -> None:
    ini = "[pytest]\naddopts = --doctest-modules\ntestpaths = src\n"
    found = read(tmp_path, {**BASE, "pytest.ini": ini})
    assert "src/my_pkg/c.py" in [test.path for test in found.targets.tests]
    assert all(test.whole for test in found.targets.tests)


def test_several_projects_see_each_other(tmp_path: Path) -> None:
    def described(name: str) -> str:
        return f'[project]\nname = "{name}"\nversion = "1"\n'

    found = read(
        tmp_path,
        {
            "one/pyproject.toml": described("one"),
            "one/src/one/__init__.py": "import two.inner",
            "one/tests/test_it.py": "import one",
            "two/pyproject.toml": described("two"),
            "two/src/two/__init__.py": "",
            "two/src/two/inner.py": "",
            "two/src/two/data.txt": "",
            "two/tests/test_it.py": "import two",
            "tests/examples/pyproject.toml": described("data"),
        },
    )
    assert [p.folder for p in found.projects] == ["one", "two"]
    first, second = found.targets.tests
    assert (first.name, second.name) == ("one/tests/test_it", "two/tests/test_it")
    assert "two/src/two/inner.py" in first.srcs and "two/src/two/data.txt" in first.resources
    assert "one/src/one/__init__.py" not in second.srcs
    text = found.text
    assert text.count('root = "one"') == 1 and '"two/src"' in text


def test_requirements_come_from_what_is_declared(tmp_path: Path) -> None:
    pyproject = (
        '[project]\nname = "me"\nversion = "1"\ndependencies = ["attrs>=20"]\n'
        '[project.optional-dependencies]\ndocs = ["sphinx"]\ntest = ["pytest>=8", "me[more]"]\n'
        'more = ["trio"]\n'
        '[dependency-groups]\ndev = [{include-group = "kit"}, "mypy"]\nkit = ["hypothesis"]\n'
    )
    found = read(tmp_path, {"pyproject.toml": pyproject, "me.py": "import yaml"})
    assert set(found.environment.requires) == {"attrs>=20", "pytest>=8", "trio", "hypothesis", "mypy"}
    assert sure(found, "environment") == "unknown"


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org",
        "x @ https://example.org/x.whl",
        "x\\n--pre",
        "./x",
        "-e ../elsewhere",
    ],
)
def test_what_names_a_place_is_never_handed_to_the_resolver(tmp_path: Path, line: str) -> None:
    text = f'[project]\nname = "me"\nversion = "1"\ndependencies = ["{line}", "attrs (>=20)"]\n'
    found = read(tmp_path, {"pyproject.toml": text})
    assert found.environment.requires == ("attrs (>=20)",) and sure(found, "requirement") == "unknown"


def test_poetry_and_requirement_files(tmp_path: Path) -> None:
    poetry = (
        '[tool.poetry]\nname = "me"\nversion = "1"\n[tool.poetry.dependencies]\npython = "^3.9"\n'
        'attrs = "^20.1"\nrich = "~13.2.1"\nzero = "^0.2.3"\nlocal = {path = "../x"}\n'
    )
    found = read(
        tmp_path,
        {
            "pyproject.toml": poetry,
            "requirements/tests.txt": "-r base.txt\npytest==9.2.0  # runs\n-e .\n",
            "requirements/base.txt": "six\n",
        },
    )
    assert found.environment.requires == (
        "attrs>=20.1,<21",
        "rich>=13.2.1,<13.3",
        "zero>=0.2.3,<0.3",
        "six",
        "pytest==9.2.0",
    )


def test_a_hashed_requirements_file_with_pytest_is_the_lock(tmp_path: Path) -> None:
    files = {
        "requirements-dev.txt": f"pytest==9.2.0 \\\n    {HASH}\n",
        "requirements.txt": f"six==1.0 {HASH}\n",
        "test_a.py": "",
    }
    found = read(tmp_path, files)
    assert found.environment.lock == "requirements-dev.txt" and sure(found, "environment") == "known"
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path, {"fairlead.toml": '[build]\nlock = "gone.txt"\n'})


def test_tests_without_an_environment_are_refused_with_the_command(tmp_path: Path) -> None:
    project.write(tmp_path, {**ASK, "test_a.py": ""})
    with pytest.raises(UsageError) as caught:
        project.plan(tmp_path)
    assert "init --lock" in caught.value.remedy


def test_inferred_targets_evaluate_and_keys_are_those_of_the_commit(tmp_path: Path) -> None:
    project.write(tmp_path, BASE)
    made = project.plan(tmp_path)
    assert {"//:my_pkg", "//:tests/test_a", "//:tests/sub/test_deep", "//:python"} <= made.targets.keys()
    before = project.keys(tmp_path)
    oid = project.commit(tmp_path)
    tree = GitTree(Repo(tmp_path), oid)
    from fairlead.build.evaluate import evaluate
    from fairlead.build.key import target_records

    records = target_records(evaluate(tree, ["//..."]), tree, project.LINUX)
    assert {label: record.key for label, record in records.items()} == before


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("src/my_pkg/b.py", {"//:my_pkg", "//:tests/test_a"}),
        ("src/my_pkg/c.py", {"//:my_pkg"}),
        ("tests/sub/conftest.py", {"//:tests/sub/test_deep"}),
        ("tests/data/x.json", {"//:tests/test_a", "//:tests/sub/test_deep"}),
        ("README.md", set()),
    ],
)
def test_an_edit_changes_the_keys_of_those_it_concerns(tmp_path: Path, path: str, changed: set[str]) -> None:
    project.write(tmp_path, BASE)
    before = project.keys(tmp_path)
    (tmp_path / path).write_text("# edited\n")
    after = project.keys(tmp_path)
    assert {label for label in after if after[label] != before.get(label)} == changed


def test_written_out_it_says_the_same(tmp_path: Path) -> None:
    project.write(tmp_path, BASE)
    inferred = project.keys(tmp_path)
    tree = DiskTree(tmp_path)
    text = infer.text(tree, Loader(tree, BuckConfig(), print).inferred_files())
    project.write(tmp_path, {"BUCK": text})
    assert project.keys(tmp_path) == inferred


def test_a_buck_file_takes_its_folder_out(tmp_path: Path) -> None:
    project.write(tmp_path, {**BASE, "tests/sub/BUCK": "filegroup(name = 'own', srcs = glob(['*']))\n"})
    labels = project.plan(tmp_path).targets.keys()
    assert "//tests/sub:own" in labels and "//:tests/sub/test_deep" not in labels
    project.write(tmp_path, {"BUCK": ""})
    assert project.plan(tmp_path, "//tests/...").targets.keys() == {"//tests/sub:own"}


def test_a_pattern_below_a_folder_means_what_was_inferred_from_it(tmp_path: Path) -> None:
    project.write(tmp_path, BASE)
    tests = {"//:tests/test_a", "//:tests/sub/test_deep"}
    assert set(project.plan(tmp_path, "//tests/...").requested) == tests
    assert set(project.plan(tmp_path, "//tests/sub/...").requested) == {"//:tests/sub/test_deep"}
    with pytest.raises(UsageError, match="no package"):
        project.plan(tmp_path, "//docs/...")


def test_without_the_setting_nothing_is_inferred(tmp_path: Path) -> None:
    project.write(tmp_path, {**BASE, "fairlead.toml": "[build]\ninfer = false\n"})
    with pytest.raises(UsageError, match="no package"):
        project.plan(tmp_path)


def test_what_tools_leave_behind_is_no_part_of_it(tmp_path: Path) -> None:
    left = {".venv/lib/test_x.py": "", "env/pyvenv.cfg": "", "env/lib/test_y.py": "", ".tox/test_z.py": ""}
    found = read(tmp_path, {**BASE, **left})
    assert all(not re.match(r"(\.venv|env|\.tox)/", test.path) for test in found.targets.tests)


def test_names_of_files_cannot_break_out_of_the_text(tmp_path: Path) -> None:
    odd = {'tests/test_"a\\.py': "", 'tests/data/é "x\n.txt': "", "tests/test_a b.py": ""}
    project.write(tmp_path, {**BASE, **odd})
    labels = project.plan(tmp_path).targets.keys()
    assert {"//:tests/test__a_", "//:tests/test_a_b"} <= labels
