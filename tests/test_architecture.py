"""The walls: which part may import which, as data.

Imports inside functions and under TYPE_CHECKING count: a wall with a back door is none.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fairlead"

GROUND = {"errors", "config", "store", "git", "net"}
ROOMS = {"launch", "build", "lint", "keys", "tokens", "media", "ship"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "store": {"errors"},
    "git": {"errors", "store"},
    "net": {"errors", "config", "store"},
    **{room: GROUND | {room} for room in ROOMS},
    "worker": GROUND | {"worker", "build", "lint", "ship.values"},
    "serve": GROUND | {"serve", "ship", "keys", "tokens", "media", "launch"},
    "cli": GROUND | ROOMS | {"worker", "serve", "cli"},
    "__init__": set(),
    "__main__": {"cli"},
}


def imports(path: Path, root: Path = ROOT) -> set[str]:
    """Every module that a file names in an import anywhere in it, as dotted names below fairlead."""
    found: set[str] = set()
    package = path.relative_to(root).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return {
        name.removeprefix("fairlead").removeprefix(".") for name in found if name.split(".")[0] == "fairlead"
    }


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_stay_inside_the_walls(path: Path) -> None:
    part = part_of(path)
    allowed = ALLOWED[part] | {part}
    for name in imports(path):
        if name in ("", "__version__"):
            continue
        top = name.split(".")[0]
        good = top in allowed or any(
            name == rule or name.startswith(rule + ".") for rule in allowed if "." in rule
        )
        assert good, f"{path.relative_to(ROOT)} imports fairlead.{name}; {part} may import {sorted(allowed)}"


def test_every_part_is_in_the_matrix() -> None:
    assert {part_of(path) for path in FILES} <= ALLOWED.keys()


def test_the_wall_test_sees_hidden_imports(tmp_path: Path) -> None:
    sample = tmp_path / "fairlead" / "ship" / "sample.py"
    sample.parent.mkdir(parents=True)
    sample.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import fairlead.serve.app\n"
        "def f():\n    from fairlead import build\n    from ..lint import rule\n"
    )
    assert imports(sample, tmp_path) == {"serve.app", "build", "lint.rule"}


def test_the_server_runs_no_code_of_others() -> None:
    """Nothing in serve compiles or executes text, and its only programs are git and a worker's start."""
    for path in (PACKAGE / "serve").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"exec", "eval", "compile", "__import__"}, path


def test_no_file_has_a_name_that_says_nothing() -> None:
    for path in FILES:
        assert not {"utils", "util", "helpers", "helper", "common", "manager", "misc"} & {path.stem}, path
