"""The land rule: may this commit become the tip of the trunk?

`decide` is the definition. It is pure, knows no queue and no clock, and reads from top to bottom as the
rule reads in the manual. What it is given must be facts: statements and verdicts whose signatures the
caller has checked, trees and merges that the caller has taken from git.

Claim: if the trunk was green at some commit, and tests depend only on their declared inputs, then every
later commit that got in by this rule has, for every test target, a pass recorded at its exact key. (By
induction: a key that equals the parent's has its pass already; any other key is asked for here.) What
moves the trunk must be a compare-and-swap from `candidate.base`, or the claim is lost.

`ship.verify` checks the same rule from the evidence without calling anything here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairlead.ship import change
from fairlead.ship.values import (
    Approval,
    Candidate,
    Decision,
    Keys,
    KeyStatement,
    Objection,
    Reason,
    Settings,
    Verdict,
    enough,
)


@dataclass(frozen=True)
class _Clause:
    """One condition of the rule: whether it holds, and the sentence for either case."""

    code: str
    holds: bool
    if_held: str
    if_missing: str
    subject: str

    def reason(self) -> Reason:
        return Reason(self.code, self.if_held if self.holds else self.if_missing, self.subject)


def decide(
    candidate: Candidate,
    keys: Keys,
    verdicts: Iterable[Verdict],
    approvals: Iterable[Approval],
    settings: Settings,
    *,
    author: str,
    registered_workers: Collection[str],
    remerged: Mapping[str, str | None],
    objections: Iterable[Objection] = (),
    contributors: Collection[str] = (),
) -> Decision:
    """Apply the land rule.

    `author` is who owns the diff, `contributors` everyone else who pushed a version of it: neither counts
    as a reviewer. `registered_workers` are worker names. `remerged` maps the submitted commit, and each
    older commit that was approved, to its tree when re-merged onto `candidate.base` (see `ship.change`).
    `approvals` and `objections` are those that stand: each person's latest word.
    """
    clauses = [
        _one_step_from_the_tip(candidate),
        _is_what_was_submitted(candidate, remerged),
        _keys_fit("base", keys.base, candidate.base, candidate.base_tree, registered_workers),
        _keys_fit("candidate", keys.candidate, candidate.commit, candidate.tree, registered_workers),
        *_affected_tests_pass(keys, tuple(verdicts), settings, registered_workers),
        _is_approved(candidate, approvals, settings, {author, *contributors}, remerged),
        *_nobody_objects(objections),
    ]
    missing = tuple(clause.reason() for clause in clauses if not clause.holds)
    held = tuple(clause.reason() for clause in clauses if clause.holds)
    return Decision(allowed=not missing, missing=missing, held=held)


def affected(keys: Keys) -> dict[str, str]:
    """The test targets that must have a pass, with their key: those whose key differs from the base's."""
    return {
        label: key for label, key in sorted(keys.candidate.keys.items()) if keys.base.keys.get(label) != key
    }


def removed(keys: Keys) -> tuple[str, ...]:
    """The test targets that the base has and the candidate has not: shown in the evidence, not forbidden."""
    return tuple(sorted(set(keys.base.keys) - set(keys.candidate.keys)))


def counted(
    keys: Keys, verdicts: Iterable[Verdict], settings: Settings, registered_workers: Collection[str]
) -> dict[str, Verdict]:
    """For each affected target the first pass that counts; targets without one are absent."""
    wanted = affected(keys)
    passes: dict[str, Verdict] = {}
    for verdict in verdicts:
        if (
            wanted.get(verdict.label) == verdict.key
            and verdict.outcome == "pass"
            and verdict.worker in registered_workers
            and enough(verdict.enforced, settings.enforcement)
        ):
            passes.setdefault(verdict.label, verdict)
    return passes


def _one_step_from_the_tip(candidate: Candidate) -> _Clause:
    return _Clause(
        "parent",
        candidate.parents == (candidate.base,),
        f"its only parent is the trunk tip {candidate.base[:12]}",
        f"its only parent is not the trunk tip {candidate.base[:12]}",
        candidate.commit,
    )


def _is_what_was_submitted(candidate: Candidate, remerged: Mapping[str, str | None]) -> _Clause:
    submitted = f"version {candidate.version} of D{candidate.diff}, merged onto the trunk tip,"
    return _Clause(
        "submitted",
        change.carries(remerged.get(candidate.submitted_commit), candidate.tree),
        f"{submitted} gives exactly this tree",
        f"{submitted} does not give this tree",
        candidate.submitted_commit,
    )


def _keys_fit(
    role: str, statement: KeyStatement, commit: str, tree: str, registered_workers: Collection[str]
) -> _Clause:
    return _Clause(
        f"keys-{role}",
        statement.commit == commit and statement.tree == tree and statement.worker in registered_workers,
        f"the target keys of its {role} were computed from tree {tree[:12]} by worker {statement.worker}",
        f"the target keys of its {role} are not from tree {tree[:12]} and a registered worker",
        commit,
    )


def _affected_tests_pass(
    keys: Keys, verdicts: Sequence[Verdict], settings: Settings, registered_workers: Collection[str]
) -> Iterator[_Clause]:
    passes = counted(keys, verdicts, settings, registered_workers)
    seen: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        seen.setdefault((verdict.label, verdict.key), []).append(verdict)
    for label, key in affected(keys).items():
        found = passes.get(label)
        yield _Clause(
            "test",
            found is not None,
            f"{label} passed at its key {key[:12]} on worker {found.worker}" if found else "",
            _why_no_pass(label, key, seen.get((label, key), ()), settings, registered_workers),
            label,
        )


def _why_no_pass(
    label: str, key: str, seen: Sequence[Verdict], settings: Settings, registered_workers: Collection[str]
) -> str:
    """The sentence for a target without a counted pass: the nearest thing to one that exists."""
    passed = [verdict for verdict in seen if verdict.outcome == "pass"]
    if any(verdict.worker in registered_workers for verdict in passed):
        return f"{label} passed, but with weaker enforcement than {settings.enforcement}"
    if passed:
        return f"{label} passed only on a worker that is not registered"
    if seen:
        words = {"fail": "failed", "timeout": "ran out of time", "error": "could not be run"}
        return f"{label} {words.get(seen[-1].outcome, seen[-1].outcome)} at its key {key[:12]}"
    return f"{label} has not been run at its key {key[:12]}"


def _is_approved(
    candidate: Candidate,
    approvals: Iterable[Approval],
    settings: Settings,
    authors: set[str],
    remerged: Mapping[str, str | None],
) -> _Clause:
    people = {
        approval.person
        for approval in approvals
        if change.stands(approval, candidate, remerged)
        and (settings.author_may_approve or approval.person not in authors)
    }
    return _Clause(
        "approval",
        len(people) >= settings.approvals,
        f"accepted by {', '.join(sorted(people))}" if people else "no approval is asked for",
        f"{len(people)} of {settings.approvals} approvals of exactly this change",
        f"D{candidate.diff}",
    )


def _nobody_objects(objections: Iterable[Objection]) -> Iterator[_Clause]:
    for objection in objections:
        if objection.kind == "must_fix":
            text = f"a thread that {objection.person} marked as must fix is open"
        else:
            text = f"{objection.person} asks for changes"
        yield _Clause("objection", False, "", text, objection.post)
