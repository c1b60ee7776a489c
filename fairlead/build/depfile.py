"""Dep files: which of its inputs a command really read, and so which changes are no reason to run it again.

A compiler is given all headers that it might read, and says in its dep file which it did read. For such an
action there is a second key beside its own. Its *shape* is the record of the action with the judged inputs
by their names alone; the key is made of the shape and of the content of those inputs that an earlier run
named. If a run of this shape read only files that are today what they were then, it would read the same files
today and come to the same result. A header that is added, removed or renamed changes the shape: it may be
found in another one's stead.

Rejected: taking the last run's dep file alone (going back to an older state would run again), and dep files
without the names of what was not read (a new header that shadows an old one would be missed).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.build import manifest, sandbox
from fairlead.build.execute import Cache, Result
from fairlead.build.manifest import File, Folder, Link, Manifest
from fairlead.build.plan import Action
from fairlead.build.sources import Sources
from fairlead.errors import MachineryError
from fairlead.store import Record
from fairlead.store.record import Part

NAMESPACE = "dep-file"
_KEPT = 32  # different sets of a shape, newest first: as many states of a source are worth to be known
_WORD = re.compile(r"(?:\\.|[^\s\\])+", re.DOTALL)


@dataclass(frozen=True)
class Shape:
    """An action without the content of its judged inputs: its key, and that content by path."""

    key: str
    content: Mapping[str, Part]


def shape(action: Action, record: Record, sources: Sources, inputs: Mapping[str, Manifest]) -> Shape:
    """The shape of an action whose own record is `record`."""
    names: list[Part] = []
    content: dict[str, Part] = {}
    whole: set[str] = set()
    for path in action.judged:
        made = inputs.get(path)
        if made is None:
            names.append(path)
            content[path] = list(sources.identity(path))
        elif isinstance(made, File):
            names.append(path)
            content[path] = [made.digest, made.executable]
        elif any(isinstance(entry, Link) for entry in made.entries.values()):
            whole.add(path)  # what is read through a link has another name
        else:
            names.append([path, *made.entries])
            content.update(_files(path, made))
    judged = set(action.judged) - whole
    parts = {
        **record.parts,
        "sources": [[path, *sources.identity(path)] for path in sorted(action.sources) if path not in judged],
        "inputs": [
            [path, manifest.digest(inputs[path])] for path in sorted(action.inputs) if path not in judged
        ],
        "judged": names,
    }
    return Shape(Record("action.shape", 1, parts).key, content)


def _files(path: str, folder: Folder) -> dict[str, Part]:
    return {
        f"{path}/{name}": [entry.digest, entry.executable]
        for name, entry in folder.entries.items()
        if isinstance(entry, File)
    }


def find(cache: Cache, shape: Shape, *, enforced: sandbox.Enforced) -> Result | None:
    """The result of an earlier run that read only what is today as it was then."""
    for read in _known(cache, shape):
        if all(path in shape.content for path in read):
            found = cache.get(_key(shape, read), enforced=enforced)
            if found is not None:
                return found
    return None


def keep(cache: Cache, shape: Shape, dep_file: Manifest, result: Result) -> None:
    """Keep what a run said that it read, and its result under that."""
    if not isinstance(dep_file, File):
        return
    text = cache.store.blobs.get(dep_file.digest).decode("utf-8", "surrogateescape")
    read = sorted({found for path in parse(text) for found in _meant(path)} & shape.content.keys())
    cache.put(_key(shape, read), result)
    sets = [read, *(known for known in _known(cache, shape) if known != read)][:_KEPT]
    cache.store.results.put(NAMESPACE, shape.key, json.dumps(sets).encode())


def _meant(path: str) -> list[str]:
    """What a path in a dep file may mean. Where the project stood is known to the command alone, so a whole
    path means all that it ends with: one file too many costs a rerun."""
    path = posixpath.normpath(path)
    if not path.startswith("/"):
        return [path]
    parts = path.split("/")
    return ["/".join(parts[number:]) for number in range(1, len(parts))]


def _key(shape: Shape, read: Sequence[str]) -> str:
    return Record(
        "action.read", 1, {"shape": shape.key, "read": [[path, shape.content[path]] for path in read]}
    ).key


def _known(cache: Cache, shape: Shape) -> list[list[str]]:
    data = cache.store.results.get(NAMESPACE, shape.key)
    try:
        return [] if data is None else [[str(path) for path in read] for read in json.loads(data)]
    except (ValueError, TypeError, MachineryError):
        return []


def parse(text: str) -> list[str]:
    """The files that a dep file names: a rule of make, as of compilers, or a path a line, as in Buck2."""
    joined = text.replace("\\\n", " ").replace("\\\r\n", " ")
    if not re.search(r":(\s|$)", joined):
        return [line for line in text.splitlines() if line]
    found = []
    for line in joined.splitlines():
        words = _WORD.findall(line)
        for number, word in enumerate(words):
            if word.endswith(":"):
                found += [re.sub(r"\\(.)", r"\1", name).replace("$$", "$") for name in words[number + 1 :]]
                break
    return found
