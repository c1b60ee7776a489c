"""What tests of several rooms share: one browser a session."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import ARGUMENTS, CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ["FAIRLEAD_BUILD_DAEMON"] = "off"  # a test that wants one says so, and ends it
# one folder for all tests and runs: what is made there is named by its content, and takes a compiler
os.environ.setdefault("FAIRLEAD_CACHE_DIR", f"{tempfile.gettempdir()}/fairlead-tests-{os.getuid()}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; where it is absent the tests are left out, except under CI, where they fail."""
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium")
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()
