"""Which Python is proposed for a repository's tests."""

from __future__ import annotations

import pytest

from fairlead.build.infer import pythons
from fairlead.build.infer.layout import Project


@pytest.mark.parametrize(
    ("required", "fits"),
    [
        ("", True),
        (">=3.8", True),
        (">=3.8,<4", True),
        (">=3.8, <3.13", False),
        (">=3.8,<3.13.2", True),
        ("<=3.12", False),
        (">=3.14", False),
        ("!=3.13.*", False),
        ("!=3.13.1", True),
        ("==3.*", True),
        ("==3.13.*", True),
        ("~=3.9", True),
        ("~=2.7", False),
        ("^3.9", True),
        (">3", True),
        ("what is that", False),
    ],
)
def test_a_constraint_is_heeded(required: str, fits: bool) -> None:
    assert pythons.allows(required, (3, 13)) is fits


def project(required: str = "", classifiers: tuple[str, ...] = ()) -> Project:
    lines = [f"Programming Language :: Python :: {version}" for version in classifiers]
    return Project("", pyproject={"project": {"requires-python": required, "classifiers": lines}})


def proposal(projects: list[Project], here: set[str], running: tuple[int, int] = (3, 11)) -> str:
    found = pythons.proposed(projects, running, here.__contains__)
    return found.add if found else ""


def test_the_newest_that_a_project_names_is_proposed() -> None:
    here = {"python3.14", "python3.13", "python3.12"}
    assert proposal([project(">=3.9", ("3.11", "3.12", "3.13"))], here) == 'interpreter = "python3.13"'
    assert proposal([project(">=3.9")], here) == 'interpreter = "python3.14"'
    assert proposal([project(">=3.9", ("3.13",))], {"python3.12"}) == 'interpreter = "python3.12"'


def test_all_projects_have_to_allow_it() -> None:
    assert proposal([project("<3.14"), project("<3.13")], {"python3.13", "python3.14"}) == ""
    setup = Project("", setup={"options": {"python_requires": "<3.13"}})
    assert proposal([setup], {"python3.13"}) == ""


def test_nothing_is_proposed_where_functions_count_already() -> None:
    assert proposal([project()], {"python3.14"}, running=(3, 12)) == ""
    assert proposal([project()], set()) == ""
