"""A process that stays for one project and one store, so that the next command begins where the last ended.

client    hands a command over; next to nothing is imported for it
life      how a daemon begins and ends
server    runs the commands, one after the other
watcher, files   what has changed on disk, and what stands there
state     what is kept between commands; `current` is that of this process, or None where no daemon runs
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would cost every client a millisecond
    from fairlead.build.daemon.state import State

current: State | None = None
