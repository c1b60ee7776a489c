"""What a repository declares for its tests, in every table and file where people do."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.build import infer
from fairlead.build.buckconfig import BuckConfig
from fairlead.build.infer import Repository
from fairlead.build.loader import Loader
from fairlead.build.tree import DiskTree
from tests.build import project

NAME = '[project]\nname = "me"\nversion = "1"\ndependencies = ["attrs"]\n'

DECLARED: list[tuple[str, dict[str, str], set[str]]] = [
    (
        "a group that includes another and an extra of the project itself",
        {
            "pyproject.toml": NAME
            + '[project.optional-dependencies]\nfull = ["jinja2", "me[yaml]"]\nyaml = ["pyyaml"]\n'
            '[dependency-groups]\ndev = ["me[full]", "pytest", {include-group = "base"}]\nbase = ["trio"]\n'
            'docs = ["sphinx"]\n'
        },
        {"attrs", "jinja2", "pyyaml", "pytest", "trio"},
    ),
    (
        "no group with a known name: the one that holds pytest",
        {"pyproject.toml": NAME + '[dependency-groups]\nunit = ["pytest", "trio"]\ndocs = ["sphinx"]\n'},
        {"attrs", "pytest", "trio"},
    ),
    (
        "a group that is only named by what runs the tests",
        {
            "pyproject.toml": NAME + '[project.optional-dependencies]\nqa = ["pytest-trio"]\ndocs = ["x"]\n',
            "tox.ini": "[testenv]\nextras =\n    qa\ncommands = pytest\n",
        },
        {"attrs", "pytest-trio"},
    ),
    (
        "an extra that a Makefile installs",
        {
            "pyproject.toml": NAME + '[project.optional-dependencies]\nqa = ["trio"]\ndocs = ["x"]\n',
            "Makefile": "test:\n\tpip install -e '.[qa]'\n\tpytest\n",
        },
        {"attrs", "trio"},
    ),
    (
        "a group that a workflow installs",
        {
            "pyproject.toml": NAME + '[dependency-groups]\nqa = ["trio"]\ndocs = ["x"]\n',
            ".github/workflows/ci.yml": "steps:\n  - run: uv run --group qa pytest\n",
        },
        {"attrs", "trio"},
    ),
    (
        "what tox installs",
        {
            "pyproject.toml": NAME,
            "tox.ini": "[testenv]\ndeps =\n  pytest>=8\n  -r{toxinidir}/more.txt\n  py39: old\n  {[x]y}\n",
            "more.txt": "trio\n",
        },
        {"attrs", "pytest>=8", "trio"},
    ),
    (
        "what nox installs in the session that runs pytest",
        {
            "pyproject.toml": NAME,
            "noxfile.py": "import nox\n@nox.session\ndef lint(s):\n    s.install('ruff')\n"
            "@nox.session\ndef tests(s):\n    s.install('pytest', 'trio')\n    s.install('-e', '.')\n"
            "    s.run('pytest')\n",
        },
        {"attrs", "pytest", "trio"},
    ),
    (
        "pdm's old table, and flit's",
        {
            "pyproject.toml": '[tool.flit.metadata]\nmodule = "me"\nrequires = ["attrs"]\n'
            '[tool.flit.metadata.requires-extra]\ntest = ["trio"]\n'
            '[tool.pdm.dev-dependencies]\ntest = ["pytest"]\n'
        },
        {"attrs", "trio", "pytest"},
    ),
    (
        "an environment of hatch",
        {
            "pyproject.toml": NAME + '[project.optional-dependencies]\nextra1 = ["trio"]\n'
            '[tool.hatch.envs.test]\ndependencies = ["pytest"]\nfeatures = ["extra1"]\n'
        },
        {"attrs", "pytest", "trio"},
    ),
    (
        "poetry's extras and groups",
        {
            "pyproject.toml": '[tool.poetry]\nname = "me"\n[tool.poetry.dependencies]\npython = "^3.9"\n'
            'attrs = "^24.1"\nredis = {version = "~5.0", optional = true, extras = ["hiredis"]}\n'
            '[tool.poetry.extras]\ntest = ["redis"]\n[tool.poetry.group.test.dependencies]\npytest = "*"\n'
            'mine = {path = "../mine", develop = true}\n'
        },
        {"attrs>=24.1,<25", "redis[hiredis]>=5.0,<5.1", "pytest"},
    ),
    (
        "the literals of a setup.py",
        {
            "setup.py": "from setuptools import setup, find_packages\nTESTS = ['pytest', 'trio']\n"
            "setup(name='me', version='1', packages=find_packages('lib'), package_dir={'': 'lib'},\n"
            "      install_requires=['attrs'], extras_require={'tests': TESTS, 'docs': ['sphinx']})\n",
            "lib/me/__init__.py": "",
        },
        {"attrs", "pytest", "trio"},
    ),
    (
        "dynamic dependencies that stand in a file",
        {
            "pyproject.toml": '[project]\nname = "me"\nversion = "1"\ndynamic = ["dependencies"]\n'
            '[tool.setuptools.dynamic]\ndependencies = {file = ["needs.txt"]}\n'
            '[dependency-groups]\ntest = ["pytest"]\n',
            "needs.txt": "attrs\ntrio\n",
        },
        {"attrs", "trio", "pytest"},
    ),
    (
        "members of a workspace by address, by path and by name",
        {
            "pyproject.toml": NAME
            + '[dependency-groups]\ntest = ["pytest", "part", "-e file:///${PROJECT_ROOT}/part",'
            ' "part @ file:///${PROJECT_ROOT}/part"]\n',
            "part/pyproject.toml": '[project]\nname = "part"\ndependencies = ["trio"]\n',
        },
        {"attrs", "trio", "pytest"},
    ),
]


def read(root: Path, files: dict[str, str]) -> Repository:
    project.write(root, {"tests/test_a.py": "", **files})
    tree = DiskTree(root)
    return infer.infer(tree, Loader(tree, BuckConfig(), print).inferred_files())


@pytest.mark.parametrize(("files", "wanted"), [row[1:] for row in DECLARED], ids=[row[0] for row in DECLARED])
def test_what_is_declared(tmp_path: Path, files: dict[str, str], wanted: set[str]) -> None:
    found = read(tmp_path, files)
    assert set(found.environment.requires) == wanted
    assert not [finding for finding in found.findings if finding.subject == "requirement"]


def test_a_group_that_is_only_likely_is_guessed_and_can_be_settled(tmp_path: Path) -> None:
    files = {"pyproject.toml": NAME + '[dependency-groups]\nunit = ["pytest"]\ndev = ["ruff"]\n'}
    guessed = [f for f in read(tmp_path, files).findings if f.subject == "group for tests"]
    assert [(f.sure, f.add) for f in guessed] == [("guessed", 'groups = ["unit"]')]
    files["fairlead.toml"] = '[build]\ninfer = true\ngroups = ["unit"]\n'
    found = read(tmp_path, files)
    assert set(found.environment.requires) == {"attrs", "pytest"}
    assert set(found.environment.others) == {"ruff"}
    assert not [f for f in found.findings if f.subject == "group for tests"]


def test_a_setup_py_that_computes_is_asked_about(tmp_path: Path) -> None:
    found = read(
        tmp_path, {"setup.py": "from setuptools import setup\nsetup(name='me', install_requires=read())\n"}
    )
    assert [f.sure for f in found.findings if f.subject == "dependencies"] == ["unknown"]
    assert found.projects[0].name == "me"
