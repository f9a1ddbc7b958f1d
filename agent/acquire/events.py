"""What can happen to ports, lines and devices, in the words of the log, the summary and whoever else is told; pure."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What has happened; every trouble has its end."""

    PORT_DOWN = "port-down"
    PORT_UP = "port-up"
    DAMAGE_BEGAN = "damage-began"  # damaged answers, with their cause where it can be told
    DAMAGE_OVER = "damage-over"
    LINE_BAD = "line-bad"  # most devices fail
    LINE_GOOD = "line-good"
    MODELS_MISSING = "models-missing"  # SunSpec models of a device that nobody knows the place of
    MODELS_FOUND = "models-found"
    DEVICE_BAD = "device-bad"  # it answers, but polls fail too often
    DEVICE_GOOD = "device-good"
    DEVICE_SILENT = "device-silent"
    DEVICE_BACK = "device-back"


TROUBLES = (
    Kind.PORT_DOWN,
    Kind.DAMAGE_BEGAN,
    Kind.LINE_BAD,
    Kind.MODELS_MISSING,
    Kind.DEVICE_BAD,
    Kind.DEVICE_SILENT,
)


class Event(NamedTuple):
    """One change."""

    number: int  # counts from 1: a reader asks for what came after the last one it has seen
    time_ns: int  # boot time
    kind: Kind
    bus: str
    device: str  # empty: the bus itself
    words: str
