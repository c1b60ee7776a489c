"""The table of verbs: name, module, one line, and whether the first screen shows it.

`--help` is printed from this table alone, so that asking for help imports no verb.
"""

from __future__ import annotations


class Verb:
    """One verb: `module` is imported when the verb is called and offers `configure` and `run`.

    A plain class: importing dataclasses would triple the time of `fairlead --version`.
    """

    __slots__ = ("first", "module", "name", "summary")

    def __init__(self, name: str, module: str, summary: str, first: bool = False) -> None:
        self.name = name
        self.module = module
        self.summary = summary
        self.first = first


VERBS: tuple[Verb, ...] = (
    Verb("init", "fairlead.cli.init", "read a Python repository: its targets, and how sure they are", True),
    Verb("run", "fairlead.cli.run", "run a pinned executable, or build a target and run it", True),
    Verb("build", "fairlead.cli.build", "build targets; what was built before is not built again", True),
    Verb("test", "fairlead.cli.test", "test targets; what passed before is not tested again", True),
    Verb("lint", "fairlead.cli.lint", "check files with rules that can mend what they find", True),
    Verb("fix", "fairlead.cli.fix", "mend what lint finds", True),
    Verb("submit", "fairlead.cli.submit", "send your commits for review, one diff each", True),
    Verb("land", "fairlead.cli.land", "land reviewed diffs, or verify what has landed", True),
    Verb("serve", "fairlead.cli.serve", "run the server: repository, review, queue", True),
    Verb("why", "fairlead.cli.why", "say what an answer depends on, and what has changed"),
    Verb("targets", "fairlead.cli.targets", "list targets with their rules and places"),
    Verb("affected", "fairlead.cli.affected", "list the tests that a change can affect, and why"),
    Verb("query", "fairlead.cli.query", "ask about the graph of targets"),
    Verb("daemon", "fairlead.cli.daemon", "look at the process that stays between commands, or end it"),
    Verb("log", "fairlead.cli.log", "look at what earlier builds and tests did"),
    Verb("review", "fairlead.cli.review", "comment on a diff, accept it, or ask for changes"),
    Verb("publish", "fairlead.cli.publish", "publish a built executable, pinned by digest"),
    Verb("login", "fairlead.cli.login", "sign in to a server from this machine"),
    Verb("people", "fairlead.cli.people", "invite people to a server"),
    Verb("worker", "fairlead.cli.worker", "run builds and tests for a server"),
    Verb("config", "fairlead.cli.config", "print each setting in force and where it came from"),
    Verb("completion", "fairlead.cli.completion", "print completion for bash, zsh or fish"),
)

# Called by programs, not by people: left out of help and completion.
HIDDEN: tuple[Verb, ...] = (
    Verb("git-credential", "fairlead.cli.git_credential", "answer git's questions"),
    Verb("daemon-process", "fairlead.cli.daemon_process", "be the daemon of a project"),
)


def find(name: str) -> Verb | None:
    """The verb with that name."""
    return next((verb for verb in (*VERBS, *HIDDEN) if verb.name == name), None)
