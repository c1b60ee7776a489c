"""The frame of the command line: help, errors, start-up."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fairlead import __version__
from fairlead.cli import verbs


def fairlead(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fairlead", *args], capture_output=True, text=True, check=False
    )


def test_version_loads_no_third_party_module() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "from fairlead.cli import main; main(['--version'])\n"
        "import pathlib, sysconfig\n"
        "site = sysconfig.get_path('purelib')\n"
        "new = [m for n, m in sys.modules.items() if n not in before and not n.startswith('fairlead')]\n"
        "print([m.__name__ for m in new if (getattr(m, '__file__', '') or '').startswith(site)])\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"fairlead {__version__}", "[]"]


def test_the_first_screen_shows_the_first_verbs() -> None:
    done = fairlead("--help")
    assert done.returncode == 0
    for verb in verbs.VERBS:
        assert verb.name in done.stdout
    assert len(done.stdout.splitlines()) <= 24


@pytest.mark.parametrize("verb", [verb.name for verb in verbs.VERBS])
def test_every_verb_explains_itself(verb: str) -> None:
    done = fairlead(verb, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert f"usage: fairlead {verb}" in done.stdout and len(done.stdout.splitlines()) > 5


def test_a_wrong_verb_is_told_the_nearest() -> None:
    done = fairlead("tset")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: there is no verb tset",
        "  where: fairlead tset",
        "  what to do: did you mean test?",
    ]


def test_a_wrong_option_is_told_the_nearest_and_json_errors_are_json() -> None:
    done = fairlead("config", "--jsno")
    assert done.returncode == 2 and "did you mean --json" in done.stderr
    done = fairlead("config", "nope.nope", "--json")
    error = json.loads(done.stderr)
    assert error["schema"] == "fairlead.error/1" and error["exit"] == 2 and error["remedy"]


def test_config_prints_every_setting_with_its_source() -> None:
    done = fairlead("config", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)["settings"]}
    assert rows["ship.remote"]["value"] == "origin" and rows["ship.remote"]["source"] == "default"
    assert fairlead("config", "ship.remote").stdout == "origin\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_verb_and_parses(shell: str) -> None:
    done = fairlead("completion", shell)
    assert done.returncode == 0
    for verb in verbs.VERBS:
        assert verb.name in done.stdout
    if shell == "bash":
        script = done.stdout + "\nCOMP_WORDS=(fairlead te) COMP_CWORD=1; _fairlead; echo ${COMPREPLY[@]}"
        said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert said.stdout == "test\n"
