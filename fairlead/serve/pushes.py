"""The pushes in progress, and the Unix socket on which git's hooks ask about them.

A push gets a random name when its request has been let in; the hooks find the name in their environment
and send it with each question.  So a hook can speak only for a push that is running now, as the person
whose token opened it.  The socket lies in a private folder with a short path (108 bytes is all a Unix
socket's address may have, and a data folder may be deeper).
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.errors import FairleadError, UsageError
from fairlead.serve import receive
from fairlead.serve.records.values import Hosted, Person
from fairlead.serve.reply import log
from fairlead.serve.state import State

_LONGEST_QUESTION = 1 << 20


@dataclass(frozen=True)
class Push:
    """One push in progress."""

    person: Person
    repo: Hosted


class Pushes:
    """The register of pushes, and the thread that answers their hooks."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._open: dict[str, Push] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="fairlead-"))
        self.socket = self._folder / "hooks"
        answer = self._answer

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline(_LONGEST_QUESTION)
                with contextlib.suppress(OSError):  # git gave up waiting
                    self.wfile.write(json.dumps(answer(line)).encode() + b"\n")

        self._server = _Server(str(self.socket), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="hooks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def begin(self, push: Push) -> Iterator[str]:
        """Let a push in; yields the name that its hooks carry."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._open[name] = push
        try:
            yield name
        finally:
            with self._lock:
                del self._open[name]

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            question = json.loads(line)
            with self._lock:
                push = self._open.get(question["push"])
            if push is None:
                raise UsageError("this push is not in progress here", remedy="push again")
            return self._do(push, question)
        except FairleadError as error:
            lines = [f"error: {error.what}"]
            lines += [f"where: {error.where}"] if error.where else []
            lines += [f"what to do: {error.remedy}"] if error.remedy else []
            return {"ok": False, "reason": _one_line(error.what), "lines": lines}
        except Exception:
            log.exception("a push failed unexpectedly")
            lines = ["error: the server met an error it did not expect; its log has the details"]
            return {"ok": False, "reason": "server error", "lines": lines}

    def _do(self, push: Push, question: dict[str, Any]) -> dict[str, object]:
        commands = [[str(word) for word in command] for command in question["commands"]]
        if question["op"] == "pre-receive":
            receive.allowed(self._state, push.person, push.repo, commands)
            return {"ok": True, "lines": []}
        options = [str(line) for line in question.get("options", [])]
        reports, lines = receive.receive(self._state, push.person, push.repo, commands[0], options)
        return {"ok": True, "reports": reports, "lines": lines}


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def _one_line(text: str) -> str:
    """A reason as git's report carries it: one line, not long."""
    return " ".join(text.split())[:200]
