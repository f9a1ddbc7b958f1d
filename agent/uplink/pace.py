"""Failures and successes in, how long to wait before the next attempt out; time is an argument, chance a function."""

from collections.abc import Callable

from agent.model import NS_PER_S


class Backoff:
    """Waits with full jitter: random below a ceiling that doubles with every failure in a row."""

    def __init__(self, first_ns: int, longest_ns: int, random: Callable[[], float]) -> None:
        self._first_ns = first_ns
        self._longest_ns = longest_ns
        self._random = random
        self._ceiling_ns = first_ns

    def next_ns(self) -> int:
        """How long to wait after one more failure."""
        wait_ns = int(self._random() * self._ceiling_ns)
        self._ceiling_ns = min(self._ceiling_ns * 2, self._longest_ns)
        return wait_ns

    def reset(self) -> None:
        """A success: the next wait is short again."""
        self._ceiling_ns = self._first_ns


class TokenBucket:
    """At most `per_s` a second, unused ones kept for at most one second."""

    def __init__(self, per_s: int) -> None:
        self._interval_ns = NS_PER_S // per_s
        self._free_since_ns = 0  # the time up to which tokens are used; full when it lies a second back

    def has_token(self, now_ns: int) -> bool:
        """Whether one may be sent now."""
        self._free_since_ns = max(self._free_since_ns, now_ns - NS_PER_S)
        return now_ns >= self.ready_ns()

    def ready_ns(self) -> int:
        """When the next one may be sent."""
        return self._free_since_ns + self._interval_ns

    def take(self) -> None:
        """One is sent."""
        self._free_since_ns += self._interval_ns
