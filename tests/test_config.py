"""Settings: which source wins, and what a wrong one says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fairlead import config
from fairlead.errors import UsageError


def load(root: Path, **env: str) -> config.Config:
    return config.load(root, {"FAIRLEAD_CONFIG_DIR": str(root / "personal"), **env})


def test_later_sources_win_and_are_named(tmp_path: Path) -> None:
    assert load(tmp_path).source("build.jobs") == "default"
    (tmp_path / "personal").mkdir()
    (tmp_path / "personal" / "config.toml").write_text("[build]\njobs = 3\nsandbox = 'none'\n")
    assert load(tmp_path).get("build.jobs") == 3
    (tmp_path / "fairlead.toml").write_text("[build]\njobs = 4\n")
    found = load(tmp_path)
    assert found.number("build.jobs") == 4 and found.source("build.jobs") == str(tmp_path / "fairlead.toml")
    assert found.text("build.sandbox") == "none"
    found = load(tmp_path, FAIRLEAD_BUILD_JOBS="5")
    assert found.get("build.jobs") == 5 and found.source("build.jobs") == "environment FAIRLEAD_BUILD_JOBS"


def test_pyproject_is_read_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.fairlead.lint]\nexclude = ['a/*']\n")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert load(tmp_path / "deep" / "er").words("lint.exclude") == ["a/*"]


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("[build]\njob = 1\n", "unknown setting build.job", "did you mean build.jobs"),
        ("[build]\njobs = 'many'\n", "build.jobs is 'many'", "a whole number"),
        ("[build]\njobs = true\n", "build.jobs is True", "a whole number"),
        ("jobs = 1\n", "jobs stands alone", "[room]"),
        ("[build\n", "not valid TOML", "mend"),
        ("[store]\ndir = '/x'\n", "store.dir is personal", "config.toml"),
    ],
)
def test_a_wrong_setting_says_where_and_what_to_do(tmp_path: Path, text: str, what: str, remedy: str) -> None:
    (tmp_path / "fairlead.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    assert what in caught.value.what and remedy in caught.value.remedy
    assert str(tmp_path / "fairlead.toml") in caught.value.where


def test_a_wrong_environment_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, FAIRLEAD_BUILD_JOBS="many")
    assert "FAIRLEAD_BUILD_JOBS" in caught.value.what


def test_a_misspelt_environment_variable_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    env = {
        "FAIRLEAD_WORKER_SECOND": "9", "FAIRLEAD_COLOUR": "red", "FAIRLEAD_BUILD_JOBS": "2",
        "FAIRLEAD_CONFIG_DIR": str(tmp_path), "FAIRLEAD_STATE_DIR": str(tmp_path), "FAIRLEAD_TEST_X": "",
        "HOME": str(tmp_path),
    }  # fmt: skip
    assert config.unheeded(env) == [
        ("FAIRLEAD_COLOUR", ""),
        ("FAIRLEAD_WORKER_SECOND", "did you mean FAIRLEAD_WORKER_SECONDS?"),
    ]
    command = [sys.executable, "-m", "fairlead", "config"]
    full = {**env, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=full, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [
        "FAIRLEAD_COLOUR is no setting and is not heeded",
        "FAIRLEAD_WORKER_SECOND is no setting and is not heeded; did you mean FAIRLEAD_WORKER_SECONDS?",
    ]
    told = subprocess.run([*command, "--json"], cwd=tmp_path, env=full, capture_output=True, check=True)
    assert told.stderr == b""


def test_settings_that_cannot_be_looked_for_are_none(tmp_path: Path) -> None:
    # A name that is too long stands for a folder that is closed to us, which none is to root.
    found = config.load(tmp_path, env={"FAIRLEAD_CONFIG_DIR": str(tmp_path / ("long" * 100))})
    assert found.text("build.daemon") == "auto"
