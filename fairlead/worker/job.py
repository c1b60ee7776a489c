"""What the server asks a worker to do: check one candidate commit against the trunk it would follow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.errors import MachineryError

_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Job:
    """One lease. `id` names job and lease together; `enforcement` is the least that counts for landing."""

    id: str
    repo: str
    base: str
    commit: str
    diff: int
    lease_seconds: float
    enforcement: str

    @classmethod
    def from_json(cls, data: object) -> Job:
        """Read the server's answer; anything that could not be a job is a MachineryError.

        Ids and the repository's name become parts of addresses, refs and folders, so their alphabet is
        checked here, once.
        """
        if not isinstance(data, Mapping):
            raise _unreadable("it is not an object")
        if data.get("kind") != "candidate":
            raise _unreadable(f"its kind is {data.get('kind')!r}; this worker knows 'candidate'")
        settings = data.get("settings")
        enforcement = settings.get("enforcement") if isinstance(settings, Mapping) else None
        diff, lease = data.get("diff"), data.get("lease_seconds")
        if not isinstance(diff, int) or not isinstance(lease, int | float) or not lease > 0:
            raise _unreadable("its diff or lease_seconds is not a number")
        if enforcement not in ("namespace", "landlock", "none"):
            raise _unreadable("its settings name no enforcement")
        return cls(
            _matching(data, "id", _ID),
            _matching(data, "repo", _REPO),
            _matching(data, "base", _OID),
            _matching(data, "commit", _OID),
            diff,
            float(lease),
            enforcement,
        )

    def to_line(self) -> str:
        """One line of JSON that `from_line` reads: how a job reaches the process that does it."""
        return json.dumps(self.__dict__)

    @classmethod
    def from_line(cls, line: str) -> Job:
        """A job from the line that `to_line` wrote."""
        return cls(**json.loads(line))


def _matching(data: Mapping[str, object], name: str, pattern: re.Pattern[str]) -> str:
    value = data.get(name)
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not pattern.fullmatch(text) or text in (".", ".."):
        raise _unreadable(f"its {name} is {value!r}")
    return text


def _unreadable(why: str) -> MachineryError:
    return MachineryError(
        f"the server's job cannot be read: {why}",
        remedy="give server and worker the same version of Fairlead",
    )
