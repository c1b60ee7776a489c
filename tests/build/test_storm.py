"""kill -9 anywhere corrupts nothing: a short storm. The long one is `scripts/storm`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.storm import storm


@pytest.mark.parametrize("daemon", [False, True], ids=["alone", "daemon"])
def test_after_kills_at_random_moments_everything_is_right(tmp_path: Path, daemon: bool) -> None:
    with storm(tmp_path, 11, daemon=daemon) as found:
        found.check()
        for _ in range(4):
            found.gust()
        found.clean_run()
        assert sum(found.killed.values()) > 0
