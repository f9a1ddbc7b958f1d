"""Buses with their tables in, warnings of those that may be one and the same out."""

from collections.abc import Sequence
from itertools import combinations
from urllib.parse import urlsplit

from agent.config.model import MODBUS_TCP_PORT, Bus
from agent.config.nodes import quoted
from agent.config.walk import Values


def warn_of_twins(buses: Sequence[tuple[Bus, Values]]) -> None:
    """Each is fine by itself; together they read a device twice, or want one port for two."""
    for (first, first_values), (second, second_values) in combinations(buses, 2):
        place = first_values.place("port")
        shared = _shared_units(first, second)
        if shared:
            units = ", ".join(map(str, shared))
            words = f"unit {units} behind this port is also read by bus {quoted(first.name)} at {place}; once is enough"
            second_values.warn("port", words)
        elif _may_be_one_adapter(first.port, second.port):
            second_values.warn(
                "port",
                f"this may be the adapter of bus {quoted(first.name)} at {place}; with the serial number in both they "
                "are told apart",
            )


def _shared_units(first: Bus, second: Bus) -> list[int]:
    endpoints = _endpoint(first.port), _endpoint(second.port)
    if endpoints[0] is None or endpoints[0] != endpoints[1]:
        return []
    return sorted({device.unit for device in first.devices} & {device.unit for device in second.devices})


def _endpoint(port: str) -> tuple[str, int] | None:
    """Where a Modbus TCP link leads to, however it is written."""
    url = urlsplit(port)
    return (url.hostname or "", url.port or MODBUS_TCP_PORT) if url.scheme == "tcp" else None


def _may_be_one_adapter(first: str, second: str) -> bool:
    """`usb:VID:PID` fits every adapter of the kind, also the one that another bus names with its serial number."""
    parts = first.lower().split(":", 3), second.lower().split(":", 3)
    return all(part[0] == "usb" for part in parts) and parts[0][:3] == parts[1][:3] and len(parts[0]) != len(parts[1])
