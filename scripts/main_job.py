"""The main job on real input: one change of this very repository through every floor.

`scripts/demo` runs it. Every step is a command that a person could type; what a step claims is
checked here, and the first claim that does not hold ends the run with the words of the command.
The browser test imports `Walk` and looks at the pages between the steps.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RULE = "CompareSingletonPrimitivesByIs"
FILE = "fairlead/keys/sshsig.py"
TARGET = "//tests:keys"


class Broken(Exception):
    """A claim of the main job does not hold."""


@dataclass
class Step:
    """One step as it is told at the end."""

    title: str
    facts: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Person:
    """Somebody at a machine of their own: a clone, a folder for tokens, a folder for settings."""

    name: str
    home: Path
    clone: Path

    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FAIRLEAD_", "GIT_", "DOTSLASH_"))}
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": "",
            "XDG_STATE_HOME": "",
            "DOTSLASH_CACHE": str(self.home / "pinned"),
            "GIT_AUTHOR_NAME": self.name,
            "GIT_AUTHOR_EMAIL": f"{self.name}@localhost",
            "GIT_COMMITTER_NAME": self.name,
            "GIT_COMMITTER_EMAIL": f"{self.name}@localhost",
        }


class Walk:
    """The whole walk; `steps` are run in order, each once."""

    def __init__(self, work: Path, *, quiet: bool = False) -> None:
        self.work = work
        self.quiet = quiet
        self.data = work / "server"
        self.author = Person("author", work / "author-home", work / "clone")
        self.reviewer = Person("reviewer", work / "reviewer-home", work / "clone")
        for person in (self.author, self.reviewer):
            person.home.mkdir(parents=True)
        self.server: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.done: list[Step] = []
        self.diffs: list[int] = []
        self.comment_url = ""
        self.seed = ""
        self.landed: list[str] = []
        self.passwords = {person.name: secrets.token_hex(12) for person in (self.author, self.reviewer)}

    # --- running programs ----------------------------------------------------------------

    def fairlead(
        self, person: Person, *args: str, stdin: str = "", code: int = 0, at: Path | None = None
    ) -> str:
        """Run a verb as that person; its stdout. Another exit code than `code` ends the walk."""
        return self.run([sys.executable, "-m", "fairlead", *args], person, stdin=stdin, code=code, at=at)

    def run(
        self, argv: list[str], person: Person, *, stdin: str = "", code: int = 0, at: Path | None = None
    ) -> str:
        done = subprocess.run(
            argv,
            cwd=at or person.clone,
            env=person.env(),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        shown = " ".join(argv).replace(f"{sys.executable} -m ", "")
        if done.returncode != code:
            raise Broken(
                f"$ {shown}\nexit code {done.returncode}, expected {code}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def git(self, *args: str, at: Path | None = None) -> str:
        return self.run(["git", *args], self.author, at=at).strip()

    def api(self, person: Person, path: str) -> dict[str, object]:
        """A JSON document of the server, read with the person's own token."""
        tokens = json.loads((person.home / ".local/state/fairlead/logins.json").read_text())
        token = next(iter(tokens["logins"].values()))["token"] if "logins" in tokens else ""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            document = json.load(answer)
        assert isinstance(document, dict)
        return document

    def claim(self, truth: bool, words: str, shown: object = "") -> None:
        if not truth:
            raise Broken(f"this does not hold: {words}\n{shown}")

    def say(self, fact: str) -> None:
        self.done[-1].facts.append(fact)
        if not self.quiet:
            print(f"     {fact}", flush=True)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time one step and remember its title for the end."""
        self.done.append(Step(title))
        if not self.quiet:
            print(f"\n {len(self.done)}   {title}", flush=True)
        start = time.monotonic()
        yield
        self.done[-1].seconds = time.monotonic() - start

    # --- the steps -----------------------------------------------------------------------

    def all(self) -> None:
        self.serve()
        self.change()
        self.build()
        self.submit()
        self.review()
        self.land()
        self.refuse()
        self.evidence()
        self.publish()

    def serve(self) -> None:
        """A server and its worker, a hosted repository, two people."""
        with self.step("a server and a worker start; two people sign in"):
            self.git("clone", "--quiet", str(ROOT), str(self.author.clone), at=self.work)
            self.git("checkout", "--quiet", "-B", "main")
            self.seed = self.git("rev-parse", "HEAD")
            address = self.work / "url"
            log = (self.work / "server.log").open("wb")
            self.server = subprocess.Popen(
                [sys.executable, "-m", "fairlead", "serve", "--data", str(self.data), "--port", "0",
                 "--repo", "fairlead", "--url-file", str(address)],
                stdout=log, stderr=subprocess.STDOUT, cwd=self.work, env=self.author.env(),
            )  # fmt: skip
            log.close()
            self.url = self._wait_for(address)
            self.say(f"the server answers at {self.url}")
            for person in (self.author, self.reviewer):
                link = self.invitation(person.name, *(["--admin"] if person is self.author else []))
                password = self.passwords[person.name]
                self.fairlead(person, "login", "--invite", link, "--password-stdin", stdin=password)
            self.say("author and reviewer were invited and are signed in")
            self.git("push", "--quiet", f"{self.url}/git/fairlead", "HEAD:refs/heads/main")
            self.say(f"it hosts this repository: main is at {self.seed[:12]}")

    def invitation(self, name: str, *flags: str) -> str:
        """A link with which somebody makes the account of that name."""
        said = self.fairlead(
            self.author, "people", "invite", name, *flags, "--data", str(self.data), at=self.work
        )
        link = re.search(r"https?://\S+/invite/\S+", said)
        self.claim(link is not None, "`fairlead people invite` prints a link", said)
        assert link is not None
        return link[0]

    def _wait_for(self, address: Path) -> str:
        for _ in range(600):
            assert self.server is not None
            if address.exists() and (text := address.read_text().strip()):
                return text
            if self.server.poll() is not None:
                break
            time.sleep(0.1)
        raise Broken(f"the server did not start\n{(self.work / 'server.log').read_text()}")

    def change(self) -> None:
        """Two commits, one on the other; the second breaks a lint rule, which is found and mended."""
        with self.step("two commits; the second breaks a lint rule, `lint` finds it, `fix` mends it"):
            self._edit(
                FILE,
                "def armor(",
                "def short(fingerprint: str) -> str:\n"
                '    """The first 12 digits of a fingerprint, as people are shown it."""\n'
                '    return fingerprint.removeprefix("SHA256:")[:12]\n\n\n'
                "def armor(",
            )
            test = self.author.clone / "tests" / "keys" / "test_short.py"
            test.write_text(
                '"""A fingerprint is shown to people by its first digits."""\n\n'
                "from fairlead.keys import sshsig\n\n\n"
                "def test_twelve_digits_are_shown() -> None:\n"
                '    assert sshsig.short("SHA256:" + "0123456789abcdef" * 4) == "0123456789ab"\n'
            )
            self._commit("Show fingerprints by their first twelve digits")
            self._edit(
                FILE,
                "def short(fingerprint: str) -> str:\n"
                '    """The first 12 digits of a fingerprint, as people are shown it."""\n',
                "def short(fingerprint: str | None) -> str:\n"
                '    """The first 12 digits of a fingerprint, as people are shown it."""\n'
                '    if fingerprint == None:\n        return "none"\n',
            )
            self._commit("Show an absent fingerprint as none")
            found = json.loads(self.fairlead(self.author, "lint", "--json", code=1))
            self.claim(
                [(f["rule"], f["path"]) for f in found] == [(RULE, FILE)],
                f"lint finds exactly one {RULE}",
                found,
            )
            self.say(f"lint: {FILE}:{found[0]['line']} {RULE}, and nothing else")
            self.fairlead(self.author, "fix")
            text = (self.author.clone / FILE).read_text()
            self.claim("fingerprint is None" in text and "== None" not in text, "fix writes `is None`", text)
            self.claim(
                self.fairlead(self.author, "lint", "--json").strip() == "[]", "lint is clean after fix"
            )
            self.git("commit", "--quiet", "--all", "--amend", "--no-edit")
            self.say("fix: `== None` is `is None` now, the commit is amended, lint is clean")

    def build(self) -> None:
        """Everything is built and tested; the second run runs nothing."""
        with self.step("`build //...` and `test //...`; the second run runs nothing"):
            for verb in ("build", "test"):
                start = time.monotonic()
                first = json.loads(self.fairlead(self.author, verb, "//...", "--json"))
                middle = time.monotonic()
                second = json.loads(self.fairlead(self.author, verb, "//...", "--json"))
                end = time.monotonic()
                ran = (first["actions"]["ran"], second["actions"]["ran"])
                self.claim(ran[0] > 0 or verb == "test", f"the first {verb} runs actions", first)
                self.claim(ran[1] == 0, f"the second {verb} runs no action", second)
                text = (
                    f"{verb}: {ran[0]} actions in {middle - start:.1f}s, then {ran[1]} in {end - middle:.1f}s"
                )
                if verb == "test":
                    tests = [sum(not r["reused"] for r in report["results"]) for report in (first, second)]
                    self.claim(tests[0] > 0 and tests[1] == 0, "the second run runs no test", second)
                    self.claim(
                        all(r["outcome"] == "pass" for r in second["results"]), "every test passes", second
                    )
                    text = (
                        f"test: {tests[0]} tests ran in {middle - start:.1f}s, "
                        f"then {tests[1]} of {len(second['results'])} in {end - middle:.1f}s"
                    )
                self.say(text)
            why = self.fairlead(self.author, "why", TARGET)
            for part in ("rule", "inputs", "deps", "toolchains"):
                self.claim(part in why, f"why names the record's {part}", why)
            self.say(f"why {TARGET}: names rule, attributes, inputs, toolchains, dependencies of its key")

    def submit(self) -> None:
        """The stack goes to the server in one push."""
        with self.step("`submit` sends the stack in one push"):
            sent = json.loads(self.fairlead(self.author, "submit", "--json"))
            self.diffs = [row["number"] for row in sent["diffs"]]
            self.claim(len(self.diffs) == 2, "two commits are two diffs", sent)
            for row in sent["diffs"]:
                self.say(f"{row['diff']} v{row['version']}  {row['subject']}  {row['url']}")

    def review(self) -> None:
        """A comment on a line, a new version, the same line at its new number, an accept."""
        first, second = self.diffs
        with self.step(f"the reviewer comments on a line of D{second}; the author amends it"):
            line = self.line_of("if fingerprint is None:")
            place = ["--path", FILE, "--line", str(line)]
            text = "Who calls this with `None`? Please say so in the docstring."
            words = ["review", f"D{second}", "comment", *place, "-m", text, "--json"]
            self.comment_url = json.loads(self.fairlead(self.reviewer, *words))["url"]
            self.say(f"comment on line {line}: {self.comment_url}")
            self.amend()
            now = self.line_of("if fingerprint is None:")
            ported = self._ported(second)
            self.claim(now != line and ported == now, f"the comment moved from line {line} to {now}", ported)
            self.say(f"v2 is there; the comment is on the same code, now line {now}")
            for number in self.diffs:
                self.fairlead(self.reviewer, "review", f"D{number}", "accept", "-m", "Thank you.")
            self.say(f"the reviewer accepts D{first} and D{second}")

    def amend(self) -> None:
        """The author amends the second commit, above the commented line, and submits it as v2."""
        self._edit(
            FILE,
            '    """The first 12 digits of a fingerprint, as people are shown it."""\n    if',
            '    """The first 12 digits of a fingerprint, as people are shown it.\n\n'
            '    None, a signer without a key, is shown as "none".\n    """\n    if',
        )
        self.git("commit", "--quiet", "--all", "--amend", "--no-edit")
        sent = json.loads(self.fairlead(self.author, "submit", "--json"))
        versions = [row["version"] for row in sent["diffs"]]
        self.claim(versions == [1, 2], "only the amended diff has a new version", sent)

    def _ported(self, number: int) -> int:
        """The line on which the newest version shows the first inline comment."""
        document = self.api(self.author, f"/api/diffs/{number}")
        posts = document["posts"]
        assert isinstance(posts, list)
        anchor = next(post for post in posts if post["kind"] == "inline")["placed"]
        self.claim(anchor["fate"] == "placed", "the comment's line is found again", anchor)
        return int(anchor["start"])

    def land(self) -> None:
        """Both diffs land: the worker runs exactly the tests whose key has no pass."""
        second = self.diffs[-1]
        with self.step(
            f"`land D{second} --stack`: the worker tests what each candidate can affect, main moves"
        ):
            said = json.loads(
                self.fairlead(
                    self.author, "land", f"D{second}", "--stack", "--wait", "--timeout", "1200", "--json"
                )
            )
            self.landed = [row["commit"] for row in said["landed"]]
            self.claim(len(self.landed) == 2, "both diffs landed", said)
            self.git("fetch", "--quiet", f"{self.url}/git/fairlead", "refs/heads/main")
            chain = self.git("rev-list", "--reverse", f"{self.seed}..FETCH_HEAD").split()
            self.claim(
                chain == self.landed, "main holds exactly the two landed commits", (chain, self.landed)
            )
            self.git("reset", "--quiet", "--hard", "FETCH_HEAD")
            for row in said["landed"]:
                facts = self._statement(row["commit"])
                verdicts = len(facts["verdicts"])
                self.say(
                    f"D{row['diff']} landed as {row['commit'][:12]}: {verdicts} tests affected  {row['url']}"
                )

    def _statement(self, commit: str) -> dict[str, list[object]]:
        """The predicate of a landed commit's evidence."""
        import base64

        envelope = self.api(self.author, f"/api/commits/{commit}/evidence")
        payload = envelope["payload"]
        assert isinstance(payload, str)
        statement = json.loads(base64.b64decode(payload))
        predicate = statement["predicate"]
        assert isinstance(predicate, dict)
        return predicate

    def refuse(self) -> None:
        """A third diff breaks a test and is refused, with its log on its page."""
        with self.step("a third diff breaks a test and is refused"):
            self._edit(FILE, '("SHA256:")[:12]', '("SHA256:")[:8]')
            self._commit("Show fingerprints by their first eight digits")
            sent = json.loads(self.fairlead(self.author, "submit", "--json"))
            third = sent["diffs"][0]["number"]
            self.diffs.append(third)
            self.fairlead(self.reviewer, "review", f"D{third}", "accept", "-m", "Shorter is fine.")
            before = self.git("ls-remote", f"{self.url}/git/fairlead", "refs/heads/main").split()[0]
            done = subprocess.run(
                [sys.executable, "-m", "fairlead", "land", f"D{third}", "--wait", "--timeout", "600"],
                cwd=self.author.clone, env=self.author.env(), capture_output=True, text=True, check=False,
            )  # fmt: skip
            said = done.stdout + done.stderr
            self.claim(done.returncode == 1 and TARGET in said, "land fails and names the test", said)
            after = self.git("ls-remote", f"{self.url}/git/fairlead", "refs/heads/main").split()[0]
            self.claim(before == after, "main did not move")
            document = self.api(self.author, f"/api/diffs/{third}")
            self.claim(
                "/logs/" in json.dumps(document["posts"]), "the page of the diff has the log", document
            )
            self.say(
                f"D{third} is refused: {TARGET} fails; its log is on {self.url}/D{third}; main did not move"
            )
            self.git("reset", "--quiet", "--hard", "HEAD~1")

    def evidence(self) -> None:
        """The range is verified with git and the public keys; one verdict is replayed."""
        with self.step("why is this green? `land verify` checks main with git and public keys alone"):
            said = json.loads(self.fairlead(self.author, "land", "verify", f"{self.seed}..HEAD", "--json"))
            commits = said["commits"]
            self.claim([c["commit"] for c in commits] == self.landed, "every landed commit was checked", said)
            self.claim(all(c["good"] for c in commits), "every landed commit has good evidence", said)
            self.say(f"{len(commits)} of {len(commits)} landed commits have evidence that holds")
            commit = self.landed[-1]
            replayed = json.loads(
                self.fairlead(self.author, "test", "--rev", commit, TARGET, "--no-test-cache", "--json")
            )["results"][0]
            verdicts = json.dumps(self._verdicts(commit))
            self.claim(
                replayed["outcome"] == "pass" and replayed["key"] in verdicts, "the replay has the same key"
            )
            self.say(
                f"replayed {TARGET} at {commit[:12]}: pass, with the evidence's key {replayed['key'][:12]}"
            )
            self.say(f"its page: {self.url}/commits/{commit}")

    def _verdicts(self, commit: str) -> list[object]:
        import base64

        verdicts = []
        for signed in self._statement(commit)["verdicts"]:
            assert isinstance(signed, dict)
            verdicts.append(json.loads(base64.b64decode(signed["payload"])))
        return verdicts

    def publish(self) -> None:
        """The built single-file program is published and run by two programs from one manifest."""
        with self.step("`publish //:fairlead`; `fairlead run` and the real dotslash run the manifest"):
            release = self.work / "release"
            release.mkdir()
            self.fairlead(self.author, "publish", "//:fairlead", "--out", str(release / "fairlead"))
            version = self.fairlead(self.author, "run", "./fairlead", "--version", at=release)
            self.claim(version.startswith("fairlead "), "`fairlead run` prints the version", version)
            self.say(f"fairlead run ./fairlead --version: {version.strip()}")
            judge = shutil.which("dotslash", path=self.author.env()["PATH"])
            self.claim(judge is not None, "dotslash is installed")
            for home in ("pinned", "pinned-by-dotslash"):
                env = {**self.author.env(), "DOTSLASH_CACHE": str(self.author.home / home)}
                command = [str(judge), "./fairlead", "--version"]
                done = subprocess.run(
                    command, cwd=release, env=env, capture_output=True, text=True, check=False
                )
                self.claim(
                    done.stdout == version, "dotslash prints the same version", done.stdout + done.stderr
                )
            self.say(
                f"dotslash ./fairlead --version:     {version.strip()}  (from our cache, then into its own)"
            )

    # --- small parts -----------------------------------------------------------------------

    def _edit(self, name: str, old: str, new: str) -> None:
        path = self.author.clone / name
        text = path.read_text()
        self.claim(text.count(old) == 1, f"{name} has this text once: {old!r}")
        path.write_text(text.replace(old, new))

    def _commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)

    def line_of(self, code: str) -> int:
        lines = (self.author.clone / FILE).read_text().splitlines()
        return next(n for n, line in enumerate(lines, 1) if code in line)

    def stop(self) -> None:
        """End the server and its worker."""
        if self.server is not None and self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(30)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()


def report(walk: Walk) -> str:
    """What happened at each step, its time, and where to look."""
    lines = ["", " What happened", ""]
    for n, step in enumerate(walk.done, 1):
        lines.append(f" {n}   {step.seconds:6.1f}s  {step.title}")
    lines += ["", f"     {sum(s.seconds for s in walk.done):6.1f}s  in all, on {walk.url}", ""]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Carry one change through every floor.")
    parser.add_argument("--keep", action="store_true", help="leave the server up until Ctrl-C")
    args = parser.parse_args(argv)
    if (ROOT / ".git").exists() and subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout:
        print("Note: the demo works on a clone; what is not committed here is not in it.")
    work = Path(tempfile.mkdtemp(prefix="fairlead-demo-"))
    walk = Walk(work)
    signal.signal(signal.SIGTERM, _stop_asked)
    finish: Callable[[], None] = lambda: _clean(walk, work)  # noqa: E731
    try:
        walk.all()
        print(report(walk))
        if args.keep:
            print(f" The server stays up at {walk.url} (Ctrl-C ends it). To look at it, make an account:")
            print(f"   {walk.invitation('guest')}")
            print(f" Then look at {walk.url}/commits/{walk.landed[-1]}")
            print(f" and {walk.comment_url}")
            with contextlib.suppress(KeyboardInterrupt):
                assert walk.server is not None
                walk.server.wait()
        return 0
    except Broken as problem:
        print(f"\nThe demo stopped: {problem}", file=sys.stderr)
        log = work / "server.log"
        if log.exists():
            print(
                "\nThe server's last lines:",
                *log.read_text("utf-8", "replace").splitlines()[-20:],
                sep="\n  ",
            )
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        finish()


def _stop_asked(*_: object) -> None:
    raise KeyboardInterrupt


def _clean(walk: Walk, work: Path) -> None:
    walk.stop()
    for path in work.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.chmod(0o755)
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
