"""Failures and how long things lasted between them in, when to try again out; pure."""

import random

from agent.model import NS_PER_MS

FIRST_MS = 200
LAST_MS = 5000
LASTED_MS = LAST_MS  # what held for so long was a success: pauses begin anew
JITTER = 0.2  # those that failed together do not try again together


class Backoff:
    """Pauses that grow as long as nothing lasts."""

    def __init__(self) -> None:
        self.due_ns = 0  # try again then
        self._pause_ms = FIRST_MS
        self._since_ns = 0

    def succeeded(self, now_ns: int) -> None:
        """It works now; whether it is a success shows later."""
        self._since_ns = now_ns

    def failed(self, now_ns: int) -> None:
        """It does not work, or no longer."""
        if self._since_ns and now_ns - self._since_ns >= LASTED_MS * NS_PER_MS:
            self._pause_ms = FIRST_MS
        self._since_ns = 0
        jitter = 1 + JITTER * (2 * random.random() - 1)  # noqa: S311 # spreads tries, guards no secret
        self.due_ns = now_ns + int(self._pause_ms * jitter * NS_PER_MS)
        self._pause_ms = min(2 * self._pause_ms, LAST_MS)
