"""The foreign projects: ten that are compared and edited, and those left out with the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Foreign:
    """A project of the package registry; "" is its newest release.

    `older` is the release whose files are put in one by one as historic changes. `answers` are lines below
    [build], for what `fairlead init` asks. `folder` is where its tests are.
    """

    name: str
    version: str
    older: str = ""
    folder: str = "tests"
    answers: tuple[str, ...] = ()


PYTEST = ('requires = ["pytest"]',)

PROJECTS = (
    Foreign("itsdangerous", "2.2.0", "2.1.2"),
    Foreign("h11", "0.16.0", "0.14.0", folder="h11/tests", answers=PYTEST),
    Foreign("blinker", "1.9.0", "1.8.2"),
    Foreign("jinja2", "3.1.6", "3.1.5"),
    Foreign("click", "8.1.8", "8.1.7"),
    Foreign("flask", "3.1.1", "3.1.0"),
    Foreign("packaging", "25.0", "24.2"),
    Foreign("attrs", "25.3.0", "25.1.0"),
    Foreign("wsproto", "1.3.2", "1.2.0", folder="test"),
    Foreign("more-itertools", "10.7.0", "10.6.0", answers=PYTEST),
)

LEFT_OUT = {
    "markupsafe": "half of its tests are about a compiled module, which inference does not build",
    "rich": "its archive holds no tests",
    "werkzeug": "starts servers that watch files; its own suite does not end in 100 s here",
    "requests": "most of its tests need a server from outside",
}


def chosen(names: list[str]) -> list[Foreign]:
    """The projects with these names, all if there are none; SystemExit for a name that is not known."""
    known = {project.name: project for project in PROJECTS}
    for name in names:
        if name not in known:
            raise SystemExit(f"{name}: {LEFT_OUT.get(name, 'not in the list: ' + ', '.join(known))}")
    return [known[name] for name in names] or list(PROJECTS)


def any_of(requirement: str, answers: tuple[str, ...]) -> Foreign:
    """The project of a requirement such as click or click==8.1.8, whether it is in the list or not."""
    name, _, version = requirement.partition("==")
    listed = next((project for project in PROJECTS if project.name == name), Foreign(name, ""))
    return replace(listed, version=version or listed.version, answers=(*listed.answers, *answers))
