"""What runs beside pytest, inside of a test's own interpreter: it tells how each case ended, as it ends, and
measures coverage where that is asked for.

The engine puts this file where run_pytest.py finds it, so it is no part of any key: it changes nothing that
a test sees, but for what coverage needs. `beside.json` next to it says where to write:

    {"cases": path of the stream of cases,
     "coverage": null or {"data": path, "config": path or "", "tree": path},
     "shard": null or {"number": n, "of": n, "table": {node id or function: number}},
     "collected": path for a digest of what a shard collected}

Cases are written to an append-only descriptor, a JSON object a line: {"id", "outcome", "seconds"}. The
outcomes are pytest's: passed, failed, error (in fixtures or while collecting), skipped, xfailed, xpassed.

Standard library only, and Python 3.8 can read it; coverage itself comes from the test's environment.
"""

import hashlib
import json
import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HIGHEST = 900
"""Where our descriptor is: above those that programs get."""
WORSE = ("passed", "skipped", "xfailed", "xpassed", "failed", "error")
QUIET = ("no-data-collected", "module-not-imported", "module-not-measured", "couldnt-parse")
"""Warnings of coverage that mean nothing for one file of many."""


class Cases:
    """A plugin that writes a line for each case that has ended."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.pid = os.getpid()
        self.fd = -1
        self.outcome, self.seconds = "passed", 0.0

    def pytest_runtest_logstart(self) -> None:
        self.outcome, self.seconds = "passed", 0.0

    def pytest_runtest_logreport(self, report: "Any") -> None:
        self.seconds += report.duration
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        elif report.failed and report.when != "call":
            outcome = "error"
        if WORSE.index(outcome) > WORSE.index(self.outcome):
            self.outcome = outcome

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._tell(nodeid, self.outcome, self.seconds)

    def pytest_collectreport(self, report: "Any") -> None:
        if report.failed:
            self._tell(report.nodeid, "error", 0.0)

    def _tell(self, name: str, outcome: str, seconds: float) -> None:
        if os.getpid() != self.pid:  # what a test forked and let come back
            return
        line = json.dumps({"id": name, "outcome": outcome, "seconds": round(seconds, 4)}) + "\n"
        try:
            os.write(self.fd, line.encode())
        except OSError:  # not open yet, or somebody closed all descriptors there are
            self._open()
            os.write(self.fd, line.encode())

    def _open(self) -> None:
        """A bare descriptor, which no test sees as a file left open, and no program started anew gets."""
        import fcntl

        opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        highest = min(HIGHEST, os.sysconf("SC_OPEN_MAX") - 48)
        self.fd = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, highest)
        os.close(opened)


class Share:
    """A plugin that runs one of several shares of what is collected (fairlead/build/shards.py)."""

    def __init__(self, given: "dict[str, Any]", collected: str) -> None:
        self.number, self.of, self.table = given["number"], given["of"], given["table"]
        self.collected = collected
        self.left_out = 0

    def pytest_collection_modifyitems(self, config: "Any", items: "list[Any]") -> None:
        names = "\n".join(sorted(item.nodeid for item in items))
        with open(self.collected, "w", encoding="utf-8") as stream:
            stream.write(hashlib.sha256(names.encode("utf-8", "replace")).hexdigest())
        ours = [item for item in items if self._share(item.nodeid) == self.number]
        self.left_out = len(items) - len(ours)
        items[:] = ours

    pytest_collection_modifyitems.pytest_impl = {"trylast": True}  # type: ignore[attr-defined]

    def _share(self, name: str) -> int:
        function = name.partition("[")[0]
        known: int | None = self.table.get(name, self.table.get(function))
        return zlib.crc32(function.encode("utf-8", "replace")) % self.of if known is None else known


class Coverage:
    """Measures what runs between `begin` and `end`, by the project's own settings."""

    def __init__(self, given: "dict[str, str]") -> None:
        self.given = given
        self.measuring: Any = None

    def begin(self) -> None:
        import coverage  # type: ignore[import-not-found,unused-ignore]

        data = self.given["data"]
        os.makedirs(os.path.dirname(data), exist_ok=True)
        config: Any = self.given["config"] or False
        probe = coverage.Coverage(data_file=None, config_file=config)
        if "COVERAGE_CORE" not in os.environ and self._fast(probe):
            os.environ["COVERAGE_CORE"] = "sysmon"
            chosen = True
        else:
            chosen = False
        self.measuring = coverage.Coverage(data_file=data, data_suffix=True, config_file=config)
        warnings = self.measuring.get_option("run:disable_warnings") or []
        self.measuring.set_option("run:disable_warnings", [*warnings, *QUIET])
        self.measuring.set_option("run:relative_files", False)
        self.measuring.start()
        if chosen:
            del os.environ["COVERAGE_CORE"]

    def _fast(self, probe: "Any") -> bool:
        """Whether sys.monitoring can measure what the settings ask for."""
        version = tuple(sys.version_info[:2])
        if version < (3, 12) or (probe.get_option("run:branch") and version < (3, 14)):
            return False
        plain = not probe.get_option("run:dynamic_context") and not probe.get_option("run:plugins")
        return plain and set(probe.get_option("run:concurrency") or ["thread"]) <= {"thread"}

    def end(self) -> None:
        """Save, put what child processes have measured with it, and say which files ran."""
        import coverage

        self.measuring.stop()
        chooser: Any = getattr(self.measuring, "_inorout", None)
        if hasattr(chooser, "find_possibly_unexecuted_files"):
            # The report looks for files that nothing ran; each look here would be a thing the test depends on
            chooser.find_possibly_unexecuted_files = lambda: ()
        self.measuring.save()
        data, tree = self.given["data"], self.given["tree"]
        folder, name = os.path.split(data)
        parts = [os.path.join(folder, part) for part in os.listdir(folder) if part.startswith(name + ".")]
        whole = coverage.CoverageData(basename=data)
        for part in sorted(parts):
            one = coverage.CoverageData(basename=part)
            try:
                one.read()
                whole.update(one)
            except coverage.exceptions.CoverageException:  # of a child that was ended while it wrote
                continue
        whole.write()
        ran = [path for path in whole.measured_files() if whole.lines(path)]
        inside = sorted(os.path.relpath(path, tree) for path in ran if path.startswith(tree + os.sep))
        with open(data + ".json", "w", encoding="utf-8") as stream:
            json.dump({"tree": tree, "ran": inside}, stream)


class Beside:
    """What run_pytest.py is given: `plugins` and `arguments` for pytest, `begin` and `end` around it."""

    def __init__(self, folder: str) -> None:
        with open(os.path.join(folder, "beside.json"), encoding="utf-8") as stream:
            given = json.load(stream)
        self.plugins: list[object] = [Cases(given["cases"])]
        self.arguments: list[str] = []
        self.coverage = Coverage(given["coverage"]) if given["coverage"] else None
        self.share = Share(given["shard"], given["collected"]) if given["shard"] else None
        self.plugins += [self.share] if self.share else []

    def begin(self) -> None:
        if self.coverage:
            if has_module("pytest_cov") and not os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
                self.arguments.append("--no-cov")  # two that measure at once are in each other's way
            self.coverage.begin()

    def is_empty(self) -> bool:
        """Whether there was something to run, all of it in other shares."""
        return self.share is not None and self.share.left_out > 0

    def end(self) -> None:
        if self.coverage:
            self.coverage.end()


def has_module(name: str) -> bool:
    """Whether a module can be imported."""
    from importlib.util import find_spec

    return find_spec(name) is not None
