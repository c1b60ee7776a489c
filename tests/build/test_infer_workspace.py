"""Repositories of several projects: workspaces, namespaces, paths between members, and their packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.build import infer
from fairlead.build.buckconfig import BuckConfig
from fairlead.build.infer import Repository
from fairlead.build.loader import Loader
from fairlead.build.tree import DiskTree
from tests.build import project


def read(root: Path, files: dict[str, str]) -> Repository:
    project.write(root, files)
    tree = DiskTree(root)
    return infer.infer(tree, Loader(tree, BuckConfig(), print).inferred_files())


def member(name: str, more: str = "") -> str:
    backend = '[build-system]\nbuild-backend = "hatchling.build"\n'
    return f'{backend}[project]\nname = "{name}"\nversion = "1"\n{more}'


WORKSPACE = {
    "pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*", "examples/app"]\n'
    'exclude = ["packages/old"]\n'
    '[dependency-groups]\ndev = ["pytest"]\n',
    "packages/alpha/pyproject.toml": member("acme-alpha", 'dependencies = ["attrs"]\n'),
    "packages/alpha/src/acme/alpha/__init__.py": "",
    "packages/alpha/tests/test_alpha.py": "import acme.alpha\n",
    "packages/beta/pyproject.toml": member(
        "acme-beta", 'dependencies = ["acme-alpha"]\n[tool.uv.sources]\nacme-alpha = { workspace = true }\n'
    ),
    "packages/beta/src/acme/beta/__init__.py": "import acme.alpha\n",
    "packages/beta/tests/test_beta.py": "import acme.beta\n",
    "examples/app/pyproject.toml": member("app", 'dependencies = ["acme-beta"]\n'),
    "examples/app/app.py": "import acme.beta\n",
    "examples/app/tests/test_app.py": "import app\n",
    "examples/other/pyproject.toml": member("other"),
    "tests/test_whole.py": "import acme.alpha, acme.beta\n",
}


def test_a_workspace_and_the_tests_at_its_top(tmp_path: Path) -> None:
    found = read(tmp_path, WORKSPACE)
    assert [p.folder for p in found.projects] == ["", "examples/app", "packages/alpha", "packages/beta"]
    assert [p.name for p in found.projects] == ["", "app", "acme-alpha", "acme-beta"]
    by_path = {test.path: test for test in found.targets.tests}
    assert sorted(by_path) == [
        "examples/app/tests/test_app.py",
        "packages/alpha/tests/test_alpha.py",
        "packages/beta/tests/test_beta.py",
        "tests/test_whole.py",
    ]
    beta = by_path["packages/beta/tests/test_beta.py"]
    assert {"packages/alpha/src/acme/alpha/__init__.py", "packages/beta/src/acme/beta/__init__.py"} <= set(
        beta.srcs
    )
    assert {"packages/alpha/src", "packages/beta/src"} <= set(by_path["tests/test_whole.py"].search)
    assert set(found.environment.requires) == {"attrs", "pytest"}
    assert found.projects[by_path["tests/test_whole.py"].project].folder == ""


def test_a_test_below_one_half_of_a_namespace_does_not_get_the_other_unasked(tmp_path: Path) -> None:
    found = read(tmp_path, WORKSPACE)
    alpha = next(t for t in found.targets.tests if t.path.endswith("test_alpha.py"))
    assert not any("beta" in path for path in alpha.srcs) and not alpha.whole


LAYOUTS: list[tuple[str, dict[str, str], list[str], list[str]]] = [
    (
        "setup.cfg with where",
        {
            "setup.cfg": "[metadata]\nname = me\nversion = 1\n[options]\npackage_dir =\n    = lib\n"
            "packages = find:\n[options.packages.find]\nwhere = lib\n",
            "lib/me/__init__.py": "",
        },
        ["lib"],
        ["lib/me"],
    ),
    (
        "setup.py with folders of packages",
        {
            "setup.py": "from setuptools import setup\nsetup(name='me', version='1',\n"
            "      packages=['me', 'me.sub'], package_dir={'me': 'code/me'})\n",
            "code/me/__init__.py": "",
            "code/me/sub/__init__.py": "",
        },
        ["", "code"],
        ["code/me"],
    ),
    (
        "setup.py with find_packages",
        {
            "setup.py": "import setuptools\nsetuptools.setup(name='me', version='1',"
            " packages=setuptools.find_packages(where='lib'), package_dir={'': 'lib'})\n",
            "lib/me/__init__.py": "",
        },
        ["lib"],
        ["lib/me"],
    ),
    (
        "hatch with sources",
        {
            "pyproject.toml": member(
                "me", '[tool.hatch.build.targets.wheel]\ninclude = ["/code/me/**"]\nsources = ["code"]\n'
            ),
            "code/me/__init__.py": "",
        },
        ["code"],
        ["code/me"],
    ),
    (
        "a dotted module of flit",
        {
            "pyproject.toml": '[build-system]\nbuild-backend = "flit_core.buildapi"\n[project]\n'
            'name = "a-b"\nversion = "1"\n[tool.flit.module]\nname = "a.b"\n',
            "src/a/b/__init__.py": "",
        },
        ["src"],
        ["src/a/b"],
    ),
    (
        "poetry with a folder",
        {
            "pyproject.toml": '[build-system]\nbuild-backend = "poetry.core.masonry.api"\n[tool.poetry]\n'
            'name = "me"\nversion = "1"\npackages = [{include = "me", from = "lib"}]\n',
            "lib/me/__init__.py": "",
        },
        ["lib"],
        ["lib/me"],
    ),
    (
        "pdm with a folder",
        {
            "pyproject.toml": '[build-system]\nbuild-backend = "pdm.backend"\n[project]\nname = "me"\n'
            'version = "1"\n[tool.pdm.build]\npackage-dir = "lib"\n',
            "lib/me/__init__.py": "",
        },
        ["lib"],
        ["lib/me"],
    ),
]


@pytest.mark.parametrize(
    ("files", "roots", "packages"), [row[1:] for row in LAYOUTS], ids=[row[0] for row in LAYOUTS]
)
def test_packages_of_backends(
    tmp_path: Path, files: dict[str, str], roots: list[str], packages: list[str]
) -> None:
    found = read(tmp_path, files).projects[0]
    assert (found.roots, found.packages) == (roots, packages)
    assert found.version == "1"
