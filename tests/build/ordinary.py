"""Another user than root, for tests of what an ordinary user may do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fairlead.build.sandbox import system


def ordinary_user() -> tuple[int, str]:
    """A user without rights, and an interpreter that it may start."""
    if os.getuid() != 0:
        return os.getuid(), sys.executable
    for python in (system.interpreter(), "/usr/bin/python3"):
        try:
            test = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
            if subprocess.run(test, user=65534, group=65534, extra_groups=[], check=False).returncode == 0:
                return 65534, python
        except OSError:
            continue
    pytest.fail("no Python >= 3.11 here can be started by another user than root")
