"""Edits of a lock: another release of one distribution, or one more plugin of pytest.

A lock of another tool's is that tool's to change: there the edit adds a lock of the name that `fairlead init
--lock` gives its own, which goes before the other.
"""

from __future__ import annotations

import json
import random
import re

from selection.edit import Edit, File
from selection.process import Failed, must, python
from selection.workplace import GENERATED, Workplace, normalised

PLUGINS = ("pytest-mock", "pytest-timeout", "pytest-asyncio")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.M)


def edits(place: Workplace, seed: int, count: int = 4) -> dict[str, list[Edit]]:
    """Edits by kind, kept on disk, since an index has to be asked."""
    kept = place.folder / f"releases-{seed}.json"
    if not kept.exists():
        made: list[tuple[str, str, str, str, str]] = []
        names = sorted(place.installed)
        chosen = random.Random(seed).sample(names, min(count, len(names)))
        for kind, name in [*(("release", n) for n in chosen), *(("plugin", n) for n in PLUGINS)]:
            if kind == "plugin" and name in place.installed:
                continue
            found = _compiled(place, kind, name)
            if found is not None:
                made.append((kind, name, *found))
        kept.write_text(json.dumps(made))
    found_edits: dict[str, list[Edit]] = {}
    for kind, name, version, before, text in json.loads(kept.read_text()):
        title = f"{name} {before} to {version}"
        edit = Edit(kind, title, {GENERATED: File(text.encode())}, {}, {name: version})
        found_edits.setdefault(kind, []).append(edit)
    return found_edits


def _compiled(place: Workplace, kind: str, name: str) -> tuple[str, str, str] | None:
    """The version, that before, and the lock with it; None if no such release can be installed."""
    before = place.installed.get(name, "none")
    pins = [f"{other}=={version}" for other, version in place.installed.items() if other != name]
    asked = place.folder / "releases.in"
    asked.write_text("\n".join([*pins, name if kind == "plugin" else f"{name}<{before}"]) + "\n")
    words = ["-m", "uv", "pip", "compile", "--quiet", "--no-deps", "--generate-hashes", "--no-header"]
    try:
        text = must(python(*words, "--no-annotate", "--only-binary", ":all:", str(asked)), place.folder)
    except Failed:
        return None
    pinned = {normalised(found): version for found, version in _PIN.findall(text)}
    return pinned[name], before, text
