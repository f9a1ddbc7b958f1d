"""Devices whose registers count from a SunSpec model in, the same where the model stands out."""

from collections.abc import Iterable

from msgspec.structs import replace

from agent.config.model import Device, Tag
from agent.config.registers import ADDRESSES, extent_of


def moved(device: Device, start: int) -> Device:
    """The device with its model at `start`; only tags that count from it move."""
    by = start - device.start
    return replace(device, start=start, tags=tuple(_moved(tag, by) if tag.moves else tag for tag in device.tags))


def fits(device: Device, start: int) -> bool:
    """Whether all of its registers have an address when its model is at `start`."""
    return start - device.start + _end(device) <= ADDRESSES


def laid_out(devices: Iterable[Device]) -> tuple[Device, ...]:
    """The models of each unit one behind the other, as in most devices: for a plan until they are found."""
    ends: dict[str, int] = {}
    placed = []
    for device in devices:
        whole = device.part_of or device.name
        if not device.sunspec:
            placed.append(device)
            continue
        start = max(device.start, ends.get(whole, 0))
        placed.append(moved(device, start) if fits(device, start) else device)
        ends[whole] = _end(placed[-1])
    return tuple(placed)


def _moved(tag: Tag, by: int) -> Tag:
    power = None if tag.scale_address is None else tag.scale_address + by
    return replace(tag, address=tag.address + by, scale_address=power)


def _end(device: Device) -> int:
    return max((extent_of(tag)[1] for tag in device.tags if tag.moves), default=device.start)
