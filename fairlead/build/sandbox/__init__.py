"""Runs other people's programs apart: own namespaces, own root folder, no network, no rights, limits, an end.

`run(Command)` is all that callers need. `init.py` is the program that makes the sandbox from inside;
`launcher.py` starts it; `system.py` lists what of the host every program may read; `command.py` holds the
values; `landlock.py` and `filter.py` are what the kernel refuses by other means than namespaces.

Level "namespace" is Linux's user, mount, process, network, IPC and host name namespaces. Level "landlock"
holds a program to the files that are bound, at their own paths, and gives it no network. Level "none" still
gives a clean environment, limits, no new privileges, and the end of the whole process tree; it hides
nothing.
"""

from __future__ import annotations

from fairlead.build.sandbox.command import MIB, Bind, Command, Completed, Enforced, Requested, at_least
from fairlead.build.sandbox.launcher import enforcement, refusal, run

__all__ = [
    "MIB",
    "Bind",
    "Command",
    "Completed",
    "Enforced",
    "Requested",
    "at_least",
    "enforcement",
    "refusal",
    "run",
]
