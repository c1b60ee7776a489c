"""One thing that inference found out, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Sure: TypeAlias = Literal["known", "guessed", "unknown"]


@dataclass(frozen=True)
class Finding:
    """`subject` is what was looked for, `value` what was found, `source` where it says so. `add` is the line
    of fairlead.toml, below [build], that settles what is guessed or unknown."""

    subject: str
    value: str
    sure: Sure
    source: str = ""
    add: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "subject": self.subject,
            "value": self.value,
            "sure": self.sure,
            "source": self.source,
            "add": self.add,
        }
