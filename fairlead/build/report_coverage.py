"""Puts together what many tests measured, and reports it: a program for the environment that has coverage.py.

It runs in the project's folder, reads what to do as JSON from its input and says on its output how it went.
The data are those of coverage.py; only the paths in them are changed, from where a test saw a file to where
the project has it. Files that no test ran are found as coverage.py finds them, by `source` in the settings.

Python 3.8 can read it.
"""

import io
import json
import os
import shutil
import sqlite3
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def moved(source: str, at: str, files: "dict[str, str]", name: "Any") -> str:
    """A copy of data in which the paths are the project's; what is none of its files is left out."""
    shutil.copyfile(source, at)
    os.chmod(at, 0o600)
    base = sqlite3.connect(at)
    with base:
        for number, path in base.execute("select id, path from file").fetchall():
            if path in files:
                base.execute("update file set path = ? where id = ?", (name(files[path]), number))
                continue
            for table in ("line_bits", "arc", "tracer"):
                base.execute("delete from " + table + " where file_id = ?", (number,))
            base.execute("delete from file where id = ?", (number,))
    base.close()
    return at


def main(given: "dict[str, Any]") -> "dict[str, Any]":
    import coverage  # type: ignore[import-not-found,unused-ignore]

    sys.path[:0] = [os.path.abspath(path) for path in given["search"]]
    config, work = given["config"] or False, given["work"]
    relative = coverage.Coverage(data_file=None, config_file=config).get_option("run:relative_files")
    name: Any = os.path.normpath if relative else os.path.abspath

    unseen = coverage.Coverage(data_file=os.path.join(work, "unseen"), config_file=config)
    unseen.set_option(
        "run:disable_warnings", ["no-data-collected", "module-not-imported", "module-not-measured"]
    )
    unseen.set_option("run:parallel", False)
    unseen.start()
    unseen.stop()
    unseen.save()

    whole = coverage.CoverageData(basename=os.path.join(work, "whole"))
    for number, piece in enumerate(given["pieces"]):
        part = moved(piece["data"], os.path.join(work, f"part{number}"), piece["files"], name)
        one = coverage.CoverageData(basename=part)
        one.read()
        whole.update(one)
    found = coverage.CoverageData(basename=os.path.join(work, "unseen"))
    found.read()
    for path in found.measured_files():
        if path not in whole.measured_files():
            whole.touch_file(path)
    whole.write()

    report = coverage.Coverage(data_file=os.path.join(work, "whole"), config_file=config)
    report.load()
    text = io.StringIO()
    total = report.report(file=text)
    to, kind = given["to"] or None, given["kind"]
    if kind == "xml":
        report.xml_report(outfile=to)
        to = to or report.get_option("xml:output")
    elif kind == "lcov":
        report.lcov_report(outfile=to)
        to = to or report.get_option("lcov:output")
    elif kind == "html":
        report.html_report(directory=to)
        to = to or report.get_option("html:directory")
    least = report.get_option("report:fail_under") or 0
    return {"text": text.getvalue(), "total": total, "fail_under": least, "to": to or ""}


if __name__ == "__main__":
    try:
        answer = main(json.load(sys.stdin))
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
