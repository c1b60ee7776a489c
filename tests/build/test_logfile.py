"""A log without end takes little room while it grows, and keeps its beginning and end."""

from __future__ import annotations

import threading
from pathlib import Path

from fairlead.build import sandbox
from fairlead.build.sandbox import MIB
from fairlead.build.sandbox.logfile import trim
from fairlead.build.stage import Stage, keep_log
from fairlead.store import Blobs

LIMIT = 1 * MIB


def test_only_the_middle_of_a_long_log_goes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = b"".join(b"line %07d\n" % number for number in range(700_000))
    log.write_bytes(lines)
    trim(log, LIMIT)
    found = log.stat()
    assert found.st_size == len(lines) and found.st_blocks * 512 <= 2 * LIMIT
    kept = log.read_bytes()
    assert kept.startswith(lines[: LIMIT // 4]) and kept.endswith(lines[-LIMIT // 2 :])
    blobs = Blobs(tmp_path / "blobs")
    text = blobs.get(keep_log(blobs, log, LIMIT))
    assert b"\0" not in text and text.startswith(b"line 0000000\n") and text.endswith(b"line 0699999\n")


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * LIMIT * 2)
    trim(log, LIMIT)
    assert log.read_bytes() == b"x" * LIMIT * 2
    trim(tmp_path / "absent", LIMIT)


def test_a_log_is_cut_while_its_program_runs(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage", Blobs(tmp_path / "blobs"), sandbox.enforcement("auto"))
    most, done = 0, threading.Event()
    program = (
        "for i in 1 2 3 4 5 6; do echo $i; head -c 30000000 /dev/zero | tr '\\0' x; sleep 0.5; done; echo end"
    )

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            if stage.log.exists():
                most = max(most, stage.log.stat().st_blocks * 512)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        assert stage.run(["/bin/sh", "-c", program], {}, seconds=60).code == 0
    finally:
        done.set()
        thread.join()
    assert stage.log.stat().st_size > 180_000_000 and most < 80_000_000
    text = stage.blobs.get(keep_log(stage.blobs, stage.log))
    assert text.startswith(b"1\nxx") and text.endswith(b"xend\n") and b"bytes of this log left out" in text
    assert b"\0" not in text
