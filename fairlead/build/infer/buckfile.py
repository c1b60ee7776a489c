"""Inferred targets as a BUCK file.

The loader runs this text as if it stood in the repository's root, and `fairlead init --write` puts it
there: what is inferred and what is written out cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from fairlead.build.infer.layout import Project
from fairlead.build.infer.targets import Library, Targets, Test


def render(targets: Targets, projects: Sequence[Project], lock: str, interpreter: str = "") -> str:
    """The text of the BUCK file."""
    parts = ["# What `fairlead init` found. Each test names all that it may need; see docs/infer.md.\n"]
    if lock:
        own = {"interpreter": interpreter} if interpreter else {}
        parts.append(_call("python_toolchain", None, name="python", lock=lock, **own))
    described = [_metadata_name(n, projects) for n in range(len(projects))]
    for number, project in enumerate(projects):
        if described[number]:
            parts.append(
                _call(
                    "python_metadata",
                    name=described[number],
                    distribution=project.name,
                    version=project.version,
                    entry_points=project.entry_points,
                )
            )
    for library in targets.libraries:
        parts.append(_library(library))
    for number, project in enumerate(projects):
        tests = [test for test in targets.tests if test.project == number]
        if tests:
            parts += _tests(number, project, tests, [name for name in described if name])
    return "\n".join(parts)


def _metadata_name(number: int, projects: Sequence[Project]) -> str:
    project = projects[number]
    if not (project.name and project.version):
        return ""
    clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in project.name)
    same = sum(other.name == project.name for other in projects[:number])
    return f"{clean}.metadata" + (f".{same}" if same else "")


def _library(library: Library) -> str:
    return _call(
        "python_library",
        name=library.name,
        srcs=library.srcs,
        resources=library.resources,
        base_module="",
        visibility=["PUBLIC"],
    )


def _tests(number: int, project: Project, tests: Sequence[Test], described: list[str]) -> list[str]:
    """The tests of one project; what many of them name stands in two lists before them."""
    whole = [set(test.srcs) for test in tests if test.whole]
    modules = set.intersection(*whole) if whole else set()
    data = set.intersection(*(set(test.resources) for test in tests))
    srcs, resources = f"_MODULES_{number}", f"_DATA_{number}"
    variables = {name: value.replace("$(", "\\$(") for name, value in project.env.items()}
    own = {"env": variables} if variables else {}
    parts = [f"{srcs} = {_value(sorted(modules))}\n", f"{resources} = {_value(sorted(data))}\n"]
    for test in tests:
        if test.whole:
            parts.append(f"# The whole project: {test.why}")
        parts.append(
            _call(
                "python_test",
                raw={
                    "srcs": _plus(srcs if test.whole else "", test.srcs, modules),
                    "resources": _plus(resources, test.resources, data),
                },
                name=test.name,
                test_files=list(test.files),
                base_module="",
                root=project.folder,
                search=test.search,
                deps=[f":{name}" for name in described],
                args=[f"--import-mode={test.import_mode}"],
                allow_empty=True,
                recorded=True,
                **own,
            )
        )
    return parts


def _plus(shared: str, all_of: Iterable[str], known: set[str]) -> str:
    rest = [path for path in all_of if not (shared and path in known)]
    if not shared:
        return _value(rest)
    return f"{shared} + {_value(rest)}" if rest else shared


def _call(rule: str, raw: dict[str, str] | None = None, **values: object) -> str:
    shown = {name: _value(value) for name, value in values.items()}
    order = ["name", *(raw or {}), *(name for name in shown if name != "name")]
    lines = (f"    {name} = {(raw or {}).get(name, shown.get(name, ''))},\n" for name in order)
    return f"{rule}(\n{''.join(lines)})\n"


def _value(value: object) -> str:
    """A value as the language writes it, lists one item a line."""
    if isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        items = "".join(f"{_value(key)}: {_value(item)}, " for key, item in sorted(value.items()))
        return "{" + items.removesuffix(", ") + "}"
    if isinstance(value, list | tuple):
        if len(value) < 2:
            return "[" + "".join(map(_value, value)) + "]"
        return "[\n" + "".join(f"        {_value(item)},\n" for item in value) + "    ]"
    raise TypeError(f"a value of type {type(value).__name__}")
