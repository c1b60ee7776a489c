"""Let pytest collect a project and say what it found: collect_pytest.py JSON, by the project's own Python.

The one argument is an object: `root`, the folder in which pytest starts; `search`, the folders for imports,
which a .pth file may have named already (fairlead/build/roots.py);
`ignore`, folders that pytest leaves out; `out`, the file that the answer is written to; `files`, what is
collected, all if empty; `run`, whether it is run too. Nothing else is said to pytest, so that what is found
is what `pytest` in that folder would run.

The answer: `items`, pairs of a file and a node id; `failed`, pairs of a node id and pytest's own words;
`skipped`, likewise; `outcomes`, the worst of each node id that ran; `deselected`, files with tests that
settings leave out; `code`, pytest's exit code, -1 if it did not come to an end.
"""

import json
import os
import sys
from typing import Any


class Notes:
    """A plugin that writes down what is collected and what is not."""

    def __init__(self) -> None:
        self.items: list[tuple[str, str]] = []
        self.failed: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, str]] = []
        self.outcomes: dict[str, str] = {}
        self.deselected: list[str] = []

    def pytest_deselected(self, items: Any) -> None:
        """Called with what `-k`, `-m` and plugins leave out."""
        self.deselected += sorted({str(getattr(item, "path", "") or item.fspath) for item in items})

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called for set-up, call and tear-down of each test."""
        said = "error" if report.failed and report.when != "call" else str(report.outcome)
        worst = ("error", "failed", "skipped", "passed")
        known = self.outcomes.get(report.nodeid, said)
        self.outcomes[report.nodeid] = min(known, said, key=worst.index)

    def pytest_collectreport(self, report: Any) -> None:
        """Called for each file, class and folder."""
        if report.failed:
            self.failed.append((report.nodeid, str(report.longrepr)))
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.skipped.append((report.nodeid, str(reason)))

    def pytest_collection_finish(self, session: Any) -> None:
        """Called once, with what is left after `-k`, `-m` and plugins that deselect."""
        for item in session.items:
            self.items.append((str(getattr(item, "path", "") or item.fspath), item.nodeid))


def main(asked: "dict[str, Any]") -> int:
    del sys.path[0]  # our own folder
    if not set(asked["search"]) <= set(sys.path):
        os.environ["PYTHONPATH"] = os.pathsep.join(asked["search"])
        sys.path[:0] = asked["search"]
    sys.dont_write_bytecode = True
    os.chdir(asked["root"])
    notes, code = Notes(), -1
    try:
        import pytest

        words = ["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
        words += [] if asked["run"] else ["--collect-only"]
        words += [f"--ignore={path}" for path in asked["ignore"]]
        words += asked["files"]
        code = int(pytest.main(words, plugins=[notes]))
    finally:
        answer: dict[str, Any] = {
            "items": notes.items,
            "failed": notes.failed,
            "skipped": notes.skipped,
            "code": code,
        }
        answer["outcomes"] = notes.outcomes
        answer["deselected"] = notes.deselected
        with open(asked["out"], "w", encoding="utf-8", errors="backslashreplace") as stream:
            json.dump(answer, stream)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
