"""When to try again: pure arithmetic, so that it is tested without waiting.

Delays grow by two and are spread at random over their whole length ("full jitter"), because clients that
failed together must not come back together. A server's `Retry-After` is a floor. When the waits would sum to
more than `PATIENCE`, the caller is better served by an error now.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

FIRST = 0.5  # seconds: upper end of the first delay
LONGEST = 20.0  # seconds: upper end of any delay of our own making
PATIENCE = 120.0  # seconds: all waits of one transfer together
STATUSES = frozenset({408, 429, 500, 502, 503, 504})  # answers that may be different next time


def delay(attempt: int, spread: float, retry_after: float | None = None) -> float:
    """Seconds to wait after failure number `attempt` (from 1); `spread` is a random number in [0, 1)."""
    own = min(LONGEST, FIRST * 2.0 ** (attempt - 1)) * spread
    return own if retry_after is None else retry_after + own


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Seconds asked for by a `Retry-After` header: a number or an HTTP date; None if absent or senseless."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
