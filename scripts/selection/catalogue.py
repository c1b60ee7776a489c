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
    Foreign("click", "8.1.8", "8.1.7"),
    Foreign(
        "httpx",
        "0.28.1",
        "0.28.0",
        answers=(
            # The list of what its tests need is not in its archive.
            'requires = ["pytest<9", "chardet<6", "trio<0.28", "uvicorn<0.33", "trustme", "cryptography", '
            '"click<8.2"]',
            'groups = ["http2", "socks", "brotli", "zstd", "cli"]',
        ),
    ),
    Foreign("starlette", "1.9.0", "1.8.0"),
    Foreign("trio", "0.34.0", "0.33.0", folder="src/trio/_tests"),
    Foreign("flask", "3.1.1", "3.1.0"),
    Foreign("attrs", "25.3.0", "25.1.0"),
    Foreign("jinja2", "3.1.6", "3.1.5"),
    # Its plugin warns with pytest 9.2, and warnings are errors; aiohttp is in an extra that is not for tests.
    Foreign("black", "26.10.1", "26.10.0", answers=('requires = ["pytest<9", "aiohttp>=3.10"]',)),
    Foreign("pydantic", "2.14.3", "2.14.2"),
    Foreign("packaging", "25.0", "24.2"),
)
"""The ten that are compared; packaging stands for rich, whose archive holds no tests."""

MORE = (
    Foreign("itsdangerous", "2.2.0", "2.1.2"),
    Foreign("h11", "0.16.0", "0.14.0", folder="h11/tests", answers=PYTEST),
    Foreign("blinker", "1.9.0", "1.8.2"),
    Foreign("wsproto", "1.3.2", "1.2.0"),
    Foreign("more-itertools", "10.7.0", "10.6.0", answers=PYTEST),
    Foreign("werkzeug", "3.1.9", "3.1.8"),
    Foreign("tomlkit", "0.15.2", "0.15.1"),
    Foreign("marshmallow", "4.4.0", "4.3.1"),
)
"""Others that are known to work, mostly small ones, on which many edits take little time."""

LEFT_OUT = {
    "markupsafe": "half of its tests are about a compiled module, which inference does not build",
    "rich": "its archive holds no tests",
    "requests": "most of its tests need a server from outside",
}


def chosen(names: list[str]) -> list[Foreign]:
    """The projects with these names, all if there are none; SystemExit for a name that is not known."""
    known = {project.name: project for project in (*PROJECTS, *MORE)}
    for name in names:
        if name not in known:
            raise SystemExit(f"{name}: {LEFT_OUT.get(name, 'not in the list: ' + ', '.join(known))}")
    return [known[name] for name in names] or list(PROJECTS)


def any_of(requirement: str, answers: tuple[str, ...]) -> Foreign:
    """The project of a requirement such as click or click==8.1.8, whether it is in the list or not."""
    name, _, version = requirement.partition("==")
    listed = next((project for project in (*PROJECTS, *MORE) if project.name == name), Foreign(name, ""))
    return replace(listed, version=version or listed.version, answers=(*listed.answers, *answers))
