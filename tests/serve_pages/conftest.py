"""An empty house for each test of the pages that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve_pages.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An empty server."""
    made = House(tmp_path)
    yield made
    made.close()
