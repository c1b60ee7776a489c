"""How a test and all that it starts find the project's modules: by a .pth file in their environment, as an
editable installation has one.

A PYTHONPATH is lost as soon as a program is started with an environment of its own. Python looks into the
.pth files of its site-packages in any case. Each environment is installed with an empty one, over which a
run's own is mounted. Where nothing can be mounted, the file, which belongs to all runs, asks a variable for
them: the process's own or that of an ancestor. Without /proc a program that lacks it loses the project.

The folders stand behind the standard library, as those of an editable installation do, but before
site-packages: what an installation would have replaced, such as the attrs that pytest's plugins need while
the project is attrs, is still there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fairlead.build.sandbox import Bind
from fairlead.store import atomic

NAME = "fairlead.pth"
NOTES = "FAIRLEAD_ENTERED"
"""Set for the process that runs a recorded test and not for what that starts: where it keeps its log."""
FINDERS = ".finders.py"
"""What stands behind the log's name in that of the code that notes what finders are asked
(`record/finders.py`). It has to be told before anything is looked for in the folders."""


def mounted(at: Path, environment: Path, inside: str, folders: Iterable[str], project: str = "") -> Bind:
    """Write the file at `at`, for absolute `folders` as a program sees them; where it is mounted in the
    environment, which a program sees at `inside`. In a recorded test it is noted what is looked for in the
    folder `project`, if that is given."""
    empty = next(environment.glob(f"lib/python*/site-packages/{NAME}")).relative_to(environment)
    at.write_text((noted(project) if project else "") + text(f"{inside}/{empty.parent}", folders), "ascii")
    at.chmod(0o644)  # for the program's own user
    return Bind(at, f"{inside}/{empty}")


def noted(project: str) -> str:
    """The line that has it noted what finders are asked."""
    return (
        f"import os; log = os.environ.get({NOTES!a}, ''); at = log + {FINDERS!a}; found = {{}};"
        " log and os.path.exists(at) and (exec(compile(open(at).read(), '<fairlead>', 'exec'), found),"
        f" found['start'](log, {project!a})); del log, at, found\n"
    )


def text(site: str, folders: Iterable[str]) -> str:
    """What the file says, in the site-packages `site`. Only lines that begin with "import" can say where."""
    return (
        f"import sys; [sys.path.insert(sys.path.index({site!a}) if {site!a} in sys.path"
        f" else len(sys.path), p) for p in {list(folders)!a} if p not in sys.path]\n"
    )


ROOTS = "FAIRLEAD_ROOTS"
"""Where nothing can be mounted, what a run's first process is given: the folders, between colons."""

_ASKING = f"""
import os, sys
def found():
    said, pid = os.environ.get({ROOTS!r}), os.getppid()
    try:
        while said is None and pid > 1:
            with open(f"/proc/{{pid}}/environ", "rb") as file:
                for row in file.read().split(b"\\0"):
                    if row.startswith({ROOTS!r}.encode() + b"="):
                        said = os.fsdecode(row.partition(b"=")[2])
            with open(f"/proc/{{pid}}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError):
        pass
    return (said or "").split(os.pathsep)
for path in found():
    if path and path not in sys.path:
        sys.path.insert(sys.path.index(site) if site in sys.path else len(sys.path), path)
"""


def asking(environment: Path) -> None:
    """Have the Pythons of an environment ask for the folders of the run that they belong to: the program
    itself, or whichever of its ancestors was given them. Outside of such a run there are none. OSError if the
    file cannot be written."""
    at = next(environment.glob(f"lib/python*/site-packages/{NAME}"))
    line = f"import sys; exec({_ASKING!r}, {{'site': {str(at.parent)!a}}})\n"
    if at.read_bytes() != line.encode():
        atomic.write(at, line.encode(), mode=0o644)
