"""The two launchers, for tests that hold for both."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.build.sandbox import native

BY = ("native", "python")


def by(name: str) -> Iterator[str]:
    """Have commands started by one of them alone. The native one must be there: without it half of the tests
    would be about the other."""
    native.choose("auto" if name == "native" else "off")
    try:
        if name == "native":
            assert native.refusal() == ""
        yield name
        if name == "native":
            assert native.refusal() == "", "it was given up on the way"
    finally:
        native.choose("auto")
