"""A bus loop, as far as ports go, and a watch for them: what a supervisor needs around it."""

import os
import threading
from collections.abc import Callable

from agent._native.busloop import COUNTERS
from agent.acquire.supervisor import Supervisor
from agent.acquire.watch import Watch


class FakeLines:
    """The loop, as far as ports go: lose() is an unplugged adapter."""

    def __init__(self) -> None:
        self.bell = os.eventfd(0)
        self.changed = threading.Condition()
        self.attached: list[int] = []
        self.failed: list[int] = []
        self.lost: list[tuple[int, int]] = []
        self.counts = dict.fromkeys(COUNTERS, 0)
        self.marking: list[bool] = []
        self.marked = (0, 0, 0)

    def counters(self, line: int) -> tuple[tuple[int, ...], list[tuple[int, ...]], int]:
        return tuple(self.counts.values()), [], 0

    def mark(self, line: int, on: bool) -> None:
        self.marking.append(on)

    def marks(self, line: int) -> tuple[int, int, int]:
        return self.marked

    def attach(self, line: int, fd: int) -> None:
        with self.changed:
            self.attached.append(fd)
            self.changed.notify_all()

    def fail(self, line: int) -> None:
        with self.changed:
            self.failed.append(line)
            self.changed.notify_all()

    def take_lost(self, line: int) -> tuple[int, int] | None:
        return self.lost.pop() if self.lost else None

    def supervisor_fileno(self) -> int:
        return self.bell

    def lose(self) -> None:
        self.lost.append((self.attached[-1], 5))
        os.eventfd_write(self.bell, 1)

    def wait(self, until: Callable[[], bool], timeout_s: float) -> bool:
        with self.changed:
            return self.changed.wait_for(until, timeout_s)


class FakeWatch(Watch):
    """Tells of nodes, or cannot."""

    def __init__(self, *, able: bool) -> None:
        super().__init__()
        self.able = able

    def cover(self, port: str) -> bool:
        return self.able


def step(supervisor: Supervisor) -> None:
    supervisor._serve(0, supervisor._slots[0])
