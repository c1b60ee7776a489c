"""The documentation is tested: it names everything there is, and its commands run.

Blocks marked ```console are run line by line (those that begin with "$ ") in a fresh clone of
this repository, one clone a page; a line ending in "# exits N" must exit with N.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fairlead import config
from fairlead.cli import verbs

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_program_says() -> None:
    module = reference()
    assert (ROOT / "docs" / "commands.md").read_text() == module.commands(), "run scripts/reference"
    assert (ROOT / "docs" / "settings.md").read_text() == module.settings(), "run scripts/reference"


@pytest.mark.parametrize("verb", [verb.name for verb in verbs.VERBS])
def test_every_verb_has_words_outside_the_reference(verb: str) -> None:
    prose = "\n".join(p.read_text("utf-8") for p in PAGES if p.name != "commands.md")
    assert f"fairlead {verb}" in prose


def test_every_setting_is_documented() -> None:
    for setting in config.SETTINGS:
        assert f"`{setting.name}`" in ALL_TEXT


def test_every_build_rule_is_documented() -> None:
    page = (ROOT / "docs" / "build.md").read_text("utf-8")
    rules = set()
    for path in (ROOT / "fairlead" / "build" / "prelude").glob("*.bzl"):
        rules |= set(re.findall(r"^([a-z]\w*) = rule\(", path.read_text("utf-8"), re.MULTILINE))
    assert rules, "no rule found in the prelude"
    for rule in rules:
        assert f"`{rule}`" in page or f"`{rule}(" in page, f"docs/build.md lacks {rule}"


def test_every_lint_rule_is_documented() -> None:
    page = (ROOT / "docs" / "lint.md").read_text("utf-8")
    names = set()
    for path in (ROOT / "fairlead" / "lint" / "rules").glob("*.py"):
        names |= set(re.findall(r"^class (\w+)\((?:\w+\.)?LintRule\)", path.read_text("utf-8"), re.MULTILINE))
    assert names, "no built-in rule found"
    for name in names:
        assert name.removesuffix("Rule") in page


def test_every_crash_point_states_what_is_true_there() -> None:
    """Crash points are promises; each is declared once with a state, and used."""
    declared: dict[str, str] = {}
    for path in (ROOT / "fairlead").rglob("*.py"):
        for name, state in re.findall(
            r"crashpoint\.declare\(\s*\"([^\"]+)\",\s*\"([^\"]+)", path.read_text("utf-8")
        ):
            assert name not in declared, f"{name} is declared twice"
            declared[name] = state
    assert declared and all(declared.values())


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_project_speaks_only_of_the_project() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in tracked.split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.suffix not in {".lock", ".png"}:
            text = path.read_text("utf-8", "replace")
            assert f"{ROOT}/" not in text, f"{name} names a folder of this machine"


def blocks(page: Path) -> list[str]:
    found = re.findall(r"^```console\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line[2:] for block in found for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.name)
def test_commands_in_the_documentation_run(page: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "FAIRLEAD_STATE_DIR": str(tmp_path / "state"),
        "FAIRLEAD_CONFIG_DIR": str(tmp_path / "config"),
        "DOTSLASH_CACHE": str(tmp_path / "cache"),
        "GIT_AUTHOR_NAME": "author", "GIT_AUTHOR_EMAIL": "author@localhost",
        "GIT_COMMITTER_NAME": "author", "GIT_COMMITTER_EMAIL": "author@localhost",
    }  # fmt: skip
    for line in blocks(page):
        command, _, wanted = line.partition("# exits ")
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=clone,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert done.returncode == int(wanted or 0), f"{page.name}: $ {line}\n{done.stdout}\n{done.stderr}"
