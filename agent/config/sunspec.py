"""Devices whose registers count from a SunSpec model in, the same where the model stands out."""

from collections.abc import Sequence

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


def laid_out(devices: Sequence[Device]) -> tuple[Device, ...]:
    """The models of each unit one behind the other, as in most devices: for a plan until they are found."""
    ends: dict[str, int] = {}
    at_place = {}
    for device in sorted((device for device in devices if device.sunspec), key=lambda device: device.start):
        whole = device.part_of or device.name
        start = max(device.start, ends.get(whole, 0))
        at_place[device.name] = moved(device, start) if fits(device, start) else device
        ends[whole] = _end(at_place[device.name])
    return tuple(at_place.get(device.name, device) for device in devices)


def _moved(tag: Tag, by: int) -> Tag:
    power = None if tag.scale_address is None else tag.scale_address + by
    return replace(tag, address=tag.address + by, scale_address=power)


def _end(device: Device) -> int:
    return max((extent_of(tag)[1] for tag in device.tags if tag.moves), default=device.start)
