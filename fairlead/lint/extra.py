"""The optional extra `lint`: whether LibCST is here, and which version, without importing it."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from fairlead.errors import MachineryError


@functools.cache
def libcst_version() -> str:
    """The installed LibCST's version, such as "1.9.0"; `MachineryError` with the command that adds it.

    Read from the name of the metadata folder beside the package: `importlib.metadata` would answer
    the same, but importing it takes longer than a whole warm run.
    """
    spec = importlib.util.find_spec("libcst")
    if spec is None or spec.origin is None:
        raise MachineryError(
            "lint needs LibCST, which is not installed", remedy="pip install 'fairlead[lint]'"
        )
    for folder in Path(spec.origin).parent.parent.glob("libcst-*.dist-info"):
        return folder.name.removesuffix(".dist-info").removeprefix("libcst-")
    from importlib.metadata import version

    return version("libcst")
