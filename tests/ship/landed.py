"""A trunk on which diffs really landed: real git, real keys, the real land rule, stored evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.git import Person, add_trailer
from fairlead.keys.allowed import AllowedSigners, Entry
from fairlead.keys.signer import Signer
from fairlead.ship import evidence
from fairlead.ship.decide import counted, decide, removed
from fairlead.ship.evidence import Evidence
from fairlead.ship.values import Approval, Candidate, Keys, KeyStatement, Settings, Verdict
from tests.ship.scratch import Scratch

SERVER, WORKER, STRANGER = Signer.generate(), Signer.generate(), Signer.generate()
KEYRING = AllowedSigners(
    (
        Entry(("server",), SERVER.public, ("fairlead-evidence",)),
        Entry(("worker:one",), WORKER.public, ("fairlead-keys", "fairlead-verdict")),
    )
)
LANDING = Person("server", "server@example.org", 1_700_000_100, "+0000")


@dataclass(frozen=True)
class Landing:
    """One landed commit with what its envelope says."""

    commit: str
    evidence: Evidence
    envelope: bytes


class Trunk:
    """Lands versions one after the other, as the server does, without its database."""

    def __init__(self, path: Path, files: Mapping[str, str | bytes | tuple[str, str]]) -> None:
        self.scratch = Scratch(path)
        self.repo = self.scratch.repo
        self.tip = self.scratch.commit(files, message="The seed")
        self.repo.update_ref("refs/heads/main", self.tip, None)

    def land(
        self,
        submitted: str,
        *,
        diff: int,
        version: int,
        diff_id: str,
        base_keys: Mapping[str, str],
        keys: Mapping[str, str],
        approvals: tuple[Approval, ...],
        settings: Settings = Settings(),  # noqa: B008
        enforced: str = "namespace",
    ) -> Landing:
        repo, base = self.repo, self.repo.commit(self.tip)
        remerged = {
            oid: self.scratch.remerged(oid, base.oid) for oid in (submitted, *(a.commit for a in approvals))
        }
        tree = remerged[submitted]
        assert tree is not None
        message = add_trailer(repo.commit(submitted).message, "Diff-Id", diff_id)
        commit = repo.commit_tree(tree, [base.oid], message, committer=LANDING)
        candidate = Candidate(
            diff=diff,
            version=version,
            base=base.oid,
            base_tree=base.tree,
            commit=commit,
            tree=tree,
            parents=(base.oid,),
            change=self.scratch.change(commit),
            submitted_commit=submitted,
        )
        statements = Keys(
            KeyStatement(base.oid, base.tree, base_keys, "one"), KeyStatement(commit, tree, keys, "one")
        )
        verdicts = [
            Verdict(label, key, "pass", "one", enforced, "f" * 64, 0.5)  # type: ignore[arg-type]
            for label, key in keys.items()
        ]
        decision = decide(
            candidate,
            statements,
            verdicts,
            approvals,
            settings,
            author="author",
            registered_workers={"one"},
            remerged=remerged,
        )
        assert decision.allowed, decision.missing
        passes = counted(statements, verdicts, settings, {"one"})
        told = Evidence(
            base=base.oid,
            commit=commit,
            tree=tree,
            diff=diff,
            diff_id=diff_id,
            version=version,
            submitted=submitted,
            change=candidate.change,
            authors=("author",),
            base_keys=statements.base.signed(WORKER.sign),
            candidate_keys=statements.candidate.signed(WORKER.sign),
            verdicts=tuple(verdict.signed(WORKER.sign) for verdict in passes.values()),
            approvals=approvals,
            settings=settings,
            removed=removed(statements),
            reasons=decision.held,
            decided=LANDING.time,
        )
        envelope = evidence.seal(told, SERVER.sign)
        self.store(told, envelope)
        assert repo.update_ref("refs/heads/main", commit, base.oid)
        self.tip = commit
        return Landing(commit, told, envelope)

    def store(self, told: Evidence, envelope: bytes) -> None:
        """Append a link to the chain of evidence."""
        before = self.repo.ref(evidence.REF)
        held: dict[str, str | bytes | tuple[str, str]] = {}
        for entry in self.repo.entries(before, recursive=True) if before else ():
            held[entry.path] = self.repo.blob(entry.oid)
        held[evidence.path_of(told.commit)] = envelope
        parents = ([before] if before else []) + list(told.reviewed())
        link = self.repo.commit_tree(self.scratch.tree(held), parents, f"Evidence of {told.commit}\n")
        assert self.repo.update_ref(evidence.REF, link, before)
