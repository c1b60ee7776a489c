"""Look at what earlier calls of build and test did, from the event logs in fairlead-out/log.

last: how a call went and what took longest. what-ran: everything that was run and not known before, with its
command. critical-path: the chain of needs that took longest; with more processors a call is not shorter than
that. show: every event. flaky: the tests that have both passed and failed with the key that they ran with
last, and how often, over all calls. The newest 20 logs are kept; -n 2 is the last but one. With a LABEL only
what was done for that target, or for one test of it, is shown.
"""

from __future__ import annotations

import argparse
import json
import shlex
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fairlead.cli import project, terminal
from fairlead.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from fairlead.build.log import Row, Step
    from fairlead.build.outcomes import Rate

WORDS = ("last", "what-ran", "critical-path", "show", "flaky")
_SLOWEST = 5


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", metavar="WHAT", help="one of " + ", ".join(WORDS))
    parser.add_argument("label", nargs="?", metavar="LABEL", help="a target or a test, as verdicts print it")
    parser.add_argument("-n", "--number", type=int, default=1, metavar="N", help="the Nth last call")


def run(args: argparse.Namespace) -> int:
    from fairlead.build import log

    if args.label is None and args.what is not None and ("//" in args.what or args.what.startswith(":")):
        args.what, args.label = "last", args.what
    args.what = args.what or "last"
    if args.what not in WORDS:
        raise UsageError(
            f"fairlead log knows no {args.what}",
            where="fairlead log",
            remedy=did_you_mean(args.what, WORDS) or "use " + ", ".join(WORDS),
        )
    here = project.Project.find()
    if args.what == "flaky":
        return _say_flaky(here, args.label, as_json=args.json)
    found = log.logs(here.root)
    if not found:
        raise UsageError(
            "nothing is logged yet", where=str(here.root / log.FOLDER), remedy="build or test something"
        )
    if not 1 <= args.number <= len(found):
        raise UsageError(
            f"there is no log {args.number}", where="fairlead log -n", remedy=f"use 1 to {len(found)}"
        )
    rows = log.read(found[args.number - 1])
    if args.label is not None:
        rows = _only(rows, args.label)
    steps = log.ran(rows)
    if args.what == "critical-path":
        steps = log.critical_path(steps)
    if args.json:
        document: dict[str, object] = {"schema": f"fairlead.log.{args.what}/1"}
        if args.what == "last":
            document |= _facts(rows)
        elif args.what == "show":
            document["events"] = rows
        else:
            document["steps"] = [_step(step) for step in steps]
        print(json.dumps(document, indent=2))
        return 0
    if args.what == "show":
        for row in rows:
            terminal.say(_line(row))
    elif args.what == "last":
        _say_last(rows, steps)
    else:
        _say_steps(steps, commands=args.what == "what-ran")
    return 0


def _only(rows: list[Row], label: str) -> list[Row]:
    """What tells of the call as a whole, of one target and of its tests; UsageError if it did nothing."""
    labels = {str(row["label"]) for row in rows if row.get("label")}
    wanted = {known for known in labels if known == label or known.startswith(f"{label}::")}
    if not wanted:
        raise UsageError(
            f"that call did nothing for {label}",
            where="fairlead log",
            remedy=did_you_mean(label, labels) or "`fairlead log show` shows all that it did",
        )
    return [row for row in rows if not row.get("label") or row["label"] in wanted]


def _say_flaky(here: project.Project, label: str | None, *, as_json: bool) -> int:
    """The flaky tests of the project, or that of `label` if it is one."""
    from fairlead.build.outcomes import Outcomes

    found = Outcomes(here.store()).flaky()
    shown = {name: rate for name, rate in found.items() if label in (None, name)}
    if as_json:
        rows = [{"label": name, **vars(rate), "percent": rate.percent} for name, rate in shown.items()]
        print(json.dumps({"schema": "fairlead.log.flaky/1", "tests": rows}, indent=2))
        return 0
    if not shown:
        terminal.say("no test is known to pass and fail with one key")
    for name, rate in shown.items():
        terminal.say(f"{name}  {rate.text()}")
    return 0


def _flaky(rows: list[Row]) -> dict[str, Rate]:
    """The tests of a call that had passed and failed with their key when they had run."""
    from fairlead.build.outcomes import Rate

    tests = [row for row in rows if row["event"] == "test"]
    rates = {str(row["label"]): Rate(int(row.get("runs", 0)), int(row.get("failed", 0))) for row in tests}
    return {label: rate for label, rate in rates.items() if rate.flaky}


def _facts(rows: list[Row]) -> dict[str, Any]:
    """A call in numbers. `exit` is None if it was killed, or runs still."""
    start = next((row for row in rows if row["event"] == "start"), {})
    end = next((row for row in rows if row["event"] == "end"), {})
    tests = [row for row in rows if row["event"] == "test"]
    return {
        "words": start.get("words", []),
        "time": start.get("time", ""),
        "exit": end.get("exit"),
        "error": end.get("error"),
        "seconds": rows[-1].get("at", 0.0) if rows else 0.0,
        "actions": {
            "ran": sum(row["event"] == "action" for row in rows),
            "failed": sum(row["event"] == "failed" for row in rows),
            "known": sum(row["event"] == "known" for row in rows),
        },
        "tests": {
            "passed": sum(row.get("outcome") == "pass" for row in tests),
            "not passed": sum(row.get("outcome") != "pass" for row in tests),
            "reused": sum(bool(row.get("reused")) for row in tests),
        },
        "flaky": {label: rate.percent for label, rate in _flaky(rows).items()},
    }


def _say_last(rows: list[Row], steps: list[Step]) -> None:
    facts = _facts(rows)
    ended = f"exit {facts['exit']}" if facts["exit"] is not None else "no end: it was killed, or runs still"
    terminal.say(f"fairlead {shlex.join(map(str, facts['words']))}")
    terminal.say(f"  {_clock(str(facts['time']))}  {ended}  {terminal.seconds(float(facts['seconds']))}")
    if facts["error"]:
        terminal.say(f"  error: {str(facts['error']).splitlines()[0]}")
    for noun in ("actions", "tests"):
        counts = ", ".join(f"{number} {name}" for name, number in facts[noun].items())
        terminal.say(f"  {noun}: {counts}")
    for label, rate in _flaky(rows).items():
        terminal.say(f"  flaky: {label}  {rate.text()}")
    slowest = sorted(steps, key=lambda step: -step.seconds)[:_SLOWEST]
    if slowest:
        terminal.say("  slowest:")
    for step in slowest:
        terminal.say(f"    {terminal.seconds(step.seconds):>7}  {step.label}  {step.text}")


def _clock(text: str) -> str:
    """A point in time as the clock on the wall showed it."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return text


def _say_steps(steps: list[Step], *, commands: bool) -> None:
    if not steps:
        terminal.say("nothing ran: all of it was known before")
    for step in steps:
        terminal.say(f"{terminal.seconds(step.seconds):>7}  {step.label}  {step.text}")
        if commands and step.argv:
            terminal.say(f"         {shlex.join(step.argv)}")
    if steps and not commands:
        terminal.say(f"{terminal.seconds(sum(step.seconds for step in steps)):>7}  in all")


def _step(step: Step) -> dict[str, object]:
    return {
        "label": step.label,
        "what": step.text,
        "seconds": step.seconds,
        "name": step.name,
        "argv": list(step.argv),
        "inputs": list(step.inputs),
        "outputs": list(step.outputs),
    }


def _line(row: Row) -> str:
    rest = " ".join(
        f"{name}={value if isinstance(value, str | int | float) else json.dumps(value)}"
        for name, value in row.items()
        if name not in ("event", "at", "label", "inputs", "outputs", "argv") and value not in (None, "")
    )
    return f"{row.get('at', 0.0):>9.3f}  {row['event']:<7}  {row.get('label', '')}  {rest}".rstrip()
