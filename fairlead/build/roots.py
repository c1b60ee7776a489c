"""How a test and all that it starts find the project's modules: by a .pth file in their environment, as an
editable installation has one.

A PYTHONPATH is lost as soon as a program is started with an environment of its own. Python looks into the
.pth files of its site-packages in any case. Each environment is installed with an empty one, over which a
run's own is mounted; where nothing can be mounted, run_pytest.py sets PYTHONPATH.

The folders stand behind the standard library, as those of an editable installation do, but before
site-packages: what an installation would have replaced, such as the attrs that pytest's plugins need while
the project is attrs, is still there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fairlead.build.sandbox import Bind

NAME = "fairlead.pth"


def mounted(at: Path, environment: Path, inside: str, folders: Iterable[str]) -> Bind:
    """Write the file at `at`, for absolute `folders` as a program sees them; where it is mounted in the
    environment, which a program sees at `inside`."""
    empty = next(environment.glob(f"lib/python*/site-packages/{NAME}")).relative_to(environment)
    at.write_text(text(f"{inside}/{empty.parent}", folders), "ascii")
    at.chmod(0o644)  # for the program's own user
    return Bind(at, f"{inside}/{empty}")


def text(site: str, folders: Iterable[str]) -> str:
    """What the file says, in the site-packages `site`. Only lines that begin with "import" can say where."""
    return (
        f"import sys; [sys.path.insert(sys.path.index({site!a}) if {site!a} in sys.path"
        f" else len(sys.path), p) for p in {list(folders)!a} if p not in sys.path]\n"
    )
