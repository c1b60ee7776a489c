"""git, by its binary: commits and trees as values, merges in the object store, refs by compare-and-swap."""

from fairlead.git.command import Completed, environment, require, version
from fairlead.git.objects import GITLINK, NO_MODE, NO_OBJECT, SYMLINK, Change, Commit, Entry, Merge, Person
from fairlead.git.repository import Repo
from fairlead.git.trailers import add_trailer, trailers, values

__all__ = [
    "GITLINK", "NO_MODE", "NO_OBJECT", "SYMLINK", "Change", "Commit", "Completed", "Entry", "Merge", "Person",
    "Repo", "add_trailer", "environment", "require", "trailers", "values", "version",
]  # fmt: skip
