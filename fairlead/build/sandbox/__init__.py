"""Runs other people's programs apart: own namespaces, own root folder, no network, no rights, limits, an end.

`run(Command)` is all that callers need. `init.py` is the program that makes the sandbox from inside;
`launcher.py` starts it; `system.py` lists what of the host every program may read; `command.py` holds the
values.

Level "namespace" is Linux's user, mount, process, network, IPC and host name namespaces. Level "none" still
gives a clean environment, limits, no new privileges, and the end of the whole process tree; it hides
nothing.
"""

from __future__ import annotations

from fairlead.build.sandbox.command import MIB, Bind, Command, Completed, Enforced, Requested
from fairlead.build.sandbox.launcher import enforcement, refusal, run

__all__ = [
    "MIB",
    "Bind",
    "Command",
    "Completed",
    "Enforced",
    "Requested",
    "enforcement",
    "refusal",
    "run",
]
