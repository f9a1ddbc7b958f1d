"""Whether parts of a read succeed in, the least part that fails out; pure.

Whatever holds a part that fails, fails. So the shortest beginning that fails ends with the culprit's last unit, and the
shortest ending of that beginning which fails starts with its first: two searches by halving.
"""

from typing import NamedTuple


class Part(NamedTuple):
    """Units [first, end) of a read."""

    first: int
    end: int

    def __len__(self) -> int:
        """How many units."""
        return self.end - self.first


class Narrowing:
    """The search in a read of so many units that failed as a whole."""

    def __init__(self, units: int) -> None:
        self._first = range(units)  # where the culprit may start, once its end is known
        self._end = range(1, units + 1)  # before which it may end
        self._is_end_known = units == 1

    @property
    def found(self) -> Part | None:
        """The least part that fails; None while that is open."""
        if self._is_end_known and len(self._first) == 1:
            return Part(self._first[0], self._end[0])
        return None

    @property
    def asked(self) -> Part:
        """The part whose fate is to be told next."""
        if not self._is_end_known:
            return Part(0, self._end[(len(self._end) - 1) // 2])
        return Part(self._first[len(self._first) // 2], self._end[0])

    def tell(self, *, fails: bool) -> None:
        """The fate of the part that was asked for."""
        first, end = self.asked
        if self._is_end_known:
            self._first = range(first, self._first.stop) if fails else range(self._first.start, first)
            return
        self._end = range(self._end.start, end + 1) if fails else range(end + 1, self._end.stop)
        if len(self._end) == 1:
            self._is_end_known = True
            self._first = range(self._end[0])
