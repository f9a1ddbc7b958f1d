"""What happens to ports, lines and devices in; a line of the log for each, and the last of them for any reader, out."""

import logging
import threading
from collections import deque
from enum import StrEnum
from typing import NamedTuple

from agent.clock import boot_ns

KEPT = 256  # all devices of a full bus may fall silent at once, each of them once

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What has happened; every trouble has its end."""

    PORT_DOWN = "port-down"
    PORT_UP = "port-up"
    DAMAGE_BEGAN = "damage-began"  # damaged answers, with their cause where it can be told
    DAMAGE_OVER = "damage-over"
    LINE_BAD = "line-bad"  # most devices fail
    LINE_GOOD = "line-good"
    DEVICE_BAD = "device-bad"  # it answers, but polls fail too often
    DEVICE_GOOD = "device-good"
    DEVICE_SILENT = "device-silent"
    DEVICE_BACK = "device-back"


TROUBLES = (Kind.PORT_DOWN, Kind.DAMAGE_BEGAN, Kind.LINE_BAD, Kind.DEVICE_BAD, Kind.DEVICE_SILENT)


class Event(NamedTuple):
    """One change."""

    number: int  # counts from 1: a reader asks for what came after the last one it has seen
    time_ns: int  # boot time
    kind: Kind
    bus: str
    device: str  # empty: the bus itself
    words: str


class Events:
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
