"""The states of a diff and every step between them, in one table.

What is not in the table cannot happen; the server asks `after` before it writes. The main line is

    draft -> needs_review -> changes_requested | accepted -> queued -> landing -> landed

and beside it stand changes_planned (the author has more to do), abandoned and reverted.
"""

from __future__ import annotations

from typing import Literal, get_args

from fairlead.errors import UsageError

State = Literal[
    "draft",
    "needs_review",
    "changes_requested",
    "accepted",
    "queued",
    "landing",
    "landed",
    "changes_planned",
    "abandoned",
    "reverted",
]
Step = Literal[
    "publish",  # the author asks for review
    "version",  # a new version to which approvals do not carry
    "carried",  # a new version to which enough approvals carry
    "accept",  # now there are as many approvals as the repository asks for
    "request",  # a reviewer asks for changes
    "retract",  # an approval or a request was taken back, and there are too few approvals
    "plan",  # the author says more is to come
    "abandon",
    "reclaim",  # the author takes up an abandoned diff again
    "queue",  # someone asks to land it
    "dequeue",  # taken out of the queue, or refused by the land rule
    "start",  # the land rule allowed it: the trunk is about to move
    "stop",  # the trunk moved by another hand, or a crash: it goes back to the queue
    "land",
    "revert",
]

STATES: tuple[State, ...] = get_args(State)
STEPS: tuple[Step, ...] = get_args(Step)
#: Nothing more happens to a diff here, unless it is taken up again.
CLOSED: frozenset[State] = frozenset({"landed", "abandoned", "reverted"})

TABLE: dict[tuple[State, Step], State] = {
    ("draft", "publish"): "needs_review",
    ("draft", "version"): "draft",
    ("draft", "abandon"): "abandoned",
    ("needs_review", "accept"): "accepted",
    ("needs_review", "request"): "changes_requested",
    ("needs_review", "retract"): "needs_review",
    ("needs_review", "version"): "needs_review",
    ("needs_review", "carried"): "accepted",
    ("needs_review", "plan"): "changes_planned",
    ("needs_review", "abandon"): "abandoned",
    ("changes_requested", "accept"): "accepted",
    ("changes_requested", "request"): "changes_requested",
    ("changes_requested", "retract"): "needs_review",
    ("changes_requested", "version"): "needs_review",
    ("changes_requested", "plan"): "changes_planned",
    ("changes_requested", "abandon"): "abandoned",
    ("accepted", "accept"): "accepted",
    ("accepted", "request"): "changes_requested",
    ("accepted", "retract"): "needs_review",
    ("accepted", "version"): "needs_review",
    ("accepted", "carried"): "accepted",
    ("accepted", "plan"): "changes_planned",
    ("accepted", "abandon"): "abandoned",
    ("accepted", "queue"): "queued",
    ("queued", "accept"): "queued",
    ("queued", "request"): "changes_requested",
    ("queued", "retract"): "needs_review",
    ("queued", "version"): "needs_review",
    ("queued", "carried"): "accepted",
    ("queued", "dequeue"): "accepted",
    ("queued", "abandon"): "abandoned",
    ("queued", "start"): "landing",
    ("landing", "land"): "landed",
    ("landing", "stop"): "queued",
    ("landed", "revert"): "reverted",
    ("changes_planned", "publish"): "needs_review",
    ("changes_planned", "version"): "needs_review",
    ("changes_planned", "abandon"): "abandoned",
    ("abandoned", "reclaim"): "needs_review",
}


def after(state: str, step: Step) -> State:
    """The state after `step`; a step that the table lacks is a UsageError that says what is possible."""
    for (before, known), result in TABLE.items():
        if (before, known) == (state, step):
            return result
    possible = ", ".join(steps(state)) or "nothing"
    raise UsageError(
        f"a diff that is {state.replace('_', ' ')} cannot {step}", remedy=f"possible now: {possible}"
    )


def steps(state: str) -> tuple[Step, ...]:
    """The steps that are possible in `state`, in the order of the table."""
    return tuple(step for (before, step) in TABLE if before == state)
