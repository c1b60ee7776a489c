"""`fairlead init` is done within a minute, asks for what it does not know, and installs none of that.

Test files are planted that import modules which the project declares nowhere, under names that an index
has: whoever installs by name gets somebody's package. `init` has to name each module and ask, and the
environment must be what it was without these files.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from selection.edit import File
from selection.process import Failed
from selection.workplace import Workplace, distributions

from checking.tree import Project

UNDECLARED = ("yaml", "requests", "cv2", "sklearn")
"""One that is called as its distribution is, three that are not. Those that the project names anywhere,
perhaps for its documentation, are left out: what it declares may be installed."""
SECONDS = 60.0


def check(place: Workplace, say: Callable[[str], None]) -> bool:
    """The project as it is, for the time; then with the planted file, for what is asked."""
    project = Project(place.fairlead, place.as_found())
    began = time.monotonic()
    first = project.json("init")
    seconds = time.monotonic() - began
    before = _installed(project, first)
    if not before:
        raise Failed(f"init made no environment: {first}")
    said = " ".join(
        content.data.decode("utf-8", "replace")
        for path, content in place.content().items()
        if isinstance(content, File) and not path.endswith(".py")
    )
    names = [name for name in UNDECLARED if not re.search(rf"\b(py)?{name}\b", said, re.IGNORECASE)]
    place.as_found()  # once more without what the first one wrote
    for name in names:
        path = f"{place.project.folder}/planted/test_undeclared_{name}.py"
        project.write(path, f"import {name}\n\n\ndef test_it():\n    assert {name}\n")
    second = project.json("init")
    after = _installed(project, second)
    told = " ".join(f"{finding['value']} {finding['add']}" for finding in second["findings"])
    silent = [name for name in names if name not in told]
    unknown = {test["path"]: test["sure"] for test in second["tests"] if "test_undeclared_" in test["path"]}
    sure = sorted(path for path, how in unknown.items() if how != "unknown")
    new = sorted(after.items() - before.items())
    say(
        f"init took {seconds:.1f} s; of {len(names)} undeclared modules {len(names) - len(silent)}"
        f" were asked for and {len(new)} distributions were installed"
    )
    for name in silent:
        say(f"  nothing was said of {name}")
    for path in sure:
        say(f"  {path} is called {unknown[path]}")
    for distribution in new:
        say(f"  installed though nobody asked: {distribution}")
    return seconds <= SECONDS and not (silent or sure or new) and len(unknown) == len(names) > 0


def _installed(project: Project, said: dict[str, Any]) -> dict[str, str]:
    """The distributions of the environment that `init` says it takes."""
    if not (project.root / "fairlead.toml").exists():
        raise Failed(f"init wrote no settings: {said}")
    lock = next(f["value"] for f in said["findings"] if f["subject"] == "environment")
    return distributions(project.root, lock)
