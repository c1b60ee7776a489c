"""Say what the answer for a target depends on, and what has changed since it was last asked.

For a label: the parts of its key, and, if it was built or tested before with another key, the parts that
differ and the old and new digest of each changed file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fairlead.cli import project, terminal
from fairlead.errors import UsageError
from fairlead.store import Record, Store, explain
from fairlead.store.record import ABSENT, Difference, Part

if TYPE_CHECKING:
    from fairlead.build.plan import Plan
    from fairlead.build.tree import DiskTree


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject", metavar="LABEL", help="a target, such as //a:b, or a test: tests/test_x.py"
    )
    parser.add_argument("--asked", action="store_true", help="what the last recorded run of a test asked for")


def run(args: argparse.Namespace) -> int:
    subject: str = args.subject
    if "//" not in subject and not subject.startswith(":") and not _is_test_file(subject):
        raise UsageError(
            f"{subject} is no label",
            where="fairlead why",
            remedy="name a target, such as //package:name or :name, or a file of tests",
        )
    return why_asked(subject, as_json=args.json) if args.asked else why_target(subject, as_json=args.json)


def _is_test_file(subject: str) -> bool:
    return "::" in subject or subject.endswith(".py")


def _plan(here: project.Project, tree: DiskTree, text: str, store: Store) -> Plan:
    """The plan of a label, or of a test file or one test of it as `fairlead test` understands it."""
    if not _is_test_file(text):
        return here.plan(tree, [text], store)
    from fairlead.cli import pattern

    return pattern.understand(here, tree, [text]).plan(here, tree, store)


def why_target(text: str, *, as_json: bool) -> int:
    """Explain one target: its record now, beside the record at its last build or test."""
    from fairlead.build.engine import Engine
    from fairlead.build.key import Platform, target_records

    here = project.Project.find()
    store = here.store()
    tree = here.disk(store)
    plan = _plan(here, tree, text, store)
    if len(plan.requested) != 1:
        raise UsageError(
            f"{text} names {len(plan.requested)} targets", where="fairlead why", remedy="name one of them"
        )
    label = plan.requested[0]
    test = plan.targets[label].test
    if test is not None and test.recorded:
        engine = Engine(store, here.root, tree, plan)
        answers = engine.answers([label]).get(label)
        if answers:
            listing = engine.recorded.passes.listing
            named = text if _is_test_file(text) else label
            return why_recorded(store, plan, label, answers, listing, named=named, as_json=as_json)
    records = target_records(plan, tree, Platform.here())
    now = records[label]
    before = _before(store, label)
    state = _state(store, plan, label, now.key)
    differences = [] if before is None else explain(before, now)
    if as_json:
        print(json.dumps(_document(label, now, before, differences, state), indent=2))
        return 0
    terminal.say(f"{label}  key {now.key}  ({_STATES[state]})")
    _say_rate(store, label, [now])
    if before is None:
        terminal.say("It has not been built or tested here before. It depends on:")
    elif before.key == now.key:
        terminal.say("Nothing has changed since the last time. It depends on:")
    else:
        terminal.say(f"The last key was {before.key}. What differs:")
        for line in _changed(store, records, before, now):
            terminal.say(f"  {line}")
        terminal.say("It depends on:")
    for line in _parts(now.parts):
        terminal.say(f"  {line}")
    return 0


def why_recorded(
    store: Store,
    plan: Plan,
    label: str,
    answers: list[Record],
    listing: Callable[[str], bytes | None],
    *,
    named: str,
    as_json: bool,
) -> int:
    """Explain a test, called `named`, by what its last pass asked for: the answers then, and now."""
    from fairlead.build.record import dependencyset
    from fairlead.build.testing import Verdicts

    passed = next((r for r in answers if project.has_passed(store, plan, label, r.key)), None)
    now = passed or answers[0]
    key = now.key if passed else Verdicts(store).last(label)
    before = None if key is None else store.get_record(key)
    state = "passed" if passed else "no pass"
    if before is not None and before.kind != now.kind:
        before = None
    differences = [] if before is None else explain(before, now)
    if as_json:
        print(json.dumps(_document(label, now, before, differences, state), indent=2))
        return 0
    terminal.say(f"{label}  key {now.key}  ({_STATES[state]})")
    _say_rate(store, label, answers)
    if before is None:
        terminal.say("No earlier pass is known.")
    elif not differences:
        terminal.say("Nothing that it asked for has changed since it passed.")
    else:
        terminal.say("What it asked for when it last passed, and what is different now:")
        for line in dependencyset.differences(before, now, listing):
            terminal.say(f"  {line}")
    counts = [f"{len(part)} {name}" for name, part in now.parts.items() if isinstance(part, Mapping) and part]
    terminal.say(f"It depends on: {', '.join(counts)}. `fairlead why --asked {named}` names them.")
    return 0


def why_asked(text: str, *, as_json: bool) -> int:
    """What a test asked for in its last recorded run."""
    from fairlead.build.record.layout import Layout
    from fairlead.build.record.runs import Runs

    here = project.Project.find()
    store = here.store()
    plan = _plan(here, here.disk(store), text, store)
    label = plan.requested[0] if len(plan.requested) == 1 else text
    run = Runs(store).get(label)
    if run is None:
        raise UsageError(
            f"no run of {label} has been recorded here",
            where="fairlead why --asked",
            remedy=f"record one: fairlead test {text} --record all --no-test-cache",
        )
    layout, asked = Layout.of(plan, label), run.asked
    seen = asked.opened - run.absent
    groups = {
        "read": seen,
        "listed": asked.listed - run.absent,
        "links": asked.links - run.absent,
        "looked at": asked.probed - seen - asked.listed - run.absent,
        "not there": run.absent,
    }
    shown = {name: sorted({layout.shown(path) for path in paths}) for name, paths in groups.items()}
    if as_json:
        document = {
            "schema": "fairlead.why-asked/1",
            "label": label,
            "key": run.key,
            "outcome": run.outcome,
            "recorder": asked.recorder,
            "lack": asked.lack,
            "calls": asked.calls,
            "asked": shown,
        }
        print(json.dumps(document, indent=2))
        return 0
    calls = project.counted(asked.calls, "file call")
    terminal.say(f"{label}  {run.outcome} with key {run.key}, {calls} heard")
    if asked.lack:
        terminal.say(f"This is not all: {asked.lack}")
    for name, paths in shown.items():
        terminal.say(f"{name}:" if paths else f"{name}: nothing")
        for path in paths:
            terminal.say(f"  {path}")
    return 0


def _say_rate(store: Store, label: str, records: Sequence[Record]) -> None:
    """Say how often the test fails with one of these keys, if it passes too."""
    from fairlead.build.outcomes import Outcomes

    for rate in (Outcomes(store).rate(label, record.key) for record in records):
        if rate.flaky:
            terminal.say(f"It is flaky: it {rate.text()}.")
            return


def _state(store: Store, plan: Plan, label: str, key: str) -> str:
    """Whether a test would have to run."""
    if plan.targets[label].test is None:
        return "no test"
    return "passed" if project.has_passed(store, plan, label, key) else "no pass"


_STATES = {"passed": "passed with this key", "no pass": "no pass with this key", "no test": "not a test"}


def _before(store: Store, label: str) -> Record | None:
    key = store.results.get("latest", label)
    return None if key is None else store.get_record(key.decode())


def _changed(store: Store, records: Mapping[str, Record], before: Record, now: Record) -> list[str]:
    """The differences in words; a dependency's new key is followed to what changed there."""
    lines = []
    for difference in explain(before, now):
        lines.append(difference.text())
        if difference.path[0] != "dependencies" or difference.old is ABSENT or difference.new is ABSENT:
            continue
        label = difference.path[-1]
        old = store.get_record(str(difference.old)) if isinstance(difference.old, str) else None
        if old is not None and label in records:
            lines += [f"  {line}" for line in _changed(store, records, old, records[label])]
    return lines


def _parts(parts: Mapping[str, Part], indent: str = "") -> list[str]:
    """A record's parts, one a line; tables and lists of rows have a line for each item below their name."""
    lines = []
    for name, part in parts.items():
        if isinstance(part, Mapping) and part:
            lines.append(f"{indent}{name}:")
            lines += _parts(part, indent + "  ")
        elif isinstance(part, Sequence) and not isinstance(part, str | bytes) and len(part) > 1:
            lines.append(f"{indent}{name}:")
            lines += [f"{indent}  {_text(item)}" for item in part]
        else:
            lines.append(f"{indent}{name}: {_text(part)}")
    return lines


def _text(part: Part) -> str:
    if part is None or part == "" or part == [] or part == {}:
        return "none"
    if isinstance(part, str | bytes | int):
        return str(part)
    if isinstance(part, Mapping):
        return ", ".join(f"{key}={_text(value)}" for key, value in part.items())
    return "  ".join(_text(item) for item in part)


def _document(
    label: str, now: Record, before: Record | None, differences: list[Difference], state: str
) -> dict[str, object]:
    return {
        "schema": "fairlead.why/1",
        "label": label,
        "key": now.key,
        "state": state,
        "parts": now.parts,
        "before": None if before is None else before.key,
        "differences": [
            {"path": list(d.path), "old": _json(d.old), "new": _json(d.new)} for d in differences
        ],
    }


def _json(part: object) -> object:
    return None if part is ABSENT else part
