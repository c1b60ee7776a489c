"""Verbs whose libraries come with an extra: a missing one is an error with the command that adds it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fairlead.errors import MachineryError


@contextlib.contextmanager
def needed(name: str, purpose: str) -> Iterator[None]:
    """Import the libraries of extra `name` in this block; ours that are missing stay bugs."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "fairlead":
            raise
        raise MachineryError(
            f"{purpose} needs {error.name}, which is not installed",
            remedy=f"pip install 'fairlead[{name}]'",
        ) from None
