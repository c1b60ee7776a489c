"""`fairlead init` with a real pytest: what is collected, what is not, what is missing. Wheels are local."""

from __future__ import annotations

import pytest

from tests.build.test_build_verbs import Clone
from tests.build.test_init_verb import PYPROJECT, clone, house
from tests.build.wheels import Wheelhouse, real_pytest

__all__ = ["clone", "house"]


@pytest.fixture
def proven(clone: Clone, house: Wheelhouse) -> Clone:
    """The project with the pytest that collects for real."""
    (house.folder / "pytest-9.0-py3-none-any.whl").unlink()
    real_pytest(house)
    clone.write("pyproject.toml", PYPROJECT + "[tool.pytest.ini_options]\ntestpaths = ['tests']\n")
    clone.commit("settings")
    return clone


def _tests(document: dict[str, object]) -> dict[str, tuple[str, str, int]]:
    listed = document["tests"]
    assert isinstance(listed, list)
    return {test["path"]: (test["sure"], test["reason"], test["tests"]) for test in listed}


def test_init_locks_installs_and_collects_and_a_second_one_changes_nothing(proven: Clone) -> None:
    out, err = proven.run("init")
    assert "known    //:tests/test_hello  2" in out and "1 targets: 1 known; 2 tests" in out
    assert "collecting" in err
    assert proven.git("status", "--short").split() == ["??", "fairlead.toml"]
    before = {p: p.stat().st_mtime_ns for p in proven.root.rglob("*") if "store" not in p.parts}
    out, err = proven.run("init")
    assert "nothing written" in out and "collecting" not in err and "1 targets: 1 known; 2 tests" in out
    assert {p: p.stat().st_mtime_ns for p in proven.root.rglob("*") if "store" not in p.parts} == before
    assert "1 of 1 passed" in proven.run("test", "//...")[0]
    proven.commit("all of it")
    assert "init --lock" in proven.run("test", "//...", "--rev", "HEAD", code=2)[1]


def test_what_pytest_cannot_collect_is_unknown_with_its_reason(proven: Clone) -> None:
    proven.write("tests/test_syntax.py", "def test_x(:\n")
    proven.write("tests/test_lacks.py", "import nobodys_module\ndef test(): pass\n")
    proven.write("tests/test_made.py", "import hello._version\ndef test(): pass\n")
    proven.write(".gitignore", "ignored.py\n")
    proven.write("src/hello/ignored.py", "")
    proven.write("tests/test_ignored.py", "import hello.ignored\ndef test(): pass\n")
    proven.write("tests/test_empty.py", "")
    marked = proven.read("pyproject.toml") + "addopts = '-m \"not slow\"'\nmarkers = ['slow']\n"
    proven.write("pyproject.toml", marked)
    proven.write("tests/test_slow.py", "import pytest\n@pytest.mark.slow\ndef test(): pass\n")
    proven.write("tests/a/test_same.py", "def test(): pass\n")
    proven.write("tests/b/test_same.py", "def test(): pass\n")
    proven.write(
        "tests/test_ids.py",
        "import pytest\n@pytest.mark.parametrize('x', list({'a', 'b', 'c', 'd', 'e', 'f'}))\n"
        "def test(x): pass\n@pytest.mark.parametrize('y', [object()], ids=str)\ndef test_y(y): pass\n",
    )
    proven.write("tests/test_skips.py", "import pytest\npytest.importorskip('nobodys_other')\n")
    document = proven.json("init")
    found = _tests(document)
    assert found["tests/test_hello.py"] == ("known", "", 2)
    assert found["tests/test_syntax.py"][0] == "unknown" and "SyntaxError" in found["tests/test_syntax.py"][1]
    assert found["tests/test_lacks.py"][:2] == (
        "unknown",
        "ModuleNotFoundError: No module named 'nobodys_module'",
    )
    assert found["tests/test_empty.py"] == ("guessed", "pytest finds no test in it", 0)
    assert found["tests/test_slow.py"] == ("known", "pytest's settings deselect all of its tests", 0)
    clash = [found[f"tests/{folder}/test_same.py"] for folder in "ab"]
    assert sorted(sure for sure, _, _ in clash) == ["guessed", "known"]
    assert found["tests/test_ids.py"] == ("guessed", "its tests have other ids in each run", 7)
    assert found["tests/test_skips.py"][0] == "known" and "nobodys_other" in found["tests/test_skips.py"][1]
    findings = document["findings"]
    assert isinstance(findings, list)
    said = {f["value"]: f["add"] for f in findings}
    assert any("nobodys_module" in value and "requires = [" in add for value, add in said.items())
    assert any("src/hello/ignored.py: a commit lacks them" in value for value in said)
    assert any("hello._version" in value and "a tool makes it" in value for value in said)
    assert not any("nobodys" in line for line in proven.read(".fairlead/requirements.tests.lock").split())


def test_what_is_declared_for_another_end_is_found_by_its_wheel_and_not_by_its_name(
    proven: Clone, house: Wheelhouse
) -> None:
    house.add("py_yaml", {"yaml/__init__.py": ""})
    house.add("yaml", {"other.py": "raise SystemExit('squatted')"})
    settings = proven.read("pyproject.toml").replace("[tool.pytest", 'docs = ["py-yaml"]\n[tool.pytest')
    proven.write("pyproject.toml", settings)
    proven.write("tests/test_yaml.py", "import yaml\ndef test(): pass\n")
    out, _ = proven.run("init")
    assert "2 targets: 2 known; 3 tests" in out
    assert 'requires = ["py-yaml"]' in proven.read("fairlead.toml")
    lock = proven.read(".fairlead/requirements.tests.lock")
    assert "py-yaml==1.0" in lock and "\nyaml==" not in lock


def test_settings_that_are_there_are_not_changed_for_what_is_lacking(
    proven: Clone, house: Wheelhouse
) -> None:
    house.add("py_yaml", {"yaml/__init__.py": ""})
    settings = proven.read("pyproject.toml").replace("[tool.pytest", 'docs = ["py-yaml"]\n[tool.pytest')
    proven.write("pyproject.toml", settings)
    proven.write("fairlead.toml", "[build]\ninfer = true\n")
    proven.write("tests/test_yaml.py", "import yaml\ndef test(): pass\n")
    out, _ = proven.run("init")
    assert 'module is guessed: requires = ["py-yaml"]' in out and "nothing written" in out
    assert "unknown  //:tests/test_yaml" in out
    proven.write("fairlead.toml", '[build]\ninfer = true\nrequires = ["py-yaml"]\n')
    assert "2 targets: 2 known" in proven.run("init")[0]


def test_an_option_of_a_plugin_that_is_not_installed(proven: Clone, house: Wheelhouse) -> None:
    source = "def pytest_addoption(parser):\n    parser.addoption('--shout')\n"
    house.add("loud", {"loud.py": source, "loud-1.0.dist-info/entry_points.txt": "[pytest11]\nloud = loud\n"})
    settings = proven.read("pyproject.toml").replace("[tool.pytest", 'docs = ["loud"]\n[tool.pytest')
    proven.write("pyproject.toml", settings + "addopts = '--shout=x'\n")
    out, _ = proven.run("init")
    assert "1 targets: 1 known; 2 tests" in out and 'requires = ["loud"]' in proven.read("fairlead.toml")


def test_a_conftest_that_is_made_for_an_older_pytest_is_told_from_a_broken_one(proven: Clone) -> None:
    proven.write(
        "conftest.py",
        "import pytest, warnings\nclass PytestRemovedIn10Warning(pytest.PytestDeprecationWarning): pass\n"
        "def pytest_collection(session):\n    warnings.warn('use getini()', PytestRemovedIn10Warning)\n",
    )
    proven.write(
        "pyproject.toml",
        proven.read("pyproject.toml") + "filterwarnings = ['error']\n",
    )
    out, _ = proven.run("init")
    assert 'release of pytest is guessed: requires = ["pytest<9"]' in out
    assert "PytestRemovedIn10Warning: use getini()" in out and "requires" not in proven.read("fairlead.toml")


def test_a_workspace_whose_members_need_each_other(proven: Clone) -> None:
    settings = '[build-system]\nbuild-backend = "hatchling.build"\n[project]\nversion = "1"\nname = '
    proven.write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["parts/*"]\n')
    proven.write("parts/a/pyproject.toml", settings + '"part-a"\n[dependency-groups]\ndev = ["pytest"]\n')
    proven.write("parts/b/pyproject.toml", settings + '"part-b"\ndependencies = ["part-a"]\n')
    for name, text in (("a", "A = 1\n"), ("b", "from part.a import A\n")):
        proven.write(f"parts/{name}/src/part/{name}/__init__.py", text)
        version = f"import importlib.metadata\nassert importlib.metadata.version('part-{name}') == '1'\n"
        proven.write(f"parts/{name}/tests/test_same.py", f"import part.{name}\n{version}def test(): pass\n")
    proven.write("tests/test_hello.py", "from part.b import A\ndef test(): assert A == 1\n")
    out, _ = proven.run("init")
    assert "3 targets: 3 known; 3 tests" in out
    assert "3 of 3 passed" in proven.run("test")[0]
