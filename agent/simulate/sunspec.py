"""Devices of one bus in, the registers by which the models of simulated SunSpec devices are found out."""

from collections.abc import Iterator, Sequence

from agent.config.model import Device, Table
from agent.config.registers import extent_of
from agent.simulate.signal import TABLES

BASES = (50_000, 40_000, 0)
MARK = (0x5375, 0x6E53)  # "SunS"
NO_MORE = 0xFFFF
COMMON, OTHER = 1, 64_999  # what stands where the configuration has no model: the common one comes first

Preset = tuple[int, int, int, int]  # unit, table, address, value


def chains(devices: Sequence[Device]) -> Iterator[Preset]:
    """Of each unit that has models to be found: the mark, the head of each model, and the end."""
    units: dict[int, list[Device]] = {}
    for device in devices:
        if device.sunspec:
            units.setdefault(device.unit, []).append(device)
    for unit, models in units.items():
        for address, value in _chain(sorted(models, key=lambda device: device.start)):
            yield unit, TABLES.index(Table.HOLDING), address, value


def _chain(models: Sequence[Device]) -> Iterator[tuple[int, int]]:
    base = next(base for base in BASES if base + len(MARK) <= models[0].start or not base)
    yield from enumerate(MARK, base)
    at, filler = base + len(MARK), COMMON
    for device in models:
        if device.start > at:
            yield from enumerate((filler, device.start - at - 2), at)
        at = max(extent_of(tag)[1] for tag in device.tags if tag.moves)
        yield from enumerate((device.sunspec, at - device.start - 2), device.start)
        filler = OTHER
    yield from enumerate((NO_MORE, 0), at)
