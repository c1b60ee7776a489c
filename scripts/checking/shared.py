"""Nothing of one test is left for the next: each target is a process of its own, in a folder of its own.

Two test files are planted that each spoil what the other looks at: a module of the project, one of the
standard library, the environment, the working folder, a file of the project, the home, the folder for
temporary files.
Beside that, a module is edited between two runs with one daemon, and the new one must be found. And with and
without a daemon, one job at a time or several, the outcomes and the keys are the same.
"""

from __future__ import annotations

from collections.abc import Callable

from selection.workplace import Workplace

from checking.tree import Project, Told

_MODULE = "VALUE = 1\n"
_SPOILS = """import os
import string
import sys
import tempfile
from pathlib import Path

import stale_module

HERE = Path(__file__).parent


def test_nothing_is_left():
    assert stale_module.VALUE == 1 and not hasattr(stale_module, "spoilt")
    assert string.digits == "0123456789"
    assert "STALE" not in os.environ
    assert (HERE / "stale.txt").read_text() == "as it was"
    assert not (Path.home() / "stale").exists()
    assert not (Path(tempfile.gettempdir()) / "stale").exists()
    assert not (HERE / "left.txt").exists()
    assert "stale_other" not in sys.modules


def test_all_is_spoilt():
    stale_module.spoilt = True
    string.digits = "none"
    sys.modules["stale_other"] = sys
    os.environ["STALE"] = "1"
    (HERE / "stale.txt").write_text("spoilt")
    (HERE / "left.txt").write_text("")
    (Path.home() / "stale").write_text("")
    (Path(tempfile.gettempdir()) / "stale").write_text("")
    os.chdir("/")
"""
_NAMES = ("test_stale_one", "test_stale_two")


def check(place: Workplace, say: Callable[[str], None], *, alone: bool = False) -> bool:
    """The project with the two files, in four ways; these files `alone` if nothing else is to be run."""
    folder = place.project.folder
    project = Project(place.fairlead, place.for_fairlead())
    project.write(f"{folder}/planted/stale_module.py", _MODULE)
    project.write(f"{folder}/planted/stale.txt", "as it was")
    for name in _NAMES:
        project.write(f"{folder}/planted/{name}.py", _SPOILS)
    labels = [f"//:{folder}/planted/{name}" for name in _NAMES]
    words = ["--no-test-cache", *(labels if alone else [])]
    try:
        ways = {
            "with a daemon": project.test(*words),
            "with the same daemon": project.test(*words),
            "without": project.test(*words, "--no-daemon"),
            "one at a time": project.test(*words, "--jobs", "1"),
        }
        good = [_same(ways, say), _passed(ways, labels, say)]
        project.write(f"{folder}/planted/stale_module.py", _MODULE.replace("1", "2"))
        edited = project.test(*labels)
        stale = [label for label in labels if edited[label].outcome == "pass"]
        for label in stale:
            say(f"{label} passes although the module that it imports has another value: a stale import")
        project.write(f"{folder}/planted/stale_module.py", _MODULE)
        undone = project.test(*labels)
        good.append(not stale and all(undone[label].outcome == "pass" for label in labels))
    finally:
        project.stop()
    say(f"{len(ways['without'])} targets, {len(ways)} ways: {'the same' if all(good) else 'NOT the same'}")
    return all(good)


def _same(ways: dict[str, dict[str, Told]], say: Callable[[str], None]) -> bool:
    """Whether all ways say the same of each target."""
    first, *rest = ways
    good = True
    for way in rest:
        for label in sorted(ways[first].keys() | ways[way].keys()):
            one, other = ways[first].get(label), ways[way].get(label)
            if one is None or other is None or (one.outcome, one.key) != (other.outcome, other.key):
                say(f"{label}: {first} {one}, {way} {other}")
                good = False
    return good


def _passed(ways: dict[str, dict[str, Told]], labels: list[str], say: Callable[[str], None]) -> bool:
    bad = [(way, label) for way, told in ways.items() for label in labels if told[label].outcome != "pass"]
    for way, label in bad:
        say(f"{label}: {ways[way][label].outcome} {way}")
    return not bad
