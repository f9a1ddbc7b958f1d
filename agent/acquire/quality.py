"""Counters of devices, now and then, in; which of them turned bad, silent, or well again, out; pure.

Every change has two thresholds, so that what is on the brink is told once, not at every look.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from agent.acquire.events import Kind
from agent.acquire.statistics import Counts

WINDOW = 200  # polls that are judged together ...
ENOUGH = 20  # ... or fewer, with so many failed ones among them
BAD_SHARE, GOOD_SHARE = 0.1, 0.02  # of the polls that failed; in between nothing changes
BACK_AFTER = 3  # answers that end a silence; twice as many when the last one has just ended
FEWEST_ON_A_LINE = 2  # devices: of one alone nobody can tell whether it is the line


class Seen(NamedTuple):
    """One device at one moment."""

    counts: Counts
    is_suspect: bool


class Change(NamedTuple):
    """What turned; `device` is empty for the line itself."""

    kind: Kind
    device: str
    words: str


class Line:
    """All devices of one bus."""

    def __init__(self) -> None:
        self._devices: dict[str, _Device] = {}
        self._is_bad = False

    def look(self, devices: Mapping[str, Seen]) -> list[Change]:
        """What has changed since the last look."""
        known = self._devices
        self._devices = {name: known.get(name) or _Device() for name in devices}
        changes = [
            Change(kind, name, words)
            for name, seen in devices.items()
            for kind, words in self._devices[name].look(seen)
        ]
        return changes + self._judge()

    def _judge(self) -> list[Change]:
        heard = [device for device in self._devices.values() if not device.is_silent]
        bad = sum(device.is_bad for device in heard)
        is_bad = len(heard) >= FEWEST_ON_A_LINE and 2 * bad > len(heard)
        if is_bad == self._is_bad:
            return []
        self._is_bad = is_bad
        if is_bad:
            words = f"polls of {bad} of {len(heard)} devices fail: it is the line, not a device"
            return [Change(Kind.LINE_BAD, "", words)]
        return [Change(Kind.LINE_GOOD, "", "most devices answer as they should again")]


class _Device:
    def __init__(self) -> None:
        self.is_bad = False
        self.is_silent = False
        self._polls = self._timeouts = self._crc_errors = 0  # at the beginning of the window
        self._answers = 0  # when it was last silent
        self._needed = 0  # answers before it counts as back

    def look(self, seen: Seen) -> Iterator[tuple[Kind, str]]:
        if seen.is_suspect or self.is_silent:
            yield from self._listen(seen)
            self._begin(seen.counts)
        else:
            yield from self._judge(seen.counts)

    def _listen(self, seen: Seen) -> Iterator[tuple[Kind, str]]:
        answers = seen.counts.answers - self._answers
        if seen.is_suspect:
            self._answers = seen.counts.answers
            if not self.is_silent:
                self.is_silent = True
                is_again = self._needed > 0 and answers < WINDOW
                self._needed = min(2 * self._needed, WINDOW) if is_again else BACK_AFTER
                yield Kind.DEVICE_SILENT, "does not answer; it is asked now and then until it does"
        elif answers >= self._needed:
            self.is_silent = False
            yield Kind.DEVICE_BACK, "answers again"

    def _judge(self, counts: Counts) -> Iterator[tuple[Kind, str]]:
        polls = counts.transactions - self._polls
        unanswered, damaged = counts.timeouts - self._timeouts, counts.crc_errors - self._crc_errors
        failures = unanswered + damaged
        if polls < 0:  # it is another device by the same name
            self._begin(counts)
        if polls <= 0 or (polls < WINDOW and failures < ENOUGH):
            return
        self._begin(counts)
        if failures >= BAD_SHARE * polls and not self.is_bad:
            self.is_bad = True
            yield Kind.DEVICE_BAD, f"of its last {polls} polls {damaged} came damaged and {unanswered} not at all"
        elif failures <= GOOD_SHARE * polls and self.is_bad:
            self.is_bad = False
            yield Kind.DEVICE_GOOD, f"of its last {polls} polls {failures} failed"

    def _begin(self, counts: Counts) -> None:
        self._polls, self._timeouts, self._crc_errors = counts.transactions, counts.timeouts, counts.crc_errors
