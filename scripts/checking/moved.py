"""Another folder, home, user and host name give equal keys: a copied store is as good elsewhere, and who
tests afresh elsewhere comes to the keys that everybody else has.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from selection.process import Failed
from selection.workplace import Workplace

from checking.tree import Project, Told

_RENAMED = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")
"""Only root can give itself another host name and still make sandboxes of the same level: for others that is
left out."""


def check(place: Workplace, say: Callable[[str], None]) -> bool:
    """Test here, then in a copy with the store, then in a new checkout without one."""
    here = Project(place.fairlead, place.for_fairlead())
    try:
        first = here.test()
        if not all(one.outcome == "pass" for one in first.values()):
            bad = sorted(label for label, one in first.items() if one.outcome != "pass")
            say(f"left out, since they do not pass: {', '.join(bad)}")
    finally:
        here.stop()
    passed = {label: one for label, one in first.items() if one.outcome == "pass"}
    if not passed:
        raise Failed("no test passes")
    folder = place.folder / "moved"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place.ours, folder / "with" / "its store", symlinks=True)
    shutil.copytree(place.as_it_is(), folder / "afresh", symlinks=True)
    copied = _told(elsewhere(place.fairlead, folder / "with" / "its store"), passed)
    afresh = _told(elsewhere(place.fairlead, folder / "afresh"), passed)
    again = sorted(label for label, one in copied.items() if not one.reused)
    other = sorted(label for label, one in passed.items() if one.key != copied[label].key)
    unlike = sorted(label for label, one in passed.items() if one.key != afresh[label].key)
    say(
        f"{len(passed)} targets: {len(again)} ran again with the store in another place,"
        f" {len(other)} had other keys there, {len(unlike)} had other keys tested afresh"
    )
    for label in [*again, *other, *unlike][:10]:
        say(f"  {label}: {passed[label].key} {copied[label].key} {afresh[label].key}")
    return not (again or other or unlike)


def elsewhere(fairlead: list[str], root: Path) -> Project:
    """The project in `root` as another user of another machine would find it. The wheels that were fetched
    here are at hand there too."""
    made = Project(fairlead, root)
    home = root.parent / "home of another"
    home.mkdir(exist_ok=True)
    fetched = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache/uv")
    made.variables = {
        "HOME": str(home), "USER": "another", "LOGNAME": "another", "UV_CACHE_DIR": fetched,
        "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": "", "XDG_RUNTIME_DIR": "", "TMPDIR": str(home),
    }  # fmt: skip
    made.before = _RENAMED if os.getuid() == 0 else ()
    return made


def _told(project: Project, wanted: dict[str, Told]) -> dict[str, Told]:
    told = project.test("--no-daemon")
    missing = Told("absent", False, "")
    return {label: told.get(label, missing) for label in wanted}
