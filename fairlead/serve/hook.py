"""git's pre-receive and proc-receive hooks: they ask the server over its Unix socket and speak git's words.

Run by git as `python -I -S hook.py pre-receive|proc-receive`, from a copy in the data folder, so it imports
the standard library alone and starts in a few milliseconds.  It decides nothing: the server has the rules.

    pre-receive     before any object is kept: may this push name these refs at all?
    proc-receive    for refs/for/<trunk> and the first push of the trunk: the server checks the stack,
                    makes refs and records, and the hook reports the refs that really came to be.
                    Protocol: git's Documentation/githooks, pkt-line version 1 with push options.

A refusal is text on stderr, which git shows to the person as `remote:` lines.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import BinaryIO

ZERO = "0" * 40


def read_packet(stream: BinaryIO) -> bytes | None:
    """One pkt-line without its line end; None for a flush."""
    head = stream.read(4)
    if len(head) < 4:
        raise EOFError("git closed the connection")
    size = int(head, 16)
    if size == 0:
        return None
    if size < 4:
        raise ValueError(f"bad pkt-line length {head!r}")
    body = stream.read(size - 4)
    if len(body) < size - 4:
        raise EOFError("git closed the connection")
    return body.removesuffix(b"\n")


def read_section(stream: BinaryIO) -> list[str]:
    """The pkt-lines up to the next flush."""
    lines = []
    while (line := read_packet(stream)) is not None:
        lines.append(line.decode("utf-8", "surrogateescape"))
    return lines


def packet(text: str) -> bytes:
    """A text as a pkt-line."""
    data = text.encode("utf-8", "surrogateescape") + b"\n"
    return b"%04x" % (len(data) + 4) + data


def ask(question: dict[str, object]) -> dict[str, object]:
    """Ask the server; one JSON line each way."""
    question["push"] = os.environ.get("FAIRLEAD_PUSH", "")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(os.environ["FAIRLEAD_SOCKET"])
        link.sendall(json.dumps(question).encode() + b"\n")
        with link.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise ConnectionError("the server ended before it answered")
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("the server's answer is not an object")
    return answer


def show(answer: dict[str, object]) -> bool:
    """Print what the server says; whether it agreed."""
    lines = answer.get("lines")
    for line in lines if isinstance(lines, list) else []:
        print(line, file=sys.stderr)
    sys.stderr.flush()
    return answer.get("ok") is True


def pre_receive() -> int:
    commands = [line.split(" ", 2) for line in sys.stdin.read().splitlines() if line]
    return 0 if show(ask({"op": "pre-receive", "commands": commands})) else 1


def proc_receive(read: BinaryIO, write: BinaryIO) -> int:
    offered = read_section(read)
    version, _, words = offered[0].partition("\0") if offered else ("", "", "")
    if version != "version=1":
        print(f"error: git speaks proc-receive {version!r}, this server knows version=1", file=sys.stderr)
        return 1
    options_follow = "push-options" in words.split()
    write.write(packet("version=1\0push-options" if options_follow else "version=1") + b"0000")
    write.flush()
    commands = [line.split(" ", 2) for line in read_section(read)]
    options = read_section(read) if options_follow else []
    try:
        answer = ask({"op": "proc-receive", "commands": commands, "options": options})
    except (OSError, ValueError) as error:
        answer = {"ok": False, "reason": "the server could not be asked", "lines": [f"error: {error}"]}
    if show(answer):
        reports = answer.get("reports")
        for report in reports if isinstance(reports, list) else []:
            write.write(packet(f"ok {report['ref']}"))
            if report["refname"] != report["ref"]:
                write.write(packet(f"option refname {report['refname']}"))
            write.write(packet(f"option old-oid {report['old'] or ZERO}"))
            write.write(packet(f"option new-oid {report['new']}"))
    else:
        for command in commands:
            write.write(packet(f"ng {command[2]} {answer.get('reason') or 'refused'}"))
    write.write(b"0000")
    write.flush()
    return 0


def main() -> int:
    try:
        if sys.argv[1:] == ["pre-receive"]:
            return pre_receive()
        return proc_receive(sys.stdin.buffer, sys.stdout.buffer)
    except (OSError, ValueError, KeyError, EOFError) as error:
        print(f"error: the server could not be asked about this push: {error}", file=sys.stderr)
        print("what to do: check that the server runs, then push again; nothing was changed", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
