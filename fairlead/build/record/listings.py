"""Which listings of folders were made to look for modules or distributions, by what `finders.py` noted.

The recorder counts how often each folder was listed, and finders say how often they did. Are these equal,
then nobody else has seen the names in the folder, and the run depends on those that were looked for. If one
listing is left that nobody owns up to, by the project's code or by a program that was started, all names
count. A module that was found is stat'ed and read, which is heard anyway; what remains are modules that are
not there, and could come.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from dataclasses import replace

from fairlead.build.record.asked import Asked
from fairlead.build.record.entered import Log


def narrowed(data: bytes, asked: Asked, root: str) -> Asked:
    """`asked` with `sought` and `described` in place of such listings. `data` is the log, whose paths are
    absolute; `root` is where the run saw the folder that `asked` is relative to."""
    log = Log.read(data)
    if log.damaged or asked.lack or asked.recorder == "none":
        return asked
    fills, looks = (_below(found, root) for found in (log.filled, log.described))
    unclear = _below(log.unclear, root)
    names: dict[str, set[str]] = {}
    for name, folder in log.sought:
        for inner in _below(Counter([folder]), root):
            names.setdefault(inner, set()).add(name)
    own = {
        folder
        for folder in asked.listed
        if folder not in unclear and 0 < fills[folder] + looks[folder] == asked.listings.get(folder, 0)
    }
    return replace(
        asked,
        listed=asked.listed - own,
        sought={folder: frozenset(names.get(folder, ())) for folder in own if fills[folder]},
        described=frozenset(folder for folder in own if looks[folder]),
    )


def _below(found: Counter[str], root: str) -> Counter[str]:
    """Counts by the folder relative to `root`, without what lies elsewhere."""
    inner: Counter[str] = Counter()
    for path, count in found.items():
        normal = posixpath.normpath(path)
        if normal == root:
            inner[""] += count
        elif normal.startswith(f"{root}/"):
            inner[normal[len(root) + 1 :]] += count
    return inner
