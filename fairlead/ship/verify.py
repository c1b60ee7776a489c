"""Does the evidence of a landed commit hold? Answered from git and public keys alone.

This is the second opinion on `ship.decide`, so it shares neither code nor inputs with it: it reads what
was stored, checks every signature, and compares every claim with what git says now. It finds all faults
of a commit rather than the first, since they are read by someone who must find out what happened.

What it cannot check rests on the server's signature: who the authors and approvers were, the number of
the diff, the settings in force (they are shown, and a verifier can demand more), and that nobody
objected. What a worker signed rests on that worker: replaying a verdict is how to check it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fairlead.errors import FairleadError
from fairlead.ship import identity
from fairlead.ship.evidence import NAMESPACE, PAYLOAD_TYPE, REF, Envelope, Evidence
from fairlead.ship.values import (
    SERVER,
    Approval,
    KeyStatement,
    Settings,
    Signed,
    Verdict,
    enough,
    worker_principal,
)


class Keyring(Protocol):
    """Who may sign what. `keys.allowed.AllowedSigners` is one."""

    def check(
        self, principal: str, namespace: str, message: bytes, signature: str, *, at: int | None = None
    ) -> None:
        """Raise a FairleadError unless `signature` is `principal`'s over `message` in `namespace`."""


@dataclass(frozen=True)
class Reviewed:
    """What git says of a commit that was submitted or approved.

    `change` is its own change key against its parent, `remerged` its tree when merged onto the parent of
    the commit that landed, None if that merge has conflicts.
    """

    change: str
    remerged: str | None


@dataclass(frozen=True)
class Facts:
    """What git says of a commit on the trunk.

    `change` is its change key against its first parent; `reviewed` holds those of the commits that its
    evidence names which this repository has.
    """

    commit: str
    tree: str
    parents: tuple[str, ...]
    base_tree: str
    message: str
    change: str
    reviewed: Mapping[str, Reviewed]


@dataclass(frozen=True)
class Check:
    """One thing that was checked, how it came out, and a sentence saying what was found."""

    name: str
    good: bool
    text: str


@dataclass(frozen=True)
class Report:
    """Everything that was checked of one commit. `evidence` is None if it could not be read."""

    commit: str
    checks: tuple[Check, ...]
    evidence: Evidence | None

    @property
    def good(self) -> bool:
        return all(check.good for check in self.checks)


def verify(facts: Facts, envelope: bytes | None, keyring: Keyring, demand: Settings | None = None) -> Report:
    """Check the stored `envelope` of a commit; None means that none is stored.

    `demand` is what the verifier asks of the settings that were in force, if anything.
    """
    inquiry = _Inquiry(facts, keyring)
    evidence = inquiry.open(envelope)
    if evidence is not None:
        inquiry.commit(evidence)
        inquiry.reviewed(evidence)
        inquiry.tests(evidence)
        inquiry.approvals(evidence)
        inquiry.settings(evidence, demand)
    return Report(facts.commit, tuple(inquiry.checks), evidence)


@dataclass
class _Inquiry:
    """Gathers the checks of one commit."""

    facts: Facts
    keyring: Keyring
    checks: list[Check] = field(default_factory=list)

    def say(self, name: str, problems: list[str], if_good: str) -> None:
        self.checks.extend(Check(name, False, problem) for problem in problems)
        if not problems:
            self.checks.append(Check(name, True, if_good))

    def open(self, data: bytes | None) -> Evidence | None:
        """The evidence, if its envelope is the server's and reads well."""
        if data is None:
            self.say("evidence", [f"there is no evidence for it in {REF}"], "")
            return None
        try:
            envelope = Envelope.from_bytes(data)
            if envelope.payload_type != PAYLOAD_TYPE:
                raise FairleadError(f"the envelope holds {envelope.payload_type!r}, not evidence")
            if [keyid for keyid, _ in envelope.signatures] != [SERVER]:
                raise FairleadError("the envelope does not have one signature, of the server")
            signature = envelope.signatures[0][1]
            self.keyring.check(SERVER, NAMESPACE, envelope.signed_bytes(), signature)
            evidence = Evidence.from_statement(envelope.payload)
            at = evidence.decided
            self.keyring.check(SERVER, NAMESPACE, envelope.signed_bytes(), signature, at=at)
        except FairleadError as error:
            self.say("evidence", [f"its evidence does not hold: {error.what}"], "")
            return None
        self.say("evidence", [], "signed by the server")
        return evidence

    def commit(self, evidence: Evidence) -> None:
        """Subject, base, tree, change and Diff-Id are those of git."""
        facts, problems = self.facts, []
        if evidence.commit != facts.commit:
            problems.append(f"the evidence is that of commit {evidence.commit[:12]}")
        if facts.parents != (evidence.base,):
            problems.append(f"its parent is not the base {evidence.base[:12]} of the evidence")
        if evidence.tree != facts.tree:
            problems.append(f"its tree is not the tree {evidence.tree[:12]} of the evidence")
        if evidence.change != facts.change:
            problems.append("what it changes is not the change of the evidence")
        try:
            diff_id = identity.of_message(facts.message)
        except FairleadError:
            diff_id = None
        if diff_id != evidence.diff_id:
            problems.append(f"its message does not carry the Diff-Id {evidence.diff_id}")
        self.say("commit", problems, f"base {evidence.base[:12]}, tree {evidence.tree[:12]}, as in git")

    def reviewed(self, evidence: Evidence) -> None:
        """The commit is the submitted version, merged onto its base."""
        known = self.facts.reviewed.get(evidence.submitted)
        problems = []
        if known is None:
            problems.append(_absent(evidence.submitted))
        elif known.remerged != self.facts.tree:
            problems.append(
                f"version {evidence.version} of D{evidence.diff} merged onto its base gives another tree"
            )
        text = f"version {evidence.version} of D{evidence.diff} merged onto its base gives this tree"
        self.say("submitted", problems, text)

    def statement(self, role: str, signed: Signed, commit: str, tree: str, at: int) -> Mapping[str, str]:
        """The keys of a key statement; {} and a problem if it is not a worker's for that tree."""
        try:
            statement = KeyStatement.from_payload(signed.payload)
            self.signature(signed, worker_principal(statement.worker), KeyStatement.NAMESPACE, at)
        except FairleadError as error:
            self.say("keys", [f"the target keys of the {role} do not hold: {error.what}"], "")
            return {}
        problems = []
        if (statement.commit, statement.tree) != (commit, tree):
            problems.append(f"the target keys of the {role} are those of another commit or tree")
        count = f"{len(statement.keys)} test target{'' if len(statement.keys) == 1 else 's'}"
        self.say("keys", problems, f"{role}: {count}, keys signed by worker {statement.worker}")
        return {} if problems else statement.keys

    def tests(self, evidence: Evidence) -> None:
        """Every test target whose key differs from the base's has a signed pass that is enforced enough."""
        facts, at = self.facts, evidence.decided
        base_commit = facts.parents[0] if facts.parents else ""
        before = self.statement("base", evidence.base_keys, base_commit, facts.base_tree, at)
        after = self.statement("commit", evidence.candidate_keys, facts.commit, facts.tree, at)
        problems, passed = [], set()
        for signed in evidence.verdicts:
            try:
                verdict = Verdict.from_payload(signed.payload)
                self.signature(signed, worker_principal(verdict.worker), Verdict.NAMESPACE, at)
            except FairleadError as error:
                problems.append(f"a verdict does not hold: {error.what}")
                continue
            if verdict.outcome == "pass" and enough(verdict.enforced, evidence.settings.enforcement):
                passed.add((verdict.label, verdict.key))
        differing = [(label, key) for label, key in after.items() if before.get(label) != key]
        problems += [
            f"{label} has no pass at its key {key[:12]} with enforcement {evidence.settings.enforcement}"
            for label, key in sorted(differing)
            if (label, key) not in passed
        ]
        gone = sorted(label for label in before if label not in after)
        if gone != list(evidence.removed):
            problems.append("the test targets it removes are not those that the evidence names")
        text = f"{len(differing)} affected of {len(after)}, each with a signed pass at its key"
        self.say("tests", problems, text + (f"; removed: {', '.join(gone)}" if gone else ""))

    def approvals(self, evidence: Evidence) -> None:
        """As many people as the settings ask for approved exactly this."""
        problems, people = [], set()
        for approval in evidence.approvals:
            fault = self.fault(approval, evidence)
            if fault:
                problems.append(fault)
            else:
                people.add(approval.person)
        if len(people) < evidence.settings.approvals:
            problems.append(f"{len(people)} of {evidence.settings.approvals} approvals")
        self.say(
            "approvals", problems, f"{len(people)}: {', '.join(sorted(people))}" if people else "none asked"
        )

    def fault(self, approval: Approval, evidence: Evidence) -> str:
        """Why an approval does not count, or ""."""
        who = f"the approval by {approval.person}"
        if approval.person in evidence.authors and not evidence.settings.author_may_approve:
            return f"{who} is by an author"
        if approval.diff != evidence.diff or approval.version > evidence.version:
            return f"{who} is of another diff or a later version"
        if approval.version == evidence.version and approval.commit != evidence.submitted:
            return f"{who} is of another commit than version {evidence.version}"
        known = self.facts.reviewed.get(approval.commit)
        if known is None:
            return f"{who}: {_absent(approval.commit)}"
        if known.change != approval.change:
            return f"{who} names another change than its commit {approval.commit[:12]} makes"
        if known.remerged != self.facts.tree:
            return f"{who} is of version {approval.version}, which merged onto its base gives another tree"
        return ""

    def settings(self, evidence: Evidence, demand: Settings | None) -> None:
        """The settings in force, and whether they are as strict as the verifier demands."""
        found, problems = evidence.settings, []
        if demand is not None:
            if found.approvals < demand.approvals:
                problems.append(f"landed when {found.approvals} approvals were asked, not {demand.approvals}")
            if not enough(found.enforcement, demand.enforcement):
                problems.append(f"landed when enforcement {found.enforcement} was enough")
            if found.author_may_approve and not demand.author_may_approve:
                problems.append("landed when authors might approve their own diffs")
        authors = "authors may approve" if found.author_may_approve else "not by an author"
        self.say(
            "settings",
            problems,
            f"approvals asked: {found.approvals} ({authors}), "
            f"enforcement {found.enforcement}, onto {found.trunk}",
        )

    def signature(self, signed: Signed, principal: str, namespace: str, at: int) -> None:
        if signed.signer != principal:
            raise FairleadError(f"{signed.signer} signed what {principal} should have")
        self.keyring.check(principal, namespace, signed.payload, signed.signature, at=at)


def _absent(commit: str) -> str:
    return f"the reviewed commit {commit[:12]} is not in this repository (git fetch brings it with {REF})"
