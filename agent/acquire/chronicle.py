"""What happens to ports, lines and devices in; a line of the log for each, and the last of them for any reader, out."""

import logging
import threading
from collections import deque

from agent.acquire.events import TROUBLES, Event, Kind
from agent.clock import boot_ns

KEPT = 256  # all devices of a full bus may fall silent at once, each of them once

log = logging.getLogger(__name__)


class Chronicle:
    """The last events. Any thread may tell one, any may read."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._count = 0

    def tell(self, kind: Kind, bus: str, words: str, device: str = "") -> None:
        """It has just happened."""
        with self._lock:
            self._count += 1
            self._kept.append(Event(self._count, boot_ns(), kind, bus, device, words))
        level = logging.WARNING if kind in TROUBLES else logging.INFO
        log.log(level, "bus %s: %s%s", bus, f"device {device}: " if device else "", words)

    def since(self, number: int) -> tuple[Event, ...]:
        """Those after this one, oldest first; a first number above `number` + 1: the ones between are forgotten."""
        with self._lock:
            return tuple(event for event in self._kept if event.number > number)
